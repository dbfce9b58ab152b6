"""One static page for a run: `python -m dupo.report RUN_FOLDER` writes report.html into it.

The page needs no network and no script, and any file of the run may be missing or cut short: what is
there is shown. Whatever came from a model or a data set is escaped.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dupo.errors import UserError
from dupo.storage.files import read_rows, write_atomic
from dupo.storage.names import CONFIG, METRICS, REPORT, SAMPLES, SUMMARY
from dupo.storage.signature import signature_line
from dupo.views.chart import Series, finite, line_chart, safe, shown
from dupo.views.html import figure, page, written
from dupo.views.terminal import verdict

Row = dict[str, Any]

# Title, label of the y axis, metrics; a chart without any of its metrics is left out.
_CHARTS = (
    ("Reward and reconstruction", "mean", ("reward", "dual/reconstruct_rate")),
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
_DUALS_SHOWN, _SAMPLES_OF_A_KIND = 4, 3


def write_report(folder: Path) -> Path:
    """Writes report.html of a run, from whichever of its files are there, and returns its path.

    Raises:
        UserError: the folder is not that of a run.
    """
    if not (folder / CONFIG).is_file() and not (folder / METRICS).is_file():
        raise UserError(f"{folder} is no run folder: expected {CONFIG} or {METRICS} in it")
    settings = _mapping(folder / CONFIG)
    rows = sorted(
        (row for row in read_rows(folder / METRICS) if finite(row.get("step"))), key=lambda r: r["step"]
    )
    summary = _mapping(folder / SUMMARY)
    samples = [row for row in read_rows(folder / SAMPLES) if finite(row.get("step"))]
    parts = (
        _header(folder, settings, rows, summary),
        f'<h2>Curves</h2><div class="charts">{"".join(_charts(rows, summary))}</div>'
        if rows or summary
        else "",
        _samples(samples),
        _ending(folder, summary),
    )
    target = folder / REPORT
    write_atomic(target, page(_name(settings, summary), parts).encode())
    return target


def _mapping(path: Path) -> Row:
    """A YAML or JSON file as a mapping; {} where it is missing or unreadable."""
    if not path.is_file():
        return {}
    text = path.read_bytes().decode("utf-8", "replace")
    try:
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}


# --- figures ---


def _name(settings: Row, summary: Row) -> str:
    found = {key: summary.get(key, settings.get(key)) for key in ("task", "reward", "seed")}
    return f"{found['task'] or 'run'} · reward {found['reward'] or 'unknown'} · seed {found['seed']}"


def _headline(rows: list[Row], summary: Row) -> str | None:
    if isinstance(summary.get("headline"), str):
        return summary["headline"]
    return next((key[5:] for row in rows for key in row if key.startswith("eval/")), None)


def _value(name: str, value: object) -> str:
    """Rates and accuracies as percentages, everything else as it is."""
    if not finite(value):
        return "–"
    if name.endswith(("accuracy", "rate")) and 0 <= value <= 1:
        return f"{100 * value:.1f}%"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _evaluations(rows: list[Row], summary: Row) -> dict[str, dict[float, float]]:
    """Metric -> step -> value, from the rows and from the summary, which alone holds step 0."""
    found: dict[str, dict[float, float]] = {}
    evals = summary.get("evals")
    pairs = [
        pair
        for pair in (evals if isinstance(evals, list) else [])
        if isinstance(pair, list) and len(pair) == 2
    ]
    tables = [
        (step, {f"eval/{k}": v for k, v in table.items()}) for step, table in pairs if isinstance(table, dict)
    ]
    for step, row in [*tables, *((row["step"], row) for row in rows)]:
        for key, value in row.items():
            if key.startswith("eval/") and finite(value) and finite(step):
                found.setdefault(key[5:], {})[step] = value
    return {key: dict(sorted(values.items())) for key, values in found.items()}


def _header(folder: Path, settings: Row, rows: list[Row], summary: Row) -> str:
    done = rows[-1]["step"] if rows else 0
    planned = settings.get("max_steps")
    state = (
        f"{shown(done)} steps"
        if summary
        else f"unfinished: {shown(done)} of {planned or '?'} steps are recorded"
    )
    headline = _headline(rows, summary)
    figures = []
    if headline is not None:
        curve = list(_evaluations(rows, summary).get(headline, {}).values())
        before, after, peak = (
            summary.get(f"eval/{headline}_{when}", fallback)
            for when, fallback in (
                ("before", curve[0] if curve else None),
                ("after", curve[-1] if curve else None),
                ("peak", max(curve, default=None)),
            )
        )
        problems = f", {summary['eval/problems']} problems" if "eval/problems" in summary else ""
        change = f"{_value(headline, before)} → {_value(headline, after)}"
        figures.append(figure(change, f"held-out {headline}, before → after{problems}", main=True))
        figures.append(figure(_value(headline, peak), "peak"))
    if finite(summary.get("reward_auc")):
        figures.append(figure(f"{summary['reward_auc']:.3f}", "reward AUC"))
    if rows:
        figures.append(figure(_value("", rows[-1].get("reward")), "reward, last step"))
    if finite(summary.get("seconds")):
        figures.append(figure(f"{summary['seconds']:.0f} s", "wall clock"))
    model = settings.get("model_name_or_path")
    about = " · ".join(
        str(part) for part in (folder.resolve().name, model and f"model {model}", state) if part
    )
    return (
        f"<h1>{safe(_name(settings, summary))}</h1><p>{safe(about)}</p>"
        f'<div class="figures">{"".join(figures)}</div>'
    )


# --- curves ---


def _charts(rows: list[Row], summary: Row) -> list[str]:
    evaluations = _evaluations(rows, summary)
    # A share in [0, 1] and a BLEU of 30 on one axis would hide the share.
    shares = {key: values for key, values in evaluations.items() if max(values.values()) <= 1}
    others = {key: values for key, values in evaluations.items() if key not in shares}
    charts = [
        _chart(
            "Held-out evaluation",
            "score",
            [Series(key, list(v), list(v.values())) for key, v in group.items()],
        )
        for group in (shares, others)
        if group
    ]
    taken = {"step"}
    for title, label, keys in _CHARTS:
        taken.update(keys)
        lines = [line for line in (_metric(rows, key) for key in keys) if line is not None]
        if lines:
            charts.append(_chart(title, label, lines))
    rest = dict.fromkeys(k for row in rows for k in row if k not in taken and not k.startswith("eval/"))
    more = [
        _chart(line.name, "", [line]) for line in (_metric(rows, key) for key in rest) if line is not None
    ]
    # The reward curve leads, the evaluation stands beside it.
    charts.sort(key=lambda chart: _CHARTS[0][0] not in chart[:400])
    if more:
        charts.append(
            f'</div><details><summary>{len(more)} other metrics</summary><div class="charts">'
            f"{''.join(more)}</div></details><div>"
        )
    return charts


def _metric(rows: list[Row], key: str) -> Series | None:
    ys = [row.get(key) if finite(row.get(key)) else None for row in rows]
    # The reward is often the reconstruction rate itself: dashes let the line below show through.
    line = Series(key, [row["step"] for row in rows], ys, dashed=key == "dual/reconstruct_rate")
    return line if any(y is not None for y in ys) else None


def _chart(title: str, label: str, lines: Sequence[Series]) -> str:
    return line_chart(lines, title=title, x_label="optimizer step", y_label=label, width=460, height=280)


# --- exchanges ---


def _chosen(samples: list[Row]) -> list[tuple[str, list[Row]]]:
    """Of the first and the last sampled step: a few that are right and a few that are wrong (or unknown)."""
    steps = sorted({row["step"] for row in samples})
    groups = []
    for step in dict.fromkeys((steps[0], steps[-1])) if steps else ():
        here = [row for row in samples if row["step"] == step]
        kinds = [[row for row in here if row.get("correct") is kind] for kind in (True, False, None)]
        groups.append((f"Step {shown(step)}", [row for kind in kinds for row in _spread(kind)]))
    return groups


def _spread(rows: list[Row]) -> list[Row]:
    """A few rows that run from the least to the best rewarded."""
    ordered = sorted(rows, key=lambda row: row["reward"] if finite(row.get("reward")) else 0.0)
    last = _SAMPLES_OF_A_KIND - 1
    if len(ordered) <= _SAMPLES_OF_A_KIND:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / last)] for index in range(last + 1)]


def _samples(samples: list[Row]) -> str:
    parts = []
    names = ("asked", "answered", "judged", "put back through the dual")
    header = "".join(f"<th>{name}</th>" for name in names)
    for title, rows in _chosen(samples):
        body = "".join(_sample(row, names) for row in rows)
        parts.append(f"<h2>{title}: sampled exchanges</h2><table><thead><tr>{header}</tr></thead>")
        parts.append(f"<tbody>{body}</tbody></table>")
    return "".join(parts)


def _sample(row: Row, names: Sequence[str]) -> str:
    answer = row.get("answer")
    word = verdict(row.get("correct"))
    read = "<span class='empty'>none could be read</span>" if answer is None else f"<b>{safe(answer)}</b>"
    duals = [dual for dual in row.get("duals") or [] if isinstance(dual, dict)]
    hidden = len(duals) - _DUALS_SHOWN
    # Some tasks name a problem by its text.
    name = "" if row.get("problem") in (None, row.get("prompt")) else f"<small>{safe(row['problem'])}</small>"
    advantage = row.get("advantage")  # evaluation has none
    cells = (
        ("ask", f"{name}{written(row.get('prompt'))}"),
        ("said", f"{written(row.get('completion'))}<small>answer</small> {read}"),
        (
            "verdict",
            f'<span class="{word}">{word}</span><br>reward {_value("", row.get("reward"))}'
            + (f"<br><small>advantage {_value('', advantage)}</small>" if finite(advantage) else ""),
        ),
        (
            "duals",
            "".join(_dual(dual) for dual in duals[:_DUALS_SHOWN])
            + (f"<small>and {hidden} more</small>" if hidden > 0 else "")
            or '<span class="empty">no dual was asked</span>',
        ),
    )
    return (
        "<tr>"
        + "".join(f'<td class="{c}" data-name="{n}">{x}</td>' for n, (c, x) in zip(names, cells, strict=True))
        + "</tr>"
    )


def _dual(dual: Row) -> str:
    distance = dual.get("distance")
    style = "right" if distance == 0 else "wrong" if finite(distance) else ""
    return (
        f'<div class="dual">{written(dual.get("prompt"))}<small>came back</small>'
        f"{written(dual.get('completion'))}<small>was hidden</small> "
        f"<b>{safe(dual.get('unknown', ''))}</b> · "
        f'<span class="{style}">distance {_value("", distance)}</span></div>'
    )


# --- settings ---


def _ending(folder: Path, summary: Row) -> str:
    made = summary.get("signature")
    line = (
        signature_line(made)
        if isinstance(made, dict)
        else str(made or "none recorded: the run did not finish")
    )
    path = folder / CONFIG
    settings = path.read_bytes().decode("utf-8", "replace") if path.is_file() else "config.yaml is missing"
    return (
        f'<h2>Signature</h2><div class="card"><pre>{safe(line)}</pre></div>'
        f'<h2>Settings</h2><div class="card"><pre>{safe(settings)}</pre></div>'
    )
