"""The shapes of the learning rate, and AdamW as the options say."""

import math

import pytest
import torch

from dupo.config.options import OptimizerOptions
from dupo.learning.optimizer import learning_rate, make_optimizer
from tests.helpers.learning import step_on, trajectories
from tests.helpers.shapes import model_of
from tests.helpers.worlds import tiny


def test_learning_rate_shapes():
    def rates(**options):
        shape = OptimizerOptions(learning_rate=1.0, max_steps=10, **options)
        return [learning_rate(step, shape) for step in range(10)]

    assert rates() == [1.0] * 10
    assert rates(warmup_steps=4)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates(lr_scheduler_type="linear") == pytest.approx([1 - s / 10 for s in range(10)])
    cosine = [0.5 * (1 + math.cos(math.pi * s / 10)) for s in range(10)]
    assert rates(lr_scheduler_type="cosine") == pytest.approx(cosine)


def test_adamw_has_the_options_and_every_weight():
    options = OptimizerOptions(
        learning_rate=0.1, adam_beta1=0.8, adam_beta2=0.9, adam_epsilon=1e-5, weight_decay=0.2
    )
    model = tiny().model
    groups = make_optimizer(model, options).param_groups
    for group in groups:
        assert (group["lr"], group["betas"], group["eps"]) == (0.1, (0.8, 0.9), 1e-5)
    assert [group["weight_decay"] for group in groups] == [0.2, 0.0]
    in_groups = [parameter for group in groups for parameter in group["params"]]
    assert len(in_groups) == len(set(in_groups)) == len(list(model.parameters()))


@pytest.mark.parametrize("kind", ["gpt2", "opt", "llama", "biogpt"])
def test_norms_and_biases_do_not_decay(kind: str) -> None:
    """A step without a gradient: only decay can change a weight."""
    model = model_of(kind)
    options = OptimizerOptions(learning_rate=0.1, weight_decay=0.5)
    optimizer = make_optimizer(model, options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    decayed = {name for name, parameter in model.named_parameters() if parameter.mean() < 0.97}
    # All that is not a matrix is a norm or a bias, and the other way round.
    assert decayed == {name for name, parameter in model.named_parameters() if parameter.ndim > 1}


def test_a_step_sets_the_rate_of_every_group() -> None:
    world = tiny("--learning_rate", "0.5", "--warmup_steps", "2", spread=2.0)
    optimizer = make_optimizer(world.model, world.config.optimizer)
    step_on(world, trajectories(world), 0, optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
