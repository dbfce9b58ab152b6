"""Forced tokens: context to what follows them, and no part of any loss, gradient or mean."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dupo.learning.batches import make_batch, trajectories_from_state, trajectories_of, trajectories_to_state
from dupo.learning.logprobs import trajectory_logprobs, with_learner, with_reference
from dupo.records import Completion, Problem, Rollout, Trajectory
from tests.helpers.learning import NO_UPDATE, PROMPTS, loss_of, step_on
from tests.helpers.worlds import CPU, World, tiny

KL_AND_ENTROPY = ["--beta", "0.1", "--entropy_coef", "0.03"]
LOSS_TYPES = ["grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo", "vespo"]
CASES = {name: ["--loss_type", name, *KL_AND_ENTROPY] for name in LOSS_TYPES}
CASES["cispo"] += ["--epsilon_high", "1.1"]
CASES["vespo"] += ["--vllm_importance_sampling_mode", "token_truncate"]  # takes no other
CASES |= {
    "gspo": ["--loss_type", "grpo", "--importance_sampling_level", "sequence", *KL_AND_ENTROPY],
    "off-policy": ["--loss_type", "dapo", "--off_policy_mask_threshold", "0.1"],
    "top-entropy": ["--loss_type", "dapo", "--top_entropy_quantile", "0.5"],
}
QUICK = ("gspo",)


def forced_at(length: int, *places: int) -> Tensor:
    forced = torch.zeros(length, dtype=torch.bool)
    forced[list(places)] = True
    return forced


def trajectories(world: World) -> list[Trajectory]:
    """Eight completions, of which five hold forced tokens: inside, two in a row, first, and last."""
    prompts = world.tokenizer.encode(PROMPTS)
    rows = [
        Trajectory(prompt, torch.arange(k + 3) % 9 + 4, torch.zeros(k + 3), (-1) ** k * (1 + k / 3))
        for k, prompt in enumerate(prompt for prompt in prompts for _ in range(2))
    ]
    places = {0: (1,), 2: (1, 2), 3: (0,), 5: (7,), 6: (3, 4, 6)}
    masks = {k: forced_at(len(rows[k].completion_ids), *at) for k, at in places.items()}
    return [t._replace(forced=masks.get(k)) for k, t in enumerate(rows)]


def world_and_rows(*options: str) -> tuple[World, list[Trajectory]]:
    """Off-policy rows with log-probs of an engine that is a little off."""
    world = tiny(*NO_UPDATE, "--temperature", "0.8", *options, spread=2.0)
    rows, noise = (
        with_learner(world.model, trajectories(world), world.compute),
        torch.Generator().manual_seed(0),
    )

    def off(row: Tensor, scale: float, t: Trajectory) -> Tensor:
        moved = row + scale * torch.randn(len(row), generator=noise)
        return moved if t.forced is None else moved.masked_fill(t.forced, 0.0)

    rows = [t._replace(logprobs=off(t.logprobs, 0.3, t)) for t in rows]
    rows = [t._replace(sampling_logprobs=off(t.logprobs, 0.2, t)) for t in rows]
    if world.config.loss.beta:
        rows = with_reference(tiny("--seed", "5", spread=2.0).model, rows, world.compute)
    return world, rows


class Token:
    """One sampled token, as the definition below reads it."""

    def __init__(self, t: Trajectory, k: int, logprobs_V: Tensor) -> None:
        self.logp = logprobs_V[t.completion_ids[k]]
        self.entropy = -(logprobs_V.exp() * logprobs_V).sum()
        self.old, self.sampling = float(t.logprobs[k]), float(t.sampling_logprobs[k])  # type: ignore[index]
        self.ref = float(t.ref_logprobs[k]) if t.ref_logprobs is not None else None


def sampled_tokens(world: World, t: Trajectory) -> list[Token]:
    ids = torch.cat([torch.tensor(t.prompt_ids), t.completion_ids])
    logits = world.model(ids[None], use_cache=False).logits[0].double() / world.config.rollout.temperature
    logprobs = logits.log_softmax(-1)[len(t.prompt_ids) - 1 :]
    places = [k for k in range(len(t.completion_ids)) if t.forced is None or not t.forced[k]]
    return [Token(t, k, logprobs[k]) for k in places]


def engine_weights(options: Any, log_weights: list[float]) -> list[float]:
    """How likely the learner was to draw each token, over how likely the engine was, within the bound."""
    high = options.vllm_importance_sampling_clip_max
    if options.vllm_importance_sampling_mode == "token_truncate":
        return [min(math.exp(log_weight), high) for log_weight in log_weights]
    assert options.vllm_importance_sampling_mode == "sequence_mask"
    weight = math.exp(sum(log_weights))
    return [weight if weight <= high else 0.0] * len(log_weights)


def by_definition(world: World, rows: list[Trajectory]) -> Tensor:
    """The loss in float64, token by token, where forced tokens are not there but as context."""
    o, longest = world.config.loss, world.config.rollout.max_completion_length
    sequences = [(t.advantage, sampled_tokens(world, t)) for t in rows]
    entropies = torch.stack([token.entropy.detach() for _, tokens in sequences for token in tokens])
    least_entropy = torch.quantile(entropies, 1 - o.top_entropy_quantile)
    total, num_tokens = torch.zeros((), dtype=torch.float64), len(entropies)
    for A, tokens in sequences:
        n = len(tokens)
        mean_log_ratio = sum((t.logp - t.old for t in tokens), torch.tensor(0.0)) / n
        weights = engine_weights(o, [t.old - t.sampling for t in tokens])
        drift = sum(t.sampling - t.logp.item() for t in tokens) / n
        dropped = o.off_policy_mask_threshold is not None and A < 0 and drift > o.off_policy_mask_threshold
        # VESPO: the weight of the whole sequence, the correction of the engine inside.
        log_w = sum((t.logp - t.old).item() for t in tokens)
        log_w += sum(math.log(max(weight, 1e-8)) for weight in weights)
        w = min(max(math.exp(log_w), 1e-8), math.exp(20))
        losses = []
        for token, weight in zip(tokens, weights, strict=True):
            log_ratio = (
                mean_log_ratio if o.importance_sampling_level == "sequence" else token.logp - token.old
            )
            ratio = log_ratio.exp()
            if o.loss_type == "vespo":
                k, scale = (
                    (o.vespo_k_pos, o.vespo_lambda_pos) if A >= 0 else (o.vespo_k_neg, o.vespo_lambda_neg)
                )
                loss = -math.exp(scale * (1 - w)) * w**k * A * token.logp
            elif o.loss_type == "cispo":
                loss = -min(ratio.item(), o.epsilon_high) * A * token.logp * weight  # type: ignore[type-var]
            elif o.loss_type == "sapo":
                heat = o.sapo_temperature_pos if A > 0 else o.sapo_temperature_neg
                loss = -4 / heat * torch.sigmoid(heat * (ratio - 1)) * A * weight
            else:
                low, high = 1 - o.epsilon, 1 + (o.epsilon_high or o.epsilon)
                loss = torch.maximum(-ratio * A, -ratio.clamp(low, high) * A) * weight
            is_kept = not dropped and token.entropy.item() >= least_entropy
            loss = loss * is_kept
            if o.beta:
                d = token.ref - token.logp  # type: ignore[operator]
                loss = loss + o.beta * ratio * (d.exp() - d - 1)
            losses.append(loss - o.entropy_coef * token.entropy * (token.entropy.item() >= least_entropy))
        of_sequence = torch.stack(losses).sum()
        divisor: float = {
            "grpo": n * len(rows), "sapo": n * len(rows), "dr_grpo": longest * len(rows), "luspo": len(rows),
        }.get(o.loss_type, num_tokens)  # fmt: skip
        total = total + of_sequence / divisor
    return total


@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_the_loss_is_its_definition_over_sampled_tokens(case: str) -> None:
    world, rows = world_and_rows(*CASES[case])
    expected = by_definition(world, rows)
    truth = torch.autograd.grad(expected, list(world.model.parameters()))
    metrics = step_on(world, rows)
    assert metrics["loss"] == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)
    assert max(gradient.abs().max() for gradient in truth) > 1e-3
    for parameter, gradient in zip(world.model.parameters(), truth, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
    tokens = [token for t in rows for token in sampled_tokens(world, t)]
    differences = [abs(token.old - token.sampling) for token in tokens]
    assert metrics["sampling/sampling_logp_difference/mean"] == pytest.approx(sum(differences) / len(tokens))
    assert metrics["sampling/sampling_logp_difference/max"] == pytest.approx(max(differences), rel=1e-5)
    ratios = [(token.logp - token.old).exp().item() for token in tokens]
    if case not in ("gspo",):
        assert metrics["ratio/max"] == pytest.approx(max(ratios), rel=1e-4)
    assert metrics["entropy"] == pytest.approx(sum(t.entropy.item() for t in tokens) / len(tokens), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_the_split_into_micro_batches_changes_nothing(loss_type: str) -> None:
    steps: list[tuple[dict[str, float], list[Tensor]]] = []
    for budget in ("1000", "24"):
        world, rows = world_and_rows("--loss_type", loss_type, "--beta", "0.1", "--token_budget", budget)
        metrics = step_on(world, rows)
        steps.append((metrics, [p.grad for p in world.model.parameters() if p.grad is not None]))
    (at_once, expected), (split, gradients) = steps
    assert split == pytest.approx(at_once, rel=1e-4, abs=1e-6)
    for gradient, other in zip(expected, gradients, strict=True):
        torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-6)


def test_rows_that_predict_a_forced_token_have_no_gradient_and_all_others_have_one() -> None:
    world, rows = world_and_rows("--loss_type", "dapo", *KL_AND_ENTROPY)
    batch, hidden = make_batch(rows, CPU), list[Tensor]()

    def keep(module: Any, inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        hidden.append(output)

    # The last norm: a row of what it gives is read by one prediction alone.
    with world.model.base_model.norm.register_forward_hook(keep):  # type: ignore[union-attr, operator]
        loss, _ = loss_of(world).batch_loss(world.model, batch, sum(t.num_sampled for t in rows))
    loss.backward()
    assert hidden[0].grad is not None
    moved = hidden[0].grad[0].abs().sum(-1) > 0
    expected, start = torch.zeros(len(moved), dtype=torch.bool), 0
    for t in rows:
        first, forced = start + len(t.prompt_ids) - 1, t.forced
        for k in range(len(t.completion_ids)):
            expected[first + k] = forced is None or not forced[k]
        start += len(t.prompt_ids) + len(t.completion_ids)
    # The correction for the engine may drop a sequence, but KL and entropy still move its tokens.
    assert moved.tolist() == expected.tolist()


def test_forced_tokens_are_packed_as_context() -> None:
    t = Trajectory(
        [5, 6], torch.tensor([7, 8, 9, 4]), torch.tensor([-1.0, 0.0, 0.0, -2.0]), 1.5,
        ref_logprobs=torch.tensor([-3.0, 0.0, 0.0, -4.0]), forced=forced_at(4, 1, 2),
    )  # fmt: skip
    plain = Trajectory([3], torch.tensor([4]), torch.tensor([-5.0]), -1.0, ref_logprobs=torch.tensor([-6.0]))
    batch = make_batch([t, plain], CPU)
    assert batch.input_ids.tolist() == [5, 6, 7, 8, 9, 4, 3, 4]
    assert batch.position_ids.tolist() == [0, 1, 2, 3, 4, 5, 0, 1]
    assert batch.loss_rows.tolist() == [1, 4, 6] and batch.targets.tolist() == [7, 4, 4]
    assert batch.completion_cu_seqlens.tolist() == [0, 2, 3]
    assert batch.old_logprobs.tolist() == [-1, -2, -5] and batch.advantages.tolist() == [1.5, 1.5, -1]
    assert batch.ref_logprobs is not None and batch.ref_logprobs.tolist() == [-3, -4, -6]
    assert (t.num_sampled, plain.num_sampled) == (2, 1)


def test_log_probs_of_a_model_hold_zeros_at_forced_tokens() -> None:
    world = tiny("--temperature", "0.8", spread=2.0)
    rows = trajectories(world)
    bare = trajectory_logprobs(world.model, [t._replace(forced=None) for t in rows], world.compute)
    for t, row, whole in zip(rows, trajectory_logprobs(world.model, rows, world.compute), bare, strict=True):
        expected = whole if t.forced is None else whole.masked_fill(t.forced, 0.0)
        torch.testing.assert_close(row, expected, rtol=0, atol=1e-5)
    for t in with_learner(world.model, rows, world.compute):
        assert t.forced is None or not t.logprobs[t.forced].any()


def test_a_rollout_hands_its_forced_tokens_on() -> None:
    forced = forced_at(3, 1)
    cut = Completion(torch.tensor([1, 2, 3]), torch.tensor([-1.0, 0.0, -1.0]), "", False, forced=forced)
    plain = Completion(torch.tensor([1]), torch.tensor([-1.0]), "", False)
    rollout = Rollout([Problem("a", "x")], [[7]], [[cut, plain]], [[None, None]])
    rows = trajectories_of(rollout, torch.tensor([[1.0, -1.0]]), mask_truncated=False)
    assert rows[0].forced is forced and rows[1].forced is None


def test_a_checkpoint_keeps_forced_tokens_and_an_older_one_has_none() -> None:
    rows = trajectories(tiny(spread=2.0))
    state = trajectories_to_state(rows)
    for before, after in zip(rows, trajectories_from_state(state), strict=True):
        assert (before.forced is None) == (after.forced is None)
        assert before.forced is None or torch.equal(before.forced, after.forced)  # type: ignore[arg-type]
        assert torch.equal(before.completion_ids, after.completion_ids)
    del state["forced"]
    assert all(t.forced is None for t in trajectories_from_state(state))
