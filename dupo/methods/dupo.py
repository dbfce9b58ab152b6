"""DuPO (arXiv 2508.14460): trains a language model without labels, on its own consistency.

primal      x -> y                          the policy answers, num_generations times
dual        (y, x_k) -> x_u'                a judge recovers the hidden part x_u of x from the answer
reward      r(y) = mean of 1 - d(x_u, x_u')
advantage   A = r - mean of r over the answers to the same x, over their standard deviation
loss        clipped policy gradient on the sampled tokens of y (`dupo_kernels`)
"""

from collections.abc import Mapping
from typing import Any

from dupo.config.config import Config
from dupo.duality.reconstruct import dual_metrics, reconstruct
from dupo.engines.base import sample_answers
from dupo.evaluation.samples import exchanges_of
from dupo.learning.batches import (
    mini_batches,
    trajectories_from_state,
    trajectories_of,
    trajectories_to_state,
)
from dupo.learning.logprobs import with_reference
from dupo.learning.step import optimizer_step
from dupo.methods.policy import PolicyMethod, rollout_metrics, with_rewards
from dupo.models.weights import update_average
from dupo.records import StepBatch
from dupo.rewards import weighted_sum
from dupo.rewards.advantages import group_advantages
from dupo.rewards.base import RewardInputs


class DuPO(PolicyMethod):
    """The method on one screen; `PolicyMethod` prepares what the method uses.

    Attributes:
        pending: batches of the last rollout that have had no optimizer step yet.
        num_tokens: prompt and completion tokens of all rollouts.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.pending: list[StepBatch] = []
        self.num_tokens = 0

    def next_batch(self, step: int) -> StepBatch:
        """The next batch of the last rollout, or the first of a new rollout."""
        if not self.pending:
            # Off-policy only as far as asked: a rollout is used up before the next one is sampled.
            self.pending = self.new_rollout()
        return self.pending[0]

    def new_rollout(self) -> list[StepBatch]:
        """Samples answers, asks their duals, rewards them, and cuts them into batches of one step each."""
        options, index = self.config.rollout, self.rollouts

        # primal: x -> y, num_generations times
        # The place in the data follows from the number of the rollout: no sampler needs saving.
        num_problems = options.generation_batch_size // options.num_generations
        problems = self.order.take(self.problems, index * num_problems, num_problems)
        seed = self.draw("primal", index)
        rollout = sample_answers(
            self.engine, self.task, problems, options.num_generations, self.sampling, seed
        )

        # dual: (y, known part of x) -> hidden part of x
        ask = self.judge.asking(self.draw("dual", index)) if self.judge else None
        duals = reconstruct(self.task, problems, rollout.answers, ask) if ask else []

        # reward: how well the hidden part is recovered
        inputs = RewardInputs(self.task, rollout, duals, self.config.reward, self.draw("reward", index))
        rewards_PG, reward_metrics = weighted_sum(self.rewards, inputs)

        # advantage: better or worse than the other answers to the same question
        advantages_PG, advantage_metrics = group_advantages(rewards_PG, self.config.reward.scale_rewards)

        # batches: one for each optimizer step, num_iterations times over the whole rollout
        mask_truncated = options.mask_truncated_completions
        trajectories = trajectories_of(rollout, advantages_PG, mask_truncated=mask_truncated)
        if self.reference is not None and self.loss.objective.beta != 0:
            trajectories = with_reference(self.reference, trajectories, self.compute)
        batches = mini_batches(trajectories, self.config.optimizer.train_batch_size)
        batches = batches * self.config.optimizer.num_iterations

        # what the run writes: metrics of the rollout with every step, a few exchanges with the first
        self.rollouts += 1
        self.num_tokens += sum(len(t.prompt_ids) + len(t.completion_ids) for t in trajectories)
        metrics = advantage_metrics | (dual_metrics(rollout.answers, duals) if ask else {}) | reward_metrics
        metrics |= rollout_metrics(self.task, rollout) | {"num_tokens": self.num_tokens}
        few = range(min(self.config.run.num_completions_to_print, num_problems))
        # Reading all exchanges of a rollout would take a person longer than the run.
        exchanges = exchanges_of(rollout.take(few), duals, self.engine, self.config.reward)
        exchanges = with_rewards(exchanges, rewards_PG, advantages_PG)
        return [StepBatch(batch, metrics, [] if k else exchanges) for k, batch in enumerate(batches)]

    # Every step sees the sampled log-probs of its rollout, however many steps came before.
    def update(self, batch: StepBatch, step: int) -> dict[str, float]:
        """Clipped policy gradient on the sampled tokens of the primal answers."""
        metrics = optimizer_step(
            self.model,
            self.optimizer,
            lambda model: self.loss.accumulate_gradient(model, batch.trajectories),
            self.config.optimizer,
            step,
            self.seed,
        )
        if self.ema is not None:
            update_average(self.ema, self.model, self.config.duals.ema_decay)
        # Last of all: a step that fails leaves its batch in place, to be saved and made again.
        self.pending.pop(0)
        # Metrics of the rollout stand with every one of its steps, so each row is complete.
        return batch.metrics | metrics

    def current_batch(self) -> StepBatch | None:
        """The batch whose step is not done."""
        return self.pending[0] if self.pending else None

    def state(self) -> dict[str, Any]:
        """The batches that wait for their step, and the place in the data."""
        return {
            "rollouts": self.rollouts,
            "num_tokens": self.num_tokens,
            "pending": [(trajectories_to_state(b.trajectories), b.metrics) for b in self.pending],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continues from `state`; the exchanges of the rollout are written already."""
        self.rollouts, self.num_tokens = state["rollouts"], state["num_tokens"]
        self.pending = [
            StepBatch(trajectories_from_state(saved), metrics, []) for saved, metrics in state["pending"]
        ]
