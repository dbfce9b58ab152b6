"""Direct preference optimization and its family (`--method dpo`; arXiv 2305.18290).

    data      x, y_w, y_l                      a prompt, a better and a worse answer
    score     s(y) = beta log(pi(y | x) / pi_ref(y | x))
    loss      L = mean over pairs of -log sigmoid(s(y_w) - s(y_l))       `--loss_type` names the others

The reference is the policy before training. Its log-probs are computed once, before the first step, so no
second model is held.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dupo.config.config import Config
from dupo.data.examples import Examples
from dupo.data.fingerprints import examples_fingerprint
from dupo.data.preferences import Pair
from dupo.distributed.ranks import ALONE, Ranks
from dupo.learning.order import EpochOrder
from dupo.learning.preference_loss import Group, PreferenceLoss, answer_logprobs, comparison_of
from dupo.learning.step import optimizer_step
from dupo.methods.data import read_preferences
from dupo.methods.offline import OfflineMethod
from dupo.models.fingerprints import model_fingerprints
from dupo.models.load import Model, load_model
from dupo.models.weights import half_copy
from dupo.records import StepBatch, Trajectory


class DPO(OfflineMethod):
    """Learns from pairs of answers; see `dupo.methods.base.Method`.

    Attributes:
        references: (n, 2) float64, log-probs of the answers of each training pair under the reference; NaN
            where nobody has needed them yet. held_out_references: the same of the held-out pairs.
        is_at_start: the policy is still the reference.
    """

    headline = "rewards/accuracies"

    def __init__(self, config: Config, data: Examples[Pair] | None = None, ranks: Ranks = ALONE) -> None:
        super().__init__(config, ranks)
        data = data or read_preferences(config)
        self.name = self.name_of("pairs")
        self.load_tokenizer(None)
        train, self.pairs, notes = self._fitting(data.train, "pairs")
        held_out, self.held_out, notes_held_out = self._fitting(data.held_out, "held-out pairs")
        numbers = f"{len(train):,} pairs to train on, {len(held_out):,} held out"
        self.notes = [numbers, *data.notes, *notes, *notes_held_out]
        self.data_inputs = {
            "the data set": examples_fingerprint(example for pair in train for example in pair),
            "the held-out pairs": examples_fingerprint(example for pair in held_out for example in pair),
        }
        self.num_held_out = len(self.held_out)
        self.order = EpochOrder(self.seed, len(self.pairs))
        # Options of the loss that do not go together are refused here, before the weights load.
        self.loss = PreferenceLoss(comparison_of(config.comparison), self.compute)
        self.references = torch.full((len(self.pairs), 2), torch.nan, dtype=torch.float64)
        self.held_out_references = torch.full((self.num_held_out, 2), torch.nan, dtype=torch.float64)
        self.is_at_start = True

    def _fitting(
        self, pairs: Sequence[Pair], what: str
    ) -> tuple[list[Pair], list[tuple[Trajectory, ...]], list[str]]:
        """The pairs that fit, their ids, and what was left out, in words."""
        fitting = self.fitting(pairs, what)
        return [Pair(*group) for group in fitting.groups], fitting.encoded, fitting.notes

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
                f"{optimizer.max_steps} optimizer steps of {self.batch_size} pairs, "
                f"learning rate {optimizer.learning_rate:g}",
            ),
            self.evaluation_row(f"loss and accuracy on {self.num_held_out:,} held-out pairs"),
        ]

    def inputs(self) -> Mapping[str, str]:
        """Fingerprints of pairs and model."""
        model = model_fingerprints("model", self.config.model, self.tokenizer, self.shape)
        return {**self.data_inputs, **model}

    def start(self) -> None:
        """Makes adapters and optimizer."""
        self.start_learner(needs_twin=False)
        self.loss.compute = self.compute

    def next_batch(self, step: int) -> StepBatch:
        """The pairs of one step, chosen and rejected in turn."""
        places = self._places(step)
        if self.loss.objective.needs_reference and self.references[places].isnan().any():
            self._know_references()
        return StepBatch([answer for place in places for answer in self.pairs[place]], {}, [])

    def update(self, batch: StepBatch, step: int) -> dict[str, float]:
        """One optimizer step on the pairs of the batch."""
        # A batch is a flat list, which a failed step can be saved from.
        answers, places = batch.trajectories, self._places(step)
        pairs = list(zip(answers[::2], answers[1::2], strict=True))
        references = self.references[places] if self.loss.objective.needs_reference else None
        learn = partial(self.loss.accumulate_gradient, groups=pairs, references=references)
        options, seed = self.config.optimizer, self.seed
        # As in TRL, dropout is off: the reference has none.
        metrics = optimizer_step(self.model, self.optimizer, learn, options, step, seed, dropout=False)
        self.is_at_start = False
        return metrics

    def _places(self, step: int) -> list[int]:
        """Which pairs a step learns from; they follow from the step, so a resumed run needs no state."""
        return self.order.take(range(len(self.pairs)), step * self.batch_size, self.batch_size)

    def _know_references(self) -> None:
        """Computes what is not known yet of the pairs that the run will see."""
        places = range(len(self.pairs))
        num_seen = self.config.optimizer.max_steps * self.batch_size
        # A short run does not wait for the reference on pairs that it never sees.
        seen = places if num_seen >= len(places) else self.order.take(places, 0, num_seen)
        is_missing = self.references.isnan().any(1).tolist()
        missing = [place for place in seen if is_missing[place]]
        self.references[missing] = self._reference_logprobs([self.pairs[place] for place in missing])

    def _reference_logprobs(self, pairs: Sequence[Group]) -> Tensor:
        with self.phases("ref_logprobs"):
            return answer_logprobs(self._reference(), pairs, self.compute)

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
        """The pairs of the step that failed."""
        return self.next_batch(step)

    def evaluate(self) -> dict[str, float]:
        """Loss and reports on the held-out pairs."""
        if not self.held_out:
            return {}
        references = None
        if self.loss.objective.needs_reference:
            if self.held_out_references.isnan().any():
                self.held_out_references = self._reference_logprobs(self.held_out)
            references = self.held_out_references
        loss, metrics = self.loss.measure(self.model, self.held_out, references)
        # Accuracy first: it is what the progress line shows.
        return {self.headline: metrics.pop(self.headline), "loss": loss.item()} | metrics

    def state(self) -> dict[str, Any]:
        """What is known of the reference."""
        # 16 bytes a pair; without them a resumed run would read the first weights again.
        return {"references": self.references, "held_out_references": self.held_out_references}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continues from `state`; the policy has left the reference."""
        self.references, self.held_out_references = state["references"], state["held_out_references"]
        self.is_at_start = False
