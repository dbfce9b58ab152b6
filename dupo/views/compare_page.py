"""One page for several runs: `python -m dupo.report RUN RUN ...` lays their curves over one another.

`run_record` reads the files of each run; runs may be unfinished, and of other tasks and methods.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dupo.storage.files import read_mapping, write_atomic
from dupo.storage.names import CONFIG
from dupo.views.escaping import safe
from dupo.views.html import Block, Chart, ChartGrid, Heading, Section, Table, page
from dupo.views.marks import PALETTE, Series
from dupo.views.run_page import shown_value
from dupo.views.run_record import RunRecord, read_run
from dupo.views.scales import short_number

# Metrics of training that a reader compares; a chart needs a run that has the metric.
_COMPARED = {
    "reward": "Reward",
    "completions/mean_length": "Completion length, tokens",
    "entropy": "Entropy, nats per token",
    "grad_norm": "Gradient norm, before clipping",
    "loss": "Loss",
}
_OF_A_PLACE = {"output_dir", "resume_from_checkpoint", "overwrite_output_dir"}


def write_comparison(folders: Sequence[Path], target: Path) -> Path:
    """Writes the page of several runs to `target`, and returns `target`.

    Raises:
        UserError: a folder holds no run.
    """
    names = _names(folders)
    runs = dict(zip(names, map(read_run, folders), strict=True))
    settings = {name: read_mapping(folder / CONFIG) for name, folder in zip(names, folders, strict=True)}
    title = f"{len(runs)} runs compared"
    blocks: list[Block] = [
        Heading(title, "each curve is one run"),
        Table(
            ["run", "held out", "before → after", "change", "peak", "problems", "steps", "seconds"],
            [_row(name, run) for name, run in runs.items()],
        ),
        Section("Curves", [ChartGrid(_charts(runs))]),
        Section("What differs in the settings", [_differences(settings)]),
    ]
    write_atomic(target, page(title, blocks).encode())
    return target


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders by their last part; by the whole path where two parts are equal."""
    last = [folder.resolve().name for folder in folders]
    return last if len(set(last)) == len(last) else [str(folder) for folder in folders]


def _row(name: str, run: RunRecord) -> list[str]:
    steps = short_number(run.steps[-1].step if run.steps else 0)
    seconds = "–" if run.seconds is None else f"{run.seconds:.0f}"
    # An unfinished run must not pass for a short one.
    steps += "" if run.finished else f" of {run.planned_steps or '?'}, unfinished"
    held_out = run.held_out
    if held_out is None:
        return [safe(name), "nothing", "–", "–", "–", "–", steps, seconds]
    before, after = held_out.before, held_out.after
    change = "–" if before is None or after is None else f"{after - before:+.3f}"
    count = "–" if held_out.problems is None else f"{held_out.problems:,.0f}"
    first, last, peak = (shown_value(held_out.name, value) for value in (before, after, held_out.peak))
    return [safe(name), safe(held_out.name), f"{first} → {last}", change, peak, count, steps, seconds]


def _charts(runs: Mapping[str, RunRecord]) -> list[Chart]:
    evaluated = dict.fromkeys(metric for run in runs.values() for metric in run.evaluations)
    charts = [_chart(f"Held out: {metric}", metric, runs, _evaluated) for metric in evaluated]
    charts += [_chart(title, metric, runs, _trained) for metric, title in _COMPARED.items()]
    return [chart for chart in charts if chart.lines]


def _chart(
    title: str,
    metric: str,
    runs: Mapping[str, RunRecord],
    curve_of: Callable[[RunRecord, str], Sequence[tuple[float, float]]],
) -> Chart:
    """The chart of a metric: a line for each run that has the metric."""
    curves = {name: curve_of(run, metric) for name, run in runs.items()}
    lines = [_series(number, name, curve) for number, (name, curve) in enumerate(curves.items()) if curve]
    return Chart(title, "optimizer step", metric, lines)


def _evaluated(run: RunRecord, metric: str) -> list[tuple[float, float]]:
    return list(run.evaluations.get(metric, {}).items())


def _trained(run: RunRecord, metric: str) -> list[tuple[float, float]]:
    return [(row.step, row.metrics[metric]) for row in run.steps if metric in row.metrics]


def _series(number: int, name: str, curve: Sequence[tuple[float, float]]) -> Series:
    """The line of a run, of one colour in all charts. Every second is dashed: equal lines both show."""
    xs, ys = [step for step, _ in curve], [value for _, value in curve]
    return Series(name, xs, ys, colour=PALETTE[number % len(PALETTE)], dashed=number % 2 == 1)


def _differences(settings: Mapping[str, Mapping[str, object]]) -> Table:
    """The options whose values differ, a column a run."""
    options = dict.fromkeys(option for values in settings.values() for option in values)
    rows = []
    for option in options:
        values = [str(values.get(option, "–")) for values in settings.values()]
        if option not in _OF_A_PLACE and len(set(values)) > 1:
            rows.append([f"<b>{safe(option)}</b>", *map(safe, values)])
    return Table(["option", *settings], rows or [["none", *[""] * len(settings)]])
