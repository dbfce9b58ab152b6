"""One page for several runs: `python -m dupo.report RUN RUN ...` lays their curves over one another.

`run_record` reads the files of each run; runs may be unfinished, and of other tasks and methods.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dupo.errors import UserError
from dupo.storage.files import read_mapping
from dupo.storage.names import CONFIG
from dupo.views.charts import STEPS, Chart, Series
from dupo.views.counts import counted
from dupo.views.pages import write_html
from dupo.views.run_page import shown_value
from dupo.views.run_record import RunRecord, read_run
from dupo.views.scales import short_number
from dupo.views.words import metric_words, words_of

# Metrics of training that a reader compares; a chart needs a run that has the metric.
_COMPARED = {
    "reward": "Reward",
    "completions/mean_length": "Completion length",
    "entropy": "Entropy",
    "grad_norm": "Gradient norm",
    "loss": "Loss",
}
_OF_A_PLACE = {"output_dir", "resume_from_checkpoint", "overwrite_output_dir"}
_HEADER = ("run", "held out", "before → after", "change", "peak", "problems", "steps", "seconds")


def write_comparison(folders: Sequence[Path], target: Path) -> Path:
    """Writes the page of several runs to `target`, and returns `target`.

    Raises:
        UserError: a folder holds no run, or is named twice.
    """
    twice = [folder for number, folder in enumerate(folders) if _is_in(folder, folders[:number])]
    if twice:
        raise UserError(f"expected different runs to compare, got {twice[0]} twice")
    names = _names(folders)
    runs = dict(zip(names, map(read_run, folders), strict=True))
    settings = {name: read_mapping(folder / CONFIG) for name, folder in zip(names, folders, strict=True)}
    charts = _charts(runs)
    return write_html(
        target,
        "comparison.html",
        kind="comparison",
        title=f"{len(runs)} runs compared",
        subtitle="each line is one run, of one colour and one kind of dashes in all charts",
        header=_HEADER,
        rows=[_row(name, run) for name, run in runs.items()],
        remarks=_remarks(settings),
        charts=[chart for chart in charts if chart.constant is None],
        unchanged=[chart for chart in charts if chart.constant is not None],
        options=["option", *settings],
        differences=_differences(settings),
        words=words_of(["held out", "accuracy", "reward"]),
    )


def _is_in(folder: Path, others: Sequence[Path]) -> bool:
    return folder.resolve() in [other.resolve() for other in others]


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
        return [name, "nothing", "–", "–", "–", "–", steps, seconds]
    before, after = held_out.before, held_out.after
    change = "–" if before is None or after is None else _change(held_out.name, before, after)
    count = "–" if held_out.problems is None else f"{held_out.problems:,.0f}"
    first, last, peak = (shown_value(held_out.name, value) for value in (before, after, held_out.peak))
    return [name, held_out.name, f"{first} → {last}", change, peak, count, steps, seconds]


def _change(name: str, before: float, after: float) -> str:
    """The change of a held-out metric: points where the metric is shown as a percentage."""
    is_share = all(shown_value(name, value).endswith("%") for value in (before, after))
    return f"{100 * (after - before):+.1f} points" if is_share else f"{after - before:+.3f}"


def _remarks(settings: Mapping[str, Mapping[str, object]]) -> list[str]:
    """What a reader of the table and the curves must know; one seed a run says little."""
    remarks = []
    # Seeds do not tell runs apart here: what is left are the runs that repeat one another.
    free = _OF_A_PLACE | {"seed", "run_name"}
    alike = Counter(
        tuple(sorted((name, str(value)) for name, value in values.items() if name not in free))
        for values in settings.values()
    )
    if len(alike) > 1 and 1 in alike.values():
        remarks.append(
            "Some settings have one run only. A run is one seed, and seeds differ by points: "
            "repeat runs with --seed before you call a difference a gain."
        )
    rewards = {str(values.get("reward", "–")) for values in settings.values()}
    if len(rewards) > 1:
        remarks.append(
            "The rewards of these runs measure different things, so the heights of their curves of rewards "
            "cannot be compared. Held-out curves can."
        )
    return remarks


def _charts(runs: Mapping[str, RunRecord]) -> list[Chart]:
    evaluated = dict.fromkeys(metric for run in runs.values() for metric in run.evaluations)
    charts = [
        _chart(f"Held out: {metric}", _problems(runs), metric, runs, _evaluated) for metric in evaluated
    ]
    charts += [
        _chart(title, metric_words(metric).meaning, metric, runs, _trained)
        for metric, title in _COMPARED.items()
    ]
    return [chart for chart in charts if not chart.is_empty]


def _problems(runs: Mapping[str, RunRecord]) -> str:
    """How many problems the evaluations asked; "" where no run says so."""
    counts = {run.held_out.problems for run in runs.values() if run.held_out and run.held_out.problems}
    if len(counts) > 1:
        return f"on {min(counts):,.0f} to {max(counts):,.0f} problems that training never sees"
    return "".join(f"on {counted(int(count), 'problem')} that training never sees" for count in counts)


def _chart(
    title: str,
    note: str,
    metric: str,
    runs: Mapping[str, RunRecord],
    curve_of: Callable[[RunRecord, str], Sequence[tuple[float, float]]],
) -> Chart:
    """The chart of a metric: a line for each run that has the metric."""
    lines = []
    for number, (name, run) in enumerate(runs.items()):
        if curve := curve_of(run, metric):
            xs, ys = [step for step, _ in curve], [value for _, value in curve]
            lines.append(Series(name, xs, ys, look=number))
    return Chart(title, note, STEPS, lines, least=metric_words(metric).least)


def _evaluated(run: RunRecord, metric: str) -> list[tuple[float, float]]:
    return list(run.evaluations.get(metric, {}).items())


def _trained(run: RunRecord, metric: str) -> list[tuple[float, float]]:
    return [(row.step, row.metrics[metric]) for row in run.steps if metric in row.metrics]


def _differences(settings: Mapping[str, Mapping[str, object]]) -> list[list[str]]:
    """The options whose values differ, a column a run."""
    options = dict.fromkeys(option for values in settings.values() for option in values)
    rows = []
    for option in options:
        values = [str(values.get(option, "–")) for values in settings.values()]
        if option not in _OF_A_PLACE and len(set(values)) > 1:
            rows.append([option, *values])
    return rows
