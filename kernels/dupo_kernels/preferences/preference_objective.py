"""A preference loss as an object: its options, the inputs they need, and what it does to groups.

    loss of a group = sum over loss_type of loss_weight x (loss of pair_losses.py)

A group is K sequences that are compared: a pair, K candidates, or one sequence with its label. The module
does not know tokens or the vocabulary.

Shape letters: G groups, K sequences of a group, the best first; S = G K sequences.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dupo_kernels._checks import check_values, may_read
from dupo_kernels._messages import refused
from dupo_kernels.preferences.choices import PREFERENCE_LOSSES
from dupo_kernels.preferences.pair_losses import PAIR_LOSSES, Pair, power_score, score
from dupo_kernels.preferences.preference_options import PreferenceOptions
from dupo_kernels.preferences.scores import plackett_luce

SEQUENCE_INPUTS = ("ref_logps", "desirable", "kl")


@dataclass(frozen=True)
class PreferenceObjective(PreferenceOptions):
    """A preference loss: the fields of `PreferenceOptions`, and what they do to groups.

    Pass it to `linear_objective` with `groups`, or call it: `objective(logps, lengths, ref_logps=...)`.

    Raises:
        ValueError: as `PreferenceOptions`.
    """

    scope = "group"

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Raises ValueError for an input that an option needs and lacks or nothing reads; a kl below 0."""
        present = {name for name, value in inputs.items() if value is not None}
        if unknown := sorted(present - set(SEQUENCE_INPUTS)):
            raise ValueError(
                f"per_token: expected names of {', '.join(SEQUENCE_INPUTS)}, got {', '.join(unknown)}"
            )
        needs = {
            "ref_logps": self.needs_reference,
            "desirable": self.sequences == 1,
            "kl": "kto" in self.loss_type,
        }
        for name, is_needed in needs.items():
            if is_needed != (name in present):
                reason = f"for loss_type={', '.join(self.loss_type)!r}, reference_free={self.reference_free}"
                expected = "a tensor" if is_needed else "None"
                raise refused(name, f"{expected} {reason}", inputs.get(name))
        kl = inputs.get("kl")
        # On a device the values would be waited for.
        if kl is not None and may_read(kl, check=False):
            check_values("kl", "at least 0", kl, ~(kl < 0))

    def batch_inputs(self, lengths: Tensor) -> dict[str, Tensor]:
        """What a group must know of the whole batch before its loss: for `__call__`, from lengths (G, K)."""
        if "sft" not in self.loss_type:
            return {}
        G = lengths.shape[0]
        # The mean over the chosen tokens of the batch, as a mean over groups.
        return {"nll_weight": (G / lengths[:, 0].sum().clamp(min=1)).expand(G, 1)}

    def __call__(
        self,
        logps: Tensor,
        lengths: Tensor,
        *,
        ref_logps: Tensor | None = None,
        desirable: Tensor | None = None,
        kl: Tensor | None = None,
        nll_weight: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each group, and what each reports.

        Args:
            logps: (G, K), the sum of the log-probabilities of a sequence, nats.
            lengths: (G, K), how many tokens that is.
            ref_logps: (G, K), the same sums under the reference.
            desirable: (G, 1), nonzero where a single sequence is desirable.
            kl: (G, 1), kto: an estimate of the divergence from the reference, 0 or more; the same for all.
            nll_weight: (G, 1), of `batch_inputs` where these groups are a part of a batch.

        Returns:
            (losses, stats): (G,), and (G,) each by TRL's names; NaN where a group does not count for a name.
        """
        ratios = logps if ref_logps is None else logps - ref_logps
        lengths = lengths.to(logps.dtype)
        if self.sequences == 1:
            assert desirable is not None
            return self._of_singles(logps[:, 0], ratios[:, 0], desirable[:, 0] != 0, kl)
        if self.sequences == 0:
            rewards = self.beta * ratios
            return self.loss_weights[0] * plackett_luce(rewards), _reports(logps, rewards)
        if nll_weight is None:
            nll_weight = self.batch_inputs(lengths).get("nll_weight")
        losses = logps.new_zeros(logps.shape[0])
        for name, weight in zip(self.loss_type, self.loss_weights, strict=True):
            # simpo, orpo and sft look at no reference, also where another loss of the sum does.
            compared = ratios if PREFERENCE_LOSSES[name].reference else logps
            pair = self._pair(name, compared, lengths, nll_weight)
            losses = losses + weight * PAIR_LOSSES[name](pair, self).to(losses.dtype)
        # Reports are in the units of the loss, as TRL's trainers have them.
        by_token = any(name in ("simpo", "orpo") for name in self.loss_type)
        return losses, _reports(logps, self.beta * (ratios / lengths.clamp(min=1) if by_token else ratios))

    def _pair(self, name: str, ratios: Tensor, lengths: Tensor, nll_weight: Tensor | None) -> Pair:
        # A sequence without tokens has no mean; its sum is 0.
        lengths = lengths.clamp(min=1)
        scores = score(ratios, self)
        if self.alpha:
            # AlphaPO's p is the probability by token where the loss compares means.
            scores = power_score(ratios / lengths if name in ("ipo", "simpo") else ratios, -self.alpha)
        weight = ratios[:, 0] if nll_weight is None else nll_weight[:, 0].to(ratios.dtype)
        (c, r), (c_length, r_length), (c_score, r_score) = (x.unbind(1) for x in (ratios, lengths, scores))
        return Pair(c, r, c_length, r_length, c_score, r_score, weight)

    def _of_singles(
        self, logps: Tensor, ratios: Tensor, desirable: Tensor, kl: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        # One formula for both labels: an undesirable sequence is to become less likely.
        sign = desirable.to(ratios.dtype) * 2 - 1
        losses = torch.zeros_like(ratios)
        for name, weight in zip(self.loss_type, self.loss_weights, strict=True):
            # kto compares with the divergence of the batch, apo_zero_unpaired with 0.
            zero = kl[:, 0].to(ratios.dtype) if name == "kto" and kl is not None else 0.0
            losses = losses + weight * (-self.beta * sign * (ratios - zero)).sigmoid()
        # Of two Python numbers, torch.where would make float32.
        factor = torch.full_like(ratios, self.undesirable_weight)
        factor = factor.masked_fill(desirable, self.desirable_weight)
        rewards = self.beta * ratios.detach()
        return losses * factor, {
            "rewards/chosen": rewards.masked_fill(~desirable, torch.nan),
            "rewards/rejected": rewards.masked_fill(desirable, torch.nan),
            "logps/chosen": logps.detach().masked_fill(~desirable, torch.nan),
            "logps/rejected": logps.detach().masked_fill(desirable, torch.nan),
        }


def _reports(logps: Tensor, rewards: Tensor) -> dict[str, Tensor]:
    """By TRL's names, of groups (G, K): the best sequence is chosen, the last one rejected."""
    # Of more than two, the ends of the order tell most.
    chosen, rejected = rewards.detach()[:, 0], rewards.detach()[:, -1]
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": (chosen > rejected).to(rewards.dtype),
        "logps/chosen": logps.detach()[:, 0],
        "logps/rejected": logps.detach()[:, -1],
    }


def preference_objective(loss_type: Any = "sigmoid", **options: Any) -> PreferenceObjective:
    """A preference loss for `linear_objective`; the options and defaults are those of `PreferenceOptions`.

    Raises:
        ValueError: as `PreferenceOptions`.
        TypeError: an option that does not exist.
    """
    return PreferenceObjective(loss_type=loss_type, **options)
