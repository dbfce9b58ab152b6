"""The supervised loss over packed examples: mean negative log-prob of the completion tokens."""

from collections.abc import Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor

from dupo.learning.batches import micro_batches
from dupo.learning.logprobs import Compute, batch_logprobs, head_logprobs, hidden_and_balance
from dupo.models.devices import autocast, float64
from dupo.models.load import Model
from dupo.models.sharding import in_forward
from dupo.progress import tell_progress
from dupo.records import Batch, Trajectory


def supervised_gradient(
    model: Model, examples: Sequence[Trajectory], compute: Compute
) -> tuple[Tensor, dict[str, float]]:
    """Adds the gradient of the loss to `.grad`, one micro-batch after the other.

    Every completion token of the step has the same weight, whatever the split into micro-batches. Forced
    tokens are context and have none. The balancing loss of experts is the mean over micro-batches, weighted
    by their sampled tokens.

    Returns:
        The loss, fp32 scalar, nats per token; and means over tokens: `entropy`, nats, and `aux_loss` where
        `compute.router_aux_loss_coef` is not 0. Without a token to learn: 0, no metrics, and no gradient.
    """
    # The count of the whole step: any split into micro-batches gives the same gradient.
    num_tokens = sum(example.num_sampled for example in examples)
    if not num_tokens:  # every rank has the same examples, so none waits for the pass of another
        return torch.zeros((), device=model.device), {}
    total_loss = torch.zeros((), device=model.device)
    total_entropy, total_balance = torch.zeros_like(total_loss), torch.zeros_like(total_loss)
    coefficient, ranks = compute.router_aux_loss_coef, compute.ranks
    for indices, batch in micro_batches(examples, compute.token_budget, model.device, ranks):
        logprob, entropy, balance = _totals(model, batch, compute)
        # A sharded model averages the gradients of its ranks, where they are to be added up.
        loss = -logprob / num_tokens * ranks.size
        if balance is not None:
            loss = loss + coefficient * balance * (len(batch.targets) / num_tokens) * ranks.size
        if not indices:
            (loss * 0).backward()  # other ranks need the pass, and nobody the gradient of its token
            continue
        loss.backward()
        total_loss += loss.detach()
        total_entropy += entropy.detach()
        if balance is not None:
            total_balance += balance.detach() * len(batch.targets)
    totals = ranks.gather(torch.stack([total_loss / ranks.size, total_entropy, total_balance]))
    total_loss, total_entropy, total_balance = reduce(add, [total.to(model.device) for total in totals])
    metrics = {"entropy": total_entropy.item() / num_tokens}
    return total_loss, metrics | ({"aux_loss": total_balance.item() / num_tokens} if coefficient else {})


def _totals(model: Model, batch: Batch, compute: Compute) -> tuple[Tensor, Tensor, Tensor | None]:
    """Sums of log-probs and entropies of the completion tokens, and the balancing loss of experts."""

    def run(model: Model) -> tuple[Tensor, Tensor, Tensor | None]:
        hidden_MH, balance = hidden_and_balance(model, batch, compute)
        # Entropy costs nothing beside the log-probs, and tells whether the model grows sure.
        logprobs, entropy = head_logprobs(model, hidden_MH, batch, compute)
        return logprobs.sum(), entropy.sum(), balance

    with autocast(model.device, compute.dtype):
        return in_forward(model, run)


@torch.no_grad()
def supervised_loss(model: Model, examples: Sequence[Trajectory], compute: Compute) -> float:
    """Mean negative log-prob of the completion tokens, nats per token."""
    num_tokens = sum(example.num_sampled for example in examples)
    total, num_done = 0.0, 0
    for members, batch in micro_batches(examples, compute.token_budget, model.device, compute.ranks):
        logprobs, _ = batch_logprobs(model, batch, compute)
        if not members:
            continue
        # Summed in float64, because a held-out set may have millions of tokens.
        total -= float64(logprobs).sum().item()
        num_done += len(members) * compute.ranks.size
        tell_progress("examples", min(num_done, len(examples)), len(examples))
    return reduce(add, compute.ranks.gather(total)) / num_tokens
