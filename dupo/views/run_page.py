"""One static page for a run: `python -m dupo.report RUN_FOLDER` writes report.html into the folder.

The page needs no network and no script. `run_record` reads the files of the run; this file lays them out.
"""

from collections.abc import Sequence
from pathlib import Path

from dupo.storage.files import write_atomic
from dupo.storage.names import REPORT
from dupo.views.counts import counted
from dupo.views.escaping import safe
from dupo.views.exchange import DualExchangeRow, ExchangeRow, judgement, plain_sum
from dupo.views.html import (
    Block,
    Chart,
    ChartGrid,
    Folded,
    Heading,
    Metric,
    MetricRow,
    Preformatted,
    Section,
    Table,
    evenly_spaced,
    page,
    text_block,
)
from dupo.views.marks import Series
from dupo.views.run_record import EVAL, RunRecord, StepRow, read_run
from dupo.views.scales import short_number

_REWARD_CHART = ("Reward and reconstruction", "mean", ("reward", "dual/reconstruct_rate"))
# Title, label of the y axis, metrics; a chart without any of its metrics is left out.
_OTHER_CHARTS = (
    ("Loss", "loss", ("loss",)),
    ("Gradient norm", "before clipping", ("grad_norm",)),
    ("Completion length", "tokens", ("completions/mean_length",)),
    (
        "Groups and completions that teach nothing",
        "share",
        ("frac_reward_zero_std", "completions/clipped_ratio", "dual/none_rate"),
    ),
    ("Entropy", "nats per token", ("entropy",)),
    ("KL to the starting model", "nats per token", ("kl",)),
)
_DUALS_SHOWN, _EXCHANGES_OF_A_KIND = 4, 3


def write_report(folder: Path) -> Path:
    """Writes report.html of a run, from whichever of its files are there, and returns its path.

    Raises:
        UserError: the folder holds no run.
    """
    run = read_run(folder)
    blocks: list[Block] = [Heading(run.title, _subtitle(run)), MetricRow(_metrics(run))]
    # A run that was stopped in teaching has settings and a signature, and no curves.
    if run.steps or run.finished:
        blocks.append(Section("Curves", _curves(run)))
    blocks += [Section(f"{title}: sampled exchanges", [table]) for title, table in _exchange_tables(run)]
    blocks += [
        Section("Signature", [Preformatted(run.signature)]),
        Section("Settings", [Preformatted(run.settings)]),
    ]
    target = folder / REPORT
    write_atomic(target, page(run.title, blocks).encode())
    return target


# --- the top ---


def _subtitle(run: RunRecord) -> str:
    done = short_number(run.steps[-1].step if run.steps else 0)
    state = (
        f"{done} steps"
        if run.finished
        else f"unfinished: {done} of {run.planned_steps or '?'} steps are recorded"
    )
    return " · ".join([run.folder, *([f"model {run.model}"] if run.model else []), state])


def _metrics(run: RunRecord) -> list[Metric]:
    # What a reader asks first comes first: did held-out problems get better?
    metrics = []
    if held_out := run.held_out:
        change = (
            f"{shown_value(held_out.name, held_out.before)} → {shown_value(held_out.name, held_out.after)}"
        )
        problems = "" if held_out.problems is None else f", {held_out.problems} problems"
        name = f"held-out {held_out.name}, before → after{problems}"
        metrics += [
            Metric(change, name, main=True),
            Metric(shown_value(held_out.name, held_out.peak), "peak"),
        ]
    # Each pair with a sample that has no answer agrees with any reward: the figure without them comes first.
    for auc, pairs, among in (
        (run.readable_reward_auc, run.readable_auc_pairs, "readable answers"),
        (run.reward_auc, run.auc_pairs, "all samples"),
    ):
        if auc is not None:
            of = "" if pairs is None else f"{counted(pairs, 'pair')} of "
            metrics.append(Metric(f"{auc:.3f}", f"reward AUC before training, {of}{among}"))
    if run.steps:
        metrics.append(Metric(shown_value("", run.steps[-1].metrics.get("reward")), "reward, last step"))
    if run.seconds is not None:
        metrics.append(Metric(f"{run.seconds:.0f} s", "wall clock"))
    return metrics


def shown_value(name: str, value: float | None) -> str:
    """Rates and accuracies as percentages, everything else as it is."""
    if value is None:
        return "–"
    if name.endswith(("accuracy", "rate")) and 0 <= value <= 1:
        return f"{100 * value:.1f}%"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


# --- curves ---


def _curves(run: RunRecord) -> list[Block]:
    """The evaluation leads, the reward stands beside it; metrics without a chart of their own are folded."""
    reward = _metrics_chart(run.steps, *_REWARD_CHART)
    others = [_metrics_chart(run.steps, *chart) for chart in _OTHER_CHARTS]
    # What a reader asks first: do held-out problems get better?
    charts = [*_evaluation_charts(run), reward, *others]
    blocks: list[Block] = [ChartGrid([chart for chart in charts if chart is not None])]
    # A metric that has a place in a chart is never folded, nor are evaluations.
    taken = {name for _, _, names in (_REWARD_CHART, *_OTHER_CHARTS) for name in names}
    names = dict.fromkeys(name for row in run.steps for name in row.metrics)
    # Methods and user rewards log metrics that this file does not know: none is left out.
    rest = [name for name in names if name not in taken and not name.startswith(EVAL)]
    if rest:
        more = [_step_chart(name, "", [_series(run.steps, name)]) for name in rest]
        blocks.append(Folded(f"{len(more)} other metrics", [ChartGrid(more)]))
    return blocks


def _metrics_chart(steps: Sequence[StepRow], title: str, y_label: str, names: Sequence[str]) -> Chart | None:
    curves = {name: [row.metrics.get(name) for row in steps] for name in names}
    # A reward that is the reconstruction rate itself is drawn once.
    recorded = [
        name
        for place, (name, curve) in enumerate(curves.items())
        if any(value is not None for value in curve) and curve not in list(curves.values())[:place]
    ]
    return _step_chart(title, y_label, [_series(steps, name) for name in recorded]) if recorded else None


def _evaluation_charts(run: RunRecord) -> list[Chart]:
    # A share in [0, 1] and a BLEU of 30 on one axis would hide the share.
    shares = [name for name, values in run.evaluations.items() if max(values.values()) <= 1]
    scores = [name for name in run.evaluations if name not in shares]
    charts = []
    for names in (shares, scores):
        curves = [(name, run.evaluations[name]) for name in names]
        lines = [Series(name, list(curve), list(curve.values())) for name, curve in curves]
        # The ceiling and the floor, so that a gain does not hang in the air.
        lines += [
            Series(f"{r.reward} as reward, mean of {r.seeds} seeds", r.steps, r.accuracies, dashed=True)
            for r in (run.references if "accuracy" in names else ())
        ]
        # One line has no legend: the axis says what the line is.
        label = names[0] if len(names) == 1 else "score"
        charts += [_step_chart("Held-out evaluation", label, lines)] if lines else []
    return charts


def _series(steps: Sequence[StepRow], name: str) -> Series:
    # The reward is often the reconstruction rate itself: dashes let the line below show through.
    dashed = name == "dual/reconstruct_rate"
    return Series(name, [row.step for row in steps], [row.metrics.get(name) for row in steps], dashed=dashed)


def _step_chart(title: str, y_label: str, lines: Sequence[Series]) -> Chart:
    return Chart(title, "optimizer step", y_label, lines)


# --- exchanges ---


def _exchange_tables(run: RunRecord) -> list[tuple[str, Table]]:
    """Title and table of the first and of the last sampled step."""
    header = ("asked", "answered", "judged", "put back through the dual")
    styles = ("ask", "said", "judged", "duals")
    # Two steps tell what training changed; all steps would be a page of megabytes.
    steps = sorted({exchange.step for exchange in run.exchanges if exchange.step is not None})
    tables = []
    for step in dict.fromkeys((steps[0], steps[-1])) if steps else ():
        exchanges = _chosen([exchange for exchange in run.exchanges if exchange.step == step])
        table = Table(header, [_cells(exchange) for exchange in exchanges], styles)
        # Right answers stand beside held-out problems, which training never reads.
        held_out = ", held-out problems" if all(exchange.held_out for exchange in exchanges) else ""
        tables.append((f"Step {short_number(step)}{held_out}", table))
    return tables


def _chosen(exchanges: Sequence[ExchangeRow]) -> list[ExchangeRow]:
    """A few right, a few wrong and a few unknown ones, each from the least to the best rewarded."""
    # By kind, because the best rewarded of all would often be right, and hide what the reward mistakes.
    chosen = []
    for correct in (True, False, None):
        kind = [exchange for exchange in exchanges if exchange.correct is correct]
        ordered = sorted(kind, key=lambda exchange: exchange.reward or 0.0)
        chosen += evenly_spaced(ordered, _EXCHANGES_OF_A_KIND)
    return chosen


def _cells(exchange: ExchangeRow) -> list[str]:
    # Some tasks name a problem by its text, which then stands there already.
    unnamed = exchange.problem in (None, exchange.prompt)
    name = "" if unnamed else f"<small>{safe(exchange.problem)}</small>"
    answer = (
        "<span class='empty'>none could be read</span>"
        if exchange.answer is None
        else f"<b>{safe(exchange.answer)}</b>"
    )
    gold = f"<br><small>right answer</small> <b>{safe(exchange.gold)}</b>" if exchange.gold else ""
    plain = f"<br><small>in plain</small> {safe(plain_sum(exchange))}" if exchange.plain else ""
    return [
        f"{name}{text_block(exchange.prompt)}",
        f"{text_block(exchange.completion)}<small>answer</small> {answer}{gold}{plain}",
        _judgement(exchange),
        _duals(exchange.duals),
    ]


def _judgement(exchange: ExchangeRow) -> str:
    style = {True: "right", False: "wrong", None: ""}[exchange.correct]
    advantage = (
        ""
        if exchange.advantage is None
        else f"<br><small>advantage {shown_value('', exchange.advantage)}</small>"
    )
    word = f'<span class="{style}">{judgement(exchange)}</span>'
    return f"{word}<br>reward {shown_value('', exchange.reward)}{advantage}"


def _duals(duals: Sequence[DualExchangeRow]) -> str:
    first = "".join(_dual(dual) for dual in duals[:_DUALS_SHOWN])
    remaining = len(duals) - _DUALS_SHOWN
    more = f"<small>and {remaining} more</small>" if remaining > 0 else ""
    return first + more or '<span class="empty">no dual was asked</span>'


def _dual(dual: DualExchangeRow) -> str:
    # Distance 0 means that the hidden part came back exactly.
    style = "" if dual.distance is None else "right" if dual.distance == 0 else "wrong"
    plain = f"<br><small>in plain</small> {safe(dual.plain)}" if dual.plain else ""
    return (
        f'<div class="dual">{text_block(dual.prompt)}<small>came back</small>'
        f"{text_block(dual.completion)}<small>was hidden</small> <b>{safe(dual.hidden)}</b> · "
        f'<span class="{style}">distance {shown_value("", dual.distance)}</span>{plain}</div>'
    )
