"""AdamW and the schedule of its learning rate."""

import math

import torch

from dupo.config.options import OptimizerOptions
from dupo.errors import UserError
from dupo.models.load import Model
from dupo.models.weight_decay import decay_groups


def make_optimizer(model: Model, options: OptimizerOptions) -> torch.optim.AdamW:
    """AdamW over the trained weights of the model, in two groups: weights that decay, then norms and biases.

    Raises:
        UserError: a weight is not float32 or float64.
    """
    # An update is as large as the learning rate. A bfloat16 weight of 0.02 moves in steps of 1e-4, so that at
    # 1e-6 it never moves: the loss looks healthy and the model stays what it was.
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    if half := sorted({str(weight.dtype) for weight in trained if weight.dtype.itemsize < 4}):
        expected = "float32 weights to train, as bfloat16 rounds small updates away"
        raise UserError(f"optimizer: expected {expected}, got weights of {', '.join(half)}")
    decaying, others = decay_groups(model)
    groups = [
        {"params": decaying, "weight_decay": options.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=options.learning_rate,
        betas=(options.adam_beta1, options.adam_beta2),
        eps=options.adam_epsilon,
    )


def learning_rate(step: int, options: OptimizerOptions) -> float:
    """The learning rate of optimizer step `step`, counted from 0."""
    # step + 1: the first step of a run has a rate above 0 and so learns something.
    if step < options.warmup_steps:
        return options.learning_rate * (step + 1) / options.warmup_steps
    remaining = 1 - (step - options.warmup_steps) / max(1, options.max_steps - options.warmup_steps)
    shapes = {"constant": 1.0, "linear": remaining, "cosine": 0.5 * (1 - math.cos(math.pi * remaining))}
    return options.learning_rate * shapes[options.lr_scheduler_type]
