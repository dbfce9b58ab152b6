"""Online KTO (`--method online_kto`): its own completions, good or bad by any reward.

    rollout     y_1 ... y_G ~ pi(. | x)             the policy answers, as in `dupo`
    label       good if r(y) > label_threshold; equal completions once
    loss        that of `kto`, with the completion of another prompt for y'

The reward is that of duals unless `--reward` says otherwise, so no label is read. The reference is the policy
before training.
"""

from itertools import chain

import torch
from torch import Tensor

from dupo.config.config import Config
from dupo.distributed.ranks import ALONE, Ranks
from dupo.learning.batches import trajectories_of
from dupo.learning.logprobs import Compute, with_reference
from dupo.learning.preference_loss import PreferenceLoss, comparison_of, reference_sums
from dupo.learning.step import optimizer_step
from dupo.methods.rft import first_of_each
from dupo.methods.rollout import RolloutMethod
from dupo.records import Rollout, StepBatch, Trajectory
from dupo.tasks.base import Task


class OnlineKTO(RolloutMethod):
    """Learns from its own completions, good or bad; see `dupo.methods.base.Method`."""

    def __init__(self, config: Config, data: Task | None = None, ranks: Ranks = ALONE) -> None:
        super().__init__(config, data, ranks)
        self.loss = PreferenceLoss(comparison_of(config.labels), self.compute)

    def set_compute(self, compute: Compute) -> None:
        """As of any method, and of the loss."""
        super().set_compute(compute)
        self.loss.compute = compute

    def learning(self) -> str:
        """What a step learns from, for the start-up table."""
        size, objective = self.config.optimizer.train_batch_size, self.loss.objective
        least = self.config.labelling.label_threshold
        what = f"{size if size else 'all'} completions, good with a reward above {least:g}"
        return f"{what}; {', '.join(objective.loss_type)}, beta {objective.beta:g}"

    def new_rollout(self, step: int) -> list[StepBatch]:
        """Samples completions, each with that of another prompt for the estimate of kl."""
        rewarded, metrics = self.sample_and_judge(step)
        rewards_PG = rewarded.rewards.total_PG
        groups = self._groups(rewarded.rollout, rewards_PG)
        good = sum(answer.advantage > self.config.labelling.label_threshold for answer, _ in groups)
        metrics |= {"labels/count": float(len(groups)), "labels/good": good / max(len(groups), 1)}
        # A batch is a flat list, which a failed step can be saved from.
        answers = list(chain.from_iterable(groups))
        if answers:
            assert self.reference is not None
            with self.phases("ref_logprobs"):
                answers = with_reference(self.reference, answers, self.compute)
        # An answer and the other one behind its prompt are in one step.
        size = self.config.optimizer.train_batch_size
        exchanges = self.first_exchanges(rewarded, rewards_PG)
        return self.step_batches(answers, size and 2 * size, metrics, exchanges)

    def _groups(self, rollout: Rollout, rewards_PG: Tensor) -> list[tuple[Trajectory, Trajectory]]:
        """Each completion, and the completion of the problem before in its place behind the same prompt."""
        mask = self.config.rollout.mask_truncated_completions
        # The loss reads no advantage, so the reward has its place.
        everything = trajectories_of(rollout, rewards_PG, mask_truncated=mask)
        G, groups = rewards_PG.shape[1], list[tuple[Trajectory, Trajectory]]()
        for place, group in enumerate(rollout.completions):
            for i in first_of_each(group):
                # The problem before the first one is the last one.
                answer, other = everything[place * G + i], everything[(place - 1) * G + i]
                if not answer.masked:
                    groups.append((answer, other._replace(prompt_ids=answer.prompt_ids)))
        return groups

    def update(self, batch: StepBatch, step: int) -> dict[str, float]:
        """One optimizer step on the completions of the batch."""
        self.release_memory()
        answers = batch.trajectories
        groups = list(zip(answers[::2], answers[1::2], strict=True))
        labels = [answer.advantage > self.config.labelling.label_threshold for answer, _ in groups]

        def learn(model):
            # Every rank has the same answers, so none waits for the pass of another.
            if not groups:
                return torch.zeros((), device=model.device), {}
            return self.loss.judge(model, groups, reference_sums(groups), labels, learns=True)

        options, seed = self.config.optimizer, self.seed
        # Sampling has no dropout, and the reference none.
        metrics = optimizer_step(self.model, self.optimizer, learn, options, step, seed, dropout=False)
        self.step_done()
        return batch.metrics | metrics
