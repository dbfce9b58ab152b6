"""Dynamic sampling (DAPO, arXiv 2503.14476, section 3.2): other problems for groups that teach nothing.

Where `skip_equal_answers` is on, groups of one answer are not even judged: their rewards cannot differ.

A group whose rewards are all equal has advantages of 0, and no gradient. So problems are asked in batches
until as many groups have spread as a rollout has problems, or the limit of batches is reached. Groups without
spread then fill the rollout up: a step has as many completions as without dynamic sampling.

How many problems a further batch has follows from the spread so far. Which problems they are follows from two
counters of the method. So a resumed run asks the same ones.

Shape letters: P problems, G completions of each.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dupo.config.rollout_options import RolloutOptions
from dupo.duality.reconstruct import Reconstructions, dual_metrics, is_one_answer
from dupo.records import Rollout
from dupo.rewards import Rewards
from dupo.rewards.advantages import have_spread
from dupo.rewards.base import RewardLog


class RewardedRollout(NamedTuple):
    """A rollout with what came back of its duals, and what its completions are worth.

    Attributes:
        reconstructions: of each problem; empty where no reward needs duals.
    """

    rollout: Rollout
    reconstructions: Reconstructions
    rewards: Rewards

    def take(self, indices: Sequence[int]) -> "RewardedRollout":
        """The problems at `indices`, with all that was logged of their completions."""
        total_PG, values, log = self.rewards
        size = total_PG.shape[1]
        columns = {
            name: [value for i in indices for value in column[i * size : (i + 1) * size]]
            for name, column in log.columns.items()
        }
        rows = list(indices)
        rewards = Rewards(
            total_PG[rows], {n: v[rows] for n, v in values.items()}, RewardLog(log.metrics, columns)
        )
        reconstructions = [self.reconstructions[i] for i in indices] if self.reconstructions else []
        return RewardedRollout(self.rollout.take(indices), reconstructions, rewards)


# (number of the batch, problems asked before in this rollout, problems to ask) -> their rollout
AskBatch = Callable[[int, int, int], RewardedRollout]


def ask_until_spread(ask: AskBatch, num_problems: int, options: RolloutOptions) -> list[RewardedRollout]:
    """Asks one batch of problems; with `dynamic_sampling` as many as are needed, or allowed.

    Args:
        num_problems: P of the rollout.
    """
    batches = [ask(0, 0, num_problems)]
    while options.dynamic_sampling and len(batches) < options.max_num_gen_batches:
        spread = _spread(batches, options.trained_of_group)
        count = refill_size(int(spread.sum()), len(spread), num_problems)
        if not count:
            break
        batches.append(ask(len(batches), len(spread), count))
    return batches


def refill_size(num_spread: int, num_asked: int, num_problems: int) -> int:
    """How many further problems give the missing groups, if as large a share of them has spread as so far.

    Returns:
        At most `num_problems`, which is also the size where no group has spread; 0 where none is missing.
    """
    missing = max(0, num_problems - num_spread)
    expected = math.ceil(missing * num_asked / num_spread) if num_spread else num_problems
    return min(expected, num_problems) if missing else 0


def joined(batches: Sequence[RewardedRollout]) -> RewardedRollout:
    """The batches as one rollout."""
    if len(batches) == 1:
        return batches[0]
    rewards = [batch.rewards for batch in batches]
    values = {name: torch.cat([r.values[name] for r in rewards]) for name in rewards[0].values}
    logs = [r.log for r in rewards]
    metrics = {
        name: [value for log in logs for value in log.metrics.get(name, [])]
        for name in dict.fromkeys(name for log in logs for name in log.metrics)
    }
    # A function may log a column of one batch and not of the next.
    columns = {
        name: [value for r in rewards for value in r.log.columns.get(name, [None] * r.total_PG.numel())]
        for name in dict.fromkeys(name for log in logs for name in log.columns)
    }
    rollouts = [batch.rollout for batch in batches]
    return RewardedRollout(
        Rollout(
            [problem for rollout in rollouts for problem in rollout.problems],
            [ids for rollout in rollouts for ids in rollout.prompt_ids],
            [group for rollout in rollouts for group in rollout.completions],
            [group for rollout in rollouts for group in rollout.answers],
        ),
        [by_answer for batch in batches for by_answer in batch.reconstructions],
        Rewards(torch.cat([r.total_PG for r in rewards]), values, RewardLog(metrics, columns)),
    )


def metrics_of_judged(everything: RewardedRollout, rewards_PG: Tensor) -> dict[str, float]:
    """Metrics of a rollout where groups of one answer were not judged (`skip_equal_answers`).

    Args:
        rewards_PG: of the completions that are trained on.

    Returns:
        `dual/skipped_groups`, their share; `completions/none_rate` of all completions; of the other groups,
        where there are some, `reward` and what `dual_metrics` gives: nobody knows the rewards of the skipped.
    """
    answers = everything.rollout.answers
    judged = [i for i, group in enumerate(answers) if not is_one_answer(group)]
    share = len(judged) / len(answers)
    metrics = {"dual/skipped_groups": 1 - share, "completions/none_rate": 0.0}
    if judged:
        rollout, reconstructions, _ = everything.take(judged)
        metrics |= dual_metrics(rollout.answers, reconstructions)
        metrics |= {"reward": rewards_PG[judged].mean().item()}
        # All groups have as many completions, and those of the skipped can be read.
        metrics["completions/none_rate"] *= share
    return metrics


def choose_groups(
    batches: Sequence[RewardedRollout], num_problems: int, options: RolloutOptions
) -> tuple[list[int], dict[str, float]]:
    """The groups to train on, as indices into the joined batches: those with spread first.

    Returns:
        `num_problems` indices; and, with `dynamic_sampling`, the metrics `dynamic_sampling/gen_batches`,
        `/drawn_groups` (all that were sampled), `/kept_groups` (trained on, with spread) and `/limit_reached`
        (1 where groups without spread fill the rollout up, else 0).
    """
    if not options.dynamic_sampling:
        return list(range(num_problems)), {}
    spread = _spread(batches, options.trained_of_group)
    with_spread, without = (mask.nonzero()[:, 0].tolist() for mask in (spread, ~spread))
    trained = with_spread[:num_problems]
    return (trained + without)[:num_problems], {
        "dynamic_sampling/gen_batches": float(len(batches)),
        "dynamic_sampling/drawn_groups": float(len(spread)),
        "dynamic_sampling/kept_groups": float(len(trained)),
        "dynamic_sampling/limit_reached": float(len(trained) < num_problems),
    }


def _spread(batches: Sequence[RewardedRollout], trained_of_group: int) -> Tensor:
    """(P,) bool of all batches: whether the rewards that are trained on differ."""
    # Votes beyond the trained completions give no gradient.
    return torch.cat([have_spread(batch.rewards.total_PG[:, :trained_of_group]) for batch in batches])
