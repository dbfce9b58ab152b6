"""Does a path through a model give the log-probs that the model itself gives? The check of every start.

A path is packing (`dupo.learning.packed_check`) or sampling (`dupo.engines.sampled_check`). Each is faster
than the forward pass of a sequence alone, and must mean the same. There are two halves:

    small   the class with a small shape and random weights, float32: long sequences, windows that are crossed
    real    the weights themselves, short sequences, in the precision of the run

In float32 every log-prob agrees to `TOLERANCE`; of a model with a router, all but one. In bfloat16 the path
may be three times as far from the truth as the model is from itself. A model that samples without its
context is far beyond that.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dupo.errors import UserError
from dupo.models.load import Model
from dupo.models.own_forward import own_noise
from dupo.models.positions import position_limit
from dupo.models.shrunk import shrunk

TOLERANCE = 1e-3  # nats: sound models are off by 1e-6 to 2e-5 in float32
ROUNDING = 1e-5  # nats: never asked to be closer
# Of the root mean square difference in bfloat16, nats. Sound models have 0.4 to 1.6 times their own noise:
# experts that are nearly tied go either way, and a few tokens then differ by a nat.
NOISE_FACTOR, NOISE_FLOOR = 3.0, 0.01


class Scored(NamedTuple):
    """One sequence that went through a path.

    Attributes:
        logprobs: of the last `len(logprobs)` of the ids, nats.
    """

    ids: list[int]
    logprobs: Tensor


class Lengths(NamedTuple):
    """How many tokens the sequences have that a path is checked with.

    Attributes:
        small: in the small model.
        real: in the real weights.
        long: in the real weights of a class that has no small model.
    """

    small: tuple[int, ...]
    real: tuple[int, ...]
    long: tuple[int, ...]


Path = Callable[[Model, str, list[int]], list[Scored]]  # (model, `--dtype`, lengths)


def check_path(
    model: Model, dtype: str, path: Path, verb: str, lengths: Lengths, window: int, room: int | None
) -> float:
    """Checks both halves.

    Args:
        dtype: `--dtype`.
        verb: what the path does to the model, for the message: "sampled".
        window: of the small model, if the class has windows.
        room: most tokens of the sequences of the real weights; None: any number.

    Returns:
        The noise of the model in the precision of the run, root mean square nats; 0 in float32.

    Raises:
        UserError: the path fails, or gives other log-probs than the model.
    """
    name = f"{type(model).__name__} cannot be {verb}"
    small, real = shrunk(model, window), lengths.real
    if small is None:
        real = lengths.long
    else:
        _compare(small, "float32", path, lengths.small, f"{name} (seen in a small model of its class)")
    limits = [limit for limit in (room, position_limit(model.config)) if limit is not None]
    real = tuple(dict.fromkeys(min(length, *limits) for length in real) if limits else real)
    return _compare(model, dtype, path, real, name)


def _compare(model: Model, dtype: str, path: Path, lengths: Sequence[int], failure: str) -> float:
    """Compares one half; returns the noise, 0 where the arithmetic is exact."""
    # A class of others may fail in any way on a path that it was not written for.
    try:
        scored = path(model, dtype, list(lengths))
    except Exception as error:
        raise UserError(f"{failure}: {reason_of(error)}") from error
    try:
        all_logprobs, noise = own_noise(model, [s.ids for s in scored], dtype)
    except Exception as error:
        raise UserError(f"{failure}: its own forward pass fails: {reason_of(error)}") from error
    truths = all_logprobs.split([len(s.ids) - 1 for s in scored])
    truth = torch.cat([t[-len(s.logprobs) :] for t, s in zip(truths, scored, strict=True)])
    difference = torch.cat([s.logprobs.cpu().double() for s in scored]) - truth
    # Where all log-probs are nearly alike, so are right and wrong ones; rounding stays whatever they are.
    scale = min(1.0, max(truth.std().item(), ROUNDING / TOLERANCE))
    if noise is None:
        off, allowed = _worst(difference, model), TOLERANCE * scale
    else:
        off, allowed = difference.square().mean().sqrt().item(), NOISE_FACTOR * noise + NOISE_FLOOR * scale
    if not off <= allowed:  # NaN is refused as well
        raise UserError(
            f"{failure}: its log-probs differ by {off:.2g} nats from those of its own forward pass, "
            f"expected at most {allowed:.2g}"
        )
    return noise or 0.0


def _worst(difference: Tensor, model: Model) -> float:
    """The largest difference; of a model with a router the largest but one, NaN if any is NaN."""
    sizes = difference.abs().sort().values
    routed = any("expert" in name for name in vars(model.config.get_text_config()))
    # Two experts with equal scores may change places by a rounding: one token moves, and no sum is wrong.
    skips_one = routed and len(sizes) > 1 and not sizes.isnan().any()
    return sizes[-2 if skips_one else -1].item()


def reason_of(error: Exception) -> str:
    """The error in one line, with its kind where the message alone would be a riddle."""
    line = " ".join(str(error).split())[:300]
    return line if isinstance(error, ValueError | FloatingPointError) else f"{type(error).__name__}: {line}"


def some_ids(model: Model, count: int, number: int) -> list[int]:
    """`count` ids of the vocabulary, the same for the same number."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    draws = torch.Generator().manual_seed(number)
    return torch.randint(vocabulary, (count,), generator=draws).tolist()
