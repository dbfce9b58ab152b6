"""DuPO (arXiv 2508.14460): trains a language model without labels, on its own consistency.

    primal      x -> y                          the policy answers, num_generations times
    dual        (y, x_k) -> x_u'                a judge recovers the hidden part x_u of x from the answer
    reward      r(y) = mean of 1 - d(x_u, x_u')
    advantage   A = (r - mean of the group) / (standard deviation of the group + 1e-4)
    loss        clipped policy gradient on every sampled token of the completion that gave y (`dupo_kernels`)

The first three lines are `RolloutMethod.ask`.
"""

from dupo.config.config import Config
from dupo.distributed.ranks import ALONE, Ranks
from dupo.learning.batches import trajectories_of
from dupo.learning.logprobs import Compute, with_learner, with_reference
from dupo.learning.policy_loss import PolicyLoss, objective_of
from dupo.learning.step import optimizer_step
from dupo.methods.policy import WEIGHED
from dupo.methods.rollout import RolloutMethod
from dupo.records import StepBatch
from dupo.rewards.advantages import group_advantages
from dupo.tasks.base import Task


class DuPO(RolloutMethod):
    """The method on one screen; `RolloutMethod` samples and judges; see `dupo.methods.base.Method`."""

    of_engines = f"; {WEIGHED}"

    def __init__(self, config: Config, data: Task | None = None, ranks: Ranks = ALONE) -> None:
        super().__init__(config, data, ranks)
        # Options of the loss that do not go together are refused here, before the weights load.
        length = config.rollout.max_completion_length
        self.loss = PolicyLoss(objective_of(config.loss), self.compute, length)

    def set_compute(self, compute: Compute) -> None:
        """As of any method, and of the loss."""
        super().set_compute(compute)
        self.loss.compute = compute

    def learning(self) -> str:
        """What a step learns from, for the start-up table."""
        size = self.config.optimizer.train_batch_size or self.config.rollout.trained_of_rollout
        return f"{size} completions; {self.config.loss.loss_type}"

    def new_rollout(self, step: int) -> list[StepBatch]:
        """Samples completions until enough groups differ, and gives one batch for each optimizer step."""
        rewarded, metrics = self.sample_and_judge(step)
        self.on_policy.new_rollout()  # the weights that learn from it first are those that sampled it

        # advantage: better or worse than the other answers to the same question that are trained on
        options = self.config.rollout
        rewards_PG = rewarded.rewards.total_PG[:, : options.trained_of_group]
        advantages_PG, _ = group_advantages(rewards_PG, self.config.reward.scale_rewards)

        # batches: one for each optimizer step, num_iterations times over the whole rollout
        mask_truncated = options.mask_truncated_completions
        trained = rewarded.rollout.first(options.trained_of_group)
        trajectories = trajectories_of(trained, advantages_PG, mask_truncated=mask_truncated)
        # An engine with other arithmetic: the policy that sampled is the learner, and the loss weighs each
        # completion by how likely the engine was to draw it.
        if not self.engine.features.exact:
            with self.phases("old_logprobs"):
                trajectories = with_learner(self.model, trajectories, self.compute)
        # The reference may exist without a KL term: it is the frozen judge as well.
        if self.reference is not None and self.config.needs_reference:
            with self.phases("ref_logprobs"):
                trajectories = with_reference(self.reference, trajectories, self.compute)
        size = self.config.optimizer.train_batch_size
        exchanges = self.first_exchanges(rewarded, rewards_PG, advantages_PG)
        return self.step_batches(trajectories, size, metrics, exchanges)

    def update(self, batch: StepBatch, step: int) -> dict[str, float]:
        """Clipped policy gradient on the sampled tokens; old_logprobs are those of sampling time."""
        self.release_memory()
        metrics = optimizer_step(
            self.model,
            self.optimizer,
            lambda model: self.loss.accumulate_gradient(model, batch.trajectories),
            self.config.optimizer,
            step,
            self.seed,
            dropout=False,  # sampling has none, and the ratio compares with what was sampled
            check_metrics=self.on_policy.check,
        )
        self.step_done()
        # Every row of metrics.jsonl is complete: it repeats the metrics of its rollout.
        return batch.metrics | metrics
