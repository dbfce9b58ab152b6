"""Taught weights that come with the package: which run takes them, that they fit, and can be made anew."""

import pytest
import torch
from safetensors.torch import load

from bench.taught_start import maker, taught_bytes
from dupo.config.catalogue import TEACHING
from dupo.config.layers import assemble
from dupo.errors import UserError
from dupo.evaluation.held_out import held_out_metrics
from dupo.methods.taught_start import TaughtStart, comes_taught, made_of, taught_file, taught_note
from dupo.methods.teaching import PRIMAL_GOAL, Teaching, teaching_stage
from tests.helpers.project import ROOT
from tests.helpers.worlds import World, task_of, tiny

CONFIG = assemble({"num_threads": 1, "eval_size": 1000})
TASK = task_of(CONFIG)


def accuracy(world: World) -> float:
    return held_out_metrics(world.engine, TASK, TASK.held_out, 6)["accuracy"]


def loaded(weights: dict[str, torch.Tensor]) -> World:
    world = tiny()
    for name, weight in world.model.named_parameters():
        weight.data.copy_(weights[name])
    return world


def test_the_default_run_starts_from_them():
    world = tiny()
    stage = teaching_stage(CONFIG, TASK, world.model)
    assert isinstance(stage, TaughtStart) and stage.finished()
    said = stage.finish()
    saved = load(taught_file("arithmetic").read_bytes())
    own = dict(world.model.named_parameters())
    assert own.keys() == saved.keys() and all(torch.equal(own[name], saved[name]) for name in own)
    facts = stage.facts()
    assert facts["teaching_labels"] == TEACHING["train_batch_size"] * facts["teaching_steps"] > 0
    assert f"{facts['teaching_labels']:,} labelled examples" in said
    assert f"{facts['teaching_labels']:,} labelled examples" in taught_note("arithmetic")


def test_they_answer_about_half():
    world = tiny()
    TaughtStart("arithmetic", world.model).finish()
    assert PRIMAL_GOAL - 0.05 <= accuracy(world) <= PRIMAL_GOAL + 0.15


@pytest.mark.parametrize(
    "options",
    [
        {"teach": True},
        *(
            pytest.param(o, marks=pytest.mark.slow)
            for o in ({"seed": 1}, {"task": "conlang"}, {"task": "stories"})
        ),
    ],
    ids=str,
)
def test_other_runs_are_taught(options):
    config = assemble({"eval_size": 20, **options})
    assert not comes_taught(config)
    assert isinstance(teaching_stage(config, task_of(config), tiny().model), Teaching)


def test_only_the_built_in_model_is_taught():
    for options in ({"model_name_or_path": "some/folder"}, {"task": "word_problems", "dataset": "x.jsonl"}):
        with pytest.raises(UserError, match="teach: expected no --teach"):
            assemble({"teach": True, **options})


def test_they_come_with_the_package():
    """The wheel takes what pyproject.toml lists; `tests/repo/test_build.py` builds the wheel."""
    assert taught_file("arithmetic").is_relative_to(ROOT / "dupo")
    assert '"methods/taught/*.safetensors"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.slow
@pytest.mark.full
def test_made_anew_they_are_the_same():
    """The same bytes where torch, CPU and threads are the same, else the same accuracy within two points."""
    anew = taught_bytes("arithmetic")
    if made_of("arithmetic")["by"] == maker():
        assert anew == taught_file("arithmetic").read_bytes()
    saved = load(taught_file("arithmetic").read_bytes())
    assert accuracy(loaded(load(anew))) == pytest.approx(accuracy(loaded(saved)), abs=0.02)
