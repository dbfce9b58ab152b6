"""The built-in engine: sampling in batches with a KV cache, in the process that trains.

Every different prompt is read once; the cache of a prompt is then repeated for each of its completions. The
sampled ids and log-probs are what training uses later: nothing is decoded and encoded again.

Shape letters: B rows (prompts x completions), T time, V vocabulary, K measures of a token.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from transformers import DynamicCache

from dupo.engines.base import (
    EngineFeatures,
    Followed,
    FollowUps,
    Sampling,
    check_room,
    ids_of,
    in_groups,
)
from dupo.engines.choice import check_finite_logits, choose
from dupo.engines.draws import draw, row_keys, uniform
from dupo.engines.float32_head import float32_logits
from dupo.engines.followed_slots import SlotCall, sample_in_slots
from dupo.engines.reading import Reader
from dupo.engines.slot_cache import why_no_slots
from dupo.engines.slot_state import SlotOptions, SlotRoom
from dupo.engines.slots import SlotDecoding
from dupo.models.devices import autocast, compute_dtype
from dupo.models.load import Model
from dupo.models.positions import position_limit
from dupo.models.weights import half_copy
from dupo.progress import tell_progress
from dupo.records import Completion, Prompt
from dupo.seeds import prompt_keys
from dupo.text.tokenizer import PromptTokenizer

DRAWS_AT_ONCE = (
    32  # tokens: a dozen small operations for each token alone would take as long as a small model
)


class BuiltinEngine:
    """Samples from a transformers model; see `dupo.engines.base.Engine`.

    On a GPU the engine decodes in slots (`dupo.engines.slots`), with frozen weights rounded once a call.
    Elsewhere it decodes in batches, each until its longest row has ended.

    Args:
        model: sampled from as it is at each call, so a policy in training needs no `load_weights`.
        dtype: `--compute_dtype`.
        max_concurrent_sequences: rows that are decoded at once.
        measure_distributions: measure entropy and self-certainty, at the cost of a pass over the logits each.
        as_on_gpu: work as on a GPU; None: on a CUDA GPU alone. For tests on a CPU.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: PromptTokenizer,
        *,
        dtype: str = "auto",
        max_concurrent_sequences: int = 1024,
        measure_distributions: bool = False,
        as_on_gpu: bool | None = None,
    ) -> None:
        self.model, self.tokenizer, self.dtype = model, tokenizer, dtype
        self.max_concurrent_sequences = max_concurrent_sequences
        self.measure_distributions = measure_distributions
        self.as_on_gpu = as_on_gpu

    @property
    def features(self) -> EngineFeatures:
        """What the engine can do."""
        return EngineFeatures(
            logprobs=True,
            distributions=self.measure_distributions,
            new_weights=True,
            exact=True,
            # A batch takes no prompt once it has begun.
            follow_ups=self._is_gpu and why_no_slots(self.model) is None,
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
        check_room(prompt_ids, sampling.max_tokens, self.max_positions, "the model")
        # Keys are made before the prompts are sorted and cut: they must not depend on batches.
        keys = prompt_keys(seed, prompt_ids)
        # Prompts of similar length share a batch, so that few rows are padding.
        by_length = sorted(range(len(prompt_ids)), key=lambda i: len(prompt_ids[i]))
        ordered_ids, ordered_keys = [prompt_ids[i] for i in by_length], [keys[i] for i in by_length]
        with self._computing() as model:
            sample = self._in_slots if self._uses_slots(model) else self._in_batches
            groups = dict(zip(by_length, sample(model, ordered_ids, ordered_keys, n, sampling), strict=True))
        return [groups[i] for i in range(len(prompt_ids))]

    @torch.no_grad()
    def sample_and_follow(
        self,
        prompts: Sequence[Prompt] | Sequence[list[int]],
        n: int,
        sampling: Sampling,
        seed: int,
        follow: FollowUps,
    ) -> Followed:
        """As `sample`, with prompts that follow; see `Engine.sample_and_follow`.

        Raises:
            UserError: as `sample`, for a prompt or for one that follows.
        """

        def encode(prompts: Sequence[Prompt] | Sequence[list[int]], max_tokens: int) -> list[list[int]]:
            prompt_ids = ids_of(self.tokenizer, prompts)
            check_room(prompt_ids, max_tokens, self.max_positions, "the model")
            return prompt_ids

        prompt_ids = encode(prompts, sampling.max_tokens)
        if not prompt_ids:
            return Followed([], [])
        with self._computing() as model:
            return sample_in_slots(
                SlotCall(model, self._slot_options, encode, self._completions),
                prompt_ids,
                n,
                sampling,
                seed,
                follow,
            )

    @contextmanager
    def _computing(self) -> Iterator[Model]:
        """The model to sample from, in the precision of `--compute_dtype`.

        On a GPU with bfloat16, frozen weights are rounded once a call, where autocast rounds them at every
        token. For 4 billion weights, 24 GB are read and written: 8 ms at 3 TB/s. The copy takes 8 GB until
        the call ends. As the copy is made anew for each call, no update can be forgotten. Trained weights
        stay under autocast, so the arithmetic is that of the learner; it rounds them once a call as well.
        """
        model, is_half = self.model, compute_dtype(self.model.device, self.dtype) is torch.bfloat16
        wide = [weight for weight in model.parameters() if weight.dtype == torch.float32]
        is_quantized = getattr(model, "is_quantized", False)
        if self._is_gpu and is_half and not is_quantized and not all(weight.requires_grad for weight in wide):
            model = half_copy(model)
        is_rounded = all(weight.dtype == torch.bfloat16 for weight in model.parameters())
        dtype = "float32" if self._is_gpu and is_rounded else self.dtype  # without autocast
        with autocast(model.device, dtype), float32_logits(model):
            yield model

    @property
    def _is_gpu(self) -> bool:
        return self.model.device.type == "cuda" if self.as_on_gpu is None else self.as_on_gpu

    def _uses_slots(self, model: Model) -> bool:
        if not self._is_gpu:
            return False
        if reason := why_no_slots(model):
            warnings.warn(f"sampling waits for the longest of each batch: {reason}", stacklevel=3)
        return reason is None

    @property
    def _slot_options(self) -> SlotOptions:
        return SlotOptions(
            sorted(self.tokenizer.eos_ids),
            self.tokenizer.pad_id,
            self.max_concurrent_sequences,
            self.measure_distributions,
        )

    def _in_slots(
        self,
        model: Model,
        prompt_ids: list[list[int]],
        keys: list[int],
        n: int,
        sampling: Sampling,
    ) -> list[list[Completion]]:
        """The completions of each prompt, from slots that are filled again."""
        if not prompt_ids or not n:
            return [[] for _ in prompt_ids]
        tokens = max(map(len, prompt_ids)) + sampling.max_tokens
        room = SlotRoom(tokens, sampling.max_tokens, len(prompt_ids) * n, sampling.temperature)
        decoding = SlotDecoding(model, self._slot_options, room)
        decoding.add(prompt_ids, keys, n, sampling)
        ended: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        for prompt, sample, ids, measures in decoding.run():
            ended[prompt, sample] = ids, measures
            tell_progress("samples", len(ended), len(prompt_ids) * n)
        rows = [ended[prompt, sample] for prompt in range(len(prompt_ids)) for sample in range(n)]
        return in_groups(self._completions(*zip(*rows, strict=True)), n)

    def _in_batches(
        self,
        model: Model,
        prompt_ids: list[list[int]],
        keys: list[int],
        n: int,
        sampling: Sampling,
    ) -> list[list[Completion]]:
        """The completions of each prompt, from one batch after another."""
        prompts_at_once = max(1, self.max_concurrent_sequences // n)
        groups: list[list[Completion]] = []
        for start in range(0, len(prompt_ids), prompts_at_once):
            batch = slice(start, start + prompts_at_once)
            keys_B = row_keys(keys[batch], n, model.device)
            decoding = _Decoding(self, model, prompt_ids[batch], keys_B, sampling)
            end = (start + len(prompt_ids[batch])) * n
            tell = partial(_tell_running, end, len(prompt_ids) * n)
            ids_BT, measures_BKT = decoding.run(tell)
            tell(0)  # what has reached the limit has ended too
            rows = self._cut(ids_BT, measures_BKT, sampling.max_tokens)
            groups += in_groups(self._completions(*rows), n)
        return groups

    @property
    def max_positions(self) -> int | None:
        """Most tokens of a prompt and its completion; None: no limit."""
        return position_limit(self.model.config)

    def _cut(
        self, ids_BT: Tensor, measures_BKT: Tensor, max_tokens: int
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Ids (T,) and measures (K, T) of each row up to its first end token."""
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
        return ids, measures_BKT.transpose(0, 1)[:, is_sampled_BT].split(lengths_B, dim=1)

    def _completions(self, ids: Sequence[Tensor], measures: Sequence[Tensor]) -> list[Completion]:
        """Completions of ids (T,) and measures (K, T), each with its end token where there was one."""
        # One call decodes all rows, which is several times as fast as one call a row.
        lists = [row.tolist() for row in ids]
        texts = self.tokenizer.decode(lists)
        truncated = [row[-1] not in self.tokenizer.eos_ids for row in lists]
        return [
            # A copy where there are other measures: a view would keep theirs alive.
            Completion(
                row.int(),
                logprobs.clone() if more else logprobs,
                content,
                is_cut,
                *(float(m.double().mean()) for m in more),
            )
            for row, (logprobs, *more), content, is_cut in zip(ids, measures, texts, truncated, strict=True)
        ]


class _Decoding:
    """One batch of B = prompts x n rows, all advancing one token a step until each has met an end token."""

    def __init__(
        self,
        engine: BuiltinEngine,
        model: Model,
        prompts: list[list[int]],
        keys_B: Tensor,
        sampling: Sampling,
    ) -> None:
        self.sampling, self.measures = sampling, engine.measure_distributions
        self.keys_B, n = keys_B, len(keys_B) // len(prompts)
        self.pad_id = engine.tokenizer.pad_id
        self.eos_ids = torch.tensor(sorted(engine.tokenizer.eos_ids), device=model.device)
        self.reader = Reader(model, DynamicCache(config=model.config))
        self.logits_BV, self.mask_BT, self.positions_BT = self.reader.read(prompts, self.pad_id)
        if n > 1:
            # The prompt was read once; its n completions start from copies of the cache.
            self.reader.cache.batch_repeat_interleave(n)
            self.mask_BT = self.mask_BT.repeat_interleave(n, 0)
            self.positions_BT = self.positions_BT.repeat_interleave(n, 0)
            self.logits_BV = self.logits_BV.repeat_interleave(n, 0)
        # From here on every row adds one token a step.
        self.positions_BT = self.positions_BT[:, -1:]

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
                self.reader.cache.batch_select_indices(stay)
                rows, next_ids, running = rows[stay], next_ids[stay], running[stay]
                self.mask_BT, self.positions_BT = self.mask_BT[stay], self.positions_BT[stay]
                stay = stay.to(self.keys_B.device)
                self.keys_B, self.uniform_BT = self.keys_B[stay], self.uniform_BT[stay]
            self.mask_BT = torch.cat([self.mask_BT, self.mask_BT.new_ones(len(rows), 1)], -1)
            self.positions_BT = self.positions_BT + 1
            self.logits_BV = self.reader.next_logits(next_ids[:, None], self.positions_BT, self.mask_BT)
        raise AssertionError("unreachable: max_tokens is at least 1")

    def _choose(self, t: int) -> tuple[Tensor, Tensor]:
        """Ids (B,) of token `t` and their measures (B, K) under the distribution they are drawn from."""
        ids_B, measures_BK, finite_B = choose(
            self.logits_BV,
            self.sampling.temperature,
            lambda logprobs_BV: draw(logprobs_BV, self.uniform_BT[:, t % DRAWS_AT_ONCE, None]),
            measure_distributions=self.measures,
        )
        check_finite_logits(finite_B)
        return ids_B, measures_BK


def _tell_running(end: int, total: int, num_running: int) -> None:
    """Tells how many of all samples have ended; `end` counts those of all batches up to this one."""
    tell_progress("samples", end - num_running, total)
