"""Held-out evaluation. Only this room reads gold answers after training has started (and `--reward gold`)."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from dupo.engines.base import Engine, Sampling, sample_answers
from dupo.evaluation.statistics import concordance
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


def reward_auc(
    engine: Engine,
    task: Task,
    problems: Sequence[Problem],
    reward: Callable[[Rollout], Tensor],
    n: int,
    sampling: Sampling,
    seed: int,
) -> float | None:
    """How well a reward tells right answers from wrong ones: `concordance` over `n` samples of each problem.

    Args:
        reward: rollout -> rewards_PG.

    Returns:
        A number in [0, 1]; None without problems, or where all samples are equally good.
    """
    if not problems:
        return None
    rollout = sample_answers(engine, task, problems, n, sampling, seed)
    quality = [
        task.score(problem, answer)
        for problem, answers in zip(problems, rollout.answers, strict=True)
        for answer in answers
    ]
    return concordance(reward(rollout).flatten().numpy(), np.array(quality))
