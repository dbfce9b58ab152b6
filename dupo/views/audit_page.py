"""audit.html: the verdict, its checks, and pictures of how the reward sees right and wrong answers.

`audit_record` reads the files; this file says what stands where, `templates/audit.html` how it looks.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dupo.config.config import Config, group_of
from dupo.config.layers import assemble, read_config
from dupo.config.values import show
from dupo.config.yaml_files import to_yaml
from dupo.storage.commands import command
from dupo.storage.names import AUDIT, AUDIT_PAGE, AUDIT_ROWS, CONFIG
from dupo.views.audit_record import (
    AuditedProblem,
    AuditRecord,
    Guidance,
    Order,
    read_audit,
    read_problem,
)
from dupo.views.charts import Chart, Series, evenly_spaced
from dupo.views.counts import counted
from dupo.views.finished import finished
from dupo.views.pages import write_html
from dupo.views.run_page import Metric
from dupo.views.words import WORDS, words_of

_PROBLEMS_SHOWN, _DUALS_SHOWN, _BINS = 6, 4, 20
_WORDS = (
    "reward",
    "dual",
    "hidden",
    "gold",
    "readable",
    "quality",
    "reward AUC",
    "agreement within problems",
)
# What training must be told as the audit was; all else has its own defaults there.
_SHARED_GROUPS = {"model", "task", "reward", "duals"}
_ONLY_HERE = {"eval_size"}  # an audit holds nothing out
_SHARED = {"num_generations", "max_completion_length", "temperature", "scale_rewards"}
AMONG_READABLE, AMONG_ALL = "readable answers", "all completions, refused ones as worthless"


class _Words(NamedTuple):
    """What the page calls gold, and the answers on both sides of one half of quality."""

    gold: str
    high: str
    low: str


_ONE_ANSWER = _Words("right", "right answers", "wrong answers")
# A translation is better or worse, and its gold is one good translation of many.
_GRADED = _Words("reference", "answers of quality 0.5 or more", "answers of quality below 0.5")


def write_page(
    target: Path,
    config: Config,
    summary: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    *,
    one_answer: bool,
) -> Path:
    """Writes the page of an audit and returns its path.

    Args:
        target: the file.
        config: the settings of the audit.
        summary: the content of audit.json.
        rows: the rows of audit.jsonl.
        one_answer: a problem has one right answer; if not, its answers are better or worse.
    """
    words = _ONE_ANSWER if one_answer else _GRADED
    audit, problems = read_audit(summary), [read_problem(row) for row in rows]
    reward, model = config.reward.shown, config.model.model_name_or_path
    charts = _charts(problems, words)
    trains = audit.verdict.startswith("train")
    return write_html(
        target,
        "audit.html",
        kind="audit: is this reward one to train on?",
        title=f"{config.task.task} · reward {reward} · {model}",
        subtitle=f"{counted(audit.problems, 'problem')}, {counted(audit.completions, 'completion')}",
        verdict=audit.verdict,
        # Green is for what right answers confirm. Training as far as can be told without them has no colour.
        style={"train": "right"}.get(audit.verdict, "" if trains else "wrong"),
        next_command=_next_command(config) if trains else None,
        metrics=list(_metrics(audit, words)),
        checks=audit.checks,
        with_gold=audit.with_gold,
        orders=[_order(AMONG_READABLE, audit.readable_order), _order(AMONG_ALL, audit.overall_order)],
        guidances=[
            _guidance(AMONG_READABLE, audit.guidance),
            _guidance(AMONG_ALL, audit.overall_guidance),
        ],
        charts=[chart for chart in charts if len(set(_xs(chart))) > 1],
        # A picture of one value is a sentence.
        sentences=[
            f"{chart.title}: all are {_xs(chart)[0]:g}." for chart in charts if len(set(_xs(chart))) == 1
        ],
        refusals=_shares(audit.refusals),
        dual_outcomes=_shares(audit.dual_outcomes),
        audit=audit,
        gold_word=words.gold,
        examples=_chosen(problems),
        answer_rows=_answer_rows,
        duals_shown=_DUALS_SHOWN,
        words=words_of([*_WORDS, "signal", "control"]),
        signature=audit.signature,
        settings=to_yaml(config),
    )


def write_audit(folder: Path) -> Path:
    """Writes audit.html of a finished audit anew, from its other files, and returns its path.

    Raises:
        UserError: the audit is not finished, or one of its files is damaged.
    """
    with finished(folder, "an audit", AUDIT, AUDIT_ROWS) as (summary, rows):
        config = read_config(folder / CONFIG, "audit")
        # Audits before this key had no page made from files alone.
        one_answer = summary.get("one_answer", True)
        return write_page(folder / AUDIT_PAGE, config, summary, rows, one_answer=one_answer)


def _next_command(config: Config) -> str:
    """The training that this audit speaks of, as a shell reads it."""
    default = assemble({"task": config.task.task}, "audit").flat()
    values = {
        name: value
        for name, value in config.flat().items()
        if value != default[name]
        and name not in _ONLY_HERE
        and (group_of(name) in _SHARED_GROUPS or name in _SHARED)
    }
    values = {"task": config.task.task, "reward": config.reward.reward} | values
    options = [word for name, value in values.items() for word in (f"--{name}", show(value))]
    return f"{command('train')} {shlex.join(options)}"


def _metrics(audit: AuditRecord, words: _Words) -> Iterator[Metric]:
    completions, order = counted(audit.completions, "completion"), audit.readable_order
    yield Metric(_written(audit.readable, "{:.0%}"), f"with an answer, of {completions}", WORDS["readable"])
    yield Metric(_written(audit.truncated, "{:.0%}"), f"cut at the limit, of {completions}")
    groups = f"of {counted(audit.problems, 'group')}, whose readable answers have different rewards"
    yield Metric(_written(audit.differing, "{:.0%}"), groups, WORDS["group"])
    if audit.with_gold:
        pairs = f"agreement within problems, {counted(order.agreement_pairs, 'pair')} of readable answers"
        yield Metric(_written(order.agreement, "{:.2f}"), pairs, WORDS["agreement within problems"])
        count = counted(audit.guidance.signal_problems, "problem")
        signal = f"of gold's signal, {count} with such pairs"
        yield Metric(_written(audit.guidance.signal, "{:.0%}"), signal, WORDS["signal"])
    if audit.duals_on_gold:
        source = "right answers" if words is _ONE_ANSWER else "references"
        name = f"of {counted(audit.duals_on_gold, 'dual')}, recovered from {source}"
        yield Metric(_written(audit.dual_on_gold, "{:.0%}"), name, WORDS["dual"])
        name = f"of {counted(audit.trials_on_wrong, 'trial')}, recovered from {words.low}"
        yield Metric(_written(audit.dual_on_wrong, "{:.0%}"), name, WORDS["dual"])


def _written(value: float | None, form: str) -> str:
    """A figure; "none" where there was nothing to measure."""
    return "none" if value is None else form.format(value)


def _order(among: str, order: Order) -> list[str]:
    """Readable answers stand first: each pair with a refused completion agrees by construction."""
    return [
        among,
        _written(order.agreement, "{:.2f}"),
        counted(order.agreement_pairs, "pair"),
        _written(order.reward_auc, "{:.3f}"),
        counted(order.reward_auc_pairs, "pair"),
    ]


def _guidance(among: str, guidance: Guidance) -> list[str]:
    """Readable answers stand first: the other row also has what comes of avoiding refused completions."""
    completions = counted(guidance.compared, "completion")
    return [
        among,
        f"{_written(guidance.accuracy, '{:.3f}')} of {completions}",
        f"{_written(guidance.reward_accuracy, '{:.2f}')} of {completions}",
        f"{_written(guidance.best_of_n, '{:.3f}')} of {counted(guidance.best_of_n_problems, 'problem')}",
        f"{_written(guidance.signal, '{:.0%}')} of {counted(guidance.signal_problems, 'problem')}",
    ]


def _shares(shares: Mapping[str, float]) -> list[list[str]]:
    return [[name, f"{share:.1%}"] for name, share in shares.items()]


# --- pictures ---


def _charts(problems: Sequence[AuditedProblem], words: _Words) -> list[Chart]:
    """Rewards of right and wrong answers, how the reward separates them, and how much groups differ."""
    # A refused completion is worthless and has no reward: it would make any reward look as if it knew.
    judged = np.array(
        [
            (reward, quality)
            for problem in problems
            for answer, reward, quality in zip(
                problem.answers,
                problem.rewards,
                problem.qualities or (),
                strict=problem.qualities is not None,
            )
            if answer is not None
        ]
    )
    if len(judged):
        # Qualities lie in [0, 1]; from one half on, an answer counts as right.
        is_right = judged[:, 1] >= 0.5
        charts = _separation_charts(judged[is_right, 0], judged[~is_right, 0], words)
    else:
        rewards = np.concatenate([problem.rewards for problem in problems])
        charts = [_distribution("Rewards of all completions", "reward", {"completions": rewards})]
    # Groups of equal rewards have no advantage: many at 0 show a reward that teaches little.
    deviations = [float(np.std(problem.rewards, ddof=1)) for problem in problems]
    title, label = "Spread within a problem", "standard deviation of its rewards"
    return [*charts, _distribution(title, label, {"problems": np.asarray(deviations)})]


def _separation_charts(right: NDArray[Any], wrong: NDArray[Any], words: _Words) -> list[Chart]:
    groups = {name: group for name, group in ((words.high, right), (words.low, wrong)) if len(group)}
    charts = [_distribution("Rewards of " + " and ".join(groups), "reward", groups)]
    # The curve needs answers of both kinds: an area over an empty class has no meaning.
    if len(right) and len(wrong):
        across, up = f"{words.low} taken, of {len(wrong):,}", f"{words.high} taken, of {len(right):,}"
        note = f"up: share of {up}; across: share of {across}, as the bound on the reward falls"
        title = "How the reward tells them apart (ROC)"
        charts.append(Chart(title, note, f"{words.low} taken", roc_curve(right, wrong), (0.0, 1.0)))
    return charts


def _distribution(title: str, x_label: str, groups: Mapping[str, NDArray[Any]]) -> Chart:
    """Share of the values in equal bins over all of them; of equal values one point."""
    values = np.concatenate([np.asarray(group, float) for group in groups.values()])
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high, _BINS + 1) if high > low else np.array([low])
    note = f"share of each kind, in {_BINS} steps of equal width"
    lines = [
        Series(f"{name}, {len(group):,}", edges.tolist(), _bins(group, edges))
        for name, group in groups.items()
    ]
    return Chart(title, note, x_label, lines, stepped=True)


def _bins(group: ArrayLike, edges: NDArray[Any]) -> list[float]:
    """Share of the values in each bin; the last bin is told at both of its edges."""
    if len(edges) == 1:
        return [1.0]
    counts, _ = np.histogram(group, edges)
    shares = (counts / counts.sum()).tolist()
    return [*shares, shares[-1]]


def _xs(chart: Chart) -> list[float]:
    return [x for line in chart.lines for x in line.xs]


def roc_curve(right: NDArray[Any], wrong: NDArray[Any]) -> list[Series]:
    """Returns the share of right answers at or above each reward over the share of wrong ones, and chance."""
    # From the highest threshold to the lowest, so that the curve runs from (0, 0) to (1, 1).
    levels = np.unique(np.concatenate([right, wrong]))[::-1]
    xs = [0.0, *(float((wrong >= level).mean()) for level in levels)]
    ys = [0.0, *(float((right >= level).mean()) for level in levels)]
    # Over the same xs: some of them stand twice, where the curve goes straight up.
    return [Series("this reward", xs, ys), Series("chance", xs, xs)]


# --- examples ---


def _chosen(problems: Sequence[AuditedProblem]) -> list[AuditedProblem]:
    """A few problems, from those where the reward is most wrong to those where it is most right."""

    def agreement(problem: AuditedProblem) -> float:
        # Without gold every problem agrees with itself, and the order of the data stays.
        pairs = zip(problem.rewards, problem.qualities or problem.rewards, strict=True)
        return -sum(abs(reward - quality) for reward, quality in pairs)

    # Both ends are shown: failures of the reward to learn from, and what the reward gets right.
    return evenly_spaced(sorted(problems, key=agreement), _PROBLEMS_SHOWN)


def _answer_rows(problem: AuditedProblem) -> list[list[str]]:
    """A row for each different answer, the most frequent first: answer, votes, reward, quality."""
    # A reader judges a vote by its counts: equal answers share a row.
    places: dict[str | None, list[int]] = {}
    for index, answer in enumerate(problem.answers):
        places.setdefault(answer, []).append(index)
    rows = []
    for answer, indices in sorted(places.items(), key=lambda item: -len(item[1])):
        # Equal answers have equal rewards and qualities.
        first = indices[0]
        quality = [] if problem.qualities is None else [f"{problem.qualities[first]:.2f}"]
        name = "none could be read" if answer is None else answer
        rows.append([name, str(len(indices)), f"{problem.rewards[first]:.2f}", *quality])
    return rows
