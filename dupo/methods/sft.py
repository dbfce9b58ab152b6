"""Supervised fine-tuning: raise the probability of given completions (`--method sft`).

    L = - mean over completion tokens of  log p(token | prompt, tokens before)

Prompts have no loss. Examples come from a data set with the columns prompt and completion, or messages; else
from the lessons of a built-in task.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

from dupo.config.config import Config
from dupo.data.examples import Example, Examples
from dupo.data.fingerprints import examples_fingerprint
from dupo.distributed.ranks import ALONE, Ranks
from dupo.engines.load import make_engine
from dupo.engines.sampled_check import check_sampled
from dupo.errors import UserError
from dupo.evaluation.held_out import held_out_metrics
from dupo.learning.order import EpochOrder
from dupo.learning.step import optimizer_step
from dupo.learning.supervised import supervised_gradient, supervised_loss
from dupo.methods.data import read_pairs
from dupo.methods.examples import encode_examples
from dupo.methods.offline import OfflineMethod
from dupo.models.fingerprints import model_fingerprints
from dupo.records import StepBatch, Trajectory
from dupo.tasks.base import Lessons, Task
from dupo.tasks.fingerprints import task_fingerprints
from dupo.text.tokenizer import PromptTokenizer

DUAL_SHARE = 0.9  # of the lessons: the judge must be better than the policy, or its verdicts are noise


class ExampleSource(Protocol):
    """Where examples come from; what `take` gives depends on the place alone."""

    def take(self, start: int, count: int) -> list[Trajectory]:
        """The `count` examples from place `start` on."""
        ...


class ListedExamples:
    """Examples of a file, every one once per epoch."""

    def __init__(self, examples: Sequence[Trajectory], seed: int) -> None:
        self.examples, self.order = examples, EpochOrder(seed, len(examples))

    def take(self, start: int, count: int) -> list[Trajectory]:
        """See `ExampleSource`."""
        return self.order.take(self.examples, start, count)


class LessonExamples:
    """Examples of the lessons of a built-in task, new ones for ever."""

    def __init__(self, lessons: Lessons, tokenizer: PromptTokenizer, seed: int) -> None:
        self.lessons, self.tokenizer, self.seed = lessons, tokenizer, seed
        self._stream: Iterator[tuple[str, str]] = iter(())
        self._next = -1

    def take(self, start: int, count: int) -> list[Trajectory]:
        """See `ExampleSource`. Asking in order costs nothing; any other place starts the stream again."""
        # A resumed run asks for a later place once, and in order from then on.
        if start != self._next:
            self._stream = islice(self.lessons.examples(self.seed, DUAL_SHARE), start, None)
        self._next = start + count
        pairs = islice(self._stream, count)
        return encode_examples(self.tokenizer, [Example("lesson", *pair) for pair in pairs])


class SFT(OfflineMethod):
    """Supervised fine-tuning on prompt/completion pairs; see `dupo.methods.base.Method`.

    Args:
        data: the examples, or the task whose lessons are the examples.
    """

    def __init__(
        self, config: Config, data: Examples[Example] | Task | None = None, ranks: Ranks = ALONE
    ) -> None:
        super().__init__(config, ranks)
        data = data or read_pairs(config)
        self.name = self.name_of(config.task.task)
        self.data_inputs: Mapping[str, str] = {}
        self.task = None
        if isinstance(data, Examples):
            self._use_examples(data)
        else:
            self._use_lessons(data)
        self.num_held_out = len(self.held_out)

    def _use_lessons(self, task: Task) -> None:
        """Takes examples from the lessons of a built-in task, and its held-out problems as held-out ones."""
        if task.lessons is None:
            raise UserError("dataset: expected --dataset FILE with columns prompt and completion, got none")
        self.task, self.headline = task, task.headline
        self.load_tokenizer(task.lessons.vocabulary)
        held_out = [Example(p.id, task.prompt(p), p.gold or "") for p in task.held_out]
        _, self.held_out, notes = self._fitting(held_out, "held-out examples")
        self.notes = [*task.notes, *notes]
        self.examples: ExampleSource = LessonExamples(task.lessons, self.tokenizer, self.seed)

    def _use_examples(self, data: Examples[Example]) -> None:
        """Takes the examples of a data set."""
        self.load_tokenizer(None)
        train, encoded, notes = self._fitting(data.train, "examples")
        held_out, self.held_out, notes_held_out = self._fitting(data.held_out, "held-out examples")
        numbers = f"{len(train):,} examples to train on, {len(held_out):,} held out"
        self.notes = [numbers, *data.notes, *notes, *notes_held_out]
        self.examples = ListedExamples(encoded, self.seed)
        self.data_inputs = {
            "the data set": examples_fingerprint(train),
            "the held-out examples": examples_fingerprint(held_out),
        }

    def _fitting(
        self, examples: Sequence[Example], what: str
    ) -> tuple[list[Example], list[Trajectory], list[str]]:
        """The examples that fit, their ids, and what was left out, in words."""
        fitting = self.fitting([(example,) for example in examples], what)
        return [e for (e,) in fitting.groups], [ids for (ids,) in fitting.encoded], fitting.notes

    def describe(self) -> list[tuple[str, str]]:
        """Rows of the start-up table."""
        c = self.config
        steps = f"{c.optimizer.max_steps} optimizer steps of {self.batch_size} examples"
        return [
            *self.model_rows(),
            ("data", "; ".join(self.notes)),
            ("loss", "mean negative log-prob of completion tokens; prompts have no loss"),
            ("steps", f"{steps}, learning rate {c.optimizer.learning_rate:g}"),
            self.evaluation_row(f"loss on {self.num_held_out:,} held-out examples"),
        ]

    def inputs(self) -> Mapping[str, str]:
        """Fingerprints of examples and model."""
        data = self.data_inputs if self.task is None else task_fingerprints(self.task, [])
        return {**data, **model_fingerprints("model", self.config.model, self.tokenizer, self.shape)}

    def load(self) -> None:
        """Loads the weights."""
        super().load()
        if self.task is not None:  # only the answers to a task are sampled
            check_sampled(self.model, self.config.model.compute_dtype)
        self.engine = make_engine(self.config, self.model, self.tokenizer, self.adapter_plan)

    def start(self) -> None:
        """Makes adapters and optimizer."""
        self.engine = self.shared_engine(self.engine, self.start_learner(needs_twin=True))

    def next_batch(self, step: int) -> StepBatch:
        """The examples of one step."""
        size = self.batch_size
        # The place follows from the step, so a resumed run needs no state.
        return StepBatch(self.examples.take(step * size, size), {}, [])

    def update(self, batch: StepBatch, step: int) -> dict[str, float]:
        """One optimizer step on the examples of the batch."""

        def accumulate_gradient(model):
            return supervised_gradient(model, batch.trajectories, self.compute)

        options, seed = self.config.optimizer, self.seed
        return optimizer_step(
            self.model, self.optimizer, accumulate_gradient, options, step, seed, dropout=True
        )

    def current_batch(self, step: int) -> StepBatch:
        """The examples of the step that failed."""
        return self.next_batch(step)

    def evaluate(self) -> dict[str, float]:
        """`loss` on the held-out examples, nats per token; of a built-in task also the metrics of answers."""
        if not self.held_out:
            return {}
        metrics = {"loss": supervised_loss(self.model, self.held_out, self.compute)}
        if self.task is not None:
            max_tokens = self.config.rollout.max_completion_length
            # Accuracy first: it is what the progress line shows.
            metrics = held_out_metrics(self.engine, self.task, self.task.held_out, max_tokens) | metrics
        return metrics
