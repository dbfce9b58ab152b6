"""The loss of compared answers over packed groups, one micro-batch after the other.

    L = mean over groups of  l(log p(y_1 | x), ..., log p(y_K | x); the same under the reference)

The losses l stand in `dupo_kernels`, which knows nothing of models. Shape letters: P groups of a step, g of a
micro-batch, K answers of a group, the best first.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor

from dupo.config.preference_options import ComparisonOptions, LabelOptions
from dupo.learning.batches import group_batches
from dupo.learning.logprobs import Compute, batch_objective, trajectory_logprobs
from dupo.learning.policy_loss import on_cpu
from dupo.models.load import Model
from dupo.records import Batch, Trajectory
from dupo_kernels import PreferenceObjective

Group = Sequence[Trajectory]


def comparison_of(options: ComparisonOptions | LabelOptions) -> PreferenceObjective:
    """The loss that has these options."""
    return PreferenceObjective(**vars(options.for_loss()))


class _PartOfStep:
    """The loss for the groups of one micro-batch, where a mean is one over all of the step.

    Args:
        nll_weight: what multiplies the log-probability of the best answer, for the loss `sft`.
    """

    scope = "group"

    def __init__(self, objective: PreferenceObjective, nll_weight: float) -> None:
        self.objective, self.nll_weight = objective, nll_weight
        self.sequences = objective.sequences

    def __call__(self, logps: Tensor, lengths: Tensor, **inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        # The loss sees a part of the groups, and could only count the tokens of that part.
        weight = logps.new_full((len(logps), 1), self.nll_weight)
        return self.objective(logps, lengths, nll_weight=weight, **inputs)


class Singles(NamedTuple):
    """What a loss of single answers reads beside them (`kto`, `apo_zero_unpaired`).

    Attributes:
        desirable: (P,) bool, on the CPU.
        kl: estimate of the divergence from the reference, float64, at least 0; None where no loss reads one.
    """

    desirable: Tensor
    kl: Tensor | None


class PreferenceLoss:
    """The loss with its options; call `accumulate_gradient` once for each optimizer step."""

    def __init__(self, objective: PreferenceObjective, compute: Compute) -> None:
        self.objective, self.compute = objective, compute

    def accumulate_gradient(
        self,
        model: Model,
        groups: Sequence[Group],
        references: Tensor | None,
        singles: Singles | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        """Adds the gradient of the loss to `.grad`; any split into micro-batches gives the same.

        Args:
            references: (P, K), log-probs of the answers under the reference, nats; None where the loss
                compares with no reference.
            singles: of groups of one answer.

        Returns:
            The loss, fp32 scalar; and what `dupo_kernels.preference_loss` reports, means over groups, of
            single answers those that are chosen, or rejected; with `aux_loss` beside that where experts are
            balanced.
        """
        return self._pass(model, groups, references, singles, learns=True)

    @torch.no_grad()
    def measure(
        self,
        model: Model,
        groups: Sequence[Group],
        references: Tensor | None,
        singles: Singles | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        """The same without a gradient."""
        return self._pass(model, groups, references, singles, learns=False)

    def compare_labelled(
        self,
        model: Model,
        groups: Sequence[Group],
        references: Tensor,
        labels: Sequence[bool],
        *,
        learns: bool,
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of single answers, of which some are good.

        Args:
            groups: an answer each; for `kto` the answer to another prompt behind it, which estimates `kl`.
            references: (P, 1) or (P, 2), as in `accumulate_gradient`.
            labels: whether each answer is good.
            learns: the gradient is added to `.grad`.

        Returns:
            As `accumulate_gradient`; with `kl` where the loss reads one, and with `rewards/margins` of
            answers of both labels.
        """
        kl = None
        if "kto" in self.objective.loss_type:
            # One number for the step, and no gradient: where good and bad part.
            others = answer_logprobs(model, [group[1:] for group in groups], self.compute)
            kl = (others[:, 0] - references[:, 1]).mean().clamp(min=0)
        run = self.accumulate_gradient if learns else self.measure
        answers, singles = [group[:1] for group in groups], Singles(torch.tensor(labels), kl)
        loss, metrics = run(model, answers, references[:, :1], singles)
        if kl is not None:
            metrics["kl"] = kl.item()
        # A step may have answers of one label alone.
        if {"rewards/chosen", "rewards/rejected"} <= metrics.keys():
            metrics["rewards/margins"] = metrics["rewards/chosen"] - metrics["rewards/rejected"]
        return loss, metrics

    def _pass(
        self,
        model: Model,
        groups: Sequence[Group],
        references: Tensor | None,
        singles: Singles | None,
        *,
        learns: bool,
    ) -> tuple[Tensor, dict[str, float]]:
        compute, ranks = self.compute, self.compute.ranks
        loss_sum = torch.zeros((), device=model.device)
        sums = dict[str, Tensor]()
        num_tokens = sum(t.num_sampled for group in groups for t in group)
        objective = _PartOfStep(self.objective, len(groups) / sum(group[0].num_sampled for group in groups))
        for indices, batch in group_batches(groups, compute.token_budget, model.device, ranks):
            inputs = _inputs(references, singles, indices, model.device)
            # A sharded model averages the gradients of its ranks, where they are to be added up.
            loss, stats = self._batch_loss(model, batch, objective, inputs, ranks.size / len(groups))
            if (balance := stats.pop("aux_loss", None)) is not None:
                share = len(batch.targets) * ranks.size / num_tokens
                loss = loss + compute.router_aux_loss_coef * share * balance
            if learns:
                # Other ranks need the pass that only fills up, and nobody the gradient of its tokens.
                (loss if indices else loss * 0).backward()
            if not indices:
                continue
            loss_sum += loss.detach()
            # Reports are means over groups, but for those of tokens.
            of_groups, of_tokens = len(indices) / len(groups), len(batch.targets) / num_tokens
            del stats["groups"]
            shares = {name: of_groups for name in stats} | {"top1_agreement": of_tokens}
            if singles is not None:
                shares |= _shares_of_labels(stats, singles.desirable, indices)
                # Of a batch without such an answer the mean is NaN.
                stats = {name: value for name, value in stats.items() if shares[name]}
            if balance is not None:
                stats["aux_loss"], shares["aux_loss"] = balance.detach(), of_tokens
            sums |= {name: sums.get(name, 0) + value * shares[name] for name, value in stats.items()}
        losses, reports = zip(*ranks.gather((loss_sum.cpu(), on_cpu(sums))), strict=True)
        # A rank whose passes only fill up reports nothing.
        names = dict.fromkeys(name for report in reports for name in report)
        metrics: dict[str, float] = {
            name: sum(report[name].item() for report in reports if name in report) for name in names
        }
        return (reduce(add, losses) / ranks.size).to(model.device), metrics

    def _batch_loss(
        self,
        model: Model,
        batch: Batch,
        objective: _PartOfStep,
        inputs: Mapping[str, Tensor | None],
        weight: float,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        # Answers of a group stand side by side, the best first.
        num_answers = len(batch.completion_cu_seqlens) - 1
        K = self.objective.sequences
        groups = torch.arange(num_answers) // K
        weights = torch.full((num_answers // K,), weight, device=model.device)
        return batch_objective(model, batch, self.compute, objective, inputs, weights=weights, groups=groups)


def _inputs(
    references: Tensor | None, singles: Singles | None, indices: list[int], device: torch.device
) -> dict[str, Tensor | None]:
    """What the loss reads of the answers of a micro-batch, by its names."""
    rows = indices or [0]  # a pass that only fills up compares with anything
    inputs: dict[str, Tensor | None] = {}
    if references is not None:
        inputs["ref_logps"] = references[rows].flatten().to(device)
    if singles is not None:
        inputs["desirable"] = singles.desirable[rows].to(device)
        inputs["kl"] = None if singles.kl is None else singles.kl.to(device).expand(len(rows))
    return inputs


def _shares_of_labels(names: Iterable[str], desirable: Tensor, indices: list[int]) -> dict[str, float]:
    """How much of the mean over chosen answers, or over rejected ones, a micro-batch has."""
    counted = {"chosen": desirable, "rejected": ~desirable}
    return {
        name: int(mask[indices].sum()) / max(int(mask.sum()), 1)
        for name in names
        if (mask := counted.get(name.rpartition("/")[2])) is not None
    }


def reference_sums(groups: Sequence[Group]) -> Tensor:
    """Log-probs (P, K) of whole answers under the reference that `with_reference` asked, nats, float64."""
    rows = [t.ref_logprobs for group in groups for t in group]
    return torch.stack([row.double().sum() for row in rows if row is not None]).view(len(groups), -1)


def answer_logprobs(model: Model, groups: Sequence[Group], compute: Compute) -> Tensor:
    """Log-probs (P, K) of whole answers under a model, nats, float64, on the CPU."""
    rows = trajectory_logprobs(model, [t for group in groups for t in group], compute)
    # Float64: a sum of thousands of tokens in float32 is off by as much as a loss can tell.
    return torch.stack([row.double().sum() for row in rows]).view(len(groups), -1)
