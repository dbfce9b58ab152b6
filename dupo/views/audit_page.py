"""audit.html: the verdict, its checks, and pictures of how the reward sees right and wrong answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dupo.config.options import Config, to_yaml
from dupo.storage.files import write_atomic
from dupo.views.chart import Series, line_chart, safe
from dupo.views.html import figure, page, table, written

Row = dict[str, Any]
_SHOWN = 6  # problems in the table of examples


def write_page(target: Path, config: Config, summary: Row, rows: Sequence[Row]) -> Path:
    """Writes the page of an audit and returns its path."""
    found = summary["figures"]
    good = summary["verdict"].startswith("train")
    title = f"audit · {config.task} · reward {config.reward} · {config.model_name_or_path}"
    parts = [
        f"<h1>{safe(title)}</h1>",
        f'<p class="{"right" if good else "wrong"}">Verdict: {safe(summary["verdict"])}</p>',
        f'<div class="figures">{"".join(_figures(found))}</div>',
        "<h2>What training needs</h2>",
        table(["check", "measured", "needed", "", "if not"], [_check(check) for check in summary["checks"]]),
        f'<h2>Pictures</h2><div class="charts">{"".join(_charts(rows))}</div>',
        _shares("Why completions had no answer", "reason", found["refused"]),
        _shares("How the duals fared", "outcome", _parts(found["outcomes"])),
        "<h2>Problems, from the least to the most agreeing</h2>",
        table(
            ["asked", "answers: votes, reward, quality", "duals"], [_example(row) for row in _chosen(rows)]
        ),
        f'<h2>Signature</h2><div class="card"><pre>{safe(summary["signature"])}</pre></div>',
        f'<h2>Settings</h2><div class="card"><pre>{safe(to_yaml(config))}</pre></div>',
    ]
    write_atomic(target, page(title, parts).encode())
    return target


def _figures(found: Row) -> list[str]:
    agreement = found["agreement"] or {}
    shown = (
        (found["reward_auc"], "reward AUC", "{:.3f}"),
        (agreement.get("mean"), "within-problem agreement", "{:.2f}"),
        (found["signal"], "signal, as a share of gold's", "{:.0%}"),
        (found["dual_on_gold"], "dual accuracy on right answers", "{:.0%}"),
        (found["dual_on_wrong"], "and on wrong ones", "{:.0%}"),
        (found["readable"], "completions with an answer", "{:.0%}"),
        (found["differing"], "groups whose rewards differ", "{:.0%}"),
    )
    return [figure(form.format(value), label) for value, label, form in shown if value is not None]


def _check(check: Row) -> list[str]:
    word = '<span class="right">ok</span>' if check["passed"] else '<span class="wrong">no</span>'
    needed = f"{'at least' if check['at_least'] else 'at most'} {check['bound']:.2f}"
    return [safe(check["name"]), f"{check['value']:.2f}", needed, word, safe(check["advice"])]


def _parts(counts: Row) -> Row:
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}


def _shares(title: str, name: str, shares: Row) -> str:
    rows = [[safe(key), f"{part:.1%}"] for key, part in shares.items()]
    return f"<h2>{safe(title)}</h2>{table([name, 'share'], rows)}" if rows else ""


# --- pictures ---


def _charts(rows: Sequence[Row]) -> list[str]:
    """Rewards of right and wrong answers, how the reward separates them, and how much groups differ."""
    charts = []
    known = [row for row in rows if row["quality"] is not None]
    if known:
        rewards, quality = (np.concatenate([row[key] for row in known]) for key in ("rewards", "quality"))
        right, wrong = rewards[quality >= 0.5], rewards[quality < 0.5]
        lines = [
            _cumulative(name, x) for name, x in (("wrong answers", wrong), ("right answers", right)) if len(x)
        ]
        title = "Rewards of " + " and ".join(line.name for line in lines)
        charts.append(_chart(lines, title, "reward", "share with at most this"))
        if len(right) and len(wrong):
            charts.append(
                _chart(
                    _roc(right, wrong),
                    "How the reward tells them apart (ROC)",
                    "wrong ones taken",
                    "right ones taken",
                )
            )
    else:
        every = np.concatenate([row["rewards"] for row in rows])
        charts.append(_chart([_cumulative("all", every)], "Rewards", "reward", "share with at most this"))
    stds = [float(np.std(row["rewards"], ddof=1)) for row in rows]
    charts.append(
        _chart(
            [_cumulative("problems", stds)],
            "Spread within a problem",
            "standard deviation of its rewards",
            "share with at most this",
        )
    )
    return charts


def _chart(lines: Sequence[Series], title: str, x: str, y: str) -> str:
    return line_chart(lines, title=title, x_label=x, y_label=y, width=460, height=280, y_range=(0.0, 1.0))


def _cumulative(name: str, values: Any) -> Series:
    """Share of the values at or below each value, as steps."""
    xs, counts = np.unique(np.asarray(values, float), return_counts=True)
    ys = np.cumsum(counts) / counts.sum()
    steps = [(float(xs[0]), 0.0)]
    for x, y in zip(xs, ys, strict=True):
        steps += [(float(x), steps[-1][1]), (float(x), float(y))]
    return Series(name, [x for x, _ in steps], [y for _, y in steps])


def _roc(right: Any, wrong: Any) -> list[Series]:
    """Share of right answers at or above each reward, over the share of wrong ones."""
    levels = np.unique(np.concatenate([right, wrong]))[::-1]
    xs = [0.0, *(float((wrong >= level).mean()) for level in levels)]
    ys = [0.0, *(float((right >= level).mean()) for level in levels)]
    return [Series("this reward", xs, ys), Series("chance", [0.0, 1.0], [0.0, 1.0], dashed=True)]


# --- examples ---


def _chosen(rows: Sequence[Row]) -> list[Row]:
    """A few problems, spread from those where the reward is most wrong to those where it is most right."""

    def agreement(row: Row) -> float:
        pairs = zip(row["rewards"], row["quality"] or row["rewards"], strict=True)
        return -sum(abs(reward - quality) for reward, quality in pairs)

    ordered = sorted(rows, key=agreement)
    last = min(_SHOWN, len(ordered)) - 1
    return [ordered[round(i * (len(ordered) - 1) / max(1, last))] for i in range(last + 1)]


def _example(row: Row) -> list[str]:
    answers: dict[Any, list[int]] = {}
    for i, answer in enumerate(row["answers"]):
        answers.setdefault(answer, []).append(i)
    lines = []
    for answer, places in sorted(answers.items(), key=lambda item: -len(item[1])):
        quality = "" if row["quality"] is None else f", quality {row['quality'][places[0]]:.2f}"
        name = "none could be read" if answer is None else answer
        lines.append(f"{name}: {len(places)} x, reward {row['rewards'][places[0]]:.2f}{quality}")
    gold = "" if row["gold"] is None else f"<small>right</small> <b>{safe(row['gold'])}</b>"
    duals = "".join(
        f'<div class="dual">{written(dual["known"] or dual["unknown"])}<small>hidden</small> '
        f"<b>{safe(dual['unknown'])}</b> · {safe(dual['outcome'])}</div>"
        for dual in row["duals"][:4]
    )
    return [
        written(row["text"]) + gold,
        written("\n".join(lines)),
        duals or '<span class="empty">none</span>',
    ]
