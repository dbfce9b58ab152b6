"""The shapes of the learning rate, and AdamW as the options say."""

import math

import pytest

from dupo.config.options import OptimizerOptions
from dupo.learning.optimizer import learning_rate, make_optimizer
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
    (group,) = make_optimizer(model, options).param_groups
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (0.1, (0.8, 0.9), 1e-5, 0.2)
    assert sum(p.numel() for p in group["params"]) == sum(p.numel() for p in model.parameters())
