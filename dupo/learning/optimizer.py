"""AdamW and the schedule of its learning rate."""

import math

import torch

from dupo.config.options import OptimizerOptions
from dupo.models.load import Model


def make_optimizer(model: Model, options: OptimizerOptions) -> torch.optim.AdamW:
    """AdamW over all weights of the model."""
    return torch.optim.AdamW(
        model.parameters(),
        lr=options.learning_rate,
        betas=(options.adam_beta1, options.adam_beta2),
        eps=options.adam_epsilon,
        weight_decay=options.weight_decay,
    )


def learning_rate(step: int, options: OptimizerOptions) -> float:
    """The learning rate of optimizer step `step`, counted from 0."""
    # step + 1: the first step of a run has a rate above 0 and so learns something.
    if step < options.warmup_steps:
        return options.learning_rate * (step + 1) / options.warmup_steps
    remaining = 1 - (step - options.warmup_steps) / max(1, options.max_steps - options.warmup_steps)
    shapes = {"constant": 1.0, "linear": remaining, "cosine": 0.5 * (1 - math.cos(math.pi * remaining))}
    return options.learning_rate * shapes[options.lr_scheduler_type]
