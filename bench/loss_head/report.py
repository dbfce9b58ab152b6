"""Tables and a picture from a result file of the loss head. No number of the docs is made elsewhere.

    python -m bench.loss_head.report bench/results/loss_head_....json            prints markdown
    python -m bench.loss_head.report bench/results/loss_head_....json --write    and publishes

Several files are told as one: the parts of bench/gpu_run.sh. What is published: docs/loss_head.svg, and the
tables between the markers of docs/loss_head.md.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.loss_head.measurement import Measurement, Shape
from bench.loss_head.picture import svg
from bench.loss_head.results import Results, table
from bench.result_files import ROOT, between_markers

MARKERS = ("<!-- loss head: made by bench.loss_head.report -->", "<!-- end of loss head -->")
TRL = "TRL ChunkedLogProbFunction"
FLOOR_GOAL, TRL_GOAL, COPY_GOAL = 1.12, 1.3, 0.92


class Selection(NamedTuple):
    """Measurements that make one table, at all shapes; the words are those of `Case`."""

    op: str
    setting: str
    passes: str

    def of(
        self, results: Results, variant: str | None = None, shape: Shape | None = None
    ) -> list[Measurement]:
        """The measurements in the order of measuring, of one variant and shape or of all."""
        return [
            m
            for m in results.measurements
            if (m.case.op, m.case.setting, m.case.passes) == self
            and variant in (None, m.variant)
            and shape in (None, m.case.shape)
        ]


BOTH = "forward+backward"
OBJECTIVE = Selection("linear_objective", "dapo, entropy_coef=0", BOTH)
FUSED = Selection("fused_policy_loss", "dapo, entropy_coef=0.01, beta=0.05", BOTH)
LOGPROBS_FORWARD = Selection("token_logprobs", "entropy", "forward")
TABLES = [
    OBJECTIVE,
    FUSED,
    Selection("linear_token_logprobs", "entropy", BOTH),
    LOGPROBS_FORWARD,
    Selection("token_logprobs", "entropy", BOTH),
    Selection("linear_objective", "memory", BOTH),
    Selection("linear_token_logprobs", "memory", BOTH),
    Selection("gemm", "one product", "forward"),
]
NUM_PICTURED = 5  # the first tables are drawn as well


class Goal(NamedTuple):
    """What the project set out to reach, and what was measured."""

    text: str
    value: float
    reached: bool


def markdown(results: Results) -> str:
    """The tables of a result file, with what produced them."""
    made_by = results.signature
    device = f"Device: {made_by['device']}; torch {made_by['torch']}, Triton {made_by['triton']}."
    if made_by.get("note"):
        device += f" These are {made_by['note']}."
    if results.left_out:
        device += f" No time was left for {len(results.left_out)} steps."
    texts = [device, "Milliseconds, median; in brackets as a multiple of the floor, which stands first."]
    for selection in TABLES:
        if measurements := selection.of(results):
            title = f"**{selection.op}** ({selection.setting}), {selection.passes}"
            texts.append(f"{title}\n\n{table_by_shape(measurements)}")
    # A CPU runs the torch path at small shapes, which is not what the goals are about.
    if "note" not in made_by:
        lines = [[g.text, f"{g.value:.2f}", "reached" if g.reached else "missed"] for g in goals(results)]
        texts.append(table(("goal", "found", ""), lines))
    peers = ", ".join(f"{name} {version}" for name, version in made_by["peers"].items()) or "none"
    texts.append(f"Other libraries: {peers}. Made by `{made_by['command']}` at {made_by['git']}.")
    return "\n\n".join(texts)


def goals(results: Results) -> list[Goal]:
    """The goals that were measured, at the first two shapes."""
    goals: list[Goal] = []
    for ours in OBJECTIVE.of(results, "ours")[:2]:
        size = ours.case.size
        if x := ours.times_floor:
            text = f"linear_objective at most {FLOOR_GOAL} x three GEMMs, {size}"
            goals.append(Goal(text, x, x <= FLOOR_GOAL))
        # TRL may be absent, or out of memory at this shape.
        for trl in OBJECTIVE.of(results, TRL, ours.case.shape):
            if trl.seconds and ours.seconds:
                text = f"linear_objective at least {TRL_GOAL} x faster than TRL, {size}"
                x = trl.seconds / ours.seconds
                goals.append(Goal(text, x, x >= TRL_GOAL))
            if ours.peak_bytes is not None and trl.peak_bytes:
                x = ours.peak_bytes / trl.peak_bytes
                goals.append(Goal(f"linear_objective peak memory at most TRL's, {size}", x, x <= 1))
    for ours in LOGPROBS_FORWARD.of(results, "ours")[:1]:
        x = 1 / (ours.times_floor or float("inf"))
        text = f"token_logprobs at least {COPY_GOAL} of a copy's rate, {ours.case.size}"
        goals.append(Goal(text, x, x >= COPY_GOAL))
    return goals


def publish(results: Results, paths: Sequence[Path], root: Path) -> None:
    """Writes docs/loss_head.svg, and between the markers of docs/loss_head.md."""
    groups = [selection.of(results) for selection in TABLES[:NUM_PICTURED]]
    (root / "docs" / "loss_head.svg").write_text(svg(groups, results.signature), encoding="utf-8")
    page = root / "docs" / "loss_head.md"
    text = page.read_text(encoding="utf-8")
    links = [f"[bench/results/{path.name}](../bench/results/{path.name})" for path in paths]
    source = f"All of it: {', '.join(links)}."
    page.write_text(between_markers(text, MARKERS, markdown(results), source), encoding="utf-8")


def table_by_shape(measurements: Sequence[Measurement]) -> str:
    """A line for each variant, a column for each shape and dtype; below, what was not measured and why."""
    places = list(dict.fromkeys(m.case.place for m in measurements))
    # The first measurement of a variant at a place counts, so the last is put in first.
    by_place = {(m.variant, m.case.place): m for m in reversed(measurements)}
    lines = []
    for name in dict.fromkeys(m.variant for m in measurements):
        of_variant = [by_place.get((name, place)) for place in places]
        timed = next((m for m in of_variant if m is not None and m.seconds is not None), None)
        if timed:
            peak = "" if timed.is_floor else f"{(timed.peak_bytes or 0) / 2**20:,.0f}"
            label = f"**{name}**" if name == "ours" else name
            lines.append([label, *map(_time, of_variant), peak, timed.error_text])
    columns = ["", *places, "peak extra, MiB (first column)", "error against float64 (first column)"]
    # Without any error the column says nothing: products have no truth.
    if not any(line[-1] for line in lines):
        columns, lines = columns[:-1], [line[:-1] for line in lines]
    reasons = {m.variant: m.reason for m in reversed(measurements) if m.reason}
    listed = [
        f"- {name}: {reason}" for name, reason in reasons.items() if not any(name in x[0] for x in lines)
    ]
    return "\n".join([table(columns, lines), *(["", "Not measured:", "", *listed] if listed else [])])


def _time(m: Measurement | None) -> str:
    if m is None or m.seconds is None:
        return "out of memory" if m is not None and "OutOfMemory" in (m.reason or "") else "-"
    times_floor = float("nan") if m.times_floor is None else m.times_floor
    return f"{1e3 * m.seconds:.2f} ({times_floor:.2f})"


def main() -> None:
    """Prints the tables; `--write` publishes them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="file")
    parser.add_argument("--write", action="store_true", help="write docs/loss_head.*")
    options = parser.parse_args()
    results = Results.read(options.files[0])
    for path in options.files[1:]:
        results.add(Results.read(path))
    print(markdown(results))
    if options.write:
        publish(results, options.files, ROOT)


if __name__ == "__main__":
    main()
