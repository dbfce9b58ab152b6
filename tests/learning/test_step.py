"""The optimizer step: what a micro-batch is must not matter, and nothing must be learned from noise."""

import math

import pytest
import torch

from dupo.engines.builtin import Sampler
from dupo.learning import batches
from dupo.learning import step as learner
from dupo.models import load as policy
from dupo.records import Trajectory
from tests.helpers.worlds import tiny

PROMPTS = ["#321+654=", "@?+654=9750:", "#1", "#001-100="]


def trajectories(model, tokenizer, config, zero_first=False):
    """Eight sampled completions of different lengths with made-up advantages."""
    groups = Sampler(model, tokenizer, config)(PROMPTS, 2, 1.0, seed=1, max_new_tokens=7)
    rows = zip(tokenizer.encode(PROMPTS), groups, strict=True)
    flat = [Trajectory(p, c.ids, c.logprobs, 0.0) for p, group in rows for c in group]
    return [
        t._replace(advantage=0.0 if zero_first and i < 2 else (-1) ** i * (1 + i / 3))
        for i, t in enumerate(flat)
    ]


def gradients(rows, *options, old_shift=0.0, **replaced):
    model, tokenizer, config = tiny("--learning_rate", "0", "--max_grad_norm", "1e9", *options, spread=2.0)
    optimizer = learner.make_optimizer(model, config)
    given = rows(model, tokenizer, config)
    if config.beta:
        given = learner.with_reference(tiny("--seed", "5", spread=2.0)[0], given, config)
    given = [t._replace(logprobs=[x + old_shift for x in t.logprobs], **replaced) for t in given]
    figures = learner.update(model, optimizer, given, config, 0)
    return figures, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
@pytest.mark.parametrize("extra", [[], ["--beta", "0.1"]], ids=["", "kl"])
def test_any_split_into_micro_batches_gives_the_same_gradient(loss_type, extra):
    options = ["--loss_type", loss_type, *extra]
    whole, expected = gradients(trajectories, *options, old_shift=0.05)
    for budget in ("24", "40"):
        split, found = gradients(trajectories, *options, "--token_budget", budget, old_shift=0.05)
        assert split["loss"] == pytest.approx(whole["loss"], abs=1e-6)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
        for name in ("clip_ratio/low_mean", "clip_ratio/high_mean", "entropy", "ratio/max"):
            assert split[name] == pytest.approx(whole[name], rel=1e-5, abs=1e-6)


def test_trajectories_without_advantage_are_skipped_but_counted():
    """They cost no pass through the model, yet the normaliser sees them."""
    seen = []

    def rows(*world):
        seen[:] = trajectories(*world, zero_first=True)
        return seen

    figures, skipped = gradients(rows)
    model, _, config = tiny("--learning_rate", "0", spread=2.0)
    batch = batches.make_batch(seen, model.device)  # all of them, by hand
    logprobs, _ = learner.batch_logprobs(model, batch, config)
    loss = -((logprobs - batch.old_logprobs).exp() * batch.advantages).sum() / len(batch.targets)
    loss.backward()
    assert figures["loss"] == pytest.approx(loss.item(), abs=1e-6)
    for name, p in model.named_parameters():
        torch.testing.assert_close(skipped[name], p.grad, rtol=1e-4, atol=1e-6)


def test_no_advantage_anywhere_changes_nothing():
    model, tokenizer, config = tiny("--learning_rate", "1", spread=2.0)
    before = [p.clone() for p in model.parameters()]
    rows = [t._replace(advantage=0.0) for t in trajectories(model, tokenizer, config)]
    figures = learner.update(model, learner.make_optimizer(model, config), rows, config, 0)
    assert figures["loss"] == figures["grad_norm"] == 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_step_makes_rewarded_completions_more_likely():
    model, tokenizer, config = tiny("--learning_rate", "1e-3", spread=2.0)
    optimizer = learner.make_optimizer(model, config)
    rows = trajectories(model, tokenizer, config)
    for step in range(5):
        learner.update(model, optimizer, rows, config, step)
    gain = 0.0
    with torch.no_grad():
        for t in rows:
            now = learner.batch_logprobs(model, batches.make_batch([t], model.device), config)[0].sum().item()
            gain += (now - sum(t.logprobs)) * t.advantage
    assert gain > 1.0


def test_a_gradient_that_is_not_finite_leaves_the_weights_alone():
    model, tokenizer, config = tiny(spread=2.0)
    rows = trajectories(model, tokenizer, config)
    rows[3] = rows[3]._replace(advantage=math.nan)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(FloatingPointError, match="loss nan"):
        learner.update(model, learner.make_optimizer(model, config), rows, config, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_batches_are_packed_as_described():
    rows = [Trajectory([5, 6, 7], [8, 9], [-0.1, -0.2], 1.0), Trajectory([3], [4], [-0.3], -2.0)]
    batch = batches.make_batch(rows, torch.device("cpu"))
    assert batch.input_ids.tolist() == [5, 6, 7, 8, 9, 3, 4]
    assert batch.position_ids.tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert batch.cu_seqlens.tolist() == [0, 5, 7]
    assert batch.loss_rows.tolist() == [2, 3, 5]
    assert batch.targets.tolist() == [8, 9, 4]
    assert batch.completion_cu_seqlens.tolist() == [0, 2, 3]
    assert batch.advantages.tolist() == [1, 1, -2]
    assert batch.old_logprobs.tolist() == pytest.approx([-0.1, -0.2, -0.3])
    assert batch.max_seqlen == 5 and batch.ref_logprobs is None


def test_reference_log_probs_are_those_of_the_reference():
    model, tokenizer, config = tiny("--token_budget", "24", spread=2.0)
    reference, *_ = tiny("--seed", "3", spread=2.0)
    for t in learner.with_reference(reference, trajectories(model, tokenizer, config), config):
        alone = learner.batch_logprobs(reference, batches.make_batch([t], model.device), config)[0]
        assert t.ref_logprobs == pytest.approx(alone.tolist(), abs=1e-5)


def test_learning_rate_shapes():
    def rates(*options):
        shape = [] if "--lr_scheduler_type" in options else ["--lr_scheduler_type", "constant"]
        config = tiny("--learning_rate", "1", "--max_steps", "10", *shape, *options)[2]
        return [learner.learning_rate(s, config) for s in range(10)]

    assert rates() == [1.0] * 10
    assert rates("--warmup_steps", "4")[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates("--lr_scheduler_type", "linear") == pytest.approx([1 - s / 10 for s in range(10)])
    cosine = [0.5 * (1 + math.cos(math.pi * s / 10)) for s in range(10)]
    assert rates("--lr_scheduler_type", "cosine") == pytest.approx(cosine)


def test_moving_average():
    average, model = tiny("--seed", "1")[0], tiny("--seed", "2")[0]
    pairs = list(zip(average.parameters(), model.parameters(), strict=True))
    expected = [0.9 * a.detach() + 0.1 * b.detach() for a, b in pairs]
    policy.blend(average, model, 0.9)
    for a, e in zip(average.parameters(), expected, strict=True):
        torch.testing.assert_close(a, e)


def test_truncated_completions_can_be_masked():
    from dupo.records import Completion, Problem, Rollout

    group = [Completion([1], [0.0], "", True), Completion([2], [0.0], "", False)]
    rollout = Rollout([Problem("a", "x")], [[7]], [group], [["1", "2"]])
    advantages = torch.tensor([[1.0, -1.0]])
    (kept,) = batches.mini_batches(rollout, advantages, tiny()[2])
    assert [t.completion_ids for t in kept] == [[1], [2]]
    (kept,) = batches.mini_batches(rollout, advantages, tiny("--mask_truncated_completions")[2])
    assert [(t.completion_ids, t.masked) for t in kept] == [([1], True), ([2], False)]
    one_each = tiny("--generation_batch_size", "8", "--train_batch_size", "1")[2]
    assert [len(b) for b in batches.mini_batches(rollout, advantages, one_each)] == [1, 1]


def by_hand(model, rows, config):
    """The policy loss in float64, one completion after the other, from the formulas."""
    low, high = 1 - config.epsilon, 1 + (config.epsilon_high or config.epsilon)
    total, counted = 0.0, [t for t in rows if not t.masked]
    for t in counted:
        logits = model(torch.tensor([t.prompt_ids + t.completion_ids]), use_cache=False).logits[0].double()
        logp = (logits / config.temperature).log_softmax(-1)[len(t.prompt_ids) - 1 : -1]
        logp = logp.gather(-1, torch.tensor(t.completion_ids)[:, None])[:, 0]
        ratio = (logp - torch.tensor(t.logprobs).double()).exp()
        losses = torch.maximum(-ratio * t.advantage, -ratio.clamp(low, high) * t.advantage)
        if config.beta:
            d = torch.tensor(t.ref_logprobs).double() - logp
            kl = {"k1": -d, "k2": d**2 / 2, "k3": d.exp() - d - 1}[config.kl]
            losses = losses + config.beta * (ratio * kl if config.use_bias_correction_kl else kl)
        tokens = sum(len(u.completion_ids) for u in counted)
        share = {"dapo": 1 / tokens, "grpo": 1 / len(rows) / len(losses)}
        share["dr_grpo"] = 1 / len(rows) / config.max_completion_length
        total = total + losses.sum() * share[config.loss_type]
    return total


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
@pytest.mark.parametrize(
    "extra",
    [
        ["--epsilon_high", "0.5"],
        ["--beta", "0.3", "--kl", "k1"],
        ["--beta", "0.3", "--kl", "k2", "--no_use_bias_correction_kl"],
        ["--beta", "0.3"],
    ],
    ids=" ".join,
)
def test_one_step_equals_the_formulas(loss_type, extra):
    """Off-policy, at a temperature, with completions that have no advantage and one that is masked."""
    options = ["--loss_type", loss_type, "--temperature", "0.7", "--epsilon", "0.1", *extra]
    seen = []

    def rows(*world):
        made = trajectories(*world, zero_first=True)
        made[5] = made[5]._replace(masked=True)
        noise = torch.Generator().manual_seed(0)
        drift = [(torch.randn(len(t.logprobs), generator=noise) * 0.3).tolist() for t in made]
        off = [[x + y for x, y in zip(t.logprobs, d, strict=True)] for t, d in zip(made, drift, strict=True)]
        seen[:] = [t._replace(logprobs=o) for t, o in zip(made, off, strict=True)]
        return seen

    model, tokenizer, config = tiny("--learning_rate", "0", "--max_grad_norm", "1e9", *options, spread=2.0)
    given = rows(model, tokenizer, config)
    if config.beta:
        given = learner.with_reference(tiny("--seed", "5", spread=2.0)[0], given, config)
    expected = by_hand(model, given, config)
    truth = torch.autograd.grad(expected, list(model.parameters()))
    figures = learner.update(model, learner.make_optimizer(model, config), given, config, 0)
    assert figures["loss"] == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)
    for parameter, gradient in zip(model.parameters(), truth, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


def test_long_gradients_are_scaled_down():
    model, tokenizer, config = tiny("--max_grad_norm", "0.01", "--learning_rate", "0", spread=2.0)
    rows = trajectories(model, tokenizer, config)
    figures = learner.update(model, learner.make_optimizer(model, config), rows, config, 0)
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm().item()
    assert figures["grad_norm"] > 0.1 and norm == pytest.approx(0.01, rel=1e-3)


def test_gradient_checkpointing_changes_no_gradient():
    plain, expected = gradients(trajectories)
    checkpointed, found = gradients(trajectories, "--gradient_checkpointing")
    layers = tiny("--gradient_checkpointing")[0].model.layers
    assert all(layer.gradient_checkpointing for layer in layers)
    assert checkpointed["loss"] == pytest.approx(plain["loss"], abs=1e-7)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)
