"""Supervised fine-tuning: raise the probability of given completions (`--method sft`).

    L = - mean over completion tokens of  log p(token | prompt, tokens before)

Prompts have no loss. Examples come from a file with the columns prompt and completion, or from the lessons of
a built-in task.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

import torch

from dupo.config.config import Config
from dupo.data.examples import Example, read_examples
from dupo.duality.length_check import check_vocabulary, most_positions
from dupo.engines.builtin import BuiltinEngine
from dupo.errors import UserError
from dupo.evaluation.held_out import held_out_metrics
from dupo.learning.logprobs import Compute
from dupo.learning.optimizer import make_optimizer
from dupo.learning.order import EpochOrder
from dupo.learning.packed_check import check_packed
from dupo.learning.step import optimizer_step
from dupo.learning.supervised import supervised_gradient, supervised_loss
from dupo.methods.base import Method
from dupo.models.load import end_tokens, load_model, model_config
from dupo.models.tokenizers import load_tokenizer
from dupo.records import StepBatch, Trajectory
from dupo.tasks import make_task
from dupo.tasks.base import Lessons, Task
from dupo.text.tokenizer import PromptTokenizer

DUAL_SHARE = 0.9  # of the lessons: the judge must be better than the policy, or its verdicts are noise


class Examples(Protocol):
    """Where examples come from; what `take` gives depends on the place alone."""

    def take(self, start: int, count: int) -> list[Example]:
        """The `count` examples from place `start` on."""
        ...


class ListedExamples:
    """Examples of a file, every one once per epoch."""

    def __init__(self, examples: Sequence[Example], seed: int) -> None:
        self.examples, self.order = examples, EpochOrder(seed, len(examples))

    def take(self, start: int, count: int) -> list[Example]:
        """See `Examples`."""
        return self.order.take(self.examples, start, count)


class LessonExamples:
    """Examples of the lessons of a built-in task, new ones for ever."""

    def __init__(self, lessons: Lessons, seed: int) -> None:
        self.lessons, self.seed = lessons, seed
        self._stream: Iterator[tuple[str, str]] = iter(())
        self._next = -1

    def take(self, start: int, count: int) -> list[Example]:
        """See `Examples`. Asking in order costs nothing; any other place starts the stream again."""
        # A resumed run asks for a later place once, and in order from then on.
        if start != self._next:
            self._stream = islice(self.lessons.examples(self.seed, DUAL_SHARE), start, None)
        self._next = start + count
        return [Example("lesson", prompt, completion) for prompt, completion in islice(self._stream, count)]


def encode_examples(tokenizer: PromptTokenizer, examples: Sequence[Example]) -> list[Trajectory]:
    """Token ids of each example: the prompt in its chat template, the completion with an end token."""
    prompts = tokenizer.encode([example.prompt for example in examples])
    completions = tokenizer.encode_completions([example.completion for example in examples])
    return [
        Trajectory(prompt, torch.tensor(ids), torch.zeros(len(ids)), 0.0, problem=example.id)
        for example, prompt, ids in zip(examples, prompts, completions, strict=True)
    ]


def check_examples(tokenizer: PromptTokenizer, examples: Sequence[Example], room: int) -> None:
    """Checks that a prompt and its completion fit into `room` tokens.

    Raises:
        UserError: an example, by name, is too long.
    """
    frame = tokenizer.frame
    for example in examples:
        written = "".join([frame.opening, example.prompt, frame.closing, example.completion])
        # A token is at least a byte, and NFC makes at most three bytes of one: short examples need no counting.
        if len(frame.before) + len(frame.after) + 3 * len(written.encode()) + 2 <= room:
            continue
        (trajectory,) = encode_examples(tokenizer, [example])
        tokens = len(trajectory.prompt_ids) + len(trajectory.completion_ids)
        if tokens > room:
            raise UserError(
                f"{example.id}: its prompt and completion need {tokens} tokens; "
                f"the model and token_budget allow {room}"
            )


class SFT(Method):
    """Supervised fine-tuning on prompt/completion pairs; see `dupo.methods.base.Method`.

    Args:
        task: the task whose lessons are the examples, where it is made already.
    """

    def __init__(self, config: Config, task: Task | None = None) -> None:
        super().__init__(config)
        dataset, vocabulary, train = config.task.dataset, None, list[Example]()
        if dataset is None:
            self.task = task or make_task(config.task, self.seed)
            if self.task.lessons is None:
                raise UserError(
                    "dataset: --method sft needs --dataset FILE with columns prompt and completion"
                )
            self.examples: Examples = LessonExamples(self.task.lessons, self.seed)
            # The lessons are a stream; the held-out problems of the task serve as held-out examples.
            held_out = [Example(p.id, self.task.prompt(p), p.gold or "") for p in self.task.held_out]
            self.notes, vocabulary, self.headline = (
                self.task.notes,
                self.task.lessons.vocabulary,
                self.task.headline,
            )
        else:
            self.task = None
            train, held_out = read_examples(dataset, config.task.eval_dataset, config.task.eval_size)
            self.examples = ListedExamples(train, self.seed)
            self.notes = [f"{len(train):,} examples to train on, {len(held_out):,} held out"]
        self.tokenizer = load_tokenizer(config.model, vocabulary)
        self.shape = model_config(config.model, self.tokenizer)
        check_vocabulary(self.tokenizer, self.shape)
        token_budget = config.optimizer.token_budget
        room = min(most_positions(self.shape, token_budget), token_budget)
        check_examples(self.tokenizer, [*train, *held_out], room)
        self.held_out, self.num_held_out = encode_examples(self.tokenizer, held_out), len(held_out)
        self.compute = Compute(1.0, config.model.dtype, token_budget)

    def describe(self) -> list[tuple[str, str]]:
        """Rows of the start-up table."""
        c, name = self.config, self.config.model.model_name_or_path
        steps = f"{c.optimizer.max_steps} optimizer steps of {c.optimizer.train_batch_size} examples"
        return [
            (
                "model",
                f"{name} on {self.device}, {len(self.tokenizer):,} tokens of vocabulary",
            ),
            ("data", "; ".join(self.notes)),
            ("loss", "mean negative log-prob of completion tokens; prompts have no loss"),
            ("steps", f"{steps}, learning rate {c.optimizer.learning_rate:g}"),
            (
                "evaluation",
                f"loss on {self.num_held_out:,} held-out examples, every {c.run.eval_steps} steps",
            ),
        ]

    def load(self) -> None:
        """Loads the weights."""
        self.model = load_model(self.config.model, self.shape, self.device, self.seed)
        self.tokenizer.eos_ids |= end_tokens(self.model)
        check_packed(self.model, self.compute)
        self.engine = BuiltinEngine(
            self.model,
            self.tokenizer,
            dtype=self.config.model.dtype,
            max_concurrent_sequences=self.config.rollout.max_concurrent_sequences,
        )

    def start(self) -> None:
        """Makes the optimizer."""
        self.optimizer = make_optimizer(self.model, self.config.optimizer)

    def next_batch(self, step: int) -> StepBatch:
        """The examples of one step."""
        size = self.config.optimizer.train_batch_size or 1
        examples = self.examples.take(step * size, size)
        return StepBatch(encode_examples(self.tokenizer, examples), {}, [])

    def update(self, batch: StepBatch, step: int) -> dict[str, float]:
        """One optimizer step on the examples of the batch."""

        def accumulate_gradient(model):
            return supervised_gradient(model, batch.trajectories, self.compute)

        options = self.config.optimizer
        return optimizer_step(self.model, self.optimizer, accumulate_gradient, options, step, self.seed)

    def evaluate(self) -> dict[str, float]:
        """`loss` on the held-out examples, nats per token; of a built-in task also the metrics of answers."""
        if not self.held_out:
            return {}
        metrics = {"loss": supervised_loss(self.model, self.held_out, self.compute)}
        if self.task is not None:
            max_tokens = self.config.rollout.max_completion_length
            metrics = held_out_metrics(self.engine, self.task, self.task.held_out, max_tokens) | metrics
        return metrics
