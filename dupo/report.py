"""One static page for a run: `python -m dupo.report RUN_FOLDER` writes report.html into it.

The page needs no network and no script, and any file of the run may be missing or cut short: what is
there is shown. Whatever came from a model or a data set is escaped.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dupo.chart import Series, finite, line_chart, safe, shown
from dupo.config import UserError
from dupo.display import error, shortened, verdict
from dupo.log import CONFIG, METRICS, REPORT, SAMPLES, SUMMARY, read_rows, signature_line, write_atomic

__all__ = ["Series", "line_chart", "main", "write_report"]

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
_DUALS_SHOWN, _SAMPLES_OF_A_KIND, _LONGEST_TEXT = 4, 3, 4000

_STYLE = """
:root{color-scheme:light dark;--page:#f6f8fa;--card:#fff;--ink:#1f2328;--muted:#59636e;--line:#d1d9e0;
--good:#00684a;--bad:#b3400a;--soft:#f0f3f6}
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--card:#161b22;--ink:#e6edf3;--muted:#9198a1;
--line:#30363d;--good:#3fcf9b;--bad:#ff9a5c;--soft:#0d1117}
svg .bg{fill:var(--card)}svg .ink{fill:var(--ink)}svg .muted{fill:var(--muted)}svg .grid{stroke:#2a3038}
svg .axis{stroke:#6e7681}DARK}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1080px;padding:20px 16px 60px;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}
h1{font-size:24px;margin:8px 0 2px;overflow-wrap:anywhere}h2{font-size:18px;margin:36px 0 10px}
p{margin:4px 0;color:var(--muted)}
.figures{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0}
.figure{flex:1 1 120px}
.figure b{display:block;font-size:28px;line-height:1.25;font-weight:650;white-space:nowrap;
font-variant-numeric:tabular-nums}
.figure.main{flex:4 1 300px}.figure.main b{font-size:clamp(28px,8vw,40px)}
.figure span{color:var(--muted);font-size:13px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:14px}
.charts svg{display:block;width:100%;height:auto;border:1px solid var(--line);border-radius:8px;
background:var(--card)}
table{width:100%;border-collapse:collapse;background:var(--card);border:1px solid var(--line)}
th,td{text-align:left;vertical-align:top;padding:8px 12px;border-top:1px solid var(--line)}
th{font-size:13px;color:var(--muted);font-weight:600}
pre{margin:0 0 4px;white-space:pre-wrap;overflow-wrap:anywhere;max-height:20em;overflow:auto;
font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;unicode-bidi:plaintext}
small{color:var(--muted)}.right{color:var(--good);font-weight:650}.wrong{color:var(--bad);font-weight:650}
.dual{border-left:3px solid var(--line);padding-left:10px;margin-bottom:8px}
summary{cursor:pointer;color:var(--muted);margin:14px 0}
.card,.figure{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 16px}
.card pre{max-height:none}.empty{color:var(--muted);font-style:italic}
td.verdict{white-space:nowrap}td.ask{width:24%}td.said{width:26%}
@media(max-width:700px){thead{display:none}table,tbody,tr,td,td.ask,td.said{display:block;width:auto}
td{border-top:0;padding:4px 12px}tr{border-top:1px solid var(--line);padding:8px 0}
td::before{content:attr(data-name);display:block;font-size:12px;color:var(--muted)}}
@media print{body{background:#fff}pre{max-height:none}}
"""
_DARK_PALETTE = ("#58b0ea", "#ff8c42", "#2fc79a", "#e5a3c8", "#e0bb4f", "#9ad7ff", "#a5a5a5")


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
    dark = "".join(f"svg .s{i}{{stroke:{c}}}svg .f{i}{{fill:{c}}}" for i, c in enumerate(_DARK_PALETTE))
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{safe(_name(settings, summary))}</title><style>{_STYLE.replace('DARK', dark)}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )
    target = folder / REPORT
    write_atomic(target, page.encode())
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
        figures.append(_figure(change, f"held-out {headline}, before → after{problems}", main=True))
        figures.append(_figure(_value(headline, peak), "peak"))
    if finite(summary.get("reward_auc")):
        figures.append(_figure(f"{summary['reward_auc']:.3f}", "reward AUC"))
    if rows:
        figures.append(_figure(_value("", rows[-1].get("reward")), "reward, last step"))
    if finite(summary.get("seconds")):
        figures.append(_figure(f"{summary['seconds']:.0f} s", "wall clock"))
    model = settings.get("model_name_or_path")
    about = " · ".join(
        str(part) for part in (folder.resolve().name, model and f"model {model}", state) if part
    )
    return (
        f"<h1>{safe(_name(settings, summary))}</h1><p>{safe(about)}</p>"
        f'<div class="figures">{"".join(figures)}</div>'
    )


def _figure(value: str, label: str, main: bool = False) -> str:
    return f'<div class="figure{" main" * main}"><b>{safe(value)}</b><span>{safe(label)}</span></div>'


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
        ("ask", f"{name}{_text(row.get('prompt'))}"),
        ("said", f"{_text(row.get('completion'))}<small>answer</small> {read}"),
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
        f'<div class="dual">{_text(dual.get("prompt"))}<small>came back</small>'
        f"{_text(dual.get('completion'))}<small>was hidden</small> <b>{safe(dual.get('unknown', ''))}</b> · "
        f'<span class="{style}">distance {_value("", distance)}</span></div>'
    )


def _text(text: object) -> str:
    if text is None or not str(text).strip():
        return '<pre class="empty">(empty)</pre>'
    return f'<pre dir="auto">{safe(shortened(str(text), _LONGEST_TEXT))}</pre>'


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


def main(arguments: Sequence[str]) -> int:
    """`python -m dupo.report RUN_FOLDER`: 0, or 2 after one line on stderr."""
    if list(arguments) in (["-h"], ["--help"]):
        print("usage: python -m dupo.report RUN_FOLDER\n\nWrites report.html into the folder of a run.")
        return 0
    if len(arguments) != 1 or arguments[0].startswith("-"):
        error("usage: python -m dupo.report RUN_FOLDER")
        return 2
    try:
        print(write_report(Path(arguments[0])))
    except UserError as problem:
        error(str(problem))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
