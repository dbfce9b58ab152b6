"""The axes of a chart: which numbers an axis spans, and how a number is written."""

from collections.abc import Sequence

from dupo.views.lenient import finite

Number = float | int | None
_LEAST_SHARE = 0.1  # of the largest number, which a y axis spans at least
_LEAST = 1e-290  # a tenth of such a span may have no digits left in a float


def span(values: Sequence[Number], padding: float, least: float = 0.0) -> tuple[float, float]:
    """Returns the low and high end of an axis, never equal.

    Args:
        values: what the axis must hold; None, NaN and infinities are passed over.
        padding: share of the span that stays free at either end.
        least: the smallest span to show: what moves less is noise, and looks flat.
    """
    # An axis without a single number still needs two ends to be drawn.
    numbers = [float(value) for value in values if finite(value)]
    if not numbers:
        return 0.0, 1.0
    low, high = min(numbers), max(numbers)
    # A span below the resolution of the numbers themselves is rounding noise: shown as a constant.
    if high - low <= max(1e-9 * max(abs(low), abs(high)), _LEAST):
        margin = abs(low) * 0.1 if padding and abs(low) > _LEAST else 0.5 if padding else 1.0
        # An x axis of one huge number needs more than 1 on either side to have two ends.
        margin = max(margin, 1e-6 * abs(low), least / 2)
        return low - margin, high + margin
    # Lengths from 4.98 to 5.01 are a flat line, not a wild one: a tenth of the numbers is the least to show.
    missing = _LEAST_SHARE * max(abs(low), abs(high)) - (high - low) if padding else 0.0
    margin = max(padding * (high - low), missing / 2, (least - (high - low)) / 2)
    return low - margin, high + margin


def short_number(value: float) -> str:
    """Writes a number as a reader wants it in a line of text: 0.3, 12000, 1.5M, 1e-06."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.4g}M"
    return str(round(value)) if abs(value) >= 1000 and value == round(value) else f"{value:.4g}"
