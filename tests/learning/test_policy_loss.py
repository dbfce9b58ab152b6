"""The policy loss: equal to its formulas, and blind to how a batch is cut into micro-batches."""

import pytest
import torch

from dupo.learning.batches import make_batch
from dupo.learning.logprobs import batch_logprobs, with_reference
from tests.helpers.learning import NO_UPDATE, gradients, step_on, trajectories
from tests.helpers.slow import with_slow
from tests.helpers.worlds import CPU, tiny


@pytest.mark.parametrize(
    "loss_type", ["dapo", *(pytest.param(name, marks=pytest.mark.slow) for name in ("grpo", "dr_grpo"))]
)
@pytest.mark.parametrize(
    "extra", [[], pytest.param(["--beta", "0.1"], marks=pytest.mark.slow)], ids=["", "kl"]
)
def test_any_split_into_micro_batches_gives_the_same_gradient(loss_type, extra):
    options = ["--loss_type", loss_type, *extra]
    at_once, expected = gradients(trajectories, *options, old_shift=0.05)
    for budget in ("24", "40"):
        split, split_gradients = gradients(trajectories, *options, "--token_budget", budget, old_shift=0.05)
        assert split["loss"] == pytest.approx(at_once["loss"], abs=1e-6)
        for name, gradient in expected.items():
            torch.testing.assert_close(split_gradients[name], gradient, rtol=1e-4, atol=1e-6)
        for name in ("clip_ratio/low_mean", "clip_ratio/high_mean", "entropy", "ratio/max"):
            assert split[name] == pytest.approx(at_once[name], rel=1e-5, abs=1e-6)


def test_trajectories_without_advantage_are_skipped_but_counted():
    """They cost no pass through the model, yet the normaliser sees them."""
    seen = []

    def rows(world):
        seen[:] = trajectories(world, zero_first=True)
        return seen

    metrics, skipped = gradients(rows)
    world = tiny("--learning_rate", "0", spread=2.0)
    batch = make_batch(seen, CPU)  # all of them, by hand
    logprobs, _ = batch_logprobs(world.model, batch, world.compute)
    loss = -((logprobs - batch.old_logprobs).exp() * batch.advantages).sum() / len(batch.targets)
    loss.backward()
    assert metrics["loss"] == pytest.approx(loss.item(), abs=1e-6)
    for name, p in world.model.named_parameters():
        torch.testing.assert_close(skipped[name], p.grad, rtol=1e-4, atol=1e-6)


def by_hand(world, rows):
    """The policy loss in float64, one completion after the other, from the formulas."""
    options, rollout = world.config.loss, world.config.rollout
    low, high = 1 - options.epsilon, 1 + (options.epsilon_high or options.epsilon)
    total, counted = 0.0, [t for t in rows if not t.masked]
    for t in counted:
        ids = torch.cat([torch.tensor(t.prompt_ids), t.completion_ids])
        logits = world.model(ids[None], use_cache=False).logits[0].double()
        logp = (logits / rollout.temperature).log_softmax(-1)[len(t.prompt_ids) - 1 : -1]
        logp = logp.gather(-1, t.completion_ids[:, None])[:, 0]
        ratio = (logp - t.logprobs.double()).exp()
        losses = torch.maximum(-ratio * t.advantage, -ratio.clamp(low, high) * t.advantage)
        if options.beta:
            d = t.ref_logprobs.double() - logp
            kl = {"k1": -d, "k2": d**2 / 2, "k3": d.exp() - d - 1}[options.kl]
            losses = losses + options.beta * (ratio * kl if options.use_bias_correction_kl else kl)
        tokens = sum(len(u.completion_ids) for u in counted)
        share = {"dapo": 1 / tokens, "grpo": 1 / len(rows) / len(losses)}
        share["dr_grpo"] = 1 / len(rows) / rollout.max_completion_length
        total = total + losses.sum() * share[options.loss_type]
    return total


@pytest.mark.parametrize("loss_type", with_slow(["grpo", "dapo", "dr_grpo"], quick=("dapo",)))
@pytest.mark.parametrize(
    "extra",
    [
        ["--epsilon_high", "0.5"],
        pytest.param(["--beta", "0.3", "--kl", "k1"], marks=pytest.mark.slow),
        ["--beta", "0.3", "--kl", "k2", "--no_use_bias_correction_kl"],
        ["--beta", "0.3"],
    ],
    ids=" ".join,
)
def test_one_step_equals_the_formulas(loss_type, extra):
    """Off-policy, at a temperature, with completions that have no advantage and one that is masked."""
    options = ["--loss_type", loss_type, "--temperature", "0.7", "--epsilon", "0.1", *extra]
    world = tiny(*NO_UPDATE, *options, spread=2.0)
    rows = trajectories(world, zero_first=True)
    rows[5] = rows[5]._replace(masked=True)
    noise = torch.Generator().manual_seed(0)
    rows = [
        t._replace(logprobs=t.logprobs + torch.randn(len(t.logprobs), generator=noise) * 0.3) for t in rows
    ]
    if world.config.loss.beta:
        rows = with_reference(tiny("--seed", "5", spread=2.0).model, rows, world.compute)
    expected = by_hand(world, rows)
    truth = torch.autograd.grad(expected, list(world.model.parameters()))
    metrics = step_on(world, rows)
    assert metrics["loss"] == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)
    for parameter, gradient in zip(world.model.parameters(), truth, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


def test_gradient_checkpointing_changes_no_gradient():
    plain, expected = gradients(trajectories)
    checkpointed, recomputed = gradients(trajectories, "--gradient_checkpointing")
    layers = tiny("--gradient_checkpointing").model.model.layers
    assert all(layer.gradient_checkpointing for layer in layers)
    assert checkpointed["loss"] == pytest.approx(plain["loss"], abs=1e-7)
    for name, gradient in expected.items():
        torch.testing.assert_close(recomputed[name], gradient)
