"""The benchmark of the loss head, at tiny shapes: what it compares is right, and its report can be made."""

import json
import math
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from bench.loss_head import gpu_suite, results
from bench.loss_head import report as report_loss_head
from bench.loss_head.groups import LIBRARIES, Step, gpu_steps
from bench.loss_head.harness import Call, Group, Result, Row, Session

SHAPE = (32, 256, 32)
CPU = torch.device("cpu")
# fp32 logits, bf16 gradients; so few tokens average no rounding away
BOUNDS = {"logp": 1e-5, "loss": 1e-5, "dhidden": 5e-3, "dweight": 5e-3, "dlogits": 5e-3}


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    ops = "linear_objective", "linear_token_logprobs", "token_logprobs"
    steps = [Step(op, SHAPE, who=LIBRARIES, backward=(True,), entropy=(False,)) for op in ops]
    steps += [Step("token_logprobs", SHAPE, who=(), entropy=(True,)), Step("linear_objective", SHAPE, who=())]
    steps += [Step("memory", SHAPE), Step("gemms", SHAPE)]
    return [row for step in steps for group in step.rows(Session(CPU)) for row in group]


@pytest.fixture
def content(rows: list[Row]) -> dict:
    return results.begun("test", CPU) | {"rows": rows}


def test_ours_and_torch_run_and_are_right(rows: list[Row]) -> None:
    for row in rows:
        name = row["variant"]
        if name.startswith("ours") or name == "eager torch":
            assert not row["reason"], row
            assert row["seconds"] > 0 and row["times_floor"] > 0 and row["peak_bytes"] > 0
        if name.startswith("ours") and "half" not in name:
            assert all(error <= BOUNDS[what] for what, error in row["errors"].items()), row
            assert row["errors"] or row["setting"] == "memory"


@pytest.mark.slow
def test_compiled_torch_runs_and_is_right() -> None:
    for op in ("linear_objective", "linear_token_logprobs", "token_logprobs"):
        step = Step(op, SHAPE, who=("compile",), backward=(True,), entropy=(False,))
        rows = [row for group in step.rows(Session(CPU)) for row in group]
        (found,) = (row for row in rows if row["variant"] == "torch.compile")
        assert not found["reason"] and found["seconds"] > 0, found


def test_error_is_seen() -> None:
    """Twice the log-probability is far from the truth."""
    (group, *_) = Step("token_logprobs", SHAPE, entropy=(True,)).groups(CPU)
    call = group.variants["ours"]()
    group.variants = {"ours": lambda: Call(lambda: call.run()._replace(value=2 * call.run().value))}
    assert Session(CPU).measure(group)[0]["errors"]["logp"] > 1


def test_failed_variant_is_a_row() -> None:
    def fails() -> Call:
        raise LookupError("not here\nsecond line")

    group = Group({"op": "op"}, 1e9, "GB/s", "floor")
    group.variants = {"absent": fails, "floor": lambda: Call(lambda: Result()), "lost": fails}
    absent, floor, lost = Session(CPU, lost={"lost": "died"}).measure(group)
    assert absent["reason"] == "LookupError: not here" and lost["reason"] == "died"
    assert floor["times_floor"] == 1 and floor["runs"] >= 2
    late = Session(CPU, end=time.monotonic() - 1).measure(group)
    assert [row["reason"] for row in late] == ["no time left"] * 3


def test_steps_of_the_gpu_cover_every_op_and_shape() -> None:
    steps = gpu_steps()
    for op in ("linear_objective", "linear_token_logprobs", "token_logprobs"):
        for backward in (True, False):
            found = {s.shape for s in steps if s.op == op and backward in s.backward and s.who == LIBRARIES}
            assert len(found) == 4, (op, backward)
    assert len({step.name for step in steps}) == len(steps)


def test_report(content: dict, tmp_path: Path) -> None:
    text = report_loss_head.markdown(content)
    for word in ("three bare GEMMs", "copy of the same bytes", "**ours**", "chunk_tokens=4", "need a GPU"):
        assert word in text
    for table in text.split("\n\n"):
        if table.startswith("|"):
            assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1
    assert ElementTree.fromstring(report_loss_head.svg(content)).tag.endswith("svg")
    (tmp_path / "docs").mkdir()
    files = tmp_path / "README.md", tmp_path / "docs/loss_head.md"
    for file in files:
        file.write_text("above\n{}\nstale\n{}\nbelow\n".format(*report_loss_head.MARKERS))
    report_loss_head.publish(content, Path("file.json"), tmp_path)
    short, made = (file.read_text() for file in files)
    for found in (short, made):
        assert found.startswith("above\n") and found.endswith("\nbelow\n") and "stale" not in found
        assert "three bare GEMMs" in found
    assert text in made and len(short) < len(made) / 2


def test_goals(content: dict) -> None:
    def row(op: str, setting: str, kind: str, variant: str, seconds: float, floor: float) -> Row:
        about = {"op": op, "setting": setting, "pass": kind, "shape": [8, 9, 10], "dtype": "bfloat16"}
        return about | {"variant": variant, "seconds": seconds, "times_floor": floor, "peak_bytes": 100}

    key = report_loss_head.SHOWN[0]
    content["rows"] = [row(*key, "ours", 1.0, 1.2), row(*key, report_loss_head.TRL, 1.5, 1.8)]
    content["rows"] += [row(*report_loss_head.SHOWN[2], "ours", 1.0, 1.0)]
    assert [line[1:] for line in report_loss_head.goals(content)] == [
        ["1.20", "missed"],
        ["1.50", "reached"],
        ["1.00", "reached"],
        ["1.00", "reached"],
    ]


def test_suite_goes_on_after_a_variant_that_kills(tmp_path: Path) -> None:
    path, every = tmp_path / "result.json", [Step("gemms", SHAPE), Step("memory", SHAPE)]
    path.write_text(json.dumps({"left_out": [], "rows": []}))
    worker = """
import json, os, pathlib, sys
path, what = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
content = json.loads(path.read_text())
content["rows"].append(what)
path.write_text(json.dumps(content))
path.with_suffix(".now").write_text('[1, "bad"]')
os._exit(0 if what["lost"] else 9)
"""
    command = [sys.executable, "-c", worker, str(path)]
    gpu_suite.supervise(path, command, every, time.monotonic() + 60)
    first, second = json.loads(path.read_text())["rows"]
    assert (first["first"], first["lost"]) == (0, {})
    assert second["first"] == 1 and list(second["lost"]["memory"]) == ["bad"]


def test_suite_stops_in_time(tmp_path: Path) -> None:
    path, every = tmp_path / "result.json", [Step("gemms", SHAPE), Step("token_logprobs", SHAPE)]
    results.write(path, results.begun("test", CPU))
    gpu_suite.work(path, every, CPU, first=0, lost={}, seconds=-1.0)
    assert json.loads(path.read_text())["left_out"] == [step.name for step in every]
    gpu_suite.work(path, every[:1], CPU, first=0, lost={}, seconds=math.inf)
    content = json.loads(path.read_text())
    assert content["left_out"] == [] and content["rows"][0]["variant"] == "logits"
