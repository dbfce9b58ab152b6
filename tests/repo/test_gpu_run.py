"""bench/gpu_run.sh: its parts run to the end at tiny shapes, lose nothing when killed, and choose right."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.loss_head import dram, gpu_run, machine, smoke, sweep
from bench.loss_head.gpu_parts import parts
from bench.loss_head.harness import Result, Timer
from bench.loss_head.launches import Launch
from bench.loss_head.measurement import Fact, Measurement
from bench.loss_head.results import Results
from bench.loss_head.steps import Step
from dupo_kernels._triton import HAS_TRITON
from dupo_kernels.logits.launch_table import Config
from tests.helpers.project import ROOT

SHAPE = (32, 256, 32)
CPU = torch.device("cpu")
needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a rehearsal without a GPU")


def run_script(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"PYTHON": sys.executable, **variables}
    command = [str(ROOT / "bench/gpu_run.sh"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=260)


# --- the parts -------------------------------------------------------------------------------------


@needs_no_gpu
@pytest.mark.slow
@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
@pytest.mark.full
@pytest.mark.parametrize("part", [1, 2, 3])
def test_rehearsal_of_a_part(part: int, tmp_path: Path) -> None:
    """Every step says something that it measured, and what can run here has run."""
    done = run_script("--tiny", str(tmp_path), str(part))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "USDT" not in done.stderr
    results = Results.read(tmp_path / f"part{part}.json")
    assert results.left_out == []
    assert "note" in results.signature  # nobody takes the times for those of a GPU
    for i, step in enumerate(parts(tiny=True)[part]):
        rows = [m for m in results.measurements if m.step == i]
        facts = [fact for fact in results.facts if fact.step == i]
        clocks = [fact for fact in facts if fact.kind.startswith("clocks")]
        assert [fact.kind for fact in clocks] == ["clocks before", "clocks after"], step.name
        told = [fact for fact in facts if fact not in clocks]
        assert not [fact for fact in told if fact.reason], told
        timed = [m for m in rows if m.seconds is not None]
        assert timed or told, step.name
        assert all(m.share is not None for m in timed), step.name
        assert all(not m.reason for m in rows if m.is_ours), [m for m in rows if m.reason]
    if part == 1:
        table = json.loads((tmp_path / sweep.TABLE).read_text())["rows"]
        assert {(row["kernel"], row["itemsize"]) for row in table} == {
            (kernel, size) for kernel in ("fused", "forward") for size in (2, 4)
        }
        assert all("config" in row and "not a GPU" in row["measured_on"] for row in table)
        assert (tmp_path / sweep.LINES).read_text().startswith("# interpreter, not a GPU")
    if part == 3:
        assert (tmp_path / "training_step.json.gz").stat().st_size > 1000


def test_parts_measure_what_was_asked_for() -> None:
    by_part = parts(tiny=False)
    files = [step.file for steps in by_part.values() for step in steps if isinstance(step, smoke.Tests)]
    assert files and all((ROOT / "tests" / file).is_file() for file in files), files
    assert by_part.keys() == parts(tiny=True).keys() == {1, 2, 3}
    for steps in [*by_part.values(), *parts(tiny=True).values()]:
        # The supervisor and the result file know a step by its name.
        assert len({step.name for step in steps}) == len(steps)
    for part, steps in by_part.items():
        rehearsed = [type(step) for step in parts(tiny=True)[part]]
        assert {type(step) for step in steps} == {*rehearsed}
    sweeps = [step for step in by_part[1] if isinstance(step, sweep.Sweep)]
    assert {step.shape[1] for step in sweeps} == {32_000, 151_936, 262_144}
    heads = [step for step in by_part[2] if isinstance(step, Step) and step.op == "linear_objective"]
    assert {4096, 2048, 1024} <= {step.shape[2] for step in heads}
    assert any(step.setting.level == "sequence" and step.shape[0] == 65_536 for step in heads)
    assert any(step.setting.softcap for step in heads) and any(step.setting.active < 1 for step in heads)
    assert any(step.shape[1] % 8 for step in heads)
    assert {"trl", "liger", "verl", "cce", "quack"} <= {peer for step in heads for peer in step.peers}


@needs_no_gpu
@pytest.mark.slow
@pytest.mark.full
def test_a_real_run_wants_a_gpu(tmp_path: Path) -> None:
    done = run_script(str(tmp_path), "1")
    assert done.returncode == 1 and "no GPU here: --tiny rehearses" in done.stderr
    assert not list(tmp_path.iterdir())


# --- the supervisor --------------------------------------------------------------------------------

WORKER = """
import json, os, pathlib, sys
path, task = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
content = json.loads(path.read_text())
content["rows"].append(task | {"interpreted": os.environ.get("TRITON_INTERPRET")})
path.write_text(json.dumps(content))
path.with_suffix(".now").write_text('[1, "bad"]')
os._exit(9 if DIES and not task["skipped"] else 0)
"""


def supervised(path: Path, steps: list[Any], dies: bool, on_gpu: bool) -> list[dict[str, Any]]:
    path.write_text(json.dumps({"left_out": [], "rows": []}))
    command = [sys.executable, "-c", WORKER.replace("DIES", str(dies)), str(path)]
    gpu_run.supervise(path, command, steps, time.monotonic() + 60, on_gpu)
    return json.loads(path.read_text())["rows"]


def test_goes_on_after_a_variant_that_kills(tmp_path: Path) -> None:
    steps = [Step("gemms", SHAPE), Step("memory", SHAPE)]
    first, second = supervised(tmp_path / "result.json", steps, dies=True, on_gpu=True)
    assert (first["first"], first["last"], first["skipped"]) == (0, 2, {})
    assert second["first"] == 1 and list(second["skipped"][steps[1].name]) == ["bad"]


def test_a_step_that_fails_or_kills_is_told(tmp_path: Path) -> None:
    class Failing:
        name, interpreted = "failing", False

        def run(self, timer: Timer) -> Any:
            raise LookupError("not here")

    path = tmp_path / "result.json"
    Results.begin("test", CPU).write(path)
    gpu_run.work(path, [Failing(), Failing()], CPU, first=0, last=2, skipped={}, seconds=math.inf)
    told = [fact for fact in Results.read(path).facts if fact.kind == "failed"]
    assert [(fact.step, fact.reason) for fact in told] == [
        (0, "LookupError: not here"),
        (1, "LookupError: not here"),
    ]

    Results.begin("test", CPU).write(path)
    path.with_suffix(".now").write_text('[0, ""]')
    command = [sys.executable, "-c", "import sys; sys.exit(9)"]
    gpu_run.supervise(path, command, [Failing()], time.monotonic() + 60, on_gpu=True)
    (fact,) = Results.read(path).facts
    assert (fact.name, fact.step) == ("failing", 0) and "took its process down" in (fact.reason or "")


def test_interprets_without_a_gpu_what_needs_a_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    kernel = sweep.Sweep("forward", (4, 64, 0), "bfloat16")
    steps = [Step("gemms", SHAPE), kernel, kernel, Step("memory", SHAPE)]
    rows = supervised(tmp_path / "result.json", steps, dies=False, on_gpu=False)
    groups = [(row["first"], row["last"], row["interpreted"]) for row in rows]
    assert groups == [(0, 1, None), (1, 3, "1"), (3, 4, None)]
    (row,) = supervised(tmp_path / "result.json", steps, dies=False, on_gpu=True)
    assert (row["first"], row["last"], row["interpreted"]) == (0, 4, None)


@pytest.mark.slow
def test_stops_in_time_and_makes_again_what_was_not_finished(tmp_path: Path) -> None:
    path, steps = tmp_path / "result.json", [Step("gemms", SHAPE), Step("token_logprobs", SHAPE)]
    results = Results.begin("test", CPU)
    results.facts = [Fact("of a worker that died", "check", step=0)]
    results.write(path)
    gpu_run.work(path, steps, CPU, first=0, last=2, skipped={}, seconds=-1.0)
    assert Results.read(path).left_out == [step.name for step in steps]
    gpu_run.work(path, steps, CPU, first=0, last=1, skipped={}, seconds=math.inf)
    results = Results.read(path)
    assert results.left_out == [steps[1].name] and results.measurements[0].variant == "logits"
    assert [fact.kind for fact in results.facts] == ["clocks before", "clocks after"]
    assert all(m.wall_seconds and m.build_seconds is not None for m in results.measurements)


# --- what the steps read and choose -----------------------------------------------------------------


def test_clocks_of_nvidia_smi() -> None:
    assert machine.parse_clocks("1980, 3201, 643.21, 61, 0x0000000000000024\n") == {
        "sm_mhz": 1980.0,
        "memory_mhz": 3201.0,
        "watts": 643.21,
        "celsius": 61.0,
        "held_back": ["power cap", "hot, software"],
    }
    assert machine.parse_clocks("345, 3201, [N/A], 30, 0x0000000000000001") == {
        "sm_mhz": 345.0,
        "memory_mhz": 3201.0,
        "celsius": 30.0,
        "held_back": [],
    }


def test_bytes_of_ncu() -> None:
    text = """==PROF== Connected to process 7
"ID","Kernel Name","dram__bytes_read.sum","dram__bytes_write.sum","gpu__time_duration.sum"
"","","Mbyte","byte","us"
"0","_forward","1,024.5","512","3.25"
"1","_looped","2","0","n/a"
==PROF== Disconnected
"""
    assert dram.parse(text) == [
        {"read": 1024.5e6, "written": 512.0, "nanoseconds": 3250.0},
        {"read": 2e6, "written": 0.0},
    ]
    assert dram.parse("==ERROR== no permission") == []


def test_a_failed_check_is_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> dict[str, Any]:
        raise AssertionError("other bits")

    monkeypatch.setitem(smoke.CHECKS, "graph", fails)
    ((fact,),) = smoke.Check("graph", SHAPE).run(Timer(CPU))
    assert fact.reason == "AssertionError: other bits"
    ((fact,),) = smoke.Check("sums", SHAPE).run(Timer(CPU))
    assert fact.reason is None and fact.values["dweight"] < smoke.GRADIENT_BOUND


@pytest.mark.slow
def test_tests_that_fail_or_hang_are_told(tmp_path: Path) -> None:
    for name, body in {"good": "pass", "bad": "assert 0", "slow": "import time; time.sleep(60)"}.items():
        (tmp_path / f"test_{name}.py").write_text(f"def test_it():\n    {body}\n")

    def told(name: str, seconds: float) -> Fact:
        # An absolute path replaces the folder of the tests.
        ((fact,),) = smoke.Tests(str(tmp_path / f"test_{name}.py"), seconds).run(Timer(CPU))
        return fact

    good, bad = told("good", 60), told("bad", 60)
    assert good.values == {"passed": 1} and good.reason is None
    assert bad.values == {"failed": 1} and "assert 0" in (bad.reason or "")
    assert told("slow", 1).reason == "took longer than 1 s"


def test_fastest_right_configuration_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest candidate is wrong, so the second takes its place in the table."""
    configs = [Config("looped", 1, 2), Config("looped", 2, 2), Config("looped", 4, 2)]
    seconds = dict(zip([sweep.PRESENT, *map(sweep.name_of, configs)], (3.0, 1.0, 2.0, 2.5), strict=True))

    class FakeTimer(Timer):
        def measure(self, comparison: Any) -> list[Measurement]:
            errors = {t: {"dlogits": 0.5 if t == 1.0 else 1e-3} for t in seconds.values()}
            return [
                Measurement(comparison.case, name, seconds=t, times_floor=t, errors=errors[t])
                for name, t in seconds.items()
            ]

    monkeypatch.setattr(sweep, "candidates", lambda *_: configs)
    nothing = Launch(lambda _: None, lambda: None, Result(), 8)
    monkeypatch.setattr(sweep, "launch", lambda *_, **__: nothing)
    for V in (64, 128):
        list(sweep.Sweep("fused", (4, V, 0), "bfloat16").run(FakeTimer(CPU, folder=tmp_path)))
    rows = json.loads((tmp_path / sweep.TABLE).read_text())["rows"]
    assert [row["config"]["warps"] for row in rows] == [2, 2]
    assert rows[0]["share"] == 0.5 and rows[0]["present_share"] == pytest.approx(1 / 3)
    lines = (tmp_path / sweep.LINES).read_text().splitlines()[1:]
    assert [line.split(", Config")[0] for line in lines] == ["Entry(0, 2, 0", "Entry(0, 2, 65"]
