"""What methods share that compare the policy with what it was: DPO, KTO.

The reference is the policy before training. Its log-probs are computed once, before the first step, so no
second model is held.

Shape letters: n groups of the data, K answers of each.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo.config.config import Config
from dupo.config.preference_options import ComparisonOptions, LabelOptions
from dupo.data.examples import Examples
from dupo.distributed.ranks import ALONE, Ranks
from dupo.learning.preference_loss import Group, PreferenceLoss, answer_logprobs, comparison_of
from dupo.methods.grouped import GroupedMethod
from dupo.models.load import Model, load_model
from dupo.models.weights import half_copy
from dupo.records import StepBatch, Trajectory


class Compared(NamedTuple):
    """Groups of answers, with log-probs (n, K) under the reference, nats, float64: NaN where unknown."""

    groups: Sequence[Group]
    references: Tensor


class ComparingMethod(GroupedMethod[tuple[Trajectory, ...]]):
    """Learns from groups of answers and their reference; see `dupo.methods.base.Method`.

    Attributes:
        references, held_out_references: log-probs under the reference, see `Compared`.
        is_at_start: the policy is still the reference.
    """

    loss: PreferenceLoss

    def __init__(self, config: Config, data: Examples[Any] | None = None, ranks: Ranks = ALONE) -> None:
        super().__init__(config, data, ranks)
        self.references, self.held_out_references = _unknown(self.train), _unknown(self.held_out)
        # Options of the loss that do not go together are refused here, before the weights load.
        self.loss = PreferenceLoss(comparison_of(self.options(config)), self.compute)
        self.is_at_start = True

    def options(self, config: Config) -> ComparisonOptions | LabelOptions:
        """The options of the loss."""
        return config.comparison

    @abstractmethod
    def compare(self, model: Model, compared: Compared, *, learns: bool) -> tuple[Tensor, dict[str, float]]:
        """The loss of groups and what it reports; `learns`: the gradient is added to `.grad`."""

    def answers(self, group: tuple[Trajectory, ...]) -> tuple[Trajectory, ...]:
        """The answers of a group."""
        return group

    def loss_row(self) -> str:
        """What the start-up table says of the loss."""
        objective = self.loss.objective
        reference = "the model before training" if objective.needs_reference else "none"
        return f"{', '.join(objective.loss_type)}, beta {objective.beta:g}; reference: {reference}"

    def next_batch(self, step: int) -> StepBatch:
        """The answers of the groups of one step, whose references are known."""
        if self.loss.objective.needs_reference and self.references[self.places(step)].isnan().any():
            self._know_references()
        return super().next_batch(step)

    def learn(self, model: Model, places: Sequence[int]) -> tuple[Tensor, dict[str, float]]:
        """The loss of groups to train on, whose gradient is added to `.grad`, and its reports."""
        compared = Compared([self.train[place] for place in places], self.references[list(places)])
        return self.compare(model, compared, learns=True)

    def update(self, batch: StepBatch, step: int) -> dict[str, float]:
        """One optimizer step on the groups of the batch."""
        metrics = super().update(batch, step)
        self.is_at_start = False
        return metrics

    def measure(self) -> tuple[Tensor, dict[str, float]]:
        """Loss and reports of the held-out groups."""
        if self.loss.objective.needs_reference and self.held_out_references.isnan().any():
            self.held_out_references = self._reference_logprobs(self.held_out)
        return self.compare(self.model, Compared(self.held_out, self.held_out_references), learns=False)

    def _know_references(self) -> None:
        """Computes what is not known yet of the groups that the run will see."""
        # Step by step: packs that depended on the number of steps would round otherwise in a longer run.
        # The first epoch sees every group.
        steps = min(self.config.optimizer.max_steps, math.ceil(len(self.train) / self.batch_size))
        for step in range(steps):
            places = self.places(step)
            is_missing = self.references[places].isnan().any(1).tolist()
            if missing := [place for place, is_it in zip(places, is_missing, strict=True) if is_it]:
                self.references[missing] = self._reference_logprobs([self.train[place] for place in missing])

    def _reference_logprobs(self, groups: Sequence[Group]) -> Tensor:
        with self.phases("ref_logprobs"):
            return answer_logprobs(self._reference(), groups, self.compute)

    def _reference(self) -> Model:
        """The model before training; read anew where the policy has left it."""
        if self.is_at_start:
            return self.model
        if self.adapter is not None:
            return self.adapter.base
        # No copy was kept: a run asks for the reference once, unless it goes on for longer than was said.
        # Not `frozen`, which may round weights: the policy was not rounded when it was the reference.
        model = load_model(self.config.model, self.shape, self.device, self.seed)
        return half_copy(model, trained=True) if self._casts else model

    def state(self) -> dict[str, Any]:
        """What is known of the reference."""
        # 16 bytes a pair; without them a resumed run would read the first weights again.
        return {"references": self.references, "held_out_references": self.held_out_references}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continues from `state`; the policy has left the reference."""
        self.references, self.held_out_references = state["references"], state["held_out_references"]
        self.is_at_start = False


def _unknown(groups: Sequence[Group]) -> Tensor:
    """References that nobody has asked yet."""
    # Pairs have two answers, singles one or two: never several sizes in one file.
    K = len(groups[0]) if groups else 0
    return torch.full((len(groups), K), torch.nan, dtype=torch.float64)
