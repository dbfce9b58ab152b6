"""One optimizer step: what it changes, and when it must change nothing."""

import math

import pytest
import torch

from dupo.learning.batches import make_batch
from dupo.learning.logprobs import batch_logprobs
from dupo.learning.optimizer import make_optimizer
from dupo.learning.step import optimizer_step
from tests.helpers.learning import NO_UPDATE, step_on, trajectories
from tests.helpers.shapes import save_kind
from tests.helpers.worlds import CPU, tiny


def test_no_advantage_anywhere_changes_nothing():
    world = tiny("--learning_rate", "1", spread=2.0)
    before = [p.clone() for p in world.model.parameters()]
    metrics = step_on(world, [t._replace(advantage=0.0) for t in trajectories(world)])
    assert metrics["loss"] == metrics["grad_norm"] == 0
    assert all(torch.equal(p, q) for p, q in zip(before, world.model.parameters(), strict=True))


def test_a_step_makes_rewarded_completions_more_likely():
    world = tiny("--learning_rate", "1e-3", spread=2.0)
    optimizer = make_optimizer(world.model, world.config.optimizer)
    rows = trajectories(world)
    for step in range(5):
        step_on(world, rows, step, optimizer)
    gain = 0.0
    with torch.no_grad():
        for t in rows:
            now = batch_logprobs(world.model, make_batch([t], CPU), world.compute)[0].sum().item()
            gain += (now - t.logprobs.sum().item()) * t.advantage
    assert gain > 1.0


def test_a_gradient_that_is_not_finite_leaves_the_weights_alone():
    world = tiny(spread=2.0)
    rows = trajectories(world)
    rows[3] = rows[3]._replace(advantage=math.nan)
    before = [p.clone() for p in world.model.parameters()]
    with pytest.raises(FloatingPointError, match="loss nan"):
        step_on(world, rows)
    assert all(torch.equal(p, q) for p, q in zip(before, world.model.parameters(), strict=True))


def test_long_gradients_are_scaled_down():
    world = tiny("--max_grad_norm", "0.01", "--learning_rate", "0", spread=2.0)
    metrics = step_on(world, trajectories(world))
    norm = torch.stack([p.grad.norm() for p in world.model.parameters()]).norm().item()
    assert metrics["grad_norm"] > 0.1 and norm == pytest.approx(0.01, rel=1e-3)


def test_dropout_is_drawn_by_seed_and_step_and_only_while_learning():
    world = tiny("--learning_rate", "0")
    draws, modes = [], []

    def accumulate(model):
        draws.append(torch.rand(3).tolist())
        modes.append(model.training)
        loss = model.get_input_embeddings().weight.sum()
        loss.backward()
        return loss.detach(), {}

    options = world.config.optimizer
    optimizer = make_optimizer(world.model, options)
    for step, seed in ((0, 0), (1, 0), (0, 1), (0, 0)):
        optimizer_step(world.model, optimizer, accumulate, options, step, seed, dropout=True)
    assert draws[0] == draws[3] and draws[1] != draws[0] != draws[2]
    assert modes == [True] * 4 and not world.model.training
    optimizer_step(world.model, optimizer, accumulate, options, 0, 0, dropout=False)
    assert modes[-1] is False


@pytest.mark.parametrize("recomputed", ["true", pytest.param("false", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["gpt2", pytest.param("opt", marks=pytest.mark.slow)])
def test_on_policy_every_ratio_is_one_though_the_model_has_dropout(tmp_path, kind, recomputed):
    folder = str(save_kind(tmp_path / kind, kind))
    options = ["--model_name_or_path", folder, "--gradient_checkpointing", recomputed]
    world = tiny(*options, *NO_UPDATE)
    metrics = step_on(world, trajectories(world))
    assert metrics["ratio/max"] == pytest.approx(1, abs=1e-4)
    assert abs(metrics["approx_kl"]) < 1e-8
