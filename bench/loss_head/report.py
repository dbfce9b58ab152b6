"""Tables and a picture from a result file of bench_loss_head.py or gpu_suite.py; no figure is made elsewhere.

python -m bench.loss_head.report bench/results/loss_head_....json             prints markdown
python -m bench.loss_head.report bench/results/loss_head_....json --write     and puts it between the
    markers of docs/loss_head.md, the first table also of README.md, and the picture into docs/loss_head.svg
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.loss_head import results
from bench.loss_head.results import Row, size, table
from dupo.views.escaping import safe
from dupo.views.marks import PALETTE

MARKERS = ("<!-- loss head: made by bench.loss_head.report -->", "<!-- end of loss head -->")
BOTH = "forward+backward"
SHOWN = [  # (op, setting, pass)
    ("linear_objective", "dapo, entropy_coef=0", BOTH),
    ("linear_token_logprobs", "entropy", BOTH),
    ("token_logprobs", "entropy", "forward"),
    ("token_logprobs", "entropy", BOTH),
    ("linear_objective", "memory", BOTH),
    ("linear_token_logprobs", "memory", BOTH),
    ("gemm", "one product", "forward"),
]
TRL = "TRL ChunkedLogProbFunction"
FLOOR_GOAL, TRL_GOAL, COPY_GOAL = 1.12, 1.3, 0.92


def markdown(content: dict[str, Any], shown: Sequence[tuple[str, str, str]] = SHOWN) -> str:
    signature = content["signature"]
    parts = [f"Device: {signature['device']}; torch {signature['torch']}, Triton {signature['triton']}."]
    if signature.get("note"):
        parts[0] += f" These are {signature['note']}."
    if content["left_out"]:
        parts[0] += f" No time was left for {len(content['left_out'])} steps."
    parts += ["Milliseconds, median; in brackets as a multiple of the floor, which stands first."]
    for key in shown:
        if group := _of(content, key):
            parts.append(f"**{key[0]}** ({key[1]}), {key[2]}\n\n{_by_shape(group)}")
    if "note" not in signature:
        parts.append(table(("goal", "found", ""), goals(content)))
    peers = ", ".join(f"{name} {version}" for name, version in signature["peers"].items()) or "none"
    parts.append(f"Other libraries: {peers}. Made by `{signature['command']}` at {signature['git']}.")
    return "\n\n".join(parts)


def goals(content: dict[str, Any]) -> list[list[str]]:
    """What the project set out to reach, and whether it does, where it was measured."""
    found: list[tuple[str, float, bool]] = []
    for ours in _of(content, SHOWN[0], "ours")[:2]:
        at, (trl,) = size(ours), _of(content, SHOWN[0], TRL, ours["shape"]) or [{}]
        if x := ours.get("times_floor"):
            found.append((f"linear_objective at most {FLOOR_GOAL} x three GEMMs, {at}", x, x <= FLOOR_GOAL))
        if x := trl.get("seconds", 0) / ours.get("seconds", 1):
            found.append((f"linear_objective at least {TRL_GOAL} x faster than TRL, {at}", x, x >= TRL_GOAL))
        if "peak_bytes" in ours and "peak_bytes" in trl:
            x = ours["peak_bytes"] / trl["peak_bytes"]
            found.append((f"linear_objective peak memory at most TRL's, {at}", x, x <= 1))
    for ours in _of(content, SHOWN[2], "ours")[:1]:
        x = 1 / ours.get("times_floor", float("inf"))
        goal = f"token_logprobs at least {COPY_GOAL} of a copy's rate, {size(ours)}"
        found.append((goal, x, x >= COPY_GOAL))
    return [[goal, f"{x:.2f}", "reached" if reached else "missed"] for goal, x, reached in found]


def svg(content: dict[str, Any]) -> str:
    """Bars of milliseconds: a panel for each op and pass, at the first shape and type that was measured."""
    width, left, right, line, gap = 760, 270, 90, 20, 34
    y, parts = 40, []
    for key in SHOWN[:4]:
        group = _of(content, key)
        bars = [r for r in group if "seconds" in r and _place(r) == _place(group[0])]
        if not bars:
            continue
        title = f"{key[0]} ({key[1]}), {key[2]}; {size(bars[0])}, {bars[0]['dtype']}"
        parts.append(f'<text x="16" y="{y}" font-weight="bold">{safe(title)}</text>')
        scale = (width - left - right) / max(row["seconds"] for row in bars)
        for row in bars:
            y += line
            colour = PALETTE[0] if row["variant"].startswith("ours") else PALETTE[-1]
            colour = PALETTE[2] if _is_floor(row) else colour
            long, ms = max(1.0, row["seconds"] * scale), f"{1e3 * row['seconds']:.3g} ms"
            parts += [
                f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{safe(row["variant"])}</text>',
                f'<rect x="{left}" y="{y - 8}" width="{long:.1f}" height="14" fill="{colour}"/>',
                f'<text x="{left + long + 6:.1f}" y="{y + 4}">{ms}</text>',
            ]
        y += gap
    signature = content["signature"]
    note = f"{signature['device']}, {signature['date']}. Green: what nothing can beat. Blue: ours."
    parts.append(f'<text x="16" y="{y}" fill="#555">{safe(note)}</text>')
    size_of = f'width="{width}" height="{y + 16}"'
    style = 'font-family="system-ui, sans-serif" font-size="12" fill="#222"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + 16}" {size_of} {style}>'
    return "\n".join([start, f'<rect {size_of} fill="#fff"/>', *parts, "</svg>\n"])


def publish(content: dict[str, Any], path: Path, root: Path) -> None:
    """Writes docs/loss_head.svg, and between the markers of docs/loss_head.md and README.md."""
    (root / "docs" / "loss_head.svg").write_text(svg(content), encoding="utf-8")
    for name, shown in {"docs/loss_head.md": SHOWN, "README.md": SHOWN[:1]}.items():
        text = (root / name).read_text(encoding="utf-8")
        before, (_, after) = text.split(MARKERS[0])[0], text.split(MARKERS[1])
        up = "../" * name.count("/")
        source = f"All of it: [bench/results/{path.name}]({up}bench/results/{path.name})."
        made = "\n\n".join([MARKERS[0], markdown(content, shown), source, MARKERS[1]])
        (root / name).write_text(before + made + after, encoding="utf-8")


def _of(
    content: dict[str, Any], key: tuple[str, str, str], variant: str | None = None, shape: Any = None
) -> list[Row]:
    """Rows of a group in the order of measurement; at any shape, unless one is given."""
    rows = [row for row in content["rows"] if (row["op"], row["setting"], row["pass"]) == key]
    rows = [row for row in rows if variant in (None, row["variant"])]
    return [row for row in rows if shape in (None, row["shape"])]


def _is_floor(row: Row) -> bool:
    return "bare" in row["variant"] or "copy" in row["variant"]


def _place(row: Row) -> str:
    return f"{size(row)}, {row['dtype']}"


def _by_shape(rows: list[Row]) -> str:
    """A line for each variant, a column for each shape and type."""
    places = list(dict.fromkeys(map(_place, rows)))
    found = {(row["variant"], _place(row)): row for row in reversed(rows)}
    lines = []
    for name in dict.fromkeys(row["variant"] for row in rows):
        here = [found.get((name, place), {}) for place in places]
        timed = next((row for row in here if "seconds" in row), None)
        if timed:
            peak = "" if _is_floor(timed) else f"{timed['peak_bytes'] / 2**20:,.0f}"
            label = f"**{name}**" if name == "ours" else name
            lines.append([label, *map(_time, here), peak, results.errors(timed)])
    columns = ["", *places, "peak extra, MiB (first column)", "error against float64 (first column)"]
    missing = {row["variant"]: row["reason"] for row in reversed(rows) if row["reason"]}
    told = [f"- {name}: {reason}" for name, reason in missing.items() if not any(name in x[0] for x in lines)]
    if not any(line[-1] for line in lines):
        columns, lines = columns[:-1], [line[:-1] for line in lines]
    return "\n".join([table(columns, lines), *(["", "Not measured:", "", *told] if told else [])])


def _time(row: Row) -> str:
    if "seconds" not in row:
        return "out of memory" if "OutOfMemory" in (row.get("reason") or "") else "-"
    return f"{1e3 * row['seconds']:.2f} ({row.get('times_floor', float('nan')):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--write", action="store_true", help="publish it")
    options = parser.parse_args()
    content = json.loads(options.file.read_text(encoding="utf-8"))
    print(markdown(content))
    if options.write:
        publish(content, options.file, results.ROOT)


if __name__ == "__main__":
    main()
