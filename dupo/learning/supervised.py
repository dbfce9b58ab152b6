"""The supervised loss over packed examples: mean negative log-prob of the completion tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dupo.learning.batches import micro_batches
from dupo.learning.logprobs import Compute, batch_logprobs, head_logprobs, hidden_and_balance
from dupo.models.devices import autocast, float64
from dupo.models.load import Model
from dupo.progress import tell_progress
from dupo.records import Trajectory


def supervised_gradient(
    model: Model, examples: Sequence[Trajectory], compute: Compute
) -> tuple[Tensor, dict[str, float]]:
    """Adds the gradient of the loss to `.grad`, one micro-batch after the other.

    Every completion token of the step has the same weight, whatever the split into micro-batches. The
    balancing loss of experts is the mean over micro-batches, weighted by their completion tokens.

    Returns:
        The loss, fp32 scalar, nats per token; and means over tokens: `entropy`, nats, and `aux_loss` where
        `compute.router_aux_loss_coef` is not 0.
    """
    # The count of the whole step: any split into micro-batches gives the same gradient.
    num_tokens = sum(len(example.completion_ids) for example in examples)
    total_loss = torch.zeros((), device=model.device)
    total_entropy, total_balance = torch.zeros_like(total_loss), torch.zeros_like(total_loss)
    coefficient = compute.router_aux_loss_coef
    for _, batch in micro_batches(examples, compute.token_budget, model.device):
        with autocast(model.device, compute.dtype):
            hidden_MH, balance = hidden_and_balance(model, batch, compute)
            # Entropy costs nothing beside the log-probs, and tells whether the model grows sure.
            logprobs, entropy = head_logprobs(model, hidden_MH, batch, compute)
        loss = -logprobs.sum() / num_tokens
        if balance is not None:
            loss = loss + coefficient * balance * (len(batch.targets) / num_tokens)
            total_balance += balance.detach() * len(batch.targets)
        loss.backward()
        total_loss += loss.detach()
        total_entropy += entropy.detach().sum()
    metrics = {"entropy": total_entropy.item() / num_tokens}
    return total_loss, metrics | ({"aux_loss": total_balance.item() / num_tokens} if coefficient else {})


@torch.no_grad()
def supervised_loss(model: Model, examples: Sequence[Trajectory], compute: Compute) -> float:
    """Mean negative log-prob of the completion tokens, nats per token."""
    num_tokens = sum(len(example.completion_ids) for example in examples)
    total, num_done = 0.0, 0
    for members, batch in micro_batches(examples, compute.token_budget, model.device):
        # Summed in float64, because a held-out set may have millions of tokens.
        total -= float64(batch_logprobs(model, batch, compute)[0]).sum().item()
        num_done += len(members)
        tell_progress("examples", num_done, len(examples))
    return total / num_tokens
