"""One weight out of several that stand in the same place of models of one shape.

    mean     sum of w_k theta_k / sum of w_k
    ema      m_1 = theta_1,   m_k = d m_(k-1) + (1 - d) theta_k                  models in the order of time
    slerp    sin((1 - t) W) / sin(W) a + sin(t W) / sin(W) b                     W: the angle between a and b
    warp     theta_0 + (1 - e) slerp of the theta_k - theta_0                    arXiv 2406.16768

slerp is taken of each weight by itself, of theta_k - theta_0 where a start theta_0 is there, else of theta_k.
Of more than two models, the next is taken in with t = 1 / k.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dupo.config.merge_options import DECAY, EMA, MEAN, SLERP, TOWARDS_START, WARP, T

# Two directions that are nearer have no arc between them that float32 could tell from a line.
LEAST_SINE = 1e-6


@dataclass(frozen=True, slots=True)
class Merging:
    """How models become one.

    Attributes:
        method: mean, ema, slerp or warp.
        weights: of the models in the mean, one each; none: all alike.
        decay: of the moving average, d.
        t: where between two models slerp ends; 0 is the first.
        towards_start: the share e of the way back to the start, which warp goes.
    """

    method: str
    weights: tuple[float, ...] = ()
    decay: float = DECAY
    t: float = T
    towards_start: float = TOWARDS_START

    def shares(self, count: int) -> list[float]:
        """The factor of each model in `mean` and `ema`, which are weighted sums; all add up to 1."""
        if self.method == MEAN:
            weights = self.weights or (1.0,) * count
            return [weight / sum(weights) for weight in weights]
        shares = [1.0]
        for _ in range(count - 1):
            shares = [*(self.decay * share for share in shares), 1 - self.decay]
        return shares

    def of(self, thetas: Sequence[Tensor], start: Tensor | None) -> Tensor:
        """The merged weight, float32.

        Args:
            thetas: the weight of each model, of one shape.
            start: the weight that all of them began from; None: not known.
        """
        return _MERGE[self.method](self, [theta.float() for theta in thetas], start)


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """The point at `t` of the arc from `a` to `b`, float32; of a line where there is no arc."""
    # Sums over millions of numbers; the angle of near directions is a difference of near numbers.
    x, y = a.double().flatten(), b.double().flatten()
    lengths = x.norm() * y.norm()
    cosine = (x @ y / lengths).clamp(-1, 1) if lengths > 0 else torch.ones((), dtype=torch.float64)
    angle = cosine.arccos()
    if angle.sin() < LEAST_SINE:
        return torch.lerp(a.float(), b.float(), t)
    first, second = (torch.sin((1 - t) * angle) / angle.sin(), torch.sin(t * angle) / angle.sin())
    return (first * x + second * y).float().view(a.shape)


def _sum(merging: Merging, thetas: list[Tensor], start: Tensor | None) -> Tensor:
    pairs = zip(merging.shares(len(thetas)), thetas, strict=True)
    # In float64: the mean of equal weights is that weight.
    return sum((share * theta.double() for share, theta in pairs), torch.zeros(())).float()


def _slerp(merging: Merging, thetas: list[Tensor], start: Tensor | None) -> Tensor:
    origin = torch.zeros(()) if start is None else start.float()
    arc, *others = [theta - origin for theta in thetas]
    for place, other in enumerate(others, start=2):
        arc = slerp(arc, other, merging.t if len(thetas) == 2 else 1 / place)
    return origin + arc


def _warp(merging: Merging, thetas: list[Tensor], start: Tensor | None) -> Tensor:
    # The options refuse a warp without a start.
    assert start is not None
    return torch.lerp(_slerp(merging, thetas, start), start.float(), merging.towards_start)


_MERGE: dict[str, Callable[[Merging, list[Tensor], Tensor | None], Tensor]] = {
    MEAN: _sum,
    EMA: _sum,
    SLERP: _slerp,
    WARP: _warp,
}
