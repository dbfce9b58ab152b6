"""Log-probabilities of packed sequences, from the hidden states and the language-model head.

Shape letters: N tokens of a micro-batch, M sampled tokens among them, H hidden size, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo.distributed.ranks import ALONE, Ranks
from dupo.learning.batches import micro_batches
from dupo.models.balancing import balancing_loss
from dupo.models.devices import autocast
from dupo.models.load import Model
from dupo.models.sharding import in_forward
from dupo.records import Batch, Trajectory
from dupo_kernels import linear_objective, linear_token_logprobs


class Compute(NamedTuple):
    """How passes through the model are made.

    Attributes:
        temperature: of the sampled distributions; the logits are divided by it.
        dtype: `--compute_dtype`.
        token_budget: most tokens of a micro-batch.
        router_aux_loss_coef: weight of the loss that balances experts; 0: no such loss.
        ranks: the processes among which the passes are shared out.
    """

    temperature: float
    dtype: str
    token_budget: int
    router_aux_loss_coef: float = 0.0
    ranks: Ranks = ALONE


def packed_outputs(model: Model, batch: Batch, **options: Any) -> Any:
    """What the model beneath the head gives for a packed batch: `last_hidden_state` (1, N, H), and more."""
    # The base model alone: the head is applied by `dupo_kernels`, and only to rows with a loss.
    return model.base_model(
        input_ids=batch.input_ids[None],
        position_ids=batch.position_ids[None],
        cu_seq_lens_q=batch.cu_seqlens,
        cu_seq_lens_k=batch.cu_seqlens,
        max_length_q=batch.max_seqlen,
        max_length_k=batch.max_seqlen,
        use_cache=False,
        **options,
    )


def hidden_and_balance(model: Model, batch: Batch, compute: Compute) -> tuple[Tensor, Tensor | None]:
    """Last hidden states (M, H) of the rows that predict a sampled token, and the balancing loss of experts.

    The loss is a fp32 scalar; None where `compute.router_aux_loss_coef` is 0.
    """
    if compute.router_aux_loss_coef == 0:
        return packed_outputs(model, batch).last_hidden_state[0][batch.loss_rows], None
    outputs = packed_outputs(model, batch, output_router_logits=True)
    return outputs.last_hidden_state[0][batch.loss_rows], balancing_loss(model, outputs.router_logits)


def head_of(model: Model, temperature: float) -> tuple[Tensor, dict[str, Any]]:
    """The weight (V, H) of the language-model head, and its options as `dupo_kernels` takes them."""
    head: Any = model.get_output_embeddings()
    shape = model.config.get_text_config()
    # Cohere and Granite scale their logits, by two names and in two directions.
    logit_scale = getattr(shape, "logit_scale", None) or 1 / (getattr(shape, "logits_scaling", None) or 1)
    return head.weight, {
        "bias": getattr(head, "bias", None),
        "temperature": temperature,
        "logit_scale": logit_scale,
        "softcap": getattr(shape, "final_logit_softcapping", None),
    }


def batch_logprobs(model: Model, batch: Batch, compute: Compute) -> tuple[Tensor, Tensor]:
    """Log-probs of the sampled tokens and entropies of their distributions, (M,) fp32 nats each."""

    def run(model: Model) -> tuple[Tensor, Tensor]:
        hidden_MH = packed_outputs(model, batch).last_hidden_state[0][batch.loss_rows]
        return head_logprobs(model, hidden_MH, batch, compute)

    with autocast(model.device, compute.dtype):
        return in_forward(model, run)


def head_logprobs(model: Model, hidden_MH: Tensor, batch: Batch, compute: Compute) -> tuple[Tensor, Tensor]:
    """The same from the hidden states that predict the sampled tokens."""
    weight_VH, head_options = head_of(model, compute.temperature)
    logprobs, entropy = linear_token_logprobs(
        hidden_MH, weight_VH, batch.targets, entropy=True, **head_options
    )
    assert entropy is not None
    return logprobs, entropy


def batch_objective(
    model: Model, batch: Batch, compute: Compute, objective: Any, inputs: Mapping[str, Any], **options: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of an objective on a batch, with its graph.

    Args:
        objective, inputs, options: as `dupo_kernels.linear_objective` takes them.

    Returns:
        The loss without the balancing loss of experts; and the statistics, `aux_loss` with its graph.
    """

    def run(model: Model) -> tuple[Tensor, dict[str, Tensor]]:
        # The head is looked up in here: of a sharded model it is whole in its forward pass alone.
        weight_VH, head_options = head_of(model, compute.temperature)
        hidden_MH, balance = hidden_and_balance(model, batch, compute)
        loss, stats = linear_objective(
            hidden_MH,
            weight_VH,
            batch.targets,
            objective,
            inputs,
            cu_seqlens=batch.completion_cu_seqlens,
            **options,
            **head_options,
        )
        return loss, stats if balance is None else {**stats, "aux_loss": balance}

    with autocast(model.device, compute.dtype):
        return in_forward(model, run)


@torch.no_grad()
def trajectory_logprobs(model: Model, trajectories: list[Trajectory], compute: Compute) -> list[Tensor]:
    """Log-probs (T,) fp32 of each completion under a model, nats, on the CPU; 0 of forced tokens."""
    # Micro-batches come in another order than trajectories, so each finds its place by index.
    by_index: dict[int, Tensor] = {}
    for indices, batch in micro_batches(trajectories, compute.token_budget, model.device, compute.ranks):
        logprobs, _ = batch_logprobs(model, batch, compute)
        lengths = batch.completion_cu_seqlens.diff().tolist()[: len(indices)]  # none of a batch that fills up
        rows = zip(indices, logprobs[: sum(lengths)].cpu().split(lengths), strict=True)
        by_index |= {i: _of_all_tokens(row, trajectories[i].forced) for i, row in rows}
    everywhere = {i: row for rows in compute.ranks.gather(by_index) for i, row in rows.items()}
    return [everywhere[i] for i in range(len(trajectories))]


def _of_all_tokens(logprobs: Tensor, forced_T: Tensor | None) -> Tensor:
    """A copy of log-probs of sampled tokens, with 0 at those that were forced."""
    # A copy: a view would keep the log-probs of the whole micro-batch alive.
    if forced_T is None:
        return logprobs.clone()
    return torch.zeros(len(forced_T)).masked_scatter(~forced_T, logprobs)


def with_reference(reference: Model, trajectories: list[Trajectory], compute: Compute) -> list[Trajectory]:
    """The same trajectories with their log-probs under the reference model."""
    logprobs = trajectory_logprobs(reference, trajectories, compute)
    return [t._replace(ref_logprobs=row) for t, row in zip(trajectories, logprobs, strict=True)]


def with_learner(learner: Model, trajectories: list[Trajectory], compute: Compute) -> list[Trajectory]:
    """The same trajectories with the log-probs of the learner beside those that an engine gave for them."""
    logprobs = trajectory_logprobs(learner, trajectories, compute)
    return [
        t._replace(logprobs=row, sampling_logprobs=t.logprobs)
        for t, row in zip(trajectories, logprobs, strict=True)
    ]
