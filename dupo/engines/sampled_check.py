"""Refuses a model from which the engine would sample as from another model; see `dupo.models.agreement`.

sampled   the engine as it works: prompts of several lengths, padding, cache, several samples of each
          prompt, rows that leave
own       the sampled tokens in one forward pass of the model alone
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, cast

from dupo.engines.base import Sampling
from dupo.engines.builtin import BuiltinEngine
from dupo.models.agreement import CheckLengths, Scored, check_agreement, random_ids
from dupo.models.load import Model
from dupo.models.positions import position_limit, window_of
from dupo.models.shrunk import POSITIONS

WINDOW = 8  # of the small model: some prompts are longer, some rows grow beyond it
TOKENS, SAMPLES = 16, 2
LENGTHS = CheckLengths(small=(17, 20, 26, 40), real=(18, 37, 64), long=(18, 64, 300))
ENDS_ONE_IN = 16  # of the ids end a completion, so that rows leave the batch


class _Ids(NamedTuple):
    """What the engine asks of a tokenizer, where prompts are ids and nobody reads the texts."""

    eos_ids: frozenset[int]
    pad_id: int = 0

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """No text for each completion."""
        return [""] * len(ids)


def check_sampled(model: Model, dtype: str, *, as_on_gpu: bool | None = None) -> None:
    """Checks that the built-in engine reports the log-probs that the model itself gives, at temperature 1.

    Args:
        dtype: `--compute_dtype`.
        as_on_gpu: of `BuiltinEngine`; None: whether the model is on a CUDA GPU.

    Raises:
        UserError: the model cannot be sampled from, or the log-probs differ.
    """
    window, limit = window_of(model.config), position_limit(model.config)
    # A window that no sequence can cross need not be crossed in the small model.
    is_crossed = window is not None and (limit is None or window < limit)
    small_window = WINDOW if is_crossed else POSITIONS
    # The small model is on the CPU, and must be sampled from as the model itself will be.
    is_gpu = model.device.type == "cuda" if as_on_gpu is None else as_on_gpu
    sampled = partial(_sampled, as_on_gpu=is_gpu)
    check_agreement(model, dtype, sampled, "sampled from", LENGTHS, small_window, limit)


def _sampled(model: Model, dtype: str, lengths: list[int], *, as_on_gpu: bool) -> list[Scored]:
    """Samples up to the given lengths."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    ends = frozenset(range(1, vocabulary, ENDS_ONE_IN))
    engine = BuiltinEngine(model, cast(Any, _Ids(ends)), dtype=dtype, as_on_gpu=as_on_gpu)
    # A model of few positions still gets a prompt, and a token that the cache is read for.
    num_tokens = min(TOKENS, min(lengths) - 1)
    prompts = [random_ids(model, length - num_tokens, k) for k, length in enumerate(lengths)]
    completions = engine.sample(prompts, SAMPLES, Sampling(1.0, num_tokens), seed=0)
    return [
        Scored(prompt + completion.ids.tolist(), completion.logprobs)
        for prompt, group in zip(prompts, completions, strict=True)
        for completion in group
    ]
