"""The Triton kernels on machines without a GPU: run under the interpreter, compiled for three generations of
GPUs, and absent.

TRITON_INTERPRET counts when triton is imported, so each of these is a process of its own.
"""

import re
import subprocess
import sys
import tempfile
from itertools import product
from typing import Any

import pytest
from conftest import ROOT, RunPython

from dupo_kernels import _triton

needs_triton = pytest.mark.skipif(not _triton.HAS_TRITON, reason="Triton is not installed")
slow = pytest.mark.slow
HIDE_TRITON = "import sys; sys.modules['triton'] = None\n"


@needs_triton
def test_the_same_tests_pass_under_the_interpreter(run_python: RunPython) -> None:
    files = [str(ROOT / "tests" / name) for name in ("test_logprob.py", "test_objective.py")]
    options = ("-q", "-p", "no:cacheprovider", "--no-header")
    done = run_python("-m", "pytest", *options, *files, env={"TRITON_INTERPRET": "1"})
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 90  # type: ignore[index]


def test_works_without_triton(run_python: RunPython) -> None:
    program = HIDE_TRITON + (
        "import torch, dupo_kernels as k; from dupo_kernels import _triton\n"
        "assert not _triton.HAS_TRITON\n"
        "z, y = torch.randn(3, 9, requires_grad=True), torch.tensor([0, 8, 4])\n"
        "logp, entropy = k.token_logprobs(z, y, entropy=True, softcap=9.0)\n"
        "loss, _ = k.policy_loss(logp, torch.ones(3), entropy=entropy, entropy_coef=0.1)\n"
        "loss.backward()\n"
        "expected = k.token_logprobs_ref(z, y, softcap=9.0)[0]\n"
        "torch.testing.assert_close(logp, expected)\n"
        "assert z.grad.abs().sum() > 0\n"
    )
    done = run_python("-c", program, env={"TRITON_INTERPRET": None})
    assert done.returncode == 0, done.stderr


@needs_triton
@pytest.mark.parametrize("architecture", [pytest.param(80, marks=slow), 90, pytest.param(100, marks=slow)])
def test_kernels_compile_without_spills(run_python: RunPython, architecture: int) -> None:
    """For a GPU that is not there: Triton to PTX, and ptxas says what became of it."""
    program = f"import test_logprob_interpreter as t; t.compile_kernels({architecture})"
    env = {"TRITON_INTERPRET": None, "PYTHONPATH": f"{ROOT / 'kernels'}:{ROOT / 'tests'}"}
    done = run_python("-c", program, env=env)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 9
    assert all(re.search(r"\b0 bytes spill stores, 0 bytes spill loads", line) for line in lines), done.stdout


def compile_kernels(architecture: int) -> None:
    """Prints a line for each variant of each kernel: its name and what ptxas reports."""
    from test_objective import objective_kernel

    from dupo_kernels import _logprob_triton as kernels

    for dtype, softcap in product(("*bf16", "*fp32"), (False, True)):
        for kernel in (kernels._forward, kernels._backward):
            constants = {"SOFTCAP": softcap, "ENTROPY": True, "BLOCK_V": kernels.BLOCK_V}
            types = {"logits_ptr": dtype, "dlogits_ptr": dtype, "targets_ptr": "*i64", "softcap": "fp32"}
            _compile(kernel, architecture, types, constants, kernels.NUM_WARPS)
    _compile(objective_kernel, architecture, {"low": "fp32", "high": "fp32"}, {"BLOCK": 128}, 4)


def _compile(
    kernel: Any, architecture: int, types: dict[str, str], constants: dict[str, Any], num_warps: int
) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia.compiler import get_ptxas, sm_arch_from_capability
    from triton.compiler import ASTSource

    names = [parameter.name for parameter in kernel.params]
    usual = {name: "*fp32" if name.endswith("_ptr") else "i32" for name in names}
    signature = usual | types | dict.fromkeys(constants, "constexpr")
    aligned = [n for n in names if n in ("logits_ptr", "dlogits_ptr", "stride_n", "stride_dn", "V")]
    source = ASTSource(
        fn=kernel,
        signature={name: signature[name] for name in names},
        constexprs=constants,
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    options = {"num_warps": num_warps, "enable_fp_fusion": True}
    ptx = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options).asm["ptx"]
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        target = f"--gpu-name={sm_arch_from_capability(architecture)}"
        command = [get_ptxas(architecture).path, "-v", target, file.name, "-o", "/dev/null"]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    print(kernel.__name__, constants, " ".join(report.split()), file=sys.stdout)
