"""The kernels compiled for four generations of GPUs that are not there: what the machine code does with each
launch (aot_report.py makes the list and compiles it), and what it may cost (aot_table.json)."""

import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from dupo_kernels import _triton
from tests.helpers.project import ROOT, RunPython

pytestmark = pytest.mark.skipif(not _triton.HAS_TRITON, reason="Triton is not installed")
slow, full = pytest.mark.slow, [pytest.mark.slow, pytest.mark.full]
Report = dict[str, dict[str, Any]]
OLDER = [
    pytest.param((architecture, ""), marks=full, id=f"{architecture}") for architecture in (80, 90, 100, 120)
]
BUILDS = [
    pytest.param((90, "quick"), marks=slow, id="quick"),
    *OLDER,
]
ALIGNED = "V=32000/32000"
# Instructions a logit in the loops of the first walk; the special unit serves one logit in 8 at a time.
MOST_INSTRUCTIONS, MOST_WITH_SOFTCAP = 12, 42


def compiled(run_python: RunPython, cache: Path, kernels: Path, architecture: int, part: str) -> Report:
    env = {
        "TRITON_INTERPRET": None,
        "TRITON_CACHE_DIR": str(cache),
        "PYTHONPATH": f"{kernels}:{ROOT}",
    }
    done = run_python("-m", "tests.kernels.aot_report", str(architecture), part, env=env, timeout=550)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=BUILDS)
def build(request: pytest.FixtureRequest) -> tuple[int, str]:
    """(architecture, which launches)."""
    return request.param


@pytest.fixture(scope="module")
def report(build: tuple[int, str], run_python: RunPython, tmp_path_factory: pytest.TempPathFactory) -> Report:
    found = compiled(run_python, tmp_path_factory.mktemp("triton"), ROOT / "kernels", *build)
    kernels = {name.split()[0] for name in found}
    assert kernels >= {"_forward", "_backward", "_looped", "_reduce"}, kernels
    return found


def committed() -> dict[str, dict[str, list[Any]]]:
    import triton

    table = json.loads((ROOT / "tests/kernels/aot_table.json").read_text())
    if triton.__version__ not in table:
        pytest.skip(
            f"no figures of Triton {triton.__version__}: python -m tests.kernels.aot_report --write adds them"
        )
    return table[triton.__version__]


def test_nothing_spills(report: Report) -> None:
    assert {name: found["spilled"] for name, found in report.items()} == dict.fromkeys(report, 0)


def test_registers_and_shared_memory_are_as_committed(report: Report, build: tuple[int, str]) -> None:
    architecture = str(build[0])
    found = {name: [of["registers"], of["shared"]] for name, of in report.items()}
    table = {name: rows[architecture][:2] for name, rows in committed().items() if architecture in rows}
    if build[1] != "quick":
        assert found.keys() == table.keys()
    assert found == {name: table[name] for name in found}


def test_enough_programs_fit_on_a_multiprocessor(report: Report, build: tuple[int, str]) -> None:
    """Loads of 64 KB are on their way where four programs of 8 warps fit."""
    for name, found in report.items():
        if name.startswith("_looped"):
            most = 80 if "softcap" in name or build[0] == 120 else 64
            assert found["registers"] <= most, name


def walks(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The loops over the row."""
    if found["loops"] is None:
        pytest.skip("no disassembler came with Triton")
    return [loop for loop in found["loops"] if loop["loads"] or loop["stores"]]


def of_rows(report: Report) -> Report:
    rows = ("_forward", "_backward", "_looped", "_persistent")
    return {name: found for name, found in report.items() if name.split()[0] in rows}


def test_the_first_walk_has_few_instructions(report: Report) -> None:
    """At 12 for each logit of two bytes a GPU of 132 multiprocessors issues more than its memory delivers."""
    seen = 0
    for name, found in of_rows(report).items():
        most = MOST_WITH_SOFTCAP if "softcap" in name else MOST_INSTRUCTIONS
        for loop in walks(found):
            if found["per_thread"] and loop["loads"] and not loop["stores"]:
                seen += 1
                assert loop["instructions"] <= most * found["per_thread"], (name, loop)
    assert seen >= 2 * 4


def test_rows_move_in_128_bits_wherever_they_start(report: Report) -> None:
    """In every loop; what a row has before its first word and after its last lies outside of the loops."""
    for name, found in of_rows(report).items():
        loops = walks(found)
        assert len(loops) >= 2, name
        for loop in loops:
            assert {*loop["loads"], *loop["stores"]} == {"128"}, (name, loop)
    held = [found for name, found in report.items() if name.startswith("_held")]
    for found in held:
        assert {width(instruction) for instruction, _ in found["tiles"]} == {128}


def width(instruction: str) -> int:
    """Of an access in PTX, in bits."""
    vector, bits = re.fullmatch(r".*?(?:\.v(\d))?\.b(\d+)", instruction).groups(default=1)  # type: ignore[union-attr]
    return int(vector) * int(bits)


def test_the_first_walk_is_as_committed(report: Report, build: tuple[int, str]) -> None:
    from tests.kernels.aot_report import first_walk

    table = committed()
    for name, found in report.items():
        assert first_walk(found) == table[name][str(build[0])][2], name


def test_no_instruction_prefers_a_number_to_nan(report: Report) -> None:
    """But for those that look for the largest logit: the sums beside it hold every NaN."""
    for name, found in report.items():
        kernel, warps = name.split()[0], found["threads"] // 32
        # In a thread once for each loop; then in its warp, in its block; and the same for the ends of a row.
        most = 2 * found["per_thread"] + 5 + (warps - 1).bit_length() + 1 + 5
        if kernel == "_backward":
            assert found["extremes"] == 0, name
        elif kernel == "_forward":
            assert found["extremes"] <= most, name
        elif kernel == "_looped":  # the bounds of ratios and weights, which are no logits
            assert found["extremes"] <= most + 6, name


def test_rows_start_at_64_bit_offsets(report: Report) -> None:
    """Beyond 2**31 logits a product in 32 bits would be another row, or none."""
    strides = {"ld": "program x stride_n", "st": "program x stride_dn"}
    for name, found in report.items():
        if name.split()[0] not in ("_forward", "_backward", "_looped", "_held"):
            continue
        reads_only = name.startswith("_forward") or "->none" in name
        products = {stride: set(widths) for stride, widths in found["products"].items()}
        if "50257/50257" in name:  # how far the first word of a row is from its start, the lowest bits alone
            products["stride_n"] -= {32}
        expected = ["stride_n"] if reads_only else ["stride_dn", "stride_n"]
        # With an index, a temperature is that of the token of the program.
        expected += [] if "everything" in name else ["stride_t"]
        assert products == {stride: {64} for stride in expected}, name
        kinds = {instruction[:2] for instruction, _ in found["tiles"]}
        assert kinds == ({"ld"} if reads_only else {"ld", "st"}), name
        for instruction, sources in found["tiles"]:
            assert strides[instruction[:2]] in sources, (name, instruction)


def test_nothing_is_written_before_all_threads_have_read(report: Report) -> None:
    """Narrow dlogits lie where the logits of a block lay, and other threads hold those; dlogits over logits
    of their own type wait for whoever reads the target and the ends of the row."""
    first_walk, block = ["ld", "bar"], ["ld", "bar", "st"]
    checked = 0
    for name, found in report.items():
        kernel, order = name.split()[0], [step for step, _ in groupby(found["order"])]
        narrows = "fp32->bf16" in name or "fp32->fp16" in name
        ends = ["st"] if "50257" in name else []
        if kernel == "_held":
            expected = block
        elif kernel == "_backward" and narrows:
            expected = (first_walk + ends if ends else []) + 2 * block
        elif kernel == "_looped" and "->none" not in name:
            expected = first_walk + ends + (2 * block if narrows else ["ld", "st", "ld", "st"])
        else:
            continue
        checked += 1
        assert order == expected, name
    assert checked >= 4
