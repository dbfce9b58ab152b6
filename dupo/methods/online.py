"""What methods share that compare their own completions with the policy before training: online DPO and KTO.

    rollout     y_1 ... y_G ~ pi(. | x)             the policy answers, as in `dupo`
    groups      of completions, by their rewards    what the methods differ in
    loss        that of `dpo` or `kto`, on the groups

The reward is that of duals unless `--reward` says otherwise, so no label is read.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

from dupo.config.config import Config
from dupo.config.preference_options import ComparisonOptions, LabelOptions
from dupo.distributed.ranks import ALONE, Ranks
from dupo.learning.logprobs import Compute, with_reference
from dupo.learning.preference_loss import PreferenceLoss, comparison_of, reference_sums
from dupo.learning.step import optimizer_step
from dupo.methods.rollout import RolloutMethod
from dupo.models.load import Model
from dupo.records import StepBatch, Trajectory
from dupo.tasks.base import Task

Two = tuple[Trajectory, Trajectory]


class OnlineMethod(RolloutMethod):
    """Learns from groups of two of its own completions; see `dupo.methods.base.Method`.

    Attributes:
        has_told: a rollout without a group was told; a run of such rollouts says so once.
    """

    has_told: bool = False

    def __init__(self, config: Config, data: Task | None = None, ranks: Ranks = ALONE) -> None:
        super().__init__(config, data, ranks)
        self.loss = PreferenceLoss(comparison_of(self.options(config)), self.compute)

    @abstractmethod
    def options(self, config: Config) -> ComparisonOptions | LabelOptions:
        """The options of the loss."""

    @abstractmethod
    def choose(self, completions: Sequence[Sequence[Trajectory]]) -> tuple[list[Two], Mapping[str, float]]:
        """The groups to learn from, and metrics of them.

        Args:
            completions: of each problem those that differ; their advantages are their rewards.
        """

    @abstractmethod
    def compare(
        self, model: Model, groups: Sequence[Two], references: Tensor | None
    ) -> tuple[Tensor, dict[str, float]]:
        """Adds the gradient of the loss of groups to `.grad`; see `PreferenceLoss.accumulate_gradient`."""

    def set_compute(self, compute: Compute) -> None:
        """As of any method, and of the loss."""
        super().set_compute(compute)
        self.loss.compute = compute

    def loss_in_words(self) -> str:
        """The loss, for the start-up table."""
        objective = self.loss.objective
        return f"{', '.join(objective.loss_type)}, beta {objective.beta:g}"

    def new_rollout(self, step: int) -> list[StepBatch]:
        """Samples completions, and chooses groups of them."""
        rewarded, metrics = self.sample_and_judge(step)
        groups, told = self.choose(self.different(rewarded))
        # Once: rewards that never differ would fill the log.
        if not groups and not self.has_told:
            self.to_tell.append(f"step {step + 1}: nothing is learned, as no completions can be compared")
            self.has_told = True
        # A batch is a flat list, which a failed step can be saved from.
        answers = list(chain.from_iterable(groups))
        if answers and self.config.needs_reference:
            assert self.reference is not None
            with self.phases("ref_logprobs"):
                answers = with_reference(self.reference, answers, self.compute)
        # Both answers of a group are in one step.
        size = self.config.optimizer.train_batch_size
        exchanges = self.first_exchanges(rewarded, rewarded.rewards.total_PG)
        return self.step_batches(answers, size and 2 * size, metrics | dict(told), exchanges)

    def update(self, batch: StepBatch, step: int) -> dict[str, float]:
        """One optimizer step on the groups of the batch; a step without groups changes nothing."""
        self.release_memory()
        answers = batch.trajectories
        groups = list(zip(answers[::2], answers[1::2], strict=True))

        def learn(model: Model) -> tuple[Tensor, dict[str, float]]:
            # Every rank has the same groups, so none waits for the pass of another.
            if not groups:
                return torch.zeros((), device=model.device), {}
            references = reference_sums(groups) if self.config.needs_reference else None
            return self.compare(model, groups, references)

        options, seed = self.config.optimizer, self.seed
        # Sampling has no dropout, and the reference none.
        metrics = optimizer_step(self.model, self.optimizer, learn, options, step, seed, dropout=False)
        self.step_done()
        return batch.metrics | metrics
