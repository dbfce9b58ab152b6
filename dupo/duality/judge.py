"""The judge: the engine that answers duals, and how it is asked."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dupo.config.options import DualOptions
from dupo.duality.length_check import tokens_of_long
from dupo.duality.reconstruct import Ask
from dupo.engines.base import Engine, Sampling, with_thoughts
from dupo.progress import counted_as
from dupo.records import Completion, Prompt


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

    def asking(self, seed: int) -> Ask:
        """A function from dual prompts to samples, with the draws of `seed`.

        A dual prompt that leaves no room for its answer within the positions of the model is not asked. Each
        of its samples is a completion without tokens, which no task can read.
        """
        return lambda prompts: self._ask(prompts, seed)

    def _ask(self, prompts: Sequence[Prompt], seed: int) -> list[list[Completion]]:
        with counted_as("samples of duals"):
            return with_thoughts(self.engine, prompts, self._sample(prompts, seed))

    def _sample(self, prompts: Sequence[Prompt], seed: int) -> list[list[Completion]]:
        # The answer in a dual prompt was sampled, so its length is not known when the run starts.
        limit, max_tokens = self.engine.max_positions, self.sampling.max_tokens
        if limit is None:
            return self.engine.sample(prompts, self.samples, self.sampling, seed)
        fits = [
            tokens_of_long(self.engine.tokenizer, prompt, max_tokens, limit) is None for prompt in prompts
        ]
        asked = [prompt for prompt, is_fit in zip(prompts, fits, strict=True) if is_fit]
        samples = iter(self.engine.sample(asked, self.samples, self.sampling, seed))
        return [next(samples) if is_fit else [_unasked()] * self.samples for is_fit in fits]


def _unasked() -> Completion:
    return Completion(torch.empty(0, dtype=torch.int64), torch.empty(0), "", truncated=True)


def cached(ask: Ask) -> Ask:
    """A function that gives the same samples to the same dual prompt without asking again."""
    known: dict[Prompt, list[Completion]] = {}

    def ask_once(prompts: Sequence[Prompt]) -> list[list[Completion]]:
        # One call for all new prompts: an engine is fast on large batches only.
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]
        known.update(zip(new, ask(new), strict=True))
        return [known[prompt] for prompt in prompts]

    return ask_once
