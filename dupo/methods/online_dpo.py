"""Online DPO (`--method online_dpo`; arXiv 2402.04792): pairs of its own completions, judged by any reward.

    rollout     y_1 ... y_G ~ pi(. | x)             the policy answers, as in `dupo`
    pairs       (y_w, y_l) with r(y_w) > r(y_l)     the best and the worst of each x; more by `--pairs`
    loss        that of `dpo`, on the pairs

The reward is that of duals unless `--reward` says otherwise, so no label is read. The reference is the policy
before training.
"""

from itertools import chain

import torch
from torch import Tensor

from dupo.config.config import Config
from dupo.config.selection_options import BEST_WORST
from dupo.distributed.ranks import ALONE, Ranks
from dupo.learning.batches import trajectories_of
from dupo.learning.logprobs import Compute, with_reference
from dupo.learning.preference_loss import PreferenceLoss, comparison_of, reference_sums
from dupo.learning.step import optimizer_step
from dupo.methods.rft import first_of_each
from dupo.methods.rollout import RolloutMethod
from dupo.records import Rollout, StepBatch, Trajectory
from dupo.tasks.base import Task


class OnlineDPO(RolloutMethod):
    """Learns from pairs of its own completions; see `dupo.methods.base.Method`.

    Attributes:
        has_told: a rollout without a pair was told; a run of such rollouts says so once.
    """

    has_told: bool = False

    def __init__(self, config: Config, data: Task | None = None, ranks: Ranks = ALONE) -> None:
        super().__init__(config, data, ranks)
        self.loss = PreferenceLoss(comparison_of(config.comparison), self.compute)

    def set_compute(self, compute: Compute) -> None:
        """As of any method, and of the loss."""
        super().set_compute(compute)
        self.loss.compute = compute

    def learning(self) -> str:
        """What a step learns from, for the start-up table."""
        size, objective = self.config.optimizer.train_batch_size, self.loss.objective
        pairs = f"{size if size else 'all'} pairs ({self.config.pairing.pairs}) of a rollout"
        return f"{pairs}; {', '.join(objective.loss_type)}, beta {objective.beta:g}"

    def new_rollout(self, step: int) -> list[StepBatch]:
        """Samples completions, and pairs better ones with worse ones of the same prompt."""
        rewarded, metrics = self.sample_and_judge(step)
        rewards_PG = rewarded.rewards.total_PG
        pairs, differences = self._pairs(rewarded.rollout, rewards_PG)
        metrics |= {"pairs/count": float(len(pairs))}
        # Once: rewards that never differ would fill the log.
        if not pairs and not self.has_told:
            self.to_tell.append(
                f"step {step + 1}: no prompt has two completions to compare, so nothing is learned"
            )
            self.has_told = True
        if pairs:
            metrics |= {"pairs/reward_difference": sum(differences) / len(pairs)}
        # A batch is a flat list, which a failed step can be saved from.
        answers = list(chain.from_iterable(pairs))
        if self.config.needs_reference and answers:
            assert self.reference is not None
            with self.phases("ref_logprobs"):
                answers = with_reference(self.reference, answers, self.compute)
        # Both answers of a pair are in one step.
        size = self.config.optimizer.train_batch_size
        exchanges = self.first_exchanges(rewarded, rewards_PG)
        return self.step_batches(answers, size and 2 * size, metrics, exchanges)

    def _pairs(
        self, rollout: Rollout, rewards_PG: Tensor
    ) -> tuple[list[tuple[Trajectory, Trajectory]], list[float]]:
        """The pairs of a better and a worse completion, and how far their rewards are apart."""
        options, mask = self.config.pairing, self.config.rollout.mask_truncated_completions
        # The loss of pairs reads no advantage, so the reward has its place.
        everything = trajectories_of(rollout, rewards_PG, mask_truncated=mask)
        least = options.pair_margin or 0.0
        G = rewards_PG.shape[1]
        pairs: list[tuple[Trajectory, Trajectory]] = []
        for place, group in enumerate(rollout.completions):
            of_group = [everything[place * G + i] for i in first_of_each(group)]
            ranked = sorted((t for t in of_group if not t.masked), key=lambda t: -t.advantage)
            if options.pairs == BEST_WORST:  # none of a group of one
                ranked = ranked[:1] + ranked[1:][-1:]
            pairs += [
                (better, worse)
                for i, better in enumerate(ranked)
                for worse in ranked[i + 1 :]
                if better.advantage > worse.advantage and better.advantage - worse.advantage >= least
            ]
        return pairs, [better.advantage - worse.advantage for better, worse in pairs]

    def update(self, batch: StepBatch, step: int) -> dict[str, float]:
        """One optimizer step on the pairs of the batch; none where no rewards differed."""
        self.release_memory()
        answers = batch.trajectories
        pairs = list(zip(answers[::2], answers[1::2], strict=True))

        def learn(model):
            # Every rank has the same pairs, so none waits for the pass of another.
            if not pairs:
                return torch.zeros((), device=model.device), {}
            references = reference_sums(pairs) if self.config.needs_reference else None
            return self.loss.accumulate_gradient(model, pairs, references)

        options, seed = self.config.optimizer, self.seed
        # Sampling has no dropout, and the reference none.
        metrics = optimizer_step(self.model, self.optimizer, learn, options, step, seed, dropout=False)
        self.step_done()
        return batch.metrics | metrics
