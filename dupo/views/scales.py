"""The axes of a chart: which numbers an axis spans, where its ticks stand, and which pixel a number gets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dupo.views.lenient import finite

Number = float | int | None
_LEAST_SHARE = 0.1  # of the largest number, which a y axis spans at least
_LEAST = 1e-290  # a tenth of such a span may have no digits left in a float


@dataclass(frozen=True)
class Scale:
    """Maps the numbers of one axis to pixels, linearly.

    Attributes:
        first: the number at pixel `start`.
        last: the number at pixel `start + length`; may be below `first`, as on an axis that points up.
        start: pixels.
        length: pixels.
    """

    first: float
    last: float
    start: float
    length: float

    def pixel(self, value: float) -> float:
        """Returns the pixel of a number; a number outside of the axis gets the nearer end."""
        low, high = self._ends()
        inside = min(max(value, low), high)
        return self.start + (inside - self.first) / (self.last - self.first) * self.length

    def ticks(self, most: int) -> list[float]:
        """Returns round numbers on the axis, at most `most` + 1 of them."""
        low, high = self._ends()
        return ticks(low, high, most)

    def _ends(self) -> tuple[float, float]:
        return min(self.first, self.last), max(self.first, self.last)


def span(
    values: Sequence[Number], padding: float, fixed: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Returns the low and high end of an axis, never equal.

    Args:
        values: what the axis must hold; None, NaN and infinities are passed over.
        padding: share of the span that stays free at either end.
        fixed: the ends, where the caller chose them.
    """
    if fixed is not None:
        return fixed
    # An axis without a single number still needs two ends to be drawn.
    numbers = [float(value) for value in values if finite(value)]
    if not numbers:
        return 0.0, 1.0
    low, high = min(numbers), max(numbers)
    # A span below the resolution of the numbers themselves is rounding noise: shown as a constant.
    if high - low <= max(1e-9 * max(abs(low), abs(high)), _LEAST):
        margin = abs(low) * 0.1 if padding and abs(low) > _LEAST else 0.5 if padding else 1.0
        # An x axis of one huge number needs more than 1 on either side to have two ends.
        margin = max(margin, 1e-6 * abs(low))
        return low - margin, high + margin
    # Lengths from 4.98 to 5.01 are a flat line, not a wild one: a tenth of the numbers is the least to show.
    missing = _LEAST_SHARE * max(abs(low), abs(high)) - (high - low) if padding else 0.0
    margin = max(padding * (high - low), missing / 2)
    return low - margin, high + margin


def ticks(low: float, high: float, most: int) -> list[float]:
    """Returns the multiples of a round step within [low, high], at most `most` + 1 of them."""
    rough = (high - low) / most
    # Readers count in steps of 1, 2, 2.5 and 5 times a power of ten.
    power = 10.0 ** math.floor(math.log10(rough))
    # The tolerance keeps a step that equals `rough` but for rounding.
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def short_number(value: float) -> str:
    """Writes a number as a reader wants it on an axis: 0.3, 12000, 1.5M, 1e-06."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.4g}M"
    return str(round(value)) if abs(value) >= 1000 and value == round(value) else f"{value:.4g}"
