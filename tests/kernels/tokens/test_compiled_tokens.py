"""The kernels of tokens compile for every GPU that we name, and keep all they hold in registers."""

import json

import pytest

from dupo_kernels import _triton
from tests.helpers.project import RunPython

KERNELS = ["_count", "_losses", "_reduce", "_gradients", "_scale"]


@pytest.mark.slow
@pytest.mark.skipif(not _triton.HAS_TRITON, reason="Triton is not installed")
@pytest.mark.parametrize(
    "architecture", ["90", *(pytest.param(a, marks=pytest.mark.full) for a in ("80", "100", "120"))]
)
def test_nothing_spills(run_python: RunPython, architecture: str) -> None:
    program = "tests.kernels.tokens.compiled_tokens"
    done = run_python("-m", program, architecture, env={"TRITON_INTERPRET": None}, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == dict.fromkeys(KERNELS, 0)
