"""One page for a run: `python -m dupo.report RUN_FOLDER` writes report.html into the folder.

`run_record` reads the files of the run; this file says what stands where, `templates/run.html` how it looks.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dupo.storage.names import REPORT
from dupo.views.charts import STEPS, Chart, Series, evenly_spaced
from dupo.views.counts import counted
from dupo.views.exchange import ExchangeRow, judgement, plain_sum
from dupo.views.pages import write_html
from dupo.views.references import OF_ONE_SEED
from dupo.views.run_record import EVAL, HeldOut, RunRecord, StepRow, read_run
from dupo.views.scales import short_number
from dupo.views.words import METRICS, WORDS, metric_words, words_of

# Title, note, metrics; a chart without any of its metrics is left out.
_CHARTS = (
    ("Reward and reconstruction", "mean over {completions}", ("reward", "dual/reconstruct_rate")),
    (
        "Groups and completions that teach nothing",
        "shares of the groups, of {completions}, and of the duals asked",
        ("frac_reward_zero_std", "completions/clipped_ratio", "dual/none_rate"),
    ),
    (
        "Rewards of compared answers",
        "beta x log-ratio to the reference, mean over pairs; both may fall while the margin grows",
        ("rewards/chosen", "rewards/rejected"),
    ),
    ("Pairs in order", METRICS["rewards/accuracies"].meaning, ("rewards/accuracies",)),
    ("Completion length", "tokens, mean over {completions}", ("completions/mean_length",)),
    ("Entropy", METRICS["entropy"].meaning, ("entropy",)),
    ("KL to the starting model", METRICS["kl"].meaning, ("kl",)),
    ("Gradient norm", METRICS["grad_norm"].meaning, ("grad_norm",)),
    (
        "Loss",
        "what the optimizer lowers; with advantages around 0 it stays near 0, and tells little",
        ("loss",),
    ),
)
_DUALS_SHOWN, _EXCHANGES_OF_A_KIND = 4, 3
_WORDS = ("held out", "hidden", "dual", "distance", "reward", "advantage", "group", "gold", "random")


class Metric(NamedTuple):
    """A large number with its name and its meaning; the main metric of a page is larger still."""

    value: str
    name: str
    meaning: str = ""
    main: bool = False


def write_report(folder: Path) -> Path:
    """Writes report.html of a run, from whichever of its files are there, and returns its path.

    Raises:
        UserError: the folder holds no run.
    """
    run = read_run(folder)
    charts, more = _curves(run)
    return write_html(
        folder / REPORT,
        "run.html",
        kind="training run",
        title=run.title,
        subtitle=_subtitle(run),
        lead=list(_lead(run)),
        metrics=list(_metrics(run)),
        # A chart of equal values is a sentence.
        charts=[chart for chart in charts if chart.constant is None],
        unchanged=[chart for chart in charts if chart.constant is not None],
        more=[chart for chart in more if chart.constant is None],
        more_unchanged=[chart for chart in more if chart.constant is not None],
        exchanges=_exchanges(run),
        judgement=judgement,
        plain_sum=plain_sum,
        shown_value=shown_value,
        duals_shown=_DUALS_SHOWN,
        words=words_of([*_WORDS, *(["reward AUC", "readable"] if run.reward_auc is not None else [])]),
        signature=run.signature,
        settings=run.settings,
    )


# --- the top ---


def _subtitle(run: RunRecord) -> str:
    done = short_number(run.steps[-1].step if run.steps else 0)
    state = (
        f"{done} steps"
        if run.finished
        else f"unfinished: {done} of {run.planned_steps or '?'} steps are recorded"
    )
    seconds = [] if run.seconds is None else [f"{run.seconds:.0f} s"]
    return " · ".join([run.folder, *([f"model {run.model}"] if run.model else []), state, *seconds])


def _lead(run: RunRecord) -> Iterator[str]:
    """What happened, in words, and what other rewards give in the same loop."""
    held_out = run.held_out
    if held_out is None or held_out.before is None or held_out.after is None:
        return
    before, after = (shown_value(held_out.name, value) for value in (held_out.before, held_out.after))
    went = "rose" if held_out.after > held_out.before else "fell"
    moved = f"stayed at {before}" if before == after else f"{went} from {before} to {after}"
    yield f"Held-out {held_out.name} {moved}, {_asked(held_out)}."
    others = [row for row in run.references if held_out.name == "accuracy"]
    if others:
        ends = [
            f"{shown_value('accuracy', row.accuracies[-1])} with {row.reward} as reward (mean of "
            f"{counted(row.seeds, 'seed')})"
            for row in others
        ]
        yield f"The same loop at the same learning rate ends at {' and at '.join(ends)}. {OF_ONE_SEED}"


def _asked(held_out: HeldOut) -> str:
    count = "problems" if held_out.problems is None else counted(int(held_out.problems), "problem")
    return f"on {count} that training never sees"


def _metrics(run: RunRecord) -> Iterator[Metric]:
    # What a reader asks first comes first: did held-out problems get better?
    if held_out := run.held_out:
        before, after, peak = (
            shown_value(held_out.name, value) for value in (held_out.before, held_out.after, held_out.peak)
        )
        problems = "" if held_out.problems is None else f", {counted(int(held_out.problems), 'problem')}"
        name = f"held-out {held_out.name}, before → after{problems}"
        yield Metric(f"{before} → {after}", name, WORDS["held out"], main=True)
        yield Metric(peak, f"best evaluation, held-out {held_out.name}", WORDS["held out"])
    # Each pair with a sample that has no answer agrees with any reward: the figure without them is read.
    auc, pairs, among = run.readable_reward_auc, run.readable_auc_pairs, "readable answers"
    if auc is None:  # of older runs, or where too few answers can be read
        auc, pairs, among = run.reward_auc, run.auc_pairs, "all samples"
    if auc is not None:
        of = "" if pairs is None else f"{counted(pairs, 'pair')} of "
        yield Metric(f"{auc:.3f}", f"reward AUC before training, {of}{among}", WORDS["reward AUC"])
    if run.steps:
        reward = run.steps[-1].metrics.get("reward")
        yield Metric(shown_value("", reward), f"reward, last step, {_completions(run)}", WORDS["reward"])


def _completions(run: RunRecord) -> str:
    return "its completions" if run.completions is None else counted(run.completions, "completion")


def shown_value(name: str, value: float | None) -> str:
    """Rates and accuracies as percentages, everything else as it is."""
    if value is None:
        return "–"
    if name.endswith(("accuracy", "rate")) and 0 <= value <= 1:
        return f"{100 * value:.1f}%"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


# --- curves ---


def _curves(run: RunRecord) -> tuple[list[Chart], list[Chart]]:
    """The charts, evaluations first, and those of metrics that have no chart of their own."""
    charts = _evaluation_charts(run)
    completions = f"{_completions(run)} of a rollout"
    charts += [
        _metrics_chart(run.steps, title, note.format(completions=completions), names)
        for title, note, names in _CHARTS
    ]
    # A metric that has a place in a chart is never folded, nor are evaluations.
    taken = {name for _, _, names in _CHARTS for name in names}
    names = dict.fromkeys(name for row in run.steps for name in row.metrics)
    # Methods and user rewards log metrics that this file does not know: none is left out.
    rest = [name for name in names if name not in taken and not name.startswith(EVAL)]
    more = [_metrics_chart(run.steps, name, metric_words(name).meaning, (name,)) for name in rest]
    return [chart for chart in charts if not chart.is_empty], [chart for chart in more if not chart.is_empty]


def _metrics_chart(steps: Sequence[StepRow], title: str, note: str, names: Sequence[str]) -> Chart:
    curves = {name: [row.metrics.get(name) for row in steps] for name in names}
    # A reward that is the reconstruction rate itself is drawn once.
    recorded = [
        name
        for place, (name, curve) in enumerate(curves.items())
        if any(value is not None for value in curve) and curve not in list(curves.values())[:place]
    ]
    places = [row.step for row in steps]
    lines = [Series(metric_words(name).name, places, curves[name]) for name in recorded]
    return Chart(
        title, note, STEPS, lines, least=max((metric_words(name).least for name in recorded), default=0)
    )


def _evaluation_charts(run: RunRecord) -> list[Chart]:
    # A share in [0, 1] and a BLEU of 30 on one axis would hide the share.
    shares = [name for name, values in run.evaluations.items() if max(values.values()) <= 1]
    scores = [name for name in run.evaluations if name not in shares]
    note = "" if run.held_out is None else _asked(run.held_out)
    charts = []
    for names in (shares, scores):
        curves = [(name, run.evaluations[name]) for name in names]
        lines = [Series(name, list(curve), list(curve.values())) for name, curve in curves]
        # The ceiling and the floor, so that a gain does not hang in the air.
        lines += [
            Series(f"{r.reward} as reward, mean of {counted(r.seeds, 'seed')}", r.steps, r.accuracies)
            for r in (run.references if "accuracy" in names else ())
        ]
        charts += [Chart("Held-out evaluation", note, STEPS, lines)] if lines else []
    return charts


# --- exchanges ---


def _exchanges(run: RunRecord) -> list[tuple[str, list[ExchangeRow]]]:
    """Title and exchanges of the first and of the last sampled step."""
    # Two steps tell what training changed; all steps would be a page of megabytes.
    steps = sorted({exchange.step for exchange in run.exchanges if exchange.step is not None})
    sections = []
    for step in dict.fromkeys((steps[0], steps[-1])) if steps else ():
        exchanges = _chosen([exchange for exchange in run.exchanges if exchange.step == step])
        # Right answers stand beside held-out problems, which training never reads.
        held_out = ", held-out problems" if all(exchange.held_out for exchange in exchanges) else ""
        sections.append((f"Step {short_number(step)}{held_out}", exchanges))
    return sections


def _chosen(exchanges: Sequence[ExchangeRow]) -> list[ExchangeRow]:
    """A few right, a few wrong and a few unknown ones, each from the least to the best rewarded."""
    # By kind, because the best rewarded of all would often be right, and hide what the reward mistakes.
    chosen = []
    for correct in (True, False, None):
        kind = [exchange for exchange in exchanges if exchange.correct is correct]
        ordered = sorted(kind, key=lambda exchange: exchange.reward or 0.0)
        chosen += evenly_spaced(ordered, _EXCHANGES_OF_A_KIND)
    return chosen
