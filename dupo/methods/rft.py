"""Rejection sampling fine-tuning (`--method rft`; arXiv 2308.01825, RAFT: 2304.06767).

    rollout     y_1 ... y_G ~ pi(. | x)             the policy answers, as in `dupo`
    keep        the best by reward of each x, if r(y) > min_reward; equal completions once
    loss        L = - mean over tokens of the kept  log pi(token | x, tokens before)

The reward is that of duals unless `--reward` says otherwise, so no label is read. Every rollout is a round:
the next one is sampled from the weights that this one has changed.
"""

from collections.abc import Sequence

from dupo.learning.step import optimizer_step
from dupo.learning.supervised import supervised_gradient
from dupo.methods.rollout import RolloutMethod
from dupo.records import StepBatch, Trajectory


class RFT(RolloutMethod):
    """Learns from its own best completions; see `dupo.methods.base.Method`.

    Attributes:
        has_told: a rollout without a completion to learn was told; a run of such rollouts says so once.
    """

    has_told: bool = False

    def learning(self) -> str:
        """What a step learns from, for the start-up table."""
        size, options = self.config.optimizer.train_batch_size, self.config.rejection
        best = f"the best {options.kept_per_prompt} of each prompt with a reward above {options.min_reward:g}"
        return f"{size if size else 'all'} kept completions: {best}"

    def new_rollout(self, step: int) -> list[StepBatch]:
        """Samples completions, and keeps the best of each prompt."""
        rewarded, metrics = self.sample_and_judge(step)
        trajectories = self._best(self.different(rewarded))
        metrics |= {"rft/kept_rate": len(trajectories) / rewarded.rewards.total_PG.numel()}
        # Once: rewards that stay below the bar would fill the log.
        if not trajectories and not self.has_told:
            least = self.config.rejection.min_reward
            why = f"no completion that counts has a reward above {least:g}"
            self.to_tell.append(f"step {step + 1}: nothing is learned, as {why}")
            self.has_told = True
        exchanges = self.first_exchanges(rewarded, rewarded.rewards.total_PG)
        return self.step_batches(trajectories, self.config.optimizer.train_batch_size, metrics, exchanges)

    def _best(self, completions: Sequence[Sequence[Trajectory]]) -> list[Trajectory]:
        """The completions to learn from, problem by problem, the best of each first."""
        options = self.config.rejection
        learned: list[Trajectory] = []
        for group in completions:
            fit = [t for t in group if t.advantage > options.min_reward]
            # Of equal rewards, the completion that was sampled first.
            learned += sorted(fit, key=lambda t: -t.advantage)[: options.kept_per_prompt]
        return learned

    def update(self, batch: StepBatch, step: int) -> dict[str, float]:
        """One supervised step on the kept completions; none where nothing was kept."""
        self.release_memory()
        # The probabilities of the model as it is are learned, whatever the temperature of sampling.
        compute, options = self.compute._replace(temperature=1.0), self.config.optimizer
        metrics = optimizer_step(
            self.model,
            self.optimizer,
            lambda model: supervised_gradient(model, batch.trajectories, compute),
            options,
            step,
            self.seed,
            dropout=True,
        )
        self.step_done()
        return batch.metrics | metrics
