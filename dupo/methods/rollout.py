"""A rollout: problems are asked and their answers judged, until there is enough to learn from.

    primal      x -> y                          the policy answers, num_generations times
    dual        (y, x_k) -> x_u'                a judge recovers the hidden part x_u of x from the answer
    reward      r(y) = mean of 1 - d(x_u, x_u'), or any other reward

What is learnt from a rollout is what methods differ in: `dupo`, `rft`, and those of `online.py`.

Shape letters: P problems of a rollout, G completions of each.
"""

import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from dupo.config.config import Config
from dupo.distributed.ranks import ALONE, Ranks
from dupo.duality.early import sample_with_duals
from dupo.duality.reconstruct import Reconstructions, dual_metrics, reconstruct
from dupo.engines.kept import Groups, keeping
from dupo.learning.batches import (
    mini_batches,
    trajectories_from_state,
    trajectories_of,
    trajectories_to_state,
)
from dupo.methods.dynamic_sampling import (
    RewardedRollout,
    ask_until_spread,
    choose_groups,
    joined,
    metrics_of_judged,
)
from dupo.methods.policy import PolicyMethod, rollout_metrics
from dupo.models.weights import update_average
from dupo.records import Exchange, StepBatch, Trajectory
from dupo.rewards import all_rewards
from dupo.rewards.advantages import group_advantages
from dupo.rewards.base import TrainerState
from dupo.tasks.base import Task


class RolloutMethod(PolicyMethod):
    """Samples, judges, and makes batches of it; see `dupo.methods.base.Method`.

    Attributes:
        groups: where the rollout in progress is kept.
        pending: batches of the last rollout that have had no optimizer step yet.
        num_asked: problems of all rollouts, which is the place in the data.
        num_tokens: prompt and completion tokens of all rollouts.
    """

    def __init__(self, config: Config, data: Task | None = None, ranks: Ranks = ALONE) -> None:
        super().__init__(config, data, ranks)
        self.pending: list[StepBatch] = []
        self.groups: Groups | None = None
        self.num_asked = self.num_tokens = 0

    @abstractmethod
    def new_rollout(self, step: int) -> list[StepBatch]:
        """Samples a rollout. Gives one batch for each optimizer step: at least one, which may be empty."""

    def next_batch(self, step: int) -> StepBatch:
        """The next batch of the last rollout, or the first of a new rollout."""
        if not self.pending and not self._load_rollout(step):
            start = time.monotonic()
            # A rollout is used up before the next is sampled: the lag is at most its number of steps.
            self.groups = self.rollouts.groups(step) if self.rollouts is not None else None
            self.pending = self.new_rollout(step)
            self.groups = None
            if self.rollouts is not None:
                self.rollouts.save(step, time.monotonic() - start, self._rollout_state)
        return self.pending[0]

    def _rollout_state(self) -> dict[str, Any]:
        """The state, with the exchanges that the run has not written yet."""
        return self.state() | {"exchanges": [exchange.to_json() for exchange in self.pending[0].exchanges]}

    def _load_rollout(self, step: int) -> bool:
        """Takes the rollout of a run that was killed after it had sampled; False where there is none."""
        saved = self.rollouts.load(step) if self.rollouts is not None else None
        if saved is None:
            return False
        self._take_state(saved)
        exchanges = [Exchange.from_json(text) for text in saved["exchanges"]]
        self.pending[0] = self.pending[0]._replace(exchanges=exchanges)
        return True

    def sample_and_judge(self, step: int) -> tuple[RewardedRollout, dict[str, float]]:
        """Asks problems until enough groups differ; gives those to learn from, and metrics of all."""
        options = self.config.rollout
        num_problems = options.generation_batch_size // options.num_generations
        asked = ask_until_spread(partial(self.ask, step), num_problems, options)
        everything = joined(asked)
        chosen, sampling_metrics = choose_groups(asked, num_problems, options)
        # Counted after they were asked: a rollout that is killed asks the same problems again.
        self.num_rollouts += len(asked)
        self.num_asked += len(everything.rollout.problems)
        self.num_tokens += everything.rollout.num_tokens
        metrics = self._metrics(everything) | sampling_metrics | {"num_tokens": self.num_tokens}
        return everything.take(chosen), metrics

    def different(self, rewarded: RewardedRollout) -> list[list[Trajectory]]:
        """Of each problem the completions that can be learned from, equal ones once, in their order.

        Their advantages are their rewards: the losses that use this compare, and read no advantage.
        """
        mask, rewards_PG = self.config.rollout.mask_truncated_completions, rewarded.rewards.total_PG
        everything = trajectories_of(rewarded.rollout, rewards_PG, mask_truncated=mask)
        G, groups = rewards_PG.shape[1], list[list[Trajectory]]()
        for start in range(0, len(everything), G):
            # Equal ones would weigh an answer by how often it was drawn.
            by_ids: dict[tuple[int, ...], Trajectory] = {}
            for trajectory in everything[start : start + G]:
                if not trajectory.masked:
                    by_ids.setdefault(tuple(trajectory.completion_ids.tolist()), trajectory)
            groups.append(list(by_ids.values()))
        return groups

    def ask(self, step: int, number: int, before: int, count: int) -> RewardedRollout:
        """Asks one batch of problems of the next rollout; see `AskBatch`. Changes no counter."""
        # primal: x -> y, num_generations times
        problems = self.order.take(self.problems, self.num_asked + before, count)
        index, num_generations = self.num_rollouts + number, self.config.rollout.num_generations
        seed = self.seed_for("primal", index)
        # Of a run that is killed, the groups that have ended are not sampled again.
        engine, judge = keeping(self.engine, self.groups), self.judge
        if judge:
            shared = judge.engine is self.engine
            judge = replace(judge, engine=engine if shared else keeping(judge.engine, self.groups))
        ask_judge = judge.asking(self.seed_for("dual", index)) if judge else None
        skip_equal = self.config.rollout.skip_equal_answers
        with self.phases("answers"):
            rollout, ask_judge = sample_with_duals(
                engine,
                self.task,
                problems,
                num_generations,
                self.sampling,
                seed,
                ask_judge,
                skip_equal=skip_equal,
                answered=partial(self.phases.turn_to, "duals"),
            )

        # dual: (y, known part of x) -> hidden part of x
        reconstructions: Reconstructions = []
        if ask_judge:
            with self.phases("duals"):
                reconstructions = reconstruct(
                    self.task, problems, rollout.answers, ask_judge, skip_equal=skip_equal
                )

        # reward: how well the hidden part is recovered
        seed = self.seed_for("reward", index)
        state = TrainerState(step, self.config.optimizer.max_steps)
        inputs = self.reward_inputs(rollout, reconstructions, seed, state)
        with self.phases("rewards"):
            rewards = self.ranks.on_first(lambda: all_rewards(self.reward_functions, inputs))
        return RewardedRollout(rollout, reconstructions, rewards)

    def _metrics(self, everything: RewardedRollout) -> dict[str, float]:
        """Metrics of all that was sampled: groups that were chosen for their spread would not be the data."""
        rollout, reconstructions, rewards = everything
        rewards_PG = rewards.total_PG[:, : self.config.rollout.trained_of_group]
        _, metrics = group_advantages(rewards_PG, self.config.reward.scale_rewards)
        if self.config.rollout.skip_equal_answers:
            del metrics["reward"]  # which counts what nobody knows as 0
            metrics |= metrics_of_judged(everything, rewards_PG)
        elif self.judge:
            metrics |= dual_metrics(rollout.answers, reconstructions)
        has_budget = self.config.rollout.thinking_token_budget is not None
        metrics |= rewards.metrics()
        return metrics | rollout_metrics(self.task, rollout, has_budget=has_budget)

    def step_batches(
        self,
        trajectories: list[Trajectory],
        size: int | None,
        metrics: Mapping[str, float],
        exchanges: list[Exchange],
    ) -> list[StepBatch]:
        """One batch of `size` trajectories for each optimizer step, num_iterations times over all of them.

        Args:
            metrics: of the rollout, written with every step.
            exchanges: written with the first.
        """
        steps = mini_batches(trajectories, size) * self.config.optimizer.num_iterations
        return [
            StepBatch(step, dict(metrics), exchanges if number == 0 else [])
            # A step is counted also where nothing is learned, so a run ends.
            for number, step in enumerate(steps or [[]])
        ]

    def step_done(self) -> None:
        """Takes over the weights that a step has changed; the last thing that `update` does."""
        if self.ema is not None:
            update_average(self.ema, self.model, self.config.duals.ema_decay)
        self.tell_engines()
        # Popped last, so that a failed step can be saved and made again.
        self.pending.pop(0)

    def current_batch(self, step: int) -> StepBatch | None:
        """The batch whose step is not done."""
        return self.pending[0] if self.pending else None

    def state(self) -> dict[str, Any]:
        """The batches that wait for their step, and the place in the data."""
        return {
            "rollouts": self.num_rollouts,
            "num_asked": self.num_asked,
            "num_tokens": self.num_tokens,
            "is_first_step": self.on_policy.is_first_step,
            "pending": [(trajectories_to_state(b.trajectories), b.metrics) for b in self.pending],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continues from `state`; the exchanges of the rollout are written already."""
        self._take_state(state)
        self.tell_engines()

    def _take_state(self, state: Mapping[str, Any]) -> None:
        self.num_rollouts, self.num_asked = state["rollouts"], state["num_asked"]
        self.num_tokens = state["num_tokens"]
        self.on_policy.is_first_step = state["is_first_step"]
        self.pending = [
            StepBatch(trajectories_from_state(saved), metrics, []) for saved, metrics in state["pending"]
        ]
