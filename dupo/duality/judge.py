"""The judge: the engine that answers duals, and how it is asked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from dupo.config.options import DualOptions
from dupo.duality.length_check import tokens_of_long
from dupo.duality.reconstruct import Ask
from dupo.engines.base import Engine, Sampling, with_thoughts
from dupo.progress import counted_as
from dupo.records import Completion, Prompt

UNIT = "samples of duals"  # what the progress counts


@dataclass(frozen=True, slots=True)
class Judge:
    """Answers dual prompts.

    Attributes:
        samples: completions sampled for each dual prompt.
    """

    engine: Engine
    samples: int
    sampling: Sampling

    @classmethod
    def of(cls, engine: Engine, options: DualOptions, max_completion_length: int) -> "Judge":
        """An engine that answers duals as the options say.

        Args:
            max_completion_length: most tokens of an answer where the options name no length of duals.
        """
        # A dual asks for a part of the question, so the limit of answers is a safe default.
        max_tokens = options.dual_max_completion_length or max_completion_length
        return cls(engine, options.dual_samples, Sampling(options.dual_temperature, max_tokens))

    def asking(self, seed: int) -> "Asking":
        """A function from dual prompts to samples, with the draws of `seed`."""
        return Asking(self, seed)

    def fit(self, prompts: Iterable[Prompt]) -> list[bool]:
        """Whether each dual prompt leaves room for its answer within the positions of the model."""
        # The answer in a dual prompt was sampled, so its length is not known when the run starts.
        tokenizer, limit = self.engine.tokenizer, self.engine.max_positions
        if limit is None:
            return [True for _ in prompts]
        max_tokens = self.sampling.max_tokens
        return [tokens_of_long(tokenizer, prompt, max_tokens, limit) is None for prompt in prompts]

    def unasked(self) -> list[Completion]:
        """The samples of a dual prompt that is not asked: without tokens, so that no task can read them."""
        empty = Completion(torch.empty(0, dtype=torch.int32), torch.empty(0), "", truncated=True)
        return [empty] * self.samples


@dataclass(frozen=True, slots=True)
class Asking:
    """A function from dual prompts to samples of each. A dual prompt that is too long is not asked.

    Attributes:
        seed: fixes the draws of every call.
    """

    judge: Judge
    seed: int

    def __call__(self, prompts: Sequence[Prompt]) -> list[list[Completion]]:
        """Asks the judge."""
        judge = self.judge
        fits = judge.fit(prompts)
        asked = [prompt for prompt, is_fit in zip(prompts, fits, strict=True) if is_fit]
        with counted_as(UNIT):
            samples = iter(judge.engine.sample(asked, judge.samples, judge.sampling, self.seed))
        groups = [next(samples) if is_fit else judge.unasked() for is_fit in fits]
        return with_thoughts(judge.engine, prompts, groups)


def cached(ask: Ask) -> Ask:
    """A function that gives the same samples to the same dual prompt without asking again."""
    known: dict[Prompt, list[Completion]] = {}

    def ask_once(prompts: Sequence[Prompt]) -> list[list[Completion]]:
        # One call for all new prompts: an engine is fast on large batches only.
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]
        known.update(zip(new, ask(new), strict=True))
        return [known[prompt] for prompt in prompts]

    return ask_once
