"""One token for every row, and what is measured of the distribution that it is drawn from.

Shape letters: B rows, V vocabulary, K measures of a token.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Choice(NamedTuple):
    """The next token of every row.

    Attributes:
        ids_B: int64.
        measures_BK: fp32, log-prob of the id, nats; if measured, entropy and self-certainty.
        finite_B: bool, false where a logit is NaN or all are -inf: the id means nothing then.
    """

    ids_B: Tensor
    measures_BK: Tensor
    finite_B: Tensor


def choose(
    logits_BV: Tensor,
    temperature: float | Tensor,
    draw: Callable[[Tensor], Tensor],
    *,
    measure_distributions: bool,
) -> Choice:
    """Chooses the next token of every row; nothing here waits for the device.

    Args:
        temperature: divides the logits; 0 takes the most likely token, which is measured at temperature 1.
            A tensor (B, 1) fp32 has one for each row.
        draw: ids (B,) from log-probs (B, V) fp32.
    """
    if isinstance(temperature, Tensor):
        divisor = temperature.where(temperature != 0, 1.0)
    else:
        divisor = temperature or 1.0
    logprobs_BV = (logits_BV.float() / divisor).log_softmax(-1)
    # The largest log-prob is finite unless a logit is NaN or all are -inf.
    finite_B = torch.isfinite(logprobs_BV.amax(-1))
    if isinstance(temperature, Tensor):
        # Both kinds are computed of all rows: a choice of rows would have a shape that only the device knows.
        ids_B = logprobs_BV.argmax(-1).where(temperature[:, 0] == 0, draw(logprobs_BV))
    else:
        ids_B = logprobs_BV.argmax(-1) if temperature == 0 else draw(logprobs_BV)
    measures_BK = logprobs_BV.gather(-1, ids_B[:, None])
    if measure_distributions:
        possible_BV = logprobs_BV.isfinite()  # a masked logit has no share in entropy and certainty
        finite_BV, count = logprobs_BV.where(possible_BV, 0.0), possible_BV.sum(-1, keepdim=True)
        entropy = -(logprobs_BV.exp() * finite_BV).sum(-1, keepdim=True)
        certainty = -finite_BV.sum(-1, keepdim=True) / count - count.log()
        measures_BK = torch.cat([measures_BK, entropy, certainty], -1)
    return Choice(ids_B, measures_BK, finite_B)


def check_finite_logits(finite_B: Tensor) -> None:
    """Checks what `choose` says of the logits; waits for the device.

    Raises:
        FloatingPointError: the logits of a row are not finite.
    """
    if not finite_B.all():
        raise FloatingPointError("the model's logits are not finite")
