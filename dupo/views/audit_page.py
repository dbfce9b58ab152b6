"""audit.html: the verdict, its checks, and pictures of how the reward sees right and wrong answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dupo.config.config import Config
from dupo.config.yaml_files import to_yaml
from dupo.storage.files import write_atomic
from dupo.views.audit_record import (
    AuditedDual,
    AuditedProblem,
    AuditRecord,
    Check,
    Guidance,
    Order,
    read_audit,
    read_problem,
)
from dupo.views.counts import counted
from dupo.views.escaping import safe
from dupo.views.html import (
    Block,
    Chart,
    ChartGrid,
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

_PROBLEMS_SHOWN, _DUALS_SHOWN = 6, 4
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
    reward, model = config.reward.reward, config.model.model_name_or_path
    title = f"audit · {config.task.task} · reward {reward} · {model}"
    # Green is for what right answers confirm. Training as far as can be told without them has no colour.
    style = {"train": "right"}.get(audit.verdict, "" if audit.verdict.startswith("train") else "wrong")
    header = ["check", "measured", "of", "needed", "", "if not"]
    blocks: list[Block] = [
        Heading(title, f"Verdict: {audit.verdict}", style),
        MetricRow(_metrics(audit, words)),
        Section("What training needs", [Table(header, [_check(check) for check in audit.checks])]),
    ]
    if audit.with_gold:
        blocks.append(Section("Do better answers have higher rewards?", [_order_table(audit)]))
        blocks.append(Section("What does following the rewards give?", [_guidance_table(audit)]))
    blocks.append(Section("Pictures, of readable answers", [ChartGrid(_charts(problems, words))]))
    if audit.refusals:
        table = _share_table("reason", audit.refusals, counted(audit.completions, "completion"))
        blocks.append(Section("Why completions had no answer", [table]))
    if audit.dual_outcomes:
        table = _share_table("outcome", audit.dual_outcomes, counted(audit.duals, "dual"))
        blocks.append(Section("How the duals fared", [table]))
    examples = [_example(problem, words) for problem in _chosen(problems)]
    blocks += [
        Section(
            "Problems, from the least to the most agreeing",
            [Table(["asked", "answers: votes, reward, quality", "duals"], examples)],
        ),
        Section("Signature", [Preformatted(audit.signature)]),
        Section("Settings", [Preformatted(to_yaml(config))]),
    ]
    write_atomic(target, page(title, blocks).encode())
    return target


def _metrics(audit: AuditRecord, words: _Words) -> list[Metric]:
    completions, order = counted(audit.completions, "completion"), audit.readable_order
    values: list[tuple[float | None, str, str]] = [
        (audit.truncated, f"cut at the limit, of {completions}", "{:.0%}"),
        (audit.readable, f"with an answer, of {completions}", "{:.0%}"),
        (
            audit.differing,
            f"of {counted(audit.problems, 'group')}, whose readable answers have different rewards",
            "{:.0%}",
        ),
    ]
    if audit.with_gold:
        pairs = f"{counted(order.agreement_pairs, 'pair')} of readable answers"
        values.append((order.agreement, f"agreement within problems, {pairs}", "{:.2f}"))
        problems = f"{counted(audit.guidance.signal_problems, 'problem')} with such pairs"
        values.append((audit.guidance.signal, f"of gold's signal, {problems}", "{:.0%}"))
    if audit.duals_on_gold:
        source = "right answers" if words is _ONE_ANSWER else "references"
        name = f"of {counted(audit.duals_on_gold, 'dual')}, recovered from {source}"
        values.append((audit.dual_on_gold, name, "{:.0%}"))
        name = f"of {counted(audit.trials_on_wrong, 'trial')}, recovered from {words.low}"
        values.append((audit.dual_on_wrong, name, "{:.0%}"))
    return [Metric(_written(value, form), name) for value, name, form in values]


def _written(value: float | None, form: str) -> str:
    """A figure; "none" where there was nothing to measure."""
    return "none" if value is None else form.format(value)


def _check(check: Check) -> list[str]:
    words = {True: '<span class="right">ok</span>', False: '<span class="wrong">no</span>', None: "none"}
    told = [safe(text) for text in (check.name, check.measured, check.of, check.needed)]
    return [*told, words[check.passed], safe(check.advice)]


def _order_table(audit: AuditRecord) -> Table:
    """Readable answers first: each pair with a refused completion agrees by construction."""

    def row(name: str, order: Order) -> list[str]:
        return [
            name,
            _written(order.agreement, "{:.2f}"),
            counted(order.agreement_pairs, "pair"),
            _written(order.reward_auc, "{:.3f}"),
            counted(order.reward_auc_pairs, "pair"),
        ]

    rows = [row(AMONG_READABLE, audit.readable_order), row(AMONG_ALL, audit.overall_order)]
    return Table(["among", "agreement within problems", "of", "reward AUC", "of"], rows)


def _guidance_table(audit: AuditRecord) -> Table:
    """Readable answers first: the other row also has what comes of avoiding refused completions."""

    def row(name: str, guidance: Guidance) -> list[str]:
        completions = counted(guidance.compared, "completion")
        return [
            name,
            f"{_written(guidance.accuracy, '{:.3f}')} of {completions}",
            f"{_written(guidance.reward_accuracy, '{:.2f}')} of {completions}",
            f"{_written(guidance.best_of_n, '{:.3f}')} of {counted(guidance.best_of_n_problems, 'problem')}",
            f"{_written(guidance.signal, '{:.0%}')} of {counted(guidance.signal_problems, 'problem')}",
        ]

    rows = [row(AMONG_READABLE, audit.guidance), row(AMONG_ALL, audit.overall_guidance)]
    header = ["among", "mean quality", "reward on the same side of 0.5 as quality"]
    return Table([*header, "quality of the highest rewards", "signal, as a share of gold's"], rows)


def _share_table(name: str, shares: Mapping[str, float], total: str) -> Table:
    return Table([name, f"share of {total}"], [[safe(key), f"{share:.1%}"] for key, share in shares.items()])


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
        charts = [_distribution("Rewards of all completions", "reward", [_cumulative("all", rewards)])]
    # Groups of equal rewards have no advantage: a curve that jumps at 0 shows a reward that teaches little.
    deviations = [float(np.std(problem.rewards, ddof=1)) for problem in problems]
    steps = [_cumulative("problems", deviations)]
    charts.append(_distribution("Spread within a problem", "standard deviation of its rewards", steps))
    return charts


def _separation_charts(right: NDArray[Any], wrong: NDArray[Any], words: _Words) -> list[Chart]:
    groups = {name: group for name, group in ((words.low, wrong), (words.high, right)) if len(group)}
    lines = [_cumulative(name, rewards) for name, rewards in groups.items()]
    title = "Rewards of " + " and ".join(groups)
    charts = [_distribution(title, "reward", lines)]
    # The curve needs answers of both kinds: an area over an empty class has no meaning.
    if len(right) and len(wrong):
        title = "How the reward tells them apart (ROC)"
        lines = roc_curve(right, wrong)
        across, up = f"{words.low} taken, of {len(wrong):,}", f"{words.high} taken, of {len(right):,}"
        charts.append(Chart(title, across, up, lines, (0.0, 1.0)))
    return charts


def _distribution(title: str, x_label: str, lines: Sequence[Series]) -> Chart:
    return Chart(title, x_label, "share with at most this", lines, (0.0, 1.0))


def _cumulative(name: str, values: ArrayLike) -> Series:
    """Share of the values at or below each value, as steps."""
    xs, counts = np.unique(np.asarray(values, float), return_counts=True)
    ys = np.cumsum(counts) / counts.sum()
    corners = [(float(xs[0]), 0.0)]
    for x, y in zip(xs, ys, strict=True):
        # Along to the value at the height so far, then up.
        corners += [(float(x), corners[-1][1]), (float(x), float(y))]
    return Series(f"{name}, {counts.sum():,}", [x for x, _ in corners], [y for _, y in corners])


def roc_curve(right: NDArray[Any], wrong: NDArray[Any]) -> list[Series]:
    """Returns the share of right answers at or above each reward over the share of wrong ones, and chance."""
    # From the highest threshold to the lowest, so that the curve runs from (0, 0) to (1, 1).
    levels = np.unique(np.concatenate([right, wrong]))[::-1]
    xs = [0.0, *(float((wrong >= level).mean()) for level in levels)]
    ys = [0.0, *(float((right >= level).mean()) for level in levels)]
    return [Series("this reward", xs, ys), Series("chance", [0.0, 1.0], [0.0, 1.0], dashed=True)]


# --- examples ---


def _chosen(problems: Sequence[AuditedProblem]) -> list[AuditedProblem]:
    """A few problems, from those where the reward is most wrong to those where it is most right."""

    def agreement(problem: AuditedProblem) -> float:
        # Without gold every problem agrees with itself, and the order of the data stays.
        pairs = zip(problem.rewards, problem.qualities or problem.rewards, strict=True)
        return -sum(abs(reward - quality) for reward, quality in pairs)

    # Both ends are shown: failures of the reward to learn from, and what the reward gets right.
    return evenly_spaced(sorted(problems, key=agreement), _PROBLEMS_SHOWN)


def _example(problem: AuditedProblem, words: _Words) -> list[str]:
    gold = "" if problem.gold is None else f"<small>{words.gold}</small> <b>{safe(problem.gold)}</b>"
    duals = "".join(_dual(dual) for dual in problem.duals[:_DUALS_SHOWN])
    return [
        text_block(problem.text) + gold,
        text_block("\n".join(_answer_lines(problem))),
        duals or '<span class="empty">none</span>',
    ]


def _answer_lines(problem: AuditedProblem) -> list[str]:
    """A line for each different answer, the most frequent first."""
    # A reader judges a vote by its counts: equal answers share a line.
    places: dict[str | None, list[int]] = {}
    for index, answer in enumerate(problem.answers):
        places.setdefault(answer, []).append(index)
    lines = []
    for answer, indices in sorted(places.items(), key=lambda item: -len(item[1])):
        # Equal answers have equal rewards and qualities.
        first = indices[0]
        quality = "" if problem.qualities is None else f", quality {problem.qualities[first]:.2f}"
        name = "none could be read" if answer is None else answer
        lines.append(f"{name}: {len(indices)} x, reward {problem.rewards[first]:.2f}{quality}")
    return lines


def _dual(dual: AuditedDual) -> str:
    return (
        f'<div class="dual">{text_block(dual.question)}<small>hidden</small> '
        f"<b>{safe(dual.hidden)}</b> · {safe(dual.outcome)}</div>"
    )
