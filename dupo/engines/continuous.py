"""Continuous batching of transformers in the process that trains: a paged cache, rows filled again, no vLLM.

    sample    makes the pages, hands all requests over, and gives the pages back

transformers computes in a thread of its own, where no autocast of ours reaches, with an attention of its
own: the model is asked as a copy in the precision of `--compute_dtype`, and log-probs are near those of the
learner and not equal (`EngineFeatures.exact`). The draws of a completion depend on what else is asked.
"""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, cast

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from dupo.engines.base import EngineFeatures, Sampling, check_room, ids_of, in_groups
from dupo.engines.weight_handover import compare_copy
from dupo.errors import UserError
from dupo.models.devices import compute_dtype
from dupo.models.load import Model
from dupo.models.own_forward import SDPA, has_plain_attention, other_attention
from dupo.models.positions import position_limit
from dupo.models.weights import all_finite, half_copy
from dupo.progress import tell_progress
from dupo.records import Completion, Prompt
from dupo.seeds import prompt_keys
from dupo.text.tokenizer import PromptTokenizer

PAGE = 256  # tokens
TOKENS_AT_ONCE = 16_384  # that one pass reads
REQUESTS_AT_ONCE = 4096  # between two reports of the progress
SEEDS = 2**31  # some versions take no more
SETTINGS = {spec.name for spec in fields(ContinuousBatchingConfig)}


class ContinuousEngine:
    """Samples from a transformers model in pages; see `dupo.engines.base.Engine`.

    Args:
        model: sampled from as it is at each call, so a policy in training needs no `load_weights`.
        dtype: `--compute_dtype`.
        max_concurrent_sequences: rows that are decoded at once.

    Raises:
        UserError: transformers cannot batch the model this way, or gives other log-probs than the model.
    """

    def __init__(
        self, model: Model, tokenizer: PromptTokenizer, *, dtype: str, max_concurrent_sequences: int
    ) -> None:
        self.model, self.tokenizer, self.dtype = model, tokenizer, dtype
        self.max_concurrent_sequences = max_concurrent_sequences
        # Dropped in silence: over short texts such a model says nearly the same.
        if not has_plain_attention(model):
            kind = type(model).__name__
            raise UserError(f"engine: transformers pages no softcap and no sinks, which {kind} has")
        # Once: the copy is made anew for each call, so weights that are wrong now would be wrong always.
        compare_copy(model, dtype, "transformers", self.max_positions, self.sample)

    @property
    def features(self) -> EngineFeatures:
        """What the engine can do."""
        return EngineFeatures(logprobs=True, distributions=False, new_weights=True, exact=False)

    @property
    def max_positions(self) -> int | None:
        """Most tokens of a prompt and its completion; None: no limit."""
        return position_limit(self.model.config)

    def load_weights(self, model: Model) -> None:
        """Samples from `model` from now on."""
        self.model = model

    def release_memory(self) -> None:
        """Nothing: pages and copies end with each call."""

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Prompt] | Sequence[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """Draws `n` completions of each prompt; see `Engine.sample`.

        Raises:
            UserError: a prompt leaves no room for `max_tokens` within the positions of the model.
            RuntimeError: transformers lost a request.
        """
        prompt_ids = ids_of(self.tokenizer, prompts)
        check_room(prompt_ids, sampling.max_tokens, self.max_positions, "the model")
        keys = prompt_keys(seed, prompt_ids)
        groups: list[list[Completion]] = []
        # transformers pages SDPA everywhere, and takes flash-attn for it where there is one.
        with other_attention(model := self._rounded(), SDPA):
            for start in range(0, len(prompt_ids), max(1, REQUESTS_AT_ONCE // n)):
                # One seed for each batch, of its first prompt: transformers takes one a call.
                batch = prompt_ids[start : start + max(1, REQUESTS_AT_ONCE // n)]
                groups += self._sample(model, batch, n, sampling, keys[start] % SEEDS)
                tell_progress("samples", len(groups) * n, len(prompt_ids) * n)
        return groups

    def _rounded(self) -> Model:
        """The model; for bfloat16 a copy without float32 weights, which takes 2 bytes a weight."""
        # Trained weights too: the thread that computes has no autocast, and float32 would halve its speed.
        is_half = compute_dtype(self.model.device, self.dtype) is torch.bfloat16
        return half_copy(self.model, trained=True) if is_half else self.model

    def _sample(
        self, model: Model, prompt_ids: list[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        greedy = sampling.temperature == 0
        # Everything that would cut the distribution is said: the rest comes from the model's own file.
        settings = GenerationConfig(
            do_sample=not greedy,
            temperature=1.0 if greedy else sampling.temperature,
            top_k=0,
            top_p=1.0,
            repetition_penalty=1.0,
            max_new_tokens=sampling.max_tokens,
            eos_token_id=sorted(self.tokenizer.eos_ids),
            pad_token_id=self.tokenizer.pad_id,
        )
        # Greedy completions of a prompt are all alike. Others are requests of their own: of several that one
        # request draws, older versions lose all but the first.
        drawn = 1 if greedy else n
        requests = [ids for ids in prompt_ids for _ in range(drawn)]
        tokens = max(map(len, prompt_ids)) + sampling.max_tokens
        rows = min(len(requests), self.max_concurrent_sequences)
        config = self._config(tokens, rows, seed, model.dtype)
        # transformers seeds the generator of the process.
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            torch.manual_seed(seed)
            outputs: dict[str, Any] = cast(Any, model).generate_batch(
                requests, generation_config=settings, continuous_batching_config=config
            )
        # What fails is logged by transformers and left out, so that all others would move up a place.
        ended = [output for output in outputs.values() if output.error is None]
        if len(ended) != len(requests):
            if not all_finite(model):
                raise FloatingPointError("the model's logits are not finite")
            reason = next((output.error for output in outputs.values() if output.error), "its log says why")
            raise RuntimeError(f"transformers gave {len(ended)} of {len(requests)} completions: {reason}")
        groups = in_groups(self._completions(ended), drawn)
        return [group * n for group in groups] if greedy else groups

    def _config(self, tokens: int, rows: int, seed: int, dtype: torch.dtype) -> ContinuousBatchingConfig:
        """How transformers batches.

        Args:
            tokens: of the longest prompt and its completion.
            rows: that are wanted at once.
            dtype: of the weights.
        """
        settings: dict[str, Any] = {
            "max_batch_tokens": min(TOKENS_AT_ONCE, max(tokens, PAGE) * rows),
            "return_logprobs": True,
        }
        # On a GPU transformers counts what fits: pages, activations, logits. Elsewhere it cannot count.
        if self.model.device.type != "cuda":
            settings["num_blocks"] = rows * math.ceil(tokens / PAGE) + 1
        others = {
            "page_size" if "page_size" in SETTINGS else "block_size": PAGE,  # newer versions: a page
            "max_requests_per_batch": rows,
            "seed": seed,
            "auto_switch_to_flash": dtype != torch.float32,  # flash-attn takes no float32
        }
        # Some of these are not in every version.
        settings |= {name: value for name, value in others.items() if name in SETTINGS}
        return ContinuousBatchingConfig(**settings)

    def _completions(self, rows: Sequence[Any]) -> list[Completion]:
        texts = self.tokenizer.decode([list(row.generated_tokens) for row in rows])
        return [
            Completion(
                torch.tensor(row.generated_tokens, dtype=torch.int32),
                _finite(torch.tensor(row.logprobs, dtype=torch.float32)),
                content,
                row.generated_tokens[-1] not in self.tokenizer.eos_ids,
            )
            for row, content in zip(rows, texts, strict=True)
        ]


def _finite(logprobs: Tensor) -> Tensor:
    """Log-probs that are numbers.

    Raises:
        FloatingPointError: one is not.
    """
    if not torch.isfinite(logprobs).all():
        raise FloatingPointError("the model's logits are not finite")
    return logprobs
