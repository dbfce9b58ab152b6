"""Does a route through a model give the log-probs that the model itself gives? The check of every start.

A route is packing (`dupo.learning.packed_check`) or sampling (`dupo.engines.sampled_check`). Each is faster
than the forward pass of a sequence alone, and must mean the same. There are two halves:

    small   the class with a small shape and random weights, float32: long sequences, windows that are crossed
    real    the weights themselves, short sequences, in the precision of the run

In float32 every log-prob agrees to `TOLERANCE`; of a model with a router, all but one. In bfloat16 the route
may be three times as far from the truth as the model is from itself. A model that samples without its
context is far beyond that.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dupo.errors import UserError, in_one_line
from dupo.models.load import Model
from dupo.models.own_forward import own_noise
from dupo.models.positions import position_limit
from dupo.models.score_heads import score_head
from dupo.models.shrunk import shrunk

TOLERANCE = 1e-3  # nats: sound models are off by 1e-6 to 2e-5 in float32
ROUNDING = 1e-5  # nats: float32 rounding; the tolerance is never smaller
# Of the root mean square difference in bfloat16, nats; a rollout is allowed more, see
# `dupo.learning.on_policy`. Sound models have 0.4 to 1.6 times their own noise:
# experts that are nearly tied go either way, and a few tokens then differ by a nat.
NOISE_FACTOR, NOISE_FLOOR = 3.0, 0.01
ADVICE = "use another model (and please report this class)"


class Scored(NamedTuple):
    """One sequence that went through a route.

    Attributes:
        logprobs: of the last `len(logprobs)` of the ids, nats; of a reward model the one score.
    """

    ids: list[int]
    logprobs: Tensor


class CheckLengths(NamedTuple):
    """How many tokens the sequences have that a route is checked with.

    Attributes:
        small: in the small model.
        real: in the real weights.
        long: in the real weights of a class that has no small model.
    """

    small: tuple[int, ...]
    real: tuple[int, ...]
    long: tuple[int, ...]


Route = Callable[[Model, str, list[int]], list[Scored]]  # (model, `--compute_dtype`, lengths)


def check_agreement(
    model: Model,
    dtype: str,
    route: Route,
    verb: str,
    lengths: CheckLengths,
    window: int,
    most_tokens: int | None,
) -> float:
    """Checks both halves.

    Args:
        dtype: `--compute_dtype`.
        verb: what the route does to the model, for the message: "sampled".
        window: of the small model, if the class has windows.
        most_tokens: of a sequence of the real weights; None: any number.

    Returns:
        The noise of the model, nats; see `dupo.models.own_forward.own_noise`. 0 in float32.

    Raises:
        UserError: the route fails, or gives other log-probs than the model.
    """
    # With a judge or several pools, the class alone does not tell which model is meant.
    name = f"{model.config.name_or_path}: ".removeprefix(": ") + f"{type(model).__name__} cannot be {verb}"
    small, real = shrunk(model, window), lengths.real
    if small is None:
        real = lengths.long
    else:
        compare_with_own(
            small, "float32", route, lengths.small, f"{name} (seen in a small model of its class)"
        )
    limits = [limit for limit in (most_tokens, position_limit(model.config)) if limit is not None]
    real = tuple(dict.fromkeys(min(length, *limits) for length in real) if limits else real)
    return compare_with_own(model, dtype, route, real, name)


def compare_with_own(model: Model, dtype: str, route: Route, lengths: Sequence[int], failure: str) -> float:
    """Compares one half.

    Args:
        dtype: `--compute_dtype`.
        failure: first words of the message.

    Returns:
        The noise of the model, nats; 0 where the arithmetic is exact.

    Raises:
        UserError: the route fails, or gives other log-probs than the model.
    """
    # A class of others may fail in any way on a route that it was not written for.
    try:
        scored = route(model, dtype, list(lengths))
    except Exception as error:
        raise _refusal(failure, error) from error
    try:
        said, noise = own_noise(model, [s.ids for s in scored], dtype)
    except Exception as error:
        raise _refusal(f"{failure}: its own forward pass fails", error) from error
    says, unit, counts = "log-probs", " nats", [len(s.ids) - 1 for s in scored]
    if score_head(model) is not None:  # which says one number of each
        says, unit, counts = "scores", "", [1] * len(scored)
    truths = said.split(counts)
    truth = torch.cat([t[-len(s.logprobs) :] for t, s in zip(truths, scored, strict=True)])
    difference = torch.cat([s.logprobs.cpu().double() for s in scored]) - truth
    # If all log-probs are nearly equal, a wrong route differs little too: scale the tolerance by their
    # spread, but not below rounding.
    scale = min(1.0, max(truth.std().item(), ROUNDING / TOLERANCE))
    if noise is None:
        off, allowed = _worst(difference, model), TOLERANCE * scale
    else:
        off, allowed = difference.square().mean().sqrt().item(), NOISE_FACTOR * noise + NOISE_FLOOR * scale
    if not off <= allowed:  # NaN is refused as well
        raise UserError(
            f"{failure}: its {says} differ by {off:.2g}{unit} from those of its own forward pass, "
            f"expected at most {allowed:.2g}; {ADVICE}"
        )
    return noise or 0.0


def _worst(difference: Tensor, model: Model) -> float:
    """The largest difference; of a model with a router the largest but one, NaN if any is NaN."""
    sizes = difference.abs().sort().values
    # Two experts with equal scores may change places by a rounding: one token moves, and no sum is wrong.
    skips_one = has_experts(model) and len(sizes) > 1 and not sizes.isnan().any()
    return sizes[-2 if skips_one else -1].item()


def has_experts(model: Model) -> bool:
    """Whether a router of the model chooses among experts."""
    # By its modules: the config of every model of transformers has a setting about experts.
    names = [f"{name} {type(module).__name__}".lower() for name, module in model.named_modules()]
    return any("expert" in name for name in names)


def _refusal(failure: str, error: Exception) -> UserError:
    """The line for a route, or for a forward pass, that fails."""
    # Too large a model is no fault of its class.
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return UserError(f"{failure}: not enough memory")
    # The two that are raised on purpose are written for a reader; other messages alone would be a riddle.
    is_readable = isinstance(error, ValueError | FloatingPointError)
    reason = in_one_line(error, kind=not is_readable, limit=300)
    return UserError(f"{failure}: {reason}; {ADVICE}")


def random_ids(model: Model, count: int, number: int) -> list[int]:
    """`count` ids of the vocabulary, the same for the same number."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    draws = torch.Generator().manual_seed(number)
    return torch.randint(vocabulary, (count,), generator=draws).tolist()
