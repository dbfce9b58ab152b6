"""Seconds of a plan: by hand for a round machine, and by the clock of this one for two sizes of a model."""

import time
from dataclasses import replace

import pytest
from transformers import Qwen3Config

from dupo.config.command_line import parse
from dupo.config.lora_options import LoraOptions
from dupo.config.plan_options import PlanOptions
from dupo.learning.batches import make_batch
from dupo.learning.logprobs import Compute
from dupo.learning.policy_loss import PolicyLoss, objective_of
from dupo.models.outline import FLOAT32, Outline, outline
from dupo.planning import pace
from dupo.planning.changes import best_changes, planned, together, try_changes
from dupo.planning.machines import Machine, cpu_here
from dupo.planning.models import Models
from dupo_kernels import PolicyOptions
from tests.models.test_outline import CPU, batch_of, built

ROUND = Machine("a GPU", 1, 1, 80e9, flops=1e12, bandwidth=1e12, speed="")
NO_LORA = LoraOptions()


def shape_of(hidden: int) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=512,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=hidden // 8,
        tie_word_embeddings=False,
    )


def outlined(hidden: int) -> Outline:
    return outline(shape_of(hidden), NO_LORA, precision=FLOAT32)


def test_seconds_are_operations_over_speed() -> None:
    config, model = parse(["--model_name_or_path", "somewhere", "--dual_model", "policy"]), outlined(64)
    # Twice a weight for each token, and two products of every head with every key.
    layer = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 192
    attention = 2 * (8 * 8) * 2 * 2
    assert pace.forward_flop(model, 100) == 2 * 2 * layer + 100 * attention
    assert pace.head_flop(model) == 2 * 512 * 64
    update = pace.update_seconds(config, model, ROUND, tokens=1e6, rows=1e5, length=200)
    assert update == pytest.approx((3e6 * (4 * layer + 100 * attention) + 3e5 * 2 * 512 * 64) / 1e12)
    again = config.changed(gradient_checkpointing=True)
    longer = pace.update_seconds(again, model, ROUND, tokens=1e6, rows=1e5, length=200)
    assert longer - update == pytest.approx(1e6 * (4 * layer + 100 * attention) / 1e12)
    # A token of all rows reads weights and caches once, in two bytes each.
    fast = replace(ROUND, flops=1e18)
    seconds = pace.decode_seconds(config, model, fast, tokens=1000, rows=10, length=50)
    numbers = 2 * layer + 512 * 64 + 10 * 50 * 2 * 2 * 4 * 8
    assert seconds == pytest.approx(100 * (2 * numbers / 1e12 + pace.LAUNCHES))


def test_the_changes_that_are_shown_are_those_that_spare_most() -> None:
    options = PlanOptions(mean_prompt_length=100)
    config = parse(["--model_name_or_path", "somewhere", "--dual_model", "policy", "--token_budget", "65536"])
    models = Models(shape_of(64))
    plan = planned(config, options, ROUND, models)
    changes = try_changes(plan, options, models)
    best = best_changes(plan, changes)
    spared = [max(plan.peak / c.plan.peak, plan.step_seconds / c.plan.step_seconds) for c in changes]
    shown = [max(plan.peak / c.plan.peak, plan.step_seconds / c.plan.step_seconds) for c in best]
    assert shown == sorted(spared, reverse=True)[: len(best)] and shown[0] > 1.05
    # The plan of a change is the plan of a run that has the options.
    for change in best:
        again = planned(config.changed(**change.options), options, ROUND, models)
        assert (again.peak, again.step_seconds) == (change.plan.peak, change.plan.step_seconds)
    # Where memory is short and none is enough, all of them are tried together.
    short = Machine("a GPU", 1, 1, plan.peak / 30, 1e12, 1e12, "")
    tight = planned(config, options, short, models)
    best = best_changes(tight, try_changes(tight, options, models))
    every = together(tight, best, options, models)
    assert any(c.plan.fits for c in best) == (every is None)
    assert every is None or every.plan.peak < min(c.plan.peak for c in best)


@pytest.mark.slow
@pytest.mark.full
def test_seconds_grow_with_operations_as_the_clock_says() -> None:
    config = parse(["--model_name_or_path", "somewhere", "--dual_model", "policy"])
    trajectories = batch_of([256] * 4, 512)
    loss = PolicyLoss(objective_of(PolicyOptions()), Compute(1.0, "float32", 1024), 1000)
    machine, planned_seconds, measured = cpu_here(), [], []
    for hidden in (128, 512):
        model, batch = built(shape_of(hidden)), make_batch(trajectories, CPU)
        times = []
        for _ in range(4):
            start = time.process_time()
            loss.batch_loss(model, batch, 100.0)[0].backward()
            times.append(time.process_time() - start)
        measured.append(min(times))
        about = outlined(hidden)
        rows = sum(t.num_sampled for t in trajectories)
        planned_seconds.append(
            pace.update_seconds(config, about, machine, tokens=1024, rows=rows, length=256)
        )
    ratio = (planned_seconds[1] / planned_seconds[0]) / (measured[1] / measured[0])
    # Small products reach less of the speed: wide margins, which a wrong power of the size does not meet.
    assert 0.4 < ratio < 2.5, (planned_seconds, measured)
