"""What methods share that learn from given answers and compare the policy with what it was: DPO, KTO.

The reference is the policy before training. Its log-probs are computed once, before the first step, so no
second model is held.

Shape letters: n groups of the data, K answers of each.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo.config.config import Config
from dupo.config.preference_options import ComparisonOptions, LabelOptions
from dupo.data.examples import Example, Examples
from dupo.data.fingerprints import examples_fingerprint
from dupo.distributed.ranks import ALONE, Ranks
from dupo.learning.order import EpochOrder
from dupo.learning.preference_loss import Group, PreferenceLoss, answer_logprobs, comparison_of
from dupo.learning.step import optimizer_step
from dupo.methods.offline import OfflineMethod
from dupo.models.fingerprints import model_fingerprints
from dupo.models.load import Model, load_model
from dupo.models.weights import half_copy
from dupo.records import StepBatch, Trajectory


class Compared(NamedTuple):
    """Groups of answers, with log-probs (n, K) under the reference, nats, float64: NaN where unknown."""

    groups: list[tuple[Trajectory, ...]]
    references: Tensor

    @classmethod
    def of(cls, groups: list[tuple[Trajectory, ...]]) -> "Compared":
        """Groups whose reference nobody has asked yet."""
        K = len(groups[0]) if groups else 0
        return cls(groups, torch.full((len(groups), K), torch.nan, dtype=torch.float64))

    def at(self, places: Sequence[int]) -> "Compared":
        """The groups at some places."""
        return Compared([self.groups[place] for place in places], self.references[list(places)])


class ComparingMethod(OfflineMethod):
    """Learns from groups of answers of a file; see `dupo.methods.base.Method`.

    Attributes:
        what: the groups are called. measured: what evaluation tells of them.
        train, held_out: the groups.
        is_at_start: the policy is still the reference.
    """

    what: str
    measured: str

    def __init__(self, config: Config, data: Examples[Any] | None = None, ranks: Ranks = ALONE) -> None:
        super().__init__(config, ranks)
        data = data or self.read(config)
        self.name = self.name_of(self.what)
        self.load_tokenizer(None)
        read, groups, notes = self.encoded(data.train, self.what)
        read_held_out, held_out, notes_held_out = self.encoded(data.held_out, f"held-out {self.what}")
        numbers = f"{len(groups):,} {self.what} to train on, {len(held_out):,} held out"
        self.notes = [numbers, *data.notes, *notes, *notes_held_out]
        self.data_inputs = {
            "the data set": examples_fingerprint(read),
            f"the held-out {self.what}": examples_fingerprint(read_held_out),
        }
        self.train, self.held_out = Compared.of(groups), Compared.of(held_out)
        self.num_held_out = len(held_out)
        self.order = EpochOrder(self.seed, len(groups))
        # Options of the loss that do not go together are refused here, before the weights load.
        self.loss = PreferenceLoss(comparison_of(self.options(config)), self.compute)
        self.is_at_start = True

    def options(self, config: Config) -> ComparisonOptions | LabelOptions:
        """The options of the loss."""
        return config.comparison

    @abstractmethod
    def read(self, config: Config) -> Examples[Any]:
        """Reads the data of the run."""

    @abstractmethod
    def encoded(
        self, items: Sequence[Any], what: str
    ) -> tuple[list[Example], list[tuple[Trajectory, ...]], list[str]]:
        """The examples that fit, the groups that they make, and what was left out, in words."""

    @abstractmethod
    def compare(self, model: Model, compared: Compared, *, learns: bool) -> tuple[Tensor, dict[str, float]]:
        """The loss of groups and what it reports; `learns`: the gradient is added to `.grad`."""

    def describe(self) -> list[tuple[str, str]]:
        """Rows of the start-up table."""
        optimizer, objective = self.config.optimizer, self.loss.objective
        reference = "the model before training" if objective.needs_reference else "none"
        return [
            *self.model_rows(),
            ("data", "; ".join(self.notes)),
            ("loss", f"{', '.join(objective.loss_type)}, beta {objective.beta:g}; reference: {reference}"),
            (
                "steps",
                f"{optimizer.max_steps} optimizer steps of {self.batch_size} {self.what}, "
                f"learning rate {optimizer.learning_rate:g}",
            ),
            self.evaluation_row(f"{self.measured} on {self.num_held_out:,} held-out {self.what}"),
        ]

    def inputs(self) -> Mapping[str, str]:
        """Fingerprints of data and model."""
        model = model_fingerprints("model", self.config.model, self.tokenizer, self.shape)
        return {**self.data_inputs, **model}

    def start(self) -> None:
        """Makes adapters and optimizer."""
        self.start_learner(needs_twin=False)
        self.loss.compute = self.compute

    def next_batch(self, step: int) -> StepBatch:
        """The answers of the groups of one step, group by group."""
        places = self._places(step)
        if self.loss.objective.needs_reference and self.train.references[places].isnan().any():
            self._know_references()
        # A batch is a flat list, which a failed step can be saved from.
        return StepBatch([answer for place in places for answer in self.train.groups[place]], {}, [])

    def update(self, batch: StepBatch, step: int) -> dict[str, float]:
        """One optimizer step on the groups of the batch."""
        learn = partial(self.compare, compared=self.train.at(self._places(step)), learns=True)
        # The groups follow from the step, and the batch is what a failed step would save.
        options, seed = self.config.optimizer, self.seed
        # As in TRL, dropout is off: the reference has none.
        metrics = optimizer_step(self.model, self.optimizer, learn, options, step, seed, dropout=False)
        self.is_at_start = False
        return metrics

    def _places(self, step: int) -> list[int]:
        """Which groups a step learns from; they follow from the step, so a resumed run needs no state."""
        return self.order.take(range(len(self.train.groups)), step * self.batch_size, self.batch_size)

    def _know_references(self) -> None:
        """Computes what is not known yet of the groups that the run will see."""
        # Step by step: packs that depended on the number of steps would round otherwise in a longer run.
        # The first epoch sees every group.
        steps = min(self.config.optimizer.max_steps, math.ceil(len(self.train.groups) / self.batch_size))
        for step in range(steps):
            places = self._places(step)
            is_missing = self.train.references[places].isnan().any(1).tolist()
            if missing := [place for place, is_it in zip(places, is_missing, strict=True) if is_it]:
                self.train.references[missing] = self._reference_logprobs(self.train.at(missing).groups)

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

    def current_batch(self, step: int) -> StepBatch:
        """The answers of the step that failed."""
        return self.next_batch(step)

    def evaluate(self) -> dict[str, float]:
        """Loss and reports on the held-out groups."""
        if not self.num_held_out:
            return {}
        references = self.held_out.references
        if self.loss.objective.needs_reference and references.isnan().any():
            self.held_out = self.held_out._replace(references=self._reference_logprobs(self.held_out.groups))
        loss, metrics = self.compare(self.model, self.held_out, learns=False)
        metrics = {"loss": loss.item()} | metrics
        # First what the progress line shows.
        return {self.headline: metrics.pop(self.headline)} | metrics

    def state(self) -> dict[str, Any]:
        """What is known of the reference."""
        # 16 bytes a pair; without them a resumed run would read the first weights again.
        return {"references": self.train.references, "held_out_references": self.held_out.references}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continues from `state`; the policy has left the reference."""
        self.train = self.train._replace(references=state["references"])
        self.held_out = self.held_out._replace(references=state["held_out_references"])
        self.is_at_start = False
