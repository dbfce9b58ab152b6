"""Held-out evaluation. Only this room reads gold answers after training has started (and `--reward gold`)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from dupo.engines.base import Engine, Sampling, sample_answers
from dupo.evaluation.statistics import PairOrder, pair_order, readable_only
from dupo.records import Problem, Rollout
from dupo.tasks.base import Task


def held_out_metrics(
    engine: Engine, task: Task, problems: Sequence[Problem], max_tokens: int
) -> dict[str, float]:
    """Metrics of greedy answers to `problems`, `task.headline` among them; empty without any problem.

    Args:
        max_tokens: most tokens of an answer.
    """
    if not problems:
        return {}
    # Greedy answers need no seed; 0 says that nothing is drawn.
    rollout = sample_answers(engine, task, problems, 1, Sampling(0.0, max_tokens), seed=0)
    return task.evaluate(problems, [answers[0] for answers in rollout.answers])


class RewardOrder(NamedTuple):
    """How well a reward tells better samples from worse ones; the pairs have the AUC.

    Attributes:
        readable: pairs of samples that both have an answer.
        overall: pairs of all samples; one without an answer has the lowest quality, and most often reward.
    """

    readable: PairOrder = PairOrder()
    overall: PairOrder = PairOrder()

    def facts(self) -> dict[str, float | None]:
        """The figures as summary.json holds them."""
        return {
            "reward_auc": self.overall.auc,
            "reward_auc_pairs": self.overall.pairs,
            "readable_reward_auc": self.readable.auc,
            "readable_reward_auc_pairs": self.readable.pairs,
        }


def reward_order(
    engine: Engine,
    task: Task,
    problems: Sequence[Problem],
    reward: Callable[[Rollout], Tensor],
    n: int,
    sampling: Sampling,
    seed: int,
) -> RewardOrder:
    """How well a reward tells right answers from wrong ones, by `n` samples of each problem.

    Args:
        reward: rollout -> rewards_PG.

    Returns:
        The pairs of samples of different quality; none without problems, or where all are equally good.
    """
    if not problems:
        return RewardOrder()
    rollout = sample_answers(engine, task, problems, n, sampling, seed)
    rewards = reward(rollout).flatten().tolist()
    answers = [answer for group in rollout.answers for answer in group]
    quality = [
        task.score(problem, answer)
        for problem, group in zip(problems, rollout.answers, strict=True)
        for answer in group
    ]
    return RewardOrder(
        readable=pair_order(*readable_only(answers, rewards, quality)),
        overall=pair_order(rewards, quality),
    )
