"""Arithmetic on log-probabilities that may be -inf, where plain operators would give NaN."""

from torch import Tensor

# A token of probability 0 is a legal input: a policy may have moved all its mass away from a sampled token.
# Plain operators then give -inf - -inf = NaN and 0 * -inf = NaN, and one NaN spoils the sum of a batch.
INFINITY = float("inf")


def difference(left: Tensor, right: Tensor) -> Tensor:
    """left - right; 0 where both are equal, also for two -inf."""
    equal = left == right
    return left.masked_fill(equal, 0.0) - right.masked_fill(equal, 0.0)


def product(factor: Tensor, logp: Tensor) -> Tensor:
    """factor * logp; 0 where the factor is 0, also for logp = -inf."""
    return factor * logp.masked_fill(factor == 0, 0.0)
