"""Runs whose files are damaged: `python -m dupo.report` shows what is there, never a traceback."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dupo.report import main
from tests.helpers.pages import Page

CONFIG = "# python -m dupo.train, format 2\ntask: arithmetic\nreward: dual\nseed: 3\nmax_steps: 2\n"
DUAL = {"prompt": "? + 25 = 42", "completion": "17", "unknown": "17", "distance": 0.0}
SAMPLE: dict[str, Any] = {
    "step": 1, "problem": "p", "prompt": "17 + 25", "completion": "it is 42", "answer": "42", "gold": "42",
    "correct": True, "reward": 1.0, "advantage": 0.5, "duals": [DUAL],
}  # fmt: skip
METRICS = [{"step": step, "reward": 0.5 * step, "loss": -0.1, "eval/accuracy": 0.5} for step in (1, 2)]
SUMMARY: dict[str, Any] = {
    "eval/accuracy_before": 0.5, "eval/accuracy_after": 0.7, "eval/accuracy_peak": 0.7, "eval/problems": 20,
    "reward_auc": 0.9, "steps": 2, "seconds": 1.2, "seed": 3, "signature": "dupo:0.1.0|git:abc",
    "evals": [[0, {"accuracy": 0.5}], [2, {"accuracy": 0.7}]], "task": "arithmetic", "reward": "dual",
    "headline": "accuracy",
}  # fmt: skip


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "metrics.jsonl").write_bytes(lines(*METRICS))
    (tmp_path / "samples.jsonl").write_bytes(lines(SAMPLE, {**SAMPLE, "step": 2}))
    (tmp_path / "summary.json").write_bytes(lines(SUMMARY))
    return tmp_path


DIGITS = b'{"step": 1, "reward": %s, "loss": 1}\n' % (b"9" * 400)
DEEP, DEEPER = b"[" * 900 + b"]" * 900, b"[" * 100_000
BOMB = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c]\n" % (n + 1, n + 1, n, n, n, n, n, n) for n in range(97, 117)
)
ODD = [None, True, "text", 10**400, 1e308, -1e308, 5e-324, 0, [], {}, [[1]], {"a": {"b": []}}, "\x00\ud800"]

# Name -> (file, its damaged bytes).
BYTES: dict[str, tuple[str, bytes]] = {
    "metrics: 400 digits": ("metrics.jsonl", DIGITS),
    "metrics: 5,000 digits": ("metrics.jsonl", b'{"step": 1, "loss": %s}\n' % (b"9" * 5000)),
    "metrics: a step of 400 digits": ("metrics.jsonl", b'{"step": %s, "loss": 1}\n' % (b"9" * 400)),
    "metrics: steps of 1e308": ("metrics.jsonl", lines({"step": 1e308, "loss": 1}, {"step": -1e308})),
    "metrics: steps up to 1e300": ("metrics.jsonl", lines({"step": 1e300, "loss": 1}, {"step": 1})),
    "metrics: one step of 1e300": ("metrics.jsonl", lines({"step": 1e300, "loss": 1})),
    "metrics: losses of 1e308": ("metrics.jsonl", lines({"step": 1, "loss": 1e308}, {"step": 2, "loss": 0})),
    "metrics: losses up to 1e300": (
        "metrics.jsonl",
        lines({"step": 1, "loss": 1e300}, {"step": 2, "loss": -1e300}),
    ),
    "metrics: denormal numbers": (
        "metrics.jsonl",
        lines({"step": 5e-324, "loss": 5e-324}, {"step": 1e-323, "loss": 2e-308}),
    ),
    "metrics: one denormal number": ("metrics.jsonl", lines({"step": 1, "loss": 5e-324})),
    "metrics: NaN": ("metrics.jsonl", b'{"step": NaN, "loss": -Infinity}\n{"step": 1, "a": NaN}\n'),
    "metrics: 1e999": ("metrics.jsonl", b'{"step": 1, "loss": 1e999}\n'),
    "metrics: nested deeply": ("metrics.jsonl", b'{"step": 1, "loss": ' + DEEP + b"}\n" + lines(METRICS[0])),
    "metrics: nested without an end": ("metrics.jsonl", DEEPER),
    "metrics: no objects": ("metrics.jsonl", b'1\n"a"\n[]\nnull\ntrue\n'),
    "metrics: torn": ("metrics.jsonl", lines(*METRICS)[:-30]),
    "metrics: zeros": ("metrics.jsonl", b"\0" * 5000),
    "metrics: no UTF-8": ("metrics.jsonl", b'{"step": 1, "\xff\xfe": 2}\n'),
    "metrics: empty": ("metrics.jsonl", b""),
    "metrics: steps out of order, twice": ("metrics.jsonl", lines(METRICS[1], METRICS[0], METRICS[1])),
    "metrics: 300 names": ("metrics.jsonl", lines({"step": 1, **{f"m{i}": i for i in range(300)}})),
    "metrics: an evaluation without a name": ("metrics.jsonl", lines({"step": 1, "eval/": 1.0})),
    "samples: nested deeply": ("samples.jsonl", b'{"step": 1, "prompt": %s, "duals": %s}\n' % (DEEP, DEEP)),
    "samples: nested without an end": ("samples.jsonl", DEEPER + b"\n" + lines(SAMPLE)),
    "samples: steps of 1e308": ("samples.jsonl", lines({**SAMPLE, "step": 1e308}, SAMPLE)),
    "samples: a reward of 400 digits": ("samples.jsonl", lines({**SAMPLE, "reward": 10**400})),
    "samples: a prompt of a megabyte": ("samples.jsonl", lines({**SAMPLE, "prompt": "x" * 10**6})),
    "samples: torn": ("samples.jsonl", lines(SAMPLE)[:50]),
    "samples: zeros": ("samples.jsonl", b"\0" * 5000),
    "summary: nested deeply": ("summary.json", b'{"task": ' + DEEP + b', "signature": ' + DEEP + b"}"),
    "summary: nested without an end": ("summary.json", DEEPER),
    "summary: a list": ("summary.json", b"[1]"),
    "summary: torn": ("summary.json", lines(SUMMARY)[:100]),
    "summary: 5,000 digits": ("summary.json", b'{"seconds": ' + b"9" * 5000 + b"}"),
    "summary: a signature of fields": ("summary.json", lines({"signature": {"a": {"b": [1]}, "c": None}})),
    "summary: a headline never measured": ("summary.json", lines({"headline": "x", "steps": "many"})),
    "config: nested deeply": ("config.yaml", b"a: " + b"[" * 1200),
    "config: nested blocks": ("config.yaml", b"- " * 1200),
    "config: aliases of aliases": ("config.yaml", BOMB + b"task: *u\nmodel_name_or_path: *u\n"),
    "config: an alias of itself": ("config.yaml", b"task: &a [*a]\nseed: *a\n"),
    "config: odd tags": ("config.yaml", b"seed: !!timestamp x\ntask: !!int ''\nreward: !!python/object:o {}"),
    "config: odd keys": ("config.yaml", b"? [a]\n: 1\n? {b: c}\n: 2\n"),
    "config: odd scalars": ("config.yaml", b"seed: 1:99:99999999999\ntask: 2026-99-99\nmax_steps: .inf\n"),
    "config: control characters": ("config.yaml", b"task: \x01\x1b[31m\n"),
    "config: zeros": ("config.yaml", b"\0" * 5000),
    "config: no UTF-8": ("config.yaml", b"task: \xff\xfe\n"),
}  # fmt: skip


def report(run: Path, capfd: pytest.CaptureFixture[str]) -> Page:
    code = main([str(run)])
    out, err = capfd.readouterr()
    assert (code, out, err) == (0, f"{run}/report.html\n", "")
    page = Page(run / "report.html")
    assert page.open == [] and "Settings" in page.text
    return page


# Half a second and more of YAML; the same depth stands in the other files.
SLOW = {"config: nested deeply"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in BYTES]
)
def test_a_damaged_file_hides_no_other_file(name: str, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file, data = BYTES[name]
    (run / file).write_bytes(data)
    text = report(run, capfd).text
    # What the sound files say stands on the page.
    if file != "samples.jsonl":
        assert "it is 42" in text
    if file != "summary.json":
        assert "dupo:0.1.0|git:abc" in text and "50.0% → 70.0%" in text
    if file != "metrics.jsonl":
        assert "2 steps" in text or "unfinished: 2 of" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(value, id=f"{type(value).__name__} {i}", marks=[pytest.mark.slow] if i % 12 else [])
        for i, value in enumerate(ODD)
    ],
)
def test_a_wrong_value_in_any_field_gives_a_page(
    value: object, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (run / "metrics.jsonl").write_bytes(lines(*({**METRICS[0], name: value} for name in METRICS[0])))
    duals = [{**DUAL, name: value} for name in DUAL]
    rows = [{**SAMPLE, "step": 1, name: value} for name in SAMPLE]
    (run / "samples.jsonl").write_bytes(
        lines(*rows, {**SAMPLE, "duals": duals}, {**SAMPLE, "duals": [value]})
    )
    report(run, capfd)
    for name in SUMMARY:
        (run / "summary.json").write_bytes(lines({**SUMMARY, name: value}))
        report(run, capfd)
    for evals in ([value], [[value, value]], [[1, {"accuracy": value}]], [[value, {"accuracy": 1}]]):
        (run / "summary.json").write_bytes(lines({**SUMMARY, "evals": evals}))
        report(run, capfd)


def folder(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.timeout(60)  # a pipe is waited for without an end
@pytest.mark.parametrize("make", [os.mkfifo, folder, loop], ids=["pipe", "folder", "loop"])
@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "samples.jsonl", "summary.json"])
def test_what_is_no_file_counts_as_missing(
    name: str, make: Callable[[Path], None], run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (run / name).unlink()
    make(run / name)
    report(run, capfd)


def test_a_page_that_cannot_be_written_is_one_line(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (run / "report.html").mkdir()
    assert main([str(run)]) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.startswith(f"error: {run}/report.html ") and err.count("\n") == 1
