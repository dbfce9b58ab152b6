"""A second opinion: TRL, Liger-Kernel and verl compute the same, or a check says where they do not and why.

The checks are in peer_<name>.py; in those of peer_<name>_triton.py the kernels run interpreted. A peer is
found by an environment variable, which names the folder that .ci/peers made for it. It never enters our own
environment: each runs in a process of its own.
"""

import os

import pytest

from dupo_kernels._triton import HAS_TRITON
from tests.helpers.project import ROOT, RunPython

VARIABLES = {
    "trl": "DUPO_PEER_TRL",
    "trl_preferences": "DUPO_PEER_TRL",
    "trl_divergence": "DUPO_PEER_TRL",
    "trl_triton": "DUPO_PEER_TRL",
    "liger": "DUPO_PEER_LIGER",
    "liger_preferences": "DUPO_PEER_LIGER",
    "liger_divergence": "DUPO_PEER_LIGER",
    "liger_triton": "DUPO_PEER_LIGER",
    "verl": "DUPO_PEER_VERL",
    "verl_triton": "DUPO_PEER_VERL",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "peer", [pytest.param(n, marks=pytest.mark.full if n.endswith("_triton") else ()) for n in VARIABLES]
)
def test_agrees_with(run_python: RunPython, peer: str) -> None:
    folder = os.environ.get(VARIABLES[peer])
    if not folder:
        pytest.skip(f"{VARIABLES[peer]} is not set; .ci/peers says how to")
    if (peer.startswith("liger") or peer.endswith("_triton")) and not HAS_TRITON:
        pytest.skip("needs Triton, which is not installed")
    path = os.pathsep.join([str(ROOT / "kernels"), str(ROOT), folder])
    env = {"PYTHONPATH": path, "TRITON_INTERPRET": "1" if peer.endswith("_triton") else None}
    done = run_python("-m", "tests.peers.peer_checks", peer, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
