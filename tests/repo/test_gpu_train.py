"""bench/gpu_train.sh: its parts run to the end with a tiny model, and say what they measured."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.training.model import FULL, TINY, make_tokenizer
from bench.training.steps import ENGINES, parts
from tests.helpers.project import ROOT

PHASES = {"answers", "rewards", "update"}
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a rehearsal without a GPU")


def rehearsed(part: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Name of each step -> its fact, or the reason why there is none."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [str(ROOT / "bench/gpu_train.sh"), "--tiny", str(folder), str(part)]
    environment |= {"PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=260)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((folder / f"part{part}.json").read_text())
    assert result["left_out"] == [] and "note" in result["signature"]
    facts: dict[str, dict[str, Any]] = {}
    for fact in result["facts"]:
        if not fact["kind"].startswith("clocks"):
            is_absent = "vllm" in fact["name"] and not find_spec("vllm")
            assert bool(fact["reason"]) == is_absent, fact
            facts.setdefault(fact["name"], {})[fact["kind"]] = fact["values"]
    assert set(facts) == {step.name for step in parts(tiny=True)[part]}
    return facts


@pytest.mark.slow
@pytest.mark.full
def test_each_engine_is_timed_at_each_number_of_rows(tmp_path: Path) -> None:
    facts = rehearsed(1, tmp_path)
    told = [kinds["decoding"] for kinds in facts.values() if "decoding" in kinds]
    assert len(told) >= 2 * (len(TINY.rows) + 1)
    for values in told:
        # A row of a rehearsal may draw its end token: no token is counted that was not drawn.
        most = values["rows"] * TINY.completion / values["fastest_s"]
        assert 0 < values["tokens_per_second"] <= most * 1.001


@pytest.mark.slow
@pytest.mark.full
def test_a_whole_step_is_told_by_phase_and_by_kernel(tmp_path: Path) -> None:
    facts = rehearsed(2, tmp_path)
    step = facts["whole-step"]
    assert step["phases"].keys() >= PHASES and step["phases"]["step"] == 2
    assert step["phases"]["grad_norm"] > 0
    assert step["profile"]["launches"] > 0 and step["profile"]["longest"]
    weights = [kinds["weights"] for kinds in facts.values() if "weights" in kinds]
    assert all(values["new_weights_s"] > 0 and values["same_weights_s"] > 0 for values in weights)


def test_a_part_measures_every_engine() -> None:
    names = [step.name for step in parts(tiny=False)[1]]
    assert len(set(names)) == len(names) == len(ENGINES) * (len(FULL.rows) + 1)


def test_every_id_of_the_model_is_a_token() -> None:
    tokenizer = make_tokenizer(TINY)
    assert len(tokenizer) == TINY.vocabulary
    assert tokenizer.decode(tokenizer("5 é")["input_ids"]) == "5 é"
