"""The clipped policy-gradient loss over packed trajectories, one micro-batch after the other.

The loss itself stands in `dupo_kernels`, which knows nothing of models.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import reduce
from operator import add

import torch
from torch import Tensor

from dupo.errors import UserError
from dupo.learning.batches import micro_batches
from dupo.learning.logprobs import Compute, batch_objective
from dupo.models.load import Model
from dupo.records import Batch, Trajectory
from dupo_kernels import PolicyObjective, PolicyOptions, counts_tokens, token_weights

EXTREMES = {"max": torch.maximum, "min": torch.minimum}  # by the last word of a statistic's name


def objective_of(options: PolicyOptions) -> PolicyObjective:
    """The objective that has these options."""
    # Field by field: the two classes share their fields, so none can be dropped.
    return PolicyObjective(**{spec.name: getattr(options, spec.name) for spec in fields(options)})


class PolicyLoss:
    """The policy loss with its options; call `accumulate_gradient` once for each optimizer step.

    Args:
        max_completion_length: the constant length by which dr_grpo divides.
    """

    def __init__(self, objective: PolicyObjective, compute: Compute, max_completion_length: int) -> None:
        self.objective, self.compute = objective, compute
        self.max_completion_length = max_completion_length

    def accumulate_gradient(
        self, model: Model, trajectories: Sequence[Trajectory]
    ) -> tuple[Tensor, dict[str, float]]:
        """Adds the gradient of the loss to `.grad`.

        The normaliser counts all trajectories, also those without advantage, which need no pass through the
        model. So neither the split into micro-batches nor the skipping changes the gradient.

        Returns:
            The loss (fp32 scalar), and the statistics of `dupo_kernels.policy_loss` over the tokens that were
            passed, with `aux_loss` beside them where experts are balanced; none if there were none.
        """
        objective = self.objective
        unmasked = [t for t in trajectories if not t.masked]
        # By completion, masked ones count too, as in TRL.
        by_token = counts_tokens(objective.loss_type)
        num_items = sum(t.num_sampled for t in unmasked) if by_token else len(trajectories)
        # The KL term and the entropy bonus have a gradient without advantage; a quantile needs all tokens.
        has_other_gradient = objective.beta != 0 or objective.entropy_coef != 0
        has_quantile = objective.top_entropy_quantile < 1
        if has_quantile:
            self._check_one_micro_batch(unmasked)
        active = [t for t in unmasked if t.advantage != 0 or has_other_gradient or has_quantile]
        # Losses stay on the device: reading one here would stop the pipeline at every micro-batch.
        total_loss = torch.zeros((), device=model.device)
        sums, extremes = dict[str, Tensor](), dict[str, Tensor]()
        count = sum(t.num_sampled for t in active)
        ranks = self.compute.ranks
        for indices, batch in micro_batches(active, self.compute.token_budget, model.device, ranks):
            # A sharded model averages the gradients of its ranks, where they are to be added up.
            loss, stats = self.batch_loss(model, batch, num_items / ranks.size)
            if (balance := stats.get("aux_loss")) is not None:
                # It is a mean over the tokens of a micro-batch, and so weighted like the metrics below.
                share = len(batch.targets) * ranks.size / count
                loss = loss + self.compute.router_aux_loss_coef * share * balance
                stats["aux_loss"] = balance.detach()
            if not indices:
                (loss * 0).backward()  # other ranks need the pass, and nobody the gradient of its token
                continue
            loss.backward()
            total_loss += loss.detach()
            # Means over micro-batches are weighted by tokens, so the split does not show in the metrics.
            num_tokens = stats.pop("tokens")
            for name, value in stats.items():
                if (kind := name.rpartition("/")[2]) in EXTREMES:
                    extremes[name] = EXTREMES[kind](extremes.get(name, value), value)
                else:
                    name = f"{name}_mean" if name.startswith("clip_ratio/") else name  # TRL's names
                    sums[name] = sums.get(name, torch.zeros_like(value)) + value * num_tokens
        # Tensors and not floats: Python's `max` may lose a NaN.
        losses, all_sums, all_extremes = zip(
            *ranks.gather((total_loss.cpu(), on_cpu(sums), on_cpu(extremes))), strict=True
        )
        means = {name: reduce(add, values).item() / count for name, values in _by_name(all_sums).items()}
        ends = {
            name: reduce(EXTREMES[name.rpartition("/")[2]], values).item()
            for name, values in _by_name(all_extremes).items()
        }
        return torch.stack(losses).mean().to(model.device), means | ends

    def _check_one_micro_batch(self, trajectories: Sequence[Trajectory]) -> None:
        """The quantile is one of all tokens of a step, and a micro-batch knows its own tokens only.

        Raises:
            UserError: the trajectories do not fit into one micro-batch.
        """
        num_tokens = sum(len(t.prompt_ids) + len(t.completion_ids) for t in trajectories)
        if num_tokens > self.compute.token_budget:
            raise UserError(
                f"token_budget: expected at least {num_tokens}, as top_entropy_quantile is one of all tokens "
                f"of a step, got {self.compute.token_budget}"
            )

    def batch_loss(self, model: Model, batch: Batch, num_items: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one micro-batch of an optimizer step that has `num_items` tokens or completions.

        Returns:
            The loss without the balancing loss of experts; and the statistics, `aux_loss` with its graph.
        """
        per_token = {
            "advantages": batch.advantages,
            "old_logprobs": batch.old_logprobs,
            "ref_logprobs": batch.ref_logprobs,
            "sampling_logprobs": batch.sampling_logprobs,
        }
        # The weights hold the normaliser of the whole step, so the losses of micro-batches just add up.
        weights = token_weights(
            self.objective.loss_type,
            cu_seqlens=batch.completion_cu_seqlens.to(batch.targets.device, non_blocking=True),
            num_items=num_items,
            max_completion_length=self.max_completion_length,
            num_tokens=len(batch.targets),
        )
        return batch_objective(model, batch, self.compute, self.objective, per_token, weights=weights)


def on_cpu(stats: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same statistics on the CPU, where ranks exchange them."""
    return {name: value.cpu() for name, value in stats.items()}


def _by_name(stats: Iterable[Mapping[str, Tensor]]) -> dict[str, list[Tensor]]:
    """Name -> its value on every rank that has one; a rank whose passes only fill up has none."""
    by_name: dict[str, list[Tensor]] = {}
    for of_rank in stats:
        for name, value in of_rank.items():
            by_name.setdefault(name, []).append(value)
    return by_name
