"""The tables of docs/evidence.md and of README.md, as markdown.

Changes are points of held-out accuracy from the start of the same seed. Intervals are 95 % intervals of the
mean over seeds (Student's t). The intervals of the reranker are bootstrap intervals over problems, for each
seed.
"""

from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from bench.evidence.grid import RATES
from bench.evidence.records import Evidence
from dupo.config.catalogue import TEACHING

T_975 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}  # by seeds


def mean_interval(values: Sequence[float]) -> str:
    """`+36.3 [+30.1, +42.5]`, in points; a single value has no interval."""
    # A difference of 0.01 in accuracy is a point.
    points = [100 * value for value in values]
    if len(points) < 2:
        return f"{fmean(points):+.1f}"
    # Few seeds: the normal quantile 1.96 would make the interval too narrow.
    half = T_975[len(points)] * stdev(points) / len(points) ** 0.5
    return f"{fmean(points):+.1f} [{fmean(points) - half:+.1f}, {fmean(points) + half:+.1f}]"


def best_rate(evidence: Evidence, task: str, label: str) -> str:
    """The rate at which the runs of a label end highest, in the mean."""
    mean_change = {
        rate: fmean(r.change for r in results)
        for rate in RATES
        if (results := evidence.training(task, label, rate))
    }
    return max(mean_change, key=mean_change.__getitem__)


def table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A markdown table; "" without lines."""
    rows = [f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in line)}|" for line in lines]
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows]) if rows else ""


def gains(evidence: Evidence, task: str) -> str:
    """Every reward at every rate; the best rate of each in bold."""
    lines = []
    for label in evidence.labels(task):
        best = best_rate(evidence, task, label)
        for rate in RATES:
            results = evidence.training(task, label, rate)
            if not results:
                continue
            change = mean_interval([r.change for r in results])
            auc = [r.reward_auc for r in results if r.reward_auc is not None]
            cells = [label, f"{RATES[rate]:.0e}", labels_read(label), str(len(results))]
            cells += [f"**{change}**" if rate == best else change, mean_interval([r.peak for r in results])]
            lines.append([*cells, f"{fmean(auc):.3f}" if auc else ""])
    if continued := [t for t in evidence.teaching_continued if t.task == task]:
        labels = f"{fmean(t.labels for t in continued):,.0f} new ones"
        rate = f"{TEACHING['learning_rate']:.0e}"
        cells = ["teaching continued for as long", rate, labels, str(len(continued))]
        cells += [mean_interval([t.change for t in continued]), mean_interval([t.peak for t in continued])]
        lines.append([*cells, ""])
    columns = ("reward", "learning rate", "labels", "seeds", "final change", "peak change", "reward AUC")
    return table(columns, lines)


def labels_read(label: str) -> str:
    """Which labels training reads."""
    return "all" if label == "gold" else "none"


def variations(evidence: Evidence, task: str) -> str:
    """Variations of the dual reward less the dual reward of the same seed, at the default rate."""
    # Paired by seed: seeds differ more among themselves than the variations do.
    dual = {r.run.seed: r.change for r in evidence.training(task, "dual", "")}
    lines = []
    for label in evidence.labels(task):
        results = evidence.training(task, label, "")
        differences = [r.change - dual[r.run.seed] for r in results if r.run.seed in dual]
        variation = label.removeprefix("dual, ")
        # Only a label with a variation is longer than its variation.
        if variation != label and differences:
            lines.append([variation, str(len(differences)), mean_interval(differences)])
    return table(("variation", "seeds", "final change, less that of `dual`"), lines)


def answers_without_training(evidence: Evidence, task: str) -> str:
    """Ways to answer without training, a column for each seed."""
    results = evidence.reranks(task)
    if not results:
        return ""
    lines = []
    for key in (method.key for method in results[0].methods):
        methods = [r.method(key) for r in results]
        scores = [f"{100 * m.score:.1f} [{100 * m.low:.1f}, {100 * m.high:.1f}]" for m in methods]
        tokens = f"{fmean(m.tokens_per_problem for m in methods):,.1f}"
        lines.append([methods[0].method, tokens, *scores])
    # Greedy and the mean of samples are cheaper, so a difference to them says little.
    for name in results[0].dual_minus:
        if name.startswith("majority"):
            differences = [r.dual_minus[name] for r in results]
            cells = [
                f"**{100 * d.mean:+.1f}** [{100 * d.low:+.1f}, {100 * d.high:+.1f}]" for d in differences
            ]
            lines.append([f"dual rerank minus {name}", "", *cells])
    seeds = [f"seed {r.run.seed}" for r in results]
    return table(("method", "tokens a problem", *seeds), lines)


def audits(evidence: Evidence, task: str) -> str:
    """What the audit says of each taught model."""
    results = evidence.audits(task)
    # Among all completions, those without an answer agree by construction. Older files have no other figures.
    has_readable = any("readable_reward_auc" in r.metrics for r in results)
    prefix, among = ("readable_", ", readable answers") if has_readable else ("", "")
    columns = ("seed", "accuracy", f"reward AUC{among}", f"agreement within problems{among}")
    columns += (
        f"signal, of gold's{among}",
        "dual on right / wrong answers",
        "leaks: no answer / decoy",
        "verdict",
    )
    lines = []
    for r in results:
        m = r.metrics
        auc, agreement = (m.get(f"{prefix}{name}") for name in ("reward_auc", "agreement"))
        cells = [str(r.run.seed), written(m["accuracy"], ".2f"), written(auc, ".3f")]
        cells += [written(agreement and agreement["mean"], ".2f"), written(m.get(f"{prefix}signal"), ".0%")]
        cells += [" / ".join(written(m[name], ".2f") for name in ("dual_on_gold", "dual_on_wrong"))]
        cells += [" / ".join(written(m[name], ".1%") for name in ("leak/no_answer", "leak/decoy"))]
        lines.append([*cells, r.verdict])
    return table(columns, lines)


def written(figure: float | None, form: str) -> str:
    """A figure in a format of numbers; "none" where it was not measured."""
    return "none" if figure is None else format(figure, form)


def copy_exploit(evidence: Evidence) -> str:
    """Copies of the source with the gates off and on."""
    lines = []
    for label, gates in (("dual, gates off", "off"), ("dual", "on")):
        for r in evidence.training("conlang", label, ""):
            before, after = r.evals[0][1], r.evals[-1][1]
            changes = [f"{100 * before[k]:.1f} -> {100 * after[k]:.1f}" for k in ("accuracy", "copies")]
            lines.append([gates, str(r.run.seed), *changes, f"{r.last_metrics['reward']:.2f}"])
    columns = ("gates", "seed", "accuracy before -> after", "copies before -> after", "reward at the end")
    return table(columns, lines)


def dual_minus_rivals(evidence: Evidence, task: str) -> str:
    """The dual reward at its best rate less every other label at its best rate, paired by seed."""
    dual = changes_at_best_rate(evidence, task, "dual")
    lines = []
    for label in evidence.labels(task):
        rival = changes_at_best_rate(evidence, task, label)
        seeds = sorted(dual.keys() & rival.keys())
        if label != "dual" and seeds:
            rate = f"{RATES[best_rate(evidence, task, label)]:.0e}"
            difference = mean_interval([dual[seed] - rival[seed] for seed in seeds])
            lines.append([label, rate, str(len(seeds)), difference])
    return table(("rival", "its best rate", "seeds", "final change of `dual`, less that of the rival"), lines)


def changes_at_best_rate(evidence: Evidence, task: str, label: str) -> dict[int, float]:
    """The final change of each seed, at the best rate of a label."""
    results = evidence.training(task, label, best_rate(evidence, task, label))
    return {r.run.seed: r.change for r in results}


# The table of README.md: what a newcomer needs of it; docs/evidence.md has every reward.
COLUMNS = {"arithmetic": "arithmetic", "conlang": "made-up languages", "stories": "word problems in English"}
ROWS = ("dual", "gold", "majority", "majority, KL", "random")


def short_table(evidences: Sequence[Evidence]) -> str:
    """The table of README.md: some rewards at their best rates, all tasks beside each other."""
    by_task = {task: evidence for task in COLUMNS for evidence in evidences if evidence.labels(task)}
    lines = []
    for label in ROWS:
        # Not every task has every reward.
        if any(evidence.training(task, label) for task, evidence in by_task.items()):
            cells = [_best_change(evidence, task, label) for task, evidence in by_task.items()]
            lines.append([f"**{label}**" if label == "dual" else label, labels_read(label), *cells])
    columns = [f"{COLUMNS[task]}, {_seeds(evidence, task)}" for task, evidence in by_task.items()]
    return table(("reward", "labels", *columns), lines)


def _best_change(evidence: Evidence, task: str, label: str) -> str:
    """The final change of a label at its best rate, with the rate."""
    if not evidence.training(task, label):
        return "not run"
    change = mean_interval(list(changes_at_best_rate(evidence, task, label).values()))
    return f"{change} at {RATES[best_rate(evidence, task, label)]:.0e}"


def _seeds(evidence: Evidence, task: str) -> str:
    """How many seeds are behind the cells of a column: "5 seeds", or "3 to 5 seeds"."""
    shown = [label for label in ROWS if evidence.training(task, label)]
    counts = sorted({len(changes_at_best_rate(evidence, task, label)) for label in shown})
    return f"{' to '.join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))} seeds"
