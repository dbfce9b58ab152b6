"""dupo from Python: in a script or a notebook, the programs of the command line as functions.

    from dupo.api import train, rerank, audit

    result = train(task="word_problems", dataset=rows, reward=my_function, max_steps=100)
    result.model, result.tokenizer          what was trained, as transformers loads it
    for metrics in train_steps(...): ...    the metrics of each step, as it is made

Options have the names of the command line (`python -m dupo.train --help`), TRL's included. Whatever a call
cannot use raises `UserError`, one line with the words of the command line. Everything that a run reads and
writes lies in its folder; docs/python.md shows how to go on from there.
"""

import atexit
from collections.abc import Iterator
from inspect import GEN_CLOSED, getgeneratorstate
from typing import Any
from weakref import WeakSet

from dupo.api.callbacks import STOP, Callbacks
from dupo.api.calls import Call, door
from dupo.api.results import AuditResult, RerankResult, SelectResult, TrainingResult
from dupo.errors import StorageError, UserError
from dupo.storage.files import read_mapping, read_rows
from dupo.storage.names import SUMMARY

__all__ = [
    "STOP",
    "AuditResult",
    "RerankResult",
    "SelectResult",
    "StorageError",
    "TrainingResult",
    "TrainingSteps",
    "UserError",
    "audit",
    "rerank",
    "select",
    "train",
    "train_steps",
]

# Runs whose loop was left and that are still held by a variable when Python ends.
_OPEN: WeakSet["TrainingSteps"] = WeakSet()


# A script may end while it holds a run whose loop was left: without this, its last steps would be lost.
@atexit.register
def _close_all() -> None:
    for steps in list(_OPEN):
        steps.close()


class TrainingSteps(Iterator[dict[str, Any]]):
    """A training run, one step at a time; made by `train_steps`.

    Iterating makes the next step and gives its row of metrics.jsonl. `close`, the end of a `with` block, or
    asking for the `result` ends a run early: it is saved, as after Ctrl-C.
    """

    def __init__(self, call: Call) -> None:
        self._call, self._summary, self._step, self._was_asked = call, dict[str, Any](), 0, False
        self._steps = call.steps(door("train", "train_steps"))
        _OPEN.add(self)

    def __next__(self) -> dict[str, Any]:
        self._was_asked = True
        try:
            row = self._call.run(self._steps.__next__)
        except StopIteration as end:
            self._summary = end.value or self._summary
            raise
        self._step = row["step"]
        return row

    def __enter__(self) -> "TrainingSteps":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Ends the run: it is saved, unless it has ended. Closing twice does nothing."""
        _OPEN.discard(self)
        if getgeneratorstate(self._steps) != GEN_CLOSED:
            self._call.run(self._steps.close)
        # Left behind its last step, the run has finished all the same.
        if self._step == self._call.config.optimizer.max_steps:
            self._summary = read_mapping(self._call.folder / SUMMARY)

    @property
    def result(self) -> TrainingResult:
        """What the run has given; ends the run if steps are left.

        Raises:
            UserError: no step was asked for.
        """
        # Closed before its first step, the run has read and written nothing: the folder may hold another one.
        if not self._was_asked:
            raise UserError("result: expected a loop over the steps before it, got none")
        self.close()
        return TrainingResult.of(self._call.folder, self._summary, stopped=not self._summary)


def train_steps(
    *,
    model: Any = None,
    tokenizer: Any = None,
    dataset: Any = None,
    eval_dataset: Any = None,
    reward: Any = None,
    **options: Any,
) -> TrainingSteps:
    """Trains a model step by step: iterating makes the steps and gives the metrics of each.

        for metrics in train_steps(max_steps=100):
            print(metrics["step"], metrics["reward"])

    Leaving the loop early saves the run, as Ctrl-C does. Arguments and errors are those of `train`.

    Returns:
        An iterator over the rows of metrics.jsonl; its `result` is what `train` returns.
    """
    arguments = dict(
        model=model, tokenizer=tokenizer, dataset=dataset, eval_dataset=eval_dataset, reward=reward
    )
    return TrainingSteps(Call("train", arguments, options))


def train(
    *,
    model: Any = None,
    tokenizer: Any = None,
    dataset: Any = None,
    eval_dataset: Any = None,
    reward: Any = None,
    callbacks: Any = None,
    **options: Any,
) -> TrainingResult:
    """Trains a model, as `python -m dupo.train` does: the same options give the same bytes.

    Ctrl-C, or the interrupt of a notebook, saves after the step and returns; a second one raises
    KeyboardInterrupt at once. A run goes on with `output_dir=RUN, resume_from_checkpoint="latest"`, with the
    same objects or without them; only a function that cannot be imported must come again.

    Args:
        model: folder or Hub name, or a model of transformers, which stays as it is and needs a `tokenizer`
            beside it; None: the small built-in model.
        tokenizer: folder or Hub name, or a tokenizer of transformers; None: that of the model.
        dataset: a path as on the command line, a list (or any iterable) of dicts, a `datasets.Dataset`, a
            `DatasetDict` with a split train, or a `pandas.DataFrame`.
        eval_dataset: the same, held out of training.
        reward: a name, a function as TRL's reward functions (docs/trl.md), or a list of these.
        callbacks: a list of functions of (step, metrics), called after every step, or of objects with
            `on_step(step, metrics)` or `on_evaluate(step, metrics)`. One that returns `STOP` ends the run
            after the step, saved. What a callback raises ends the run, saved, and reaches the caller.
        options: every other option by its name on the command line; `config` names a YAML file.

    Raises:
        UserError: something that the run cannot use; one line, with the words of the command line.
        StorageError: the disk is full, or the folder cannot be written any more.
        FloatingPointError: a loss, gradient or logit is not finite; the message names the saved batch.
    """
    told = Callbacks(callbacks)
    steps = train_steps(
        model=model,
        tokenizer=tokenizer,
        dataset=dataset,
        eval_dataset=eval_dataset,
        reward=reward,
        **options,
    )
    with steps:
        for row in steps:
            if told.tell(row):
                break
    return steps.result


def rerank(
    *,
    model: Any = None,
    tokenizer: Any = None,
    dataset: Any = None,
    eval_dataset: Any = None,
    reward: Any = None,
    **options: Any,
) -> RerankResult:
    """Answers every problem by the sample from which the question is recovered best, or that with the highest
    `reward`; trains nothing.

    A call that was stopped goes on when it is made again with its `output_dir`. Arguments and errors are
    those of `train`; `python -m dupo.rerank --help` lists the options.
    Ctrl-C raises KeyboardInterrupt; what was done is kept, and the same call goes on.
    """
    arguments = _arguments(model, tokenizer, dataset, eval_dataset) | {"reward": reward}
    call = Call("rerank", arguments, options)
    summary = call.finish(door("rerank"))
    return RerankResult(call.folder, summary, read_rows(call.folder / "answers.jsonl"))


def audit(
    *,
    model: Any = None,
    tokenizer: Any = None,
    dataset: Any = None,
    eval_dataset: Any = None,
    reward: Any = None,
    **options: Any,
) -> AuditResult:
    """Measures whether the reward of this model on these data is one to train on; trains nothing.

    A call that was stopped goes on when it is made again with its `output_dir`. Arguments and errors are
    those of `train`; `python -m dupo.audit --help` lists the options.
    Ctrl-C raises KeyboardInterrupt; what was done is kept, and the same call goes on.
    """
    arguments = _arguments(model, tokenizer, dataset, eval_dataset) | {"reward": reward}
    call = Call("audit", arguments, options)
    summary = call.finish(door("audit"))
    rows = read_rows(call.folder / "audit.jsonl")
    return AuditResult(call.folder, summary, summary["verdict"], summary["checks"], rows)


def select(*, model: Any = None, tokenizer: Any = None, dataset: Any = None, **options: Any) -> SelectResult:
    """Tells which duals of a data set can be trusted; `train(selected_duals=result.folder)` uses them.

    A call that was stopped goes on when it is made again with its `output_dir`. Arguments and errors are
    those of `train`; `python -m dupo.select --help` lists the options.
    Ctrl-C raises KeyboardInterrupt; what was done is kept, and the same call goes on.
    """
    call = Call("select", dict(model=model, tokenizer=tokenizer, dataset=dataset), options)
    summary = call.finish(door("select"))
    return SelectResult(call.folder, summary, read_rows(call.folder / "kept.jsonl"))


def _arguments(model: Any, tokenizer: Any, dataset: Any, eval_dataset: Any) -> dict[str, Any]:
    return dict(model=model, tokenizer=tokenizer, dataset=dataset, eval_dataset=eval_dataset)
