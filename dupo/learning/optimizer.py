"""AdamW and the schedule of its learning rate.

adamw_torch        moments in float32, 8 bytes a weight; one kernel for all weights on a CUDA GPU
adamw_torch_8bit   moments in 8 bits with a scale for each 256 of them, 2 bytes a weight, by torchao
                   (arXiv 2110.02861)
"""

import math
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from dupo.config.options import ADAMW_8BIT, OptimizerOptions
from dupo.errors import UserError
from dupo.learning.eight_bits import from_parts, plain_parts
from dupo.models.load import Model
from dupo.models.weight_decay import decay_groups

INSTALL = "pip install torchao"


def check_optimizer(options: OptimizerOptions) -> None:
    """Looks at the optimizer before any weight is loaded.

    Raises:
        UserError: torchao is wanted and not installed.
    """
    if options.optim == ADAMW_8BIT and find_spec("torchao") is None:
        raise UserError(f"optim: expected torchao for {ADAMW_8BIT}, got none installed: {INSTALL}")


def make_optimizer(model: Model, options: OptimizerOptions) -> torch.optim.Optimizer:
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
    betas = (options.adam_beta1, options.adam_beta2)
    if options.optim == ADAMW_8BIT:
        return _eight_bit(groups, options, betas)
    # torch would make one more tensor for each weight. On a CPU the bits of earlier runs stay.
    fused = True if trained and all(weight.device.type == "cuda" for weight in trained) else None
    optimizer = torch.optim.AdamW(
        groups, lr=options.learning_rate, betas=betas, eps=options.adam_epsilon, fused=fused
    )
    optimizer.register_load_state_dict_pre_hook(_own_kernel)
    return optimizer


def _own_kernel(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """The state of an optimizer, for one on another device: a checkpoint names the kernel that made it."""
    # A fused step refuses a count that is on the CPU, and the count goes where the setting says.
    pairs = zip(state["param_groups"], optimizer.param_groups, strict=True)
    return {**state, "param_groups": [{**saved, "fused": own["fused"]} for saved, own in pairs]}


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of all groups."""
    for group in optimizer.param_groups:
        # torchao compiles the step once, and a number would be a constant in it.
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _eight_bit(
    groups: list[dict[str, Any]], options: OptimizerOptions, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    from torchao.optim import AdamW8bit  # type: ignore[import-not-found]

    optimizer = AdamW8bit(groups, lr=options.learning_rate, betas=betas, eps=options.adam_epsilon)
    # A checkpoint holds plain tensors: it is copied, counted and read by code that knows no torchao.
    optimizer.register_state_dict_post_hook(_plain)
    optimizer.register_load_state_dict_pre_hook(_quantized)
    return optimizer


def _plain(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    states = {
        number: {key: plain_parts(value) for key, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": states}


def _quantized(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    states = {
        number: {key: from_parts(key, v) if isinstance(v, dict) else v for key, v in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": states}


def learning_rate(step: int, options: OptimizerOptions) -> float:
    """The learning rate of optimizer step `step`, counted from 0."""
    # step + 1: the first step of a run has a rate above 0 and so learns something.
    if step < options.warmup_steps:
        return options.learning_rate * (step + 1) / options.warmup_steps
    remaining = 1 - (step - options.warmup_steps) / max(1, options.max_steps - options.warmup_steps)
    shapes = {"constant": 1.0, "linear": remaining, "cosine": 0.5 * (1 - math.cos(math.pi * remaining))}
    return options.learning_rate * shapes[options.lr_scheduler_type]
