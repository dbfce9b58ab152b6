"""Sampling in batches with a KV cache.

Every different prompt is read once; its cache is then repeated for each of its completions. The ids and the
log-probs that were sampled are what training uses later: nothing is decoded and encoded again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from dupo import text
from dupo.config.options import Config, reward_terms
from dupo.models.load import Model, computing
from dupo.records import Completion, Problem, Prompt, Rollout
from dupo.tasks import Task
from dupo.text.tokenizer import PromptTokenizer

MEASURED = {"entropy", "self_certainty"}  # rewards that are figures of the sampled distributions


@dataclass(frozen=True, slots=True)
class Sampler:
    """A model, its tokenizer and the run's settings: prompts in, completions out."""

    model: Model
    tokenizer: PromptTokenizer
    config: Config

    @property
    def measures(self) -> bool:
        """Whether entropy and self-certainty of completions are wanted: each costs a pass over the logits."""
        return any(name in MEASURED for name, _ in reward_terms(self.config))

    def __call__(
        self,
        prompts: Sequence[Prompt],
        n: int,
        temperature: float,
        seed: int,
        max_new_tokens: int | None = None,
    ) -> list[list[Completion]]:
        """`n` completions of each prompt. `seed` alone decides the draw; temperature 0 is greedy."""
        return self.from_ids(self.tokenizer.encode(prompts), n, temperature, seed, max_new_tokens)

    @torch.no_grad()
    def from_ids(
        self,
        prompts: Sequence[list[int]],
        n: int,
        temperature: float,
        seed: int,
        max_new_tokens: int | None = None,
    ) -> list[list[Completion]]:
        """The same for prompts that are token ids already."""
        generator = torch.Generator(self.model.device).manual_seed(seed)
        limit = max_new_tokens or self.config.max_completion_length
        at_once = max(1, self.config.max_concurrent_sequences // n)
        by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found: dict[int, list[Completion]] = {}
        for start in range(0, len(prompts), at_once):
            chosen = by_length[start : start + at_once]
            with computing(self.model, self.config):
                decoding = _Decoding(self, [prompts[i] for i in chosen], n, temperature)
                ids, figures = decoding.run(limit, generator)
            completions = self._completions(ids, figures, limit)
            found.update((i, completions[k * n : (k + 1) * n]) for k, i in enumerate(chosen))
        return [found[i] for i in range(len(prompts))]

    def _completions(self, ids: Tensor, figures: Tensor, limit: int) -> list[Completion]:
        """Cuts each row of `ids` (B, T), and of `figures` (B, K, T), after its first end token."""
        rows: list[tuple[list[int], list[list[float]], bool]] = []
        for row_ids, row_figures in zip(ids.tolist(), figures.tolist(), strict=True):
            end = next((t for t, i in enumerate(row_ids) if i in self.tokenizer.eos_ids), None)
            length = limit if end is None else end + 1
            rows.append((row_ids[:length], [values[:length] for values in row_figures], end is None))
        texts = self.tokenizer.decode([row[0] for row in rows])
        return [
            Completion(i, logprobs, text, cut, *map(fmean, measured))
            for (i, (logprobs, *measured), cut), text in zip(rows, texts, strict=True)
        ]


class _Decoding:
    """One batch: B = prompts x n rows, all advancing one token a step until each has met an end token."""

    def __init__(self, sampler: Sampler, prompts: list[list[int]], n: int, temperature: float) -> None:
        self.model, self.temperature, self.measures = sampler.model, temperature, sampler.measures
        self.pad_id = sampler.tokenizer.pad_id
        self.eos_ids = torch.tensor(sorted(sampler.tokenizer.eos_ids), device=self.model.device)
        ids, mask, positions, _ = text.padded(text.Ids.of(prompts), pad_id=self.pad_id)
        self.mask, self.positions = (torch.as_tensor(x, device=self.model.device) for x in (mask, positions))
        self.cache: Any = DynamicCache(config=self.model.config)
        logits = self._forward(torch.as_tensor(ids, device=self.model.device))
        if n > 1:
            self.cache.batch_repeat_interleave(n)
            self.mask, self.positions, logits = (
                x.repeat_interleave(n, 0) for x in (self.mask, self.positions, logits)
            )
        self.positions = self.positions[:, -1:]
        self.logits = logits

    def _forward(self, ids: Tensor) -> Tensor:
        """Next-token logits (B, V) after `ids` (B, T), which join the cache."""
        return self.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]

    def run(self, limit: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sampled ids (B, T), T <= limit, and the figures of each (B, K, T): its log-prob, and if measured
        the entropy and self-certainty of its distribution. After its end token a row is padding.

        Rows that are done leave the batch once they are half of it."""
        rows = torch.arange(len(self.logits), device=self.logits.device)
        ids = self.logits.new_full((len(rows), limit), self.pad_id, dtype=torch.int64)
        figures = self.logits.new_zeros((len(rows), 3 if self.measures else 1, limit), dtype=torch.float32)
        running = torch.ones_like(rows, dtype=torch.bool)
        for t in range(limit):
            chosen, chosen_figures = self._choose(generator)
            ids[rows[running], t] = chosen[running]
            figures[rows[running], :, t] = chosen_figures[running]
            running &= ~torch.isin(chosen, self.eos_ids)
            left = int(running.sum())
            if left == 0 or t == limit - 1:
                return ids[:, : t + 1], figures[:, :, : t + 1]
            if left <= len(running) // 2:
                keep = running.nonzero()[:, 0]
                self.cache.batch_select_indices(keep)
                rows, chosen, running = rows[keep], chosen[keep], running[keep]
                self.mask, self.positions = self.mask[keep], self.positions[keep]
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(rows), 1)], -1)
            self.positions = self.positions + 1
            self.logits = self._forward(chosen[:, None])
        raise AssertionError("unreachable: limit is at least 1")

    def _choose(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Next ids (B,) and their figures (B, K) under the distribution they are drawn from."""
        greedy = self.temperature == 0
        logprobs = (self.logits.float() / (1.0 if greedy else self.temperature)).log_softmax(-1)
        if not torch.isfinite(logprobs.amax(-1)).all():
            raise FloatingPointError("the model's logits are not finite")
        if greedy:
            chosen = logprobs.argmax(-1)
        else:  # inverse CDF: one random number a row, where torch.multinomial draws one per vocabulary entry
            cdf = logprobs.double().exp().cumsum(-1)
            uniform = torch.rand(len(cdf), 1, dtype=cdf.dtype, device=cdf.device, generator=generator)
            chosen = torch.searchsorted(cdf, uniform * cdf[:, -1:], right=True)[:, 0].clamp(
                max=cdf.shape[-1] - 1
            )
        figures = logprobs.gather(-1, chosen[:, None])
        if self.measures:
            possible = logprobs.isfinite()  # a masked logit has no part in either
            known, count = logprobs.where(possible, 0.0), possible.sum(-1, keepdim=True)
            entropy = -(logprobs.exp() * known).sum(-1, keepdim=True)
            certainty = -known.sum(-1, keepdim=True) / count - count.log()
            figures = torch.cat([figures, entropy, certainty], -1)
        return chosen, figures


def sample_answers(
    sampler: Sampler, task: Task, problems: list[Problem], n: int, temperature: float, seed: int
) -> Rollout:
    """The primal task: `n` answers to each problem."""
    prompt_ids = sampler.tokenizer.encode([task.prompt(p) for p in problems])
    completions = sampler.from_ids(prompt_ids, n, temperature, seed)
    answers = [
        [task.answer(p, c.text) for c in group] for p, group in zip(problems, completions, strict=True)
    ]
    return Rollout(problems, prompt_ids, completions, answers)


def draw(seed: int, purpose: str, index: int) -> int:
    """A seed that depends on nothing but the run's seed, the purpose and the index."""
    text = f"{seed} {purpose} {index}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest())
