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
    "trl_trainers": "DUPO_PEER_TRL",
    "trl_methods": "DUPO_PEER_TRL",
    "trl_models": "DUPO_PEER_TRL",
    "trl_triton": "DUPO_PEER_TRL",
    "liger": "DUPO_PEER_LIGER",
    "liger_preferences": "DUPO_PEER_LIGER",
    "liger_divergence": "DUPO_PEER_LIGER",
    "liger_triton": "DUPO_PEER_LIGER",
    "others": "DUPO_PEER_OPENRLHF",
    "verl": "DUPO_PEER_VERL",
    "verl_plugin": "DUPO_PEER_VERL",
    "verl_triton": "DUPO_PEER_VERL",
}


# What a peer needs beside its own folder.
FURTHER = {
    "trl_trainers": ["DUPO_PEER_DATASETS"],
    "trl_methods": ["DUPO_PEER_DATASETS"],
    "trl_models": ["DUPO_PEER_DATASETS"],
    "verl_plugin": ["DUPO_PEER_DATASETS", "DUPO_PEER_RAY"],
    "others": [f"DUPO_PEER_{name}" for name in ("AXOLOTL", "TRL", "DATASETS", "RAY")],
}


# Older versions of TRL: `.ci/peers DIRECTORY trl_1_9 trl_1_13 trl_1_14 trl_1_15`.
OLDER_TRL = ("1_9", "1_13", "1_14", "1_15")


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("version", OLDER_TRL)
def test_serves_an_older_trl(run_python: RunPython, version: str) -> None:
    variables = [f"DUPO_PEER_TRL_{version}", "DUPO_PEER_TRL", "DUPO_PEER_DATASETS"]
    folders = [os.environ.get(variable, "") for variable in variables]
    if not all(folders):
        pytest.skip(f"{variables} are not all set; .ci/peers says how to")
    # The older TRL stands before the newer, whose folder has accelerate.
    path = os.pathsep.join([str(ROOT / "kernels"), str(ROOT), *folders])
    # The head of 1.15 has its kernels alone, which run interpreted here.
    env = {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "1"}
    done = run_python("-m", "tests.peers.peer_checks", "trl_versions", env=env)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "peer", [pytest.param(n, marks=pytest.mark.full if n.endswith("_triton") else ()) for n in VARIABLES]
)
def test_agrees_with(run_python: RunPython, peer: str) -> None:
    folders = [str(ROOT / "kernels"), str(ROOT)]
    for variable in (VARIABLES[peer], *FURTHER.get(peer, [])):
        folder = os.environ.get(variable)
        if not folder:
            pytest.skip(f"{variable} is not set; .ci/peers says how to")
        folders.append(folder)
    if (peer.startswith("liger") or peer.endswith("_triton")) and not HAS_TRITON:
        pytest.skip("needs Triton, which is not installed")
    env = {
        "PYTHONPATH": os.pathsep.join(folders),
        "TRITON_INTERPRET": "1" if peer.endswith("_triton") else None,
    }
    # TRL tells its makers of every trainer, and transformers looks for files on the Hub.
    env |= {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    # Several threads for models of a few numbers wait for each other: four times as long, on a busy machine.
    env |= {"OMP_NUM_THREADS": "1"} if peer in FURTHER else {}
    done = run_python("-m", "tests.peers.peer_checks", peer, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
