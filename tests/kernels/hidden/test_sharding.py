"""The head across processes: a vocabulary in parts, and FSDP2; two gloo processes on this machine."""

import socket

import pytest
import torch.distributed

from tests.helpers.project import ROOT, RunPython

needs_gloo = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="needs gloo"
)


@pytest.mark.slow
@needs_gloo
def test_two_processes_equal_one(run_python: RunPython) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = str(ROOT / "tests/kernels/hidden/sharding_checks.py")
    done = run_python(
        script,
        str(port),
        "vocabulary",
        "outputs",
        "fsdp",
        "divergence",
        "fsdp_divergence",
        env={"TRITON_INTERPRET": None},
    )
    assert done.returncode == 0, done.stdout + done.stderr
