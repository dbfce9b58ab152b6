"""One optimizer step: gradient, clipping, AdamW, and the check that all of it is finite."""

from collections.abc import Callable

import torch
from torch import Tensor

from dupo.config.options import OptimizerOptions
from dupo.learning.learning_mode import learning_mode
from dupo.learning.optimizer import learning_rate, set_learning_rate
from dupo.models.load import Model
from dupo.models.sharding import whole
from dupo.seeds import derive

# Adds a gradient to `.grad`. Returns the loss, fp32 scalar, and metrics: none where nothing was to learn.
AccumulateGradient = Callable[[Model], tuple[Tensor, dict[str, float]]]


def optimizer_step(
    model: Model,
    optimizer: torch.optim.Optimizer,
    accumulate_gradient: AccumulateGradient,
    options: OptimizerOptions,
    step: int,
    seed: int,
    *,
    dropout: bool,
    check_metrics: Callable[[dict[str, float]], None] | None = None,
) -> dict[str, float]:
    """One step of AdamW.

    Args:
        step: number of the step, from 0; fixes the learning rate.
        seed: seed of the run; fixes dropout, so that a resumed step draws the same.
        dropout: learn with the dropout of the model; False where log-probs are compared with sampled ones.
        check_metrics: gets the metrics of `accumulate_gradient`, and raises to leave the weights as they are.

    Returns:
        `loss`, `grad_norm`, `learning_rate` and the metrics of `accumulate_gradient`, as host floats.

    Raises:
        FloatingPointError: loss or gradient is not finite; the weights are then unchanged.
    """
    rate = learning_rate(step, options)
    set_learning_rate(optimizer, rate)
    # None and not zero: AdamW skips weights without a gradient.
    optimizer.zero_grad(set_to_none=True)
    # Dropout draws from the global generator, so a resumed step must set it.
    torch.manual_seed(derive(seed, "dropout", step))
    with learning_mode(model, dropout=dropout):
        loss, metrics = accumulate_gradient(model)
    if check_metrics is not None:
        check_metrics(metrics)
    # Of a sharded model the norm is that of all shards, on every rank.
    norm = whole(torch.nn.utils.clip_grad_norm_(model.parameters(), options.max_grad_norm))
    # Checked before the step: a weight that is NaN once stays NaN.
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise FloatingPointError(f"loss {loss.item()}, gradient norm {norm.item()}")
    if metrics:  # without an advantage there is nothing to learn, not even from the momentum of AdamW
        optimizer.step()
    return {"loss": loss.item(), "grad_norm": norm.item(), "learning_rate": rate, **metrics}
