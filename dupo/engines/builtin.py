"""The built-in engine: sampling in batches with a KV cache, in the process that trains.

Every different prompt is read once; the cache of a prompt is then repeated for each of its completions. The
sampled ids and log-probs are what training uses later: nothing is decoded and encoded again.

Shape letters: B rows (prompts x completions), T time, V vocabulary, K measures of a token.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from dupo import text
from dupo.engines.base import EngineFeatures, Sampling, ids_of
from dupo.engines.draws import draw, row_keys, uniform
from dupo.engines.float32_head import float32_logits
from dupo.errors import UserError
from dupo.models.devices import autocast
from dupo.models.load import Model
from dupo.models.positions import position_limit
from dupo.progress import tell_progress
from dupo.records import Completion, Prompt
from dupo.seeds import prompt_keys
from dupo.text.tokenizer import PromptTokenizer

DRAWS_AT_ONCE = (
    32  # tokens: a dozen small operations for each token alone would take as long as a small model
)


class BuiltinEngine:
    """Samples from a transformers model; see `dupo.engines.base.Engine`.

    Args:
        model: sampled from as it is at each call, so a policy in training needs no `load_weights`.
        dtype: `--compute_dtype`.
        max_concurrent_sequences: rows that are decoded at once.
        measure_distributions: measure entropy and self-certainty, at the cost of a pass over the logits each.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: PromptTokenizer,
        *,
        dtype: str = "auto",
        max_concurrent_sequences: int = 1024,
        measure_distributions: bool = False,
    ) -> None:
        self.model, self.tokenizer, self.dtype = model, tokenizer, dtype
        self.max_concurrent_sequences = max_concurrent_sequences
        self.measure_distributions = measure_distributions

    @property
    def features(self) -> EngineFeatures:
        """What the engine can do."""
        return EngineFeatures(
            logprobs=True, distributions=self.measure_distributions, new_weights=True, exact=True
        )

    def load_weights(self, model: Model) -> None:
        """Samples from `model` from now on."""
        self.model = model

    def release_memory(self) -> None:
        """Nothing: the weights are those of the learner, and the cache ends with each call."""

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Prompt] | Sequence[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """Draws `n` completions of each prompt; see `Engine.sample`.

        Raises:
            UserError: a prompt leaves no room for `max_tokens` within the positions of the model.
        """
        prompt_ids = ids_of(self.tokenizer, prompts)
        self._check_room(prompt_ids, sampling.max_tokens)
        # Keys are made before the prompts are sorted and cut: they must not depend on batches.
        keys = prompt_keys(seed, prompt_ids)
        prompts_at_once = max(1, self.max_concurrent_sequences // n)
        # Prompts of similar length share a batch, so that few rows are padding.
        by_length = sorted(range(len(prompt_ids)), key=lambda i: len(prompt_ids[i]))
        groups: dict[int, list[Completion]] = {}
        for start in range(0, len(prompt_ids), prompts_at_once):
            indices = by_length[start : start + prompts_at_once]
            with autocast(self.model.device, self.dtype), float32_logits(self.model):
                keys_B = row_keys([keys[i] for i in indices], n, self.model.device)
                decoding = _Decoding(self, [prompt_ids[i] for i in indices], keys_B, sampling)
                tell = partial(_tell_running, (start + len(indices)) * n, len(prompt_ids) * n)
                ids_BT, measures_BKT = decoding.run(tell)
                tell(0)  # what has reached the limit has ended too
            completions = self._completions(ids_BT, measures_BKT, sampling.max_tokens)
            groups |= {i: completions[k * n : (k + 1) * n] for k, i in enumerate(indices)}
        return [groups[i] for i in range(len(prompt_ids))]

    @property
    def max_positions(self) -> int | None:
        """Most tokens of a prompt and its completion; None: no limit."""
        return position_limit(self.model.config)

    def _check_room(self, prompt_ids: list[list[int]], max_tokens: int) -> None:
        longest, limit = max(map(len, prompt_ids), default=0), self.max_positions
        if limit is not None and longest + max_tokens > limit:
            raise UserError(
                f"a prompt of {longest} tokens and a completion of {max_tokens} need {longest + max_tokens} "
                f"positions; the model has {limit}"
            )

    def _completions(self, ids_BT: Tensor, measures_BKT: Tensor, max_tokens: int) -> list[Completion]:
        """Cuts each row after its first end token."""
        ids_BT, measures_BKT = ids_BT.cpu(), measures_BKT.cpu()
        # On the CPU from here on: completions live there until they are packed.
        is_end_BT = torch.isin(ids_BT, torch.tensor(sorted(self.tokenizer.eos_ids)))
        ended_B = is_end_BT.any(-1).tolist()
        # argmax of a row without an end token is 0: the row is cut by the limit instead.
        lengths_B = (is_end_BT.int().argmax(-1) + 1).tolist()
        lengths_B = [
            length if ended else max_tokens for length, ended in zip(lengths_B, ended_B, strict=True)
        ]
        # The sampled tokens alone, end to end: views of the padded batch would keep its padding alive.
        is_sampled_BT = torch.arange(ids_BT.shape[1]) < torch.tensor(lengths_B)[:, None]
        ids = ids_BT[is_sampled_BT].split(lengths_B)
        measures = measures_BKT.transpose(0, 1)[:, is_sampled_BT].split(lengths_B, dim=1)
        # One call decodes all rows, which is several times as fast as one call a row.
        texts = self.tokenizer.decode([row.tolist() for row in ids])
        return [
            Completion(row, logprobs, content, not ended, *(float(m.double().mean()) for m in more))
            for row, (logprobs, *more), content, ended in zip(ids, measures, texts, ended_B, strict=True)
        ]


class _Decoding:
    """One batch of B = prompts x n rows, all advancing one token a step until each has met an end token."""

    def __init__(
        self, engine: BuiltinEngine, prompts: list[list[int]], keys_B: Tensor, sampling: Sampling
    ) -> None:
        self.model, self.sampling, self.measures = engine.model, sampling, engine.measure_distributions
        self.keys_B, n = keys_B, len(keys_B) // len(prompts)
        self.pad_id = engine.tokenizer.pad_id
        self.eos_ids = torch.tensor(sorted(engine.tokenizer.eos_ids), device=self.model.device)
        # Padding stands on the left, so that the last column holds the last token of every prompt.
        padded = text.padded(text.Ids.of(prompts), pad_id=self.pad_id)
        self.mask_BT = torch.as_tensor(padded.attention_mask, device=self.model.device)
        self.positions_BT = torch.as_tensor(padded.position_ids, device=self.model.device)
        self.cache: Any = DynamicCache(config=self.model.config)
        self.cache_name = cache_name(self.model)
        # A config may want router logits, and transformers then fails at the second token of a padded batch.
        knows_routers = "output_router_logits" in inspect.signature(self.model.forward).parameters
        self.options = {"output_router_logits": False} if knows_routers else {}
        logits_BV = self._forward(torch.as_tensor(padded.input_ids, device=self.model.device))
        if n > 1:
            # The prompt was read once; its n completions start from copies of the cache.
            self.cache.batch_repeat_interleave(n)
            self.mask_BT = self.mask_BT.repeat_interleave(n, 0)
            self.positions_BT = self.positions_BT.repeat_interleave(n, 0)
            logits_BV = logits_BV.repeat_interleave(n, 0)
        # From here on every row adds one token a step.
        self.positions_BT = self.positions_BT[:, -1:]
        self.logits_BV = logits_BV

    def _forward(self, ids_BT: Tensor) -> Tensor:
        """Next-token logits (B, V) after `ids_BT`, which join the cache."""
        return self.model(
            input_ids=ids_BT,
            attention_mask=self.mask_BT,
            position_ids=self.positions_BT,
            use_cache=True,
            logits_to_keep=1,
            **{self.cache_name: self.cache},
            **self.options,
        ).logits[:, -1]

    def run(self, tell_running: Callable[[int], None]) -> tuple[Tensor, Tensor]:
        """Decodes until every row has ended.

        Args:
            tell_running: is told after every token how many rows have not ended.

        Returns:
            Sampled ids (B, T) int64, T at most `max_tokens`; and (B, K, T) fp32: log-prob of each id and, if
            measured, entropy and self-certainty of its distribution. After its end token a row is padding.
        """
        limit, device = self.sampling.max_tokens, self.logits_BV.device
        rows = torch.arange(len(self.logits_BV), device=device)
        ids_BT = torch.full((len(rows), limit), self.pad_id, device=device)
        measures_BKT = torch.zeros((len(rows), 3 if self.measures else 1, limit), device=device)
        running = torch.ones_like(rows, dtype=torch.bool)
        for t in range(limit):
            if t % DRAWS_AT_ONCE == 0:
                self.uniform_BT = uniform(self.keys_B, t, DRAWS_AT_ONCE)
            next_ids, next_measures = self._choose(t)
            ids_BT[rows[running], t] = next_ids[running]
            measures_BKT[rows[running], :, t] = next_measures[running]
            running &= ~torch.isin(next_ids, self.eos_ids)
            # The only wait for the device in a step.
            num_running = int(running.sum())
            tell_running(num_running)
            if num_running == 0 or t == limit - 1:
                return ids_BT[:, : t + 1], measures_BKT[:, :, : t + 1]
            # Ended rows leave once they are half of the batch: leaving costs a copy of the cache.
            if num_running <= len(running) // 2:
                stay = running.nonzero()[:, 0]
                self.cache.batch_select_indices(stay)
                rows, next_ids, running = rows[stay], next_ids[stay], running[stay]
                self.mask_BT, self.positions_BT = self.mask_BT[stay], self.positions_BT[stay]
                stay = stay.to(self.keys_B.device)
                self.keys_B, self.uniform_BT = self.keys_B[stay], self.uniform_BT[stay]
            self.mask_BT = torch.cat([self.mask_BT, self.mask_BT.new_ones(len(rows), 1)], -1)
            self.positions_BT = self.positions_BT + 1
            self.logits_BV = self._forward(next_ids[:, None])
        raise AssertionError("unreachable: max_tokens is at least 1")

    def _choose(self, t: int) -> tuple[Tensor, Tensor]:
        """Ids (B,) of token `t` and their measures (B, K) under the distribution they are drawn from."""
        greedy = self.sampling.temperature == 0
        temperature = 1.0 if greedy else self.sampling.temperature
        logprobs_BV = (self.logits_BV.float() / temperature).log_softmax(-1)
        # The largest log-prob is finite unless a logit is NaN or all are -inf.
        if not torch.isfinite(logprobs_BV.amax(-1)).all():
            raise FloatingPointError("the model's logits are not finite")
        if greedy:
            next_ids = logprobs_BV.argmax(-1)
        else:
            next_ids = draw(logprobs_BV, self.uniform_BT[:, t % DRAWS_AT_ONCE, None])
        measures = logprobs_BV.gather(-1, next_ids[:, None])
        if self.measures:
            possible_BV = logprobs_BV.isfinite()  # a masked logit has no share in entropy and certainty
            finite_BV, count = logprobs_BV.where(possible_BV, 0.0), possible_BV.sum(-1, keepdim=True)
            entropy = -(logprobs_BV.exp() * finite_BV).sum(-1, keepdim=True)
            certainty = -finite_BV.sum(-1, keepdim=True) / count - count.log()
            measures = torch.cat([measures, entropy, certainty], -1)
        return next_ids, measures


def _tell_running(end: int, total: int, num_running: int) -> None:
    """Tells how many of all samples have ended; `end` counts those of all batches up to this one."""
    tell_progress("samples", end - num_running, total)


def cache_name(model: Model) -> str:
    """By which name the model takes its cache.

    Raises:
        ValueError: by none that is known.
    """
    # transformers renamed the argument within version 5. A name that is not in the signature would be
    # swallowed, and every token drawn without its context.
    names = inspect.signature(model.forward).parameters
    for name in ("cache", "past_key_values"):
        if name in names:
            return name
    raise ValueError(f"{type(model).__name__} takes no cache by a name that is known")
