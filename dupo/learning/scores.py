"""Scores of packed sequences under a reward model, and the loss of ranked ones.

    L = mean over groups of  l(s(x, y_1), ..., s(x, y_K))        y_1 the best answer to x, y_K the worst

The losses l stand in `dupo_kernels.score_loss`. Shape letters: P groups of a step, K answers of a group, n
sequences of a micro-batch, N tokens of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from dupo.config.preference_options import ScoreOptions
from dupo.learning.batches import group_batches, micro_batches
from dupo.learning.logprobs import Compute, batch_logprobs, packed_outputs
from dupo.models.devices import autocast
from dupo.models.load import Model
from dupo.models.score_heads import padding_of, score_head
from dupo.models.sharding import in_forward
from dupo.records import Batch, Trajectory
from dupo_kernels import score_loss

NUM_BINS = 10  # of the calibration error, as in arXiv 1706.04599 with a few hundred predictions


class Ranked(NamedTuple):
    """Answers to one prompt, the best first.

    Attributes:
        answers: their advantages and log-probs are not read.
        margin: by how much the first should be higher, of pairs; 0: nobody says.
    """

    answers: tuple[Trajectory, ...]
    margin: float = 0.0


def batch_scores(model: Model, batch: Batch, compute: Compute) -> Tensor:
    """The score of each sequence of a packed batch, (n,) fp32, with its graph."""

    def run(model: Model) -> Tensor:
        hidden_NH = packed_outputs(model, batch).last_hidden_state[0]
        head = score_head(model)
        assert head is not None
        hidden_nH = hidden_NH[_last_tokens(batch, padding_of(model.config))]
        # One number a sequence: in bfloat16 it would have two digits.
        with torch.autocast(model.device.type, enabled=False):
            bias = None if head.bias is None else head.bias.float()
            return linear(hidden_nH.float(), head.weight.float(), bias)[:, 0]

    with autocast(model.device, compute.dtype):
        return in_forward(model, run)


def batch_values(model: Model, batch: Batch, compute: Compute) -> Tensor:
    """What a model says of a packed batch: log-probs (M,) of its sampled tokens, or the scores (n,)."""
    if score_head(model) is not None:
        return batch_scores(model, batch, compute)
    logprobs, _ = batch_logprobs(model, batch, compute)
    return logprobs


def _last_tokens(batch: Batch, padding: int) -> Tensor:
    """The place (n,) of the last token of each sequence that is no padding."""
    # As transformers finds the place, who cannot tell an end token from padding where both are one.
    places_N = torch.arange(len(batch.input_ids), device=batch.input_ids.device)
    latest_N = places_N.where(batch.input_ids != padding, 0).cummax(0).values
    starts, ends = batch.cu_seqlens[:-1].long(), batch.cu_seqlens[1:].long()
    return torch.maximum(latest_N[ends - 1], starts)


@torch.no_grad()
def trajectory_scores(model: Model, trajectories: Sequence[Trajectory], compute: Compute) -> Tensor:
    """The score of each trajectory, (n,) fp32 on the CPU."""
    by_index: dict[int, Tensor] = {}
    for indices, batch in micro_batches(trajectories, compute.token_budget, model.device, compute.ranks):
        scores = batch_scores(model, batch, compute).cpu()
        by_index |= dict(zip(indices, scores.unbind(), strict=False))  # none of a batch that fills up
    everywhere = {i: score for scores in compute.ranks.gather(by_index) for i, score in scores.items()}
    return torch.stack([everywhere[i] for i in range(len(trajectories))])


class RankingLoss:
    """The loss with its options; call `accumulate_gradient` once for each optimizer step."""

    def __init__(self, options: ScoreOptions, compute: Compute) -> None:
        self.options, self.compute = options, compute

    def accumulate_gradient(self, model: Model, groups: Sequence[Ranked]) -> tuple[Tensor, dict[str, float]]:
        """Adds the gradient of the loss to `.grad`; any split into micro-batches gives the same.

        Returns:
            The loss, fp32 scalar, and the metrics of `score_metrics`.
        """
        compute, ranks = self.compute, self.compute.ranks
        by_index: dict[int, Tensor] = {}
        answers = [group.answers for group in groups]
        for indices, batch in group_batches(answers, compute.token_budget, model.device, ranks):
            passed = [groups[i] for i in indices] or [groups[0]]
            scores = batch_scores(model, batch, compute).split([len(group.answers) for group in passed])
            # A sharded model averages the gradients of its ranks, where they are to be added up.
            loss = self.loss(scores, passed) * (len(passed) * ranks.size / len(groups))
            # Other ranks need the pass that only fills up, and nobody its gradient.
            (loss if indices else loss * 0).backward()
            by_index |= {i: row.detach().cpu() for i, row in zip(indices, scores, strict=False)}
        everywhere = {i: row for rows in ranks.gather(by_index) for i, row in rows.items()}
        # Of all scores of the step: neither the split nor the ranks show in the figures.
        rows = [everywhere[i] for i in range(len(groups))]
        return self.loss(rows, groups).to(model.device), score_metrics(rows)

    def measure(self, model: Model, groups: Sequence[Ranked]) -> tuple[Tensor, dict[str, float]]:
        """The same without a gradient, with `calibration_error`; see the function."""
        scores = trajectory_scores(model, [t for group in groups for t in group.answers], self.compute)
        rows = scores.split([len(group.answers) for group in groups])
        metrics = score_metrics(rows) | {"calibration_error": calibration_error(rows)}
        return self.loss(rows, groups), metrics

    def loss(self, scores: Sequence[Tensor], groups: Sequence[Ranked]) -> Tensor:
        """Mean over groups of the loss of their scores, which stand in the order of the answers."""
        # Groups of one size make one tensor.
        by_size: dict[int, list[int]] = {}
        for place, row in enumerate(scores):
            by_size.setdefault(len(row), []).append(place)
        losses = []
        for places in by_size.values():
            scores_GK = torch.stack([scores[place] for place in places])
            losses.append(self._loss(scores_GK, [groups[place].margin for place in places]) * len(places))
        return torch.stack(losses).sum() / len(groups)

    def _loss(self, scores_GK: Tensor, margins: Sequence[float]) -> Tensor:
        kind, center = self.options.loss_type, self.options.center_rewards_coefficient
        if kind != "bradley_terry":
            return score_loss(scores_GK, kind=kind)
        pairs_2 = pairs_of(scores_GK)
        margin = torch.tensor(margins, device=scores_GK.device).repeat_interleave(
            len(pairs_2) // len(margins)
        )
        return score_loss(pairs_2, margin=margin, center_rewards_coefficient=center)


def pairs_of(scores_GK: Tensor) -> Tensor:
    """Scores (G K (K - 1) / 2, 2) of all pairs of each group, that of the better answer first."""
    # All pairs of a ranking count, as in InstructGPT (arXiv 2203.02155, equation 1).
    pairs = torch.combinations(torch.arange(scores_GK.shape[1], device=scores_GK.device))
    return scores_GK[:, pairs].flatten(0, 1)


def score_metrics(rows: Sequence[Tensor]) -> dict[str, float]:
    """What TRL's RewardTrainer reports, by its names.

    Args:
        rows: scores of each group, the best answer first.

    Returns:
        `accuracy`, the share of pairs whose better answer has the higher score, and `margin`, by how much,
        both means over groups; `mean_reward`, `min_reward` and `max_reward` of all answers.
    """
    differences = [-pairs_of(row[None].double()).diff(dim=1) for row in rows]
    scores = torch.cat(list(rows)).double()
    return {
        "accuracy": torch.stack([(row > 0).double().mean() for row in differences]).mean().item(),
        "margin": torch.stack([row.mean() for row in differences]).mean().item(),
        "mean_reward": scores.mean().item(),
        "min_reward": scores.min().item(),
        "max_reward": scores.max().item(),
    }


def calibration_error(rows: Sequence[Tensor]) -> float:
    """How far a reward model is from being right as often as it says (arXiv 1706.04599, equation 5).

    By Bradley-Terry, sigmoid(s_1 - s_2) is the probability that the first answer of a pair is the better one.

    Args:
        rows: scores of each group, the best answer first.

    Returns:
        Mean over pairs of |share that is right - mean confidence| of their bin, in [0, 1]. The bins of the
        confidence, that in the answer with the higher score, are `NUM_BINS` between 0.5 and 1.
    """
    differences = torch.cat([-pairs_of(row[None].double()).diff(dim=1) for row in rows]).flatten()
    confidences = differences.abs().sigmoid()
    # Equal scores are right as often as a coin.
    right = (differences > 0).double() + 0.5 * (differences == 0).double()
    bins = ((confidences - 0.5) * 2 * NUM_BINS).long().clamp(max=NUM_BINS - 1)
    gaps = torch.zeros(NUM_BINS, dtype=torch.float64).index_add(0, bins, right - confidences)
    return gaps.abs().sum().item() / len(differences)
