"""The benchmark of the loss head, at tiny shapes: what it compares is right, and its report can be made."""

import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from bench import default_run
from bench.loss_head import estimates, report
from bench.loss_head.harness import Call, Comparison, Result, Timer
from bench.loss_head.inputs import Setting
from bench.loss_head.measurement import Case, Measurement
from bench.loss_head.picture import svg
from bench.loss_head.results import Results
from bench.loss_head.steps import LIBRARIES, Step, gpu_steps
from tests.helpers.project import ROOT

SHAPE = (32, 256, 32)
CPU = torch.device("cpu")
# fp32 logits, bf16 gradients; so few tokens average no rounding away
BOUNDS = {"logp": 1e-5, "loss": 1e-5, "dhidden": 5e-3, "dweight": 5e-3, "dlogits": 5e-3}


@pytest.fixture(scope="module")
def measurements() -> list[Measurement]:
    ops = "linear_objective", "linear_token_logprobs", "token_logprobs", "fused_policy_loss"
    steps = [Step(op, SHAPE, peers=LIBRARIES, backward=(True,), entropy=(False,)) for op in ops]
    steps += [Step("token_logprobs", SHAPE, peers=(), entropy=(True,))]
    steps += [
        Step("linear_objective", SHAPE, peers=()),
        Step("fused_policy_loss", SHAPE, "float32", ("torch",)),
    ]
    plain: dict[str, Any] = {"dtype": "float32", "peers": ("torch",), "backward": (True,)}
    settings = Setting(softcap=5.0), Setting(active=0.5), Setting(level="sequence")
    steps += [Step("linear_objective", SHAPE, setting=setting, **plain) for setting in settings]
    steps += [Step(op, SHAPE, setting=settings[0], entropy=(True,), **plain) for op in ops[2:]]
    steps += [Step("memory", SHAPE), Step("gemms", SHAPE)]
    return [m for step in steps for measured in step.run(Timer(CPU)) for m in measured]


@pytest.fixture
def results(measurements: list[Measurement]) -> Results:
    results = Results.begin("test", CPU)
    results.measurements = list(measurements)
    return results


@pytest.mark.slow
@pytest.mark.full
def test_ours_and_torch_run_and_are_right(measurements: list[Measurement]) -> None:
    for m in measurements:
        if m.is_ours or m.variant == "eager torch":
            assert not m.reason, m
            assert m.seconds and m.times_floor and m.peak_bytes
            assert m.seconds > 0 and m.times_floor > 0 and m.peak_bytes > 0
        # In float32 also what eager torch computes, which is no rounding of logits then.
        if "half" not in m.variant and (m.is_ours or (m.variant, m.case.dtype) == ("eager torch", "float32")):
            assert all(error <= BOUNDS[name] for name, error in m.errors.items()), m
            assert m.errors or m.case.setting == "memory"


@pytest.mark.slow
def test_compiled_torch_runs_and_is_right() -> None:
    for op in ("linear_objective", "linear_token_logprobs", "token_logprobs"):
        step = Step(op, SHAPE, peers=("compile",), backward=(True,), entropy=(False,))
        measurements = [m for measured in step.run(Timer(CPU)) for m in measured]
        (compiled,) = (m for m in measurements if m.variant == "torch.compile")
        assert not compiled.reason and compiled.seconds and compiled.seconds > 0, compiled


@pytest.mark.slow
def test_error_is_seen() -> None:
    """Twice the log-probability is far from the truth."""
    (comparison, *_) = Step("token_logprobs", SHAPE, entropy=(True,)).comparisons(CPU)
    call = comparison.variants["ours"]()
    comparison.variants = {"ours": lambda: Call(lambda: call.run()._replace(value=2 * call.run().value))}
    assert Timer(CPU).measure(comparison)[0].errors["logp"] > 1


@pytest.mark.slow
def test_failed_variant_is_a_measurement() -> None:
    def fails() -> Call:
        raise LookupError("not here\nsecond line")

    case = Case("op", "setting", "forward", SHAPE, "float32")
    comparison = Comparison(case, 1e9, "GB/s", "floor")
    comparison.variants = {"absent": fails, "floor": lambda: Call(lambda: Result()), "skipped": fails}
    absent, floor, skipped = Timer(CPU, skipped={"skipped": "died"}).measure(comparison)
    assert absent.reason == "LookupError: not here" and skipped.reason == "died"
    assert floor.times_floor == 1 and floor.runs and floor.runs >= 2
    late = Timer(CPU, end=time.monotonic() - 1).measure(comparison)
    assert [m.reason for m in late] == ["no time left"] * 3


def test_steps_of_the_gpu_cover_every_op_and_shape() -> None:
    steps = gpu_steps()
    for op in ("linear_objective", "linear_token_logprobs", "token_logprobs"):
        for backward in (True, False):
            full = [s for s in steps if s.op == op and backward in s.backward]
            assert all({*LIBRARIES} <= {*step.peers} for step in full)
            assert len({step.shape for step in full}) == 4, (op, backward)
    assert len({step.name for step in steps}) == len(steps)


@pytest.mark.slow
@pytest.mark.full
def test_results_read_back(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "file.json")
    assert Results.read(tmp_path / "file.json") == results


@pytest.mark.slow
@pytest.mark.full
def test_report(results: Results, tmp_path: Path) -> None:
    text = report.markdown(results)
    for word in ("three bare GEMMs", "copy of the same bytes", "**ours**", "chunk_tokens=4", "need a GPU"):
        assert word in text
    for table in text.split("\n\n"):
        if table.startswith("|"):
            assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1
    picture = svg([selection.of(results) for selection in report.TABLES], results.signature)
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs/loss_head.md"
    page.write_text("above\n{}\nstale\n{}\nbelow\n".format(*report.MARKERS))
    report.publish(results, [Path("file.json"), Path("other.json")], tmp_path)
    written = page.read_text()
    assert written.startswith("above\n") and written.endswith("\nbelow\n") and "stale" not in written
    assert text in written and "(../bench/results/other.json)" in written


@pytest.mark.slow
def test_goals(results: Results) -> None:
    def measured(selection: report.Selection, variant: str, seconds: float, floor: float) -> Measurement:
        case = Case(*selection, shape=(8, 9, 10), dtype="bfloat16")
        return Measurement(case, variant, seconds=seconds, times_floor=floor, peak_bytes=100)

    results.measurements = [
        measured(report.OBJECTIVE, "ours", 1.0, 1.2),
        measured(report.OBJECTIVE, report.TRL, 1.5, 1.8),
        measured(report.LOGPROBS_FORWARD, "ours", 1.0, 1.0),
    ]
    assert [(f"{goal.value:.2f}", goal.reached) for goal in report.goals(results)] == [
        ("1.20", False),
        ("1.50", True),
        ("1.00", True),
        ("1.00", True),
    ]


@pytest.mark.slow
def test_default_run_measures_the_process_of_a_checkout(tmp_path: Path) -> None:
    program = tmp_path / "dupo" / "train.py"
    program.parent.mkdir()
    program.write_text("""
import json, pathlib, sys
memory = b"x" * (800 << 20)
folder = pathlib.Path(sys.argv[sys.argv.index("--output_dir") + 1])
folder.mkdir()
accuracy = 0.25 if "--max_steps" in sys.argv else 0.5
(folder / "summary.json").write_text(json.dumps({"eval/accuracy_after": accuracy}))
""")
    measured = default_run.measure(tmp_path, ["--max_steps", "2"])
    assert measured.accuracy == 0.25 and measured.wall_seconds > 0
    assert measured.peak_bytes > 800 << 20


def test_default_run_compares_medians() -> None:
    old = [default_run.Measured(seconds, 1.0, 100, 0.5) for seconds in (1.0, 2.0, 90.0)]
    new = [default_run.Measured(seconds, 2.0, 150, 0.5) for seconds in (3.0, 3.0, 1.0)]
    ratio = default_run.compare(old, new)["ratio"]
    assert ratio == {"wall_seconds": 1.5, "cpu_seconds": 2.0, "peak_bytes": 1.5}


# --- estimates -------------------------------------------------------------------------------------


def test_the_page_has_the_estimates_of_today() -> None:
    page = (ROOT / "docs/loss_head.md").read_text()
    assert estimates.publish(page) == page, "python -m bench.loss_head.estimates --write"
    assert f"{estimates.SMALL_LAUNCHES} launches" in (ROOT / "docs/one_launch.svg").read_text()


def test_an_estimate_is_its_formula() -> None:
    """4 x 3 x 2 tokens, words and features; one read of 4 bytes, one write of 2."""
    held = estimates.PATHS[-1]
    products, total = estimates.seconds(4, 3, 2, held)
    assert products == pytest.approx(6 * 24 / 790e12)
    assert total - products == pytest.approx((4 + 2) * 12 / 4.3e12 + 2.5e-6)
