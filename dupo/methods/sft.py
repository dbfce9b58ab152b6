"""Supervised fine-tuning: raise the probability of given completions (`--method sft`).

    L = - mean over completion tokens of  log p(token | prompt, tokens before)

Prompts have no loss. Examples come from a file with the columns prompt and completion, or from the lessons of
a built-in task.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch

from dupo.config.config import Config
from dupo.data.examples import Example, Examples
from dupo.data.fingerprints import texts_fingerprint
from dupo.duality.length_check import check_known, check_vocabulary, most_positions
from dupo.engines.load import make_engine
from dupo.engines.sampled_check import check_sampled
from dupo.errors import UserError
from dupo.evaluation.held_out import held_out_metrics
from dupo.learning.logprobs import Compute
from dupo.learning.optimizer import make_optimizer
from dupo.learning.order import EpochOrder
from dupo.learning.packed_check import check_packed
from dupo.learning.step import optimizer_step
from dupo.learning.supervised import supervised_gradient, supervised_loss
from dupo.methods.base import Method
from dupo.methods.data import read_pairs
from dupo.models.fingerprints import model_fingerprints
from dupo.models.load import end_tokens, load_model, model_config
from dupo.models.saving import check_saving
from dupo.models.tokenizers import load_tokenizer
from dupo.records import ChatPrompt, Prompt, StepBatch, Trajectory
from dupo.tasks.base import Lessons, Task
from dupo.tasks.fingerprints import task_fingerprints
from dupo.text.tokenizer import PromptTokenizer

BATCH_SIZE = 8  # examples of a step where train_batch_size says nothing
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


def encode_examples(tokenizer: PromptTokenizer, examples: Sequence[Example]) -> list[Trajectory]:
    """Token ids of each example: the prompt in its chat template, the completion with an end token."""
    prompts = tokenizer.encode([_prompt_of(example) for example in examples])
    completions = tokenizer.encode_completions([example.completion for example in examples])
    # Slices of two tensors: a small tensor for each example would take longer than its tokens.
    lengths = [len(ids) for ids in completions]
    ids_M = torch.tensor([i for ids in completions for i in ids], dtype=torch.int64)
    # Advantage and sampled log-probs are not read by the supervised loss.
    return [
        Trajectory(prompt, ids, logprobs, 0.0, problem=example.id)
        for example, prompt, ids, logprobs in zip(
            examples, prompts, ids_M.split(lengths), torch.zeros(len(ids_M)).split(lengths), strict=True
        )
    ]


def _prompt_of(example: Example) -> Prompt:
    return ChatPrompt((example.prompt,), example.history) if example.history else example.prompt


class SFT(Method):
    """Supervised fine-tuning on prompt/completion pairs; see `dupo.methods.base.Method`.

    Args:
        data: the examples, or the task whose lessons are the examples.
    """

    def __init__(self, config: Config, data: Examples | Task | None = None) -> None:
        super().__init__(config, data)
        data = data or read_pairs(config)
        dataset, lessons = config.task.dataset, None
        # A file gives the run its name, because the task says nothing about it.
        self.data_inputs: Mapping[str, str] = {}
        # A config and a split may stand behind the name of a data set.
        self.name = f"sft-{Path(dataset.split(':')[0]).stem if dataset else config.task.task}"
        if not isinstance(data, Examples):
            self.task = data
            lessons = self.task.lessons
            if lessons is None:
                raise UserError(
                    "dataset: expected --dataset FILE with columns prompt and completion, got none"
                )
            # The lessons are a stream; the held-out problems of the task serve as held-out examples.
            held_out = [Example(p.id, self.task.prompt(p), p.gold or "") for p in self.task.held_out]
            self.notes, self.headline = self.task.notes, self.task.headline
        else:
            self.task = None
            train, held_out, left_out = data
            self.notes = [f"{len(train):,} examples to train on, {len(held_out):,} held out", *left_out]
            self.data_inputs = {
                "the data set": texts_fingerprint(train),
                "the held-out examples": texts_fingerprint(held_out),
            }
        self.tokenizer = load_tokenizer(config.model, lessons.vocabulary if lessons else None)
        self.shape = model_config(config.model, self.tokenizer)
        check_vocabulary(self.tokenizer, self.shape)
        self.held_out, self.num_held_out = self._encoded(held_out), len(held_out)
        self.examples: ExampleSource = (
            LessonExamples(lessons, self.tokenizer, self.seed)
            if lessons
            else ListedExamples(self._encoded(train), self.seed)
        )
        self.batch_size = config.optimizer.train_batch_size or BATCH_SIZE
        # No temperature: supervised training raises the probabilities of the model as it is.
        self.compute = Compute(1.0, config.model.dtype, config.optimizer.token_budget)

    def _encoded(self, examples: Sequence[Example]) -> list[Trajectory]:
        """The token ids of the examples, each of which must fit into the model and into a micro-batch."""
        # Checked at the start: the longest example may come after hours.
        token_budget = self.config.optimizer.token_budget
        most_tokens = min(most_positions(self.shape, token_budget), token_budget)
        check_known(self.tokenizer, [(e.id, text) for e in examples for text in (e.prompt, e.completion)])
        encoded = encode_examples(self.tokenizer, examples)
        for example in encoded:
            if not example.prompt_ids:  # the first token of a completion is predicted from the prompt
                raise UserError(f"{example.problem}: expected a prompt of tokens, got one of none")
            num_tokens = len(example.prompt_ids) + len(example.completion_ids)
            if num_tokens > most_tokens:
                raise UserError(
                    f"{example.problem}: its prompt and completion need {num_tokens} tokens; "
                    f"the model and token_budget allow {most_tokens}"
                )
        return encoded

    def describe(self) -> list[tuple[str, str]]:
        """Rows of the start-up table."""
        c, name = self.config, self.config.model.model_name_or_path
        steps = f"{c.optimizer.max_steps} optimizer steps of {self.batch_size} examples"
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

    def inputs(self) -> Mapping[str, str]:
        """Fingerprints of examples and model."""
        data = self.data_inputs if self.task is None else task_fingerprints(self.task, [])
        return {**data, **model_fingerprints("model", self.config.model, self.tokenizer, self.shape)}

    def load(self) -> None:
        """Loads the weights."""
        self.model = load_model(self.config.model, self.shape, self.device, self.seed)
        self.to_tell += check_saving(self.model, self.tokenizer.hf)
        self.tokenizer.eos_ids |= end_tokens(self.model)
        check_packed(self.model, self.compute)
        if self.task is not None:  # only the answers to a task are sampled
            check_sampled(self.model, self.config.model.dtype)
        self.engine = make_engine(self.config, self.model, self.tokenizer)

    def start(self) -> None:
        """Makes the optimizer."""
        self.optimizer = make_optimizer(self.model, self.config.optimizer)

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
