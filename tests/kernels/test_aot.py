"""The kernels compiled for three generations of GPUs that are not there: what the machine code does with each
launch (aot_report.py makes the list and compiles it), and what it may cost (aot_table.json)."""

import json
import re
import shutil
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from dupo_kernels import _triton
from dupo_kernels.logits.triton_path import BLOCK_V
from tests.helpers.project import ROOT, RunPython

pytestmark = pytest.mark.skipif(not _triton.HAS_TRITON, reason="Triton is not installed")
slow = pytest.mark.slow
ALIGNED = "V=32000/32000"
# How many variants; forward + backward.
PARTS = {ALIGNED: 12 + 20, "V=50257/50272": 12 + 20, "V=50257/50257": 12 + 20, "objective_kernel": 1}
# Where V or the stride does not divide by 16, Triton assumes less.
ROWS = [ALIGNED, *(pytest.param(part, marks=slow) for part in list(PARTS)[1:3])]
BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
of_rows = pytest.mark.parametrize("part", ROWS, indirect=True)
Report = dict[str, dict[str, Any]]


def compiled(run_python: RunPython, cache: Path, kernels: Path, architecture: int, part: str) -> Report:
    env = {
        "TRITON_INTERPRET": None,
        "TRITON_CACHE_DIR": str(cache),
        "PYTHONPATH": f"{kernels}:{ROOT}",
    }
    done = run_python("-m", "tests.kernels.aot_report", str(architecture), part, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=[90, pytest.param(80, marks=slow), pytest.param(100, marks=slow)])
def architecture(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module", params=[*ROWS, "objective_kernel"])
def part(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def report(
    architecture: int, part: str, run_python: RunPython, tmp_path_factory: pytest.TempPathFactory
) -> Report:
    found = compiled(run_python, tmp_path_factory.mktemp("triton"), ROOT / "kernels", architecture, part)
    assert len(found) == PARTS[part], "\n".join(found)
    return found


def test_nothing_spills(report: Report) -> None:
    assert {name: found["spilled"] for name, found in report.items()} == dict.fromkeys(report, 0)


def test_registers_and_shared_memory_are_as_committed(report: Report, architecture: int, part: str) -> None:
    import triton

    table = json.loads((ROOT / "tests/kernels/aot_table.json").read_text())
    if triton.__version__ not in table:
        pytest.skip(
            f"no figures of Triton {triton.__version__}: python -m tests.kernels.aot_report --write adds them"
        )
    found = {name: [of["registers"], of["shared"]] for name, of in report.items()}
    committed = {name: row for name, row in table[triton.__version__].items() if part in name}
    assert found == {name: row[str(architecture)] for name, row in committed.items()}


@pytest.mark.parametrize("part", [ALIGNED], indirect=True)
def test_aligned_rows_move_in_128_bits(report: Report) -> None:
    """Each thread loads and stores its share of a block once, in the widest words that there are."""
    for name, found in report.items():
        kernel, *words = name.split()
        types = [BYTES[word] for word in words if word in BYTES]
        expected = {"ld": types[0], "st": types[-1]} if kernel == "_backward" else {"ld": types[0]}
        moved, widths = Counter[str](), set()
        for instruction, _ in found["tiles"]:
            vector, bits = re.fullmatch(r".*?(?:\.v(\d))?\.b(\d+)", instruction).groups(default=1)  # type: ignore[union-attr]
            moved[instruction[:2]] += int(vector) * int(bits) // 8
            widths.add(int(vector) * int(bits))
        assert moved == {kind: BLOCK_V // found["threads"] * size for kind, size in expected.items()}, name
        assert min(widths) >= 128, name


@of_rows
def test_no_instruction_prefers_a_number_to_nan(report: Report) -> None:
    """But for those that reduce the peaks of the lanes, of which none is NaN."""
    for name, found in report.items():
        warps = found["threads"] // 32
        # In a thread, in its warp, in its block.
        steps = BLOCK_V // found["threads"] - 1 + 5 + (warps - 1).bit_length()
        assert found["extremes"] <= (steps if name.startswith("_forward") else 0), name


def offsets(report: Report) -> dict[str, tuple[dict[str, list[int]], set[tuple[str, ...]]]]:
    """Of each kernel of rows: the widths of (program's number x stride), and which of them rows start at."""
    return {
        name: (found["products"], {(instruction[:2], *strides) for instruction, strides in found["tiles"]})
        for name, found in report.items()
    }


@of_rows
def test_rows_start_at_64_bit_offsets(report: Report) -> None:
    """Beyond 2**31 logits a product in 32 bits would be another row, or none."""
    load, store = ("ld", "program x stride_n"), ("st", "program x stride_dn")
    for name, found in offsets(report).items():
        if name.startswith("_forward"):
            assert found == ({"stride_n": [64], "stride_t": [64]}, {load}), name
        else:
            widths = {"stride_n": [64], "stride_dn": [64], "stride_t": [64]}
            assert found == (widths, {load, store}), name


def test_32_bit_offsets_are_seen(run_python: RunPython, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "kernels", tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "kernels/dupo_kernels/logits/triton_path.py"
    source = file.read_text()
    assert source.count(".to(tl.int64)") == 2
    file.write_text(source.replace(".to(tl.int64)", ""))
    report = compiled(run_python, tmp_path, tmp_path / "kernels", 90, f"d bf16 entropy {ALIGNED}")
    assert {name.split()[0]: products for name, (products, _) in offsets(report).items()} == {
        "_forward": {"stride_n": [32], "stride_t": [32]},
        "_backward": {"stride_n": [32], "stride_dn": [32], "stride_t": [32]},
    }


@of_rows
def test_narrow_dlogits_wait_until_all_threads_have_read(report: Report, part: str) -> None:
    """They lie where the logits of a block lay, and other threads hold those."""
    orders = {
        name: [step for step, _ in groupby(found["order"])]
        for name, found in report.items()
        if name.startswith(("_backward fp32 bf16", "_backward fp32 fp16"))
    }
    assert len(orders) == PARTS[part] // 4
    assert orders == {name: ["ld", "bar", "st"] for name in orders}
