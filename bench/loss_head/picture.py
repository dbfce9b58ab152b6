"""The times of the loss head as bars, one panel for each table: docs/loss_head.svg."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.loss_head.measurement import Measurement
from dupo.views.escaping import safe

# Pixels: of the picture, of its margins, from bar to bar, between panels.
WIDTH, LEFT, RIGHT, LINE, GAP = 760, 270, 90, 20, 34
OURS, FLOOR, OTHER = "#0072b2", "#009e73", "#767676"


def svg(groups: Sequence[Sequence[Measurement]], signature: Mapping[str, Any]) -> str:
    """Draws the milliseconds of each group, at the first shape and dtype that was measured."""
    y, shapes = 40, []
    for group in groups:
        timed = [m for m in group if m.seconds is not None and m.case.place == group[0].case.place]
        if not timed:
            continue
        case = timed[0].case
        title = f"{case.op} ({case.setting}), {case.passes}; {case.size}, {case.dtype}"
        shapes.append(f'<text x="16" y="{y}" font-weight="bold">{safe(title)}</text>')
        scale = (WIDTH - LEFT - RIGHT) / max(m.seconds or 0.0 for m in timed)
        for m in timed:
            y += LINE
            shapes += bar(m, y, scale)
        y += GAP
    note = f"{signature['device']}, {signature['date']}. Green: what nothing can beat. Blue: ours."
    shapes.append(f'<text x="16" y="{y}" fill="#555">{safe(note)}</text>')
    size = f'width="{WIDTH}" height="{y + 16}"'
    style = 'font-family="system-ui, sans-serif" font-size="12" fill="#222"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 16}" {size} {style}>'
    return "\n".join([start, f'<rect {size} fill="#fff"/>', *shapes, "</svg>\n"])


def bar(m: Measurement, y: int, scale: float) -> list[str]:
    """Name, bar and milliseconds of one variant; `scale` is pixels per second."""
    seconds = m.seconds or 0.0
    # At least a pixel, or a fast variant would seem to be missing.
    length, milliseconds = max(1.0, seconds * scale), f"{1e3 * seconds:.3g} ms"
    colour = FLOOR if m.is_floor else OURS if m.is_ours else OTHER
    return [
        f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{safe(m.variant)}</text>',
        f'<rect x="{LEFT}" y="{y - 8}" width="{length:.1f}" height="14" fill="{colour}"/>',
        f'<text x="{LEFT + length + 6:.1f}" y="{y + 4}">{milliseconds}</text>',
    ]
