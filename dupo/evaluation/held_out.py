"""What gold labels are for: measuring, on held-out problems. Nothing here feeds back into training."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dupo.duality.reconstruct import Ask, reconstruct
from dupo.engines.builtin import Sampler, sample_answers
from dupo.records import Problem, Rollout
from dupo.rewards.base import Rewarded, answer_reward
from dupo.tasks import Task


def accuracy(sampler: Sampler, task: Task, problems: Sequence[Problem] | None = None) -> dict[str, float]:
    """Figures of greedy answers to `problems`, by default all held-out ones, `task.headline` among them;
    empty without any."""
    problems = task.held_out if problems is None else problems
    if not problems:
        return {}
    rollout = sample_answers(sampler, task, list(problems), 1, temperature=0.0, seed=0)
    return task.evaluate(problems, [group[0] for group in rollout.answers])


def reward_auc(
    sampler: Sampler, task: Task, arm: Callable[[Rollout], Rewarded], n: int, limit: int, seed: int
) -> float | None:
    """How well the arm's reward tells right answers from wrong ones (`concordance`), over `n` samples at the
    training temperature for each of `limit` held-out problems. None where all samples are equally good."""
    problems = [p for p in task.held_out if task.duals(p)][:limit]
    if not problems:
        return None
    rollout = sample_answers(sampler, task, problems, n, sampler.config.temperature, seed)
    rewards = arm(rollout).rewards.flatten().numpy()
    rows = zip(problems, rollout.answers, strict=True)
    quality = np.array([task.score(p, a) for p, group in rows for a in group])
    return concordance(rewards, quality)


def refusal_figures(task: Task, rollout: Rollout) -> dict[str, float]:
    """`completions/refused/<reason>`: share of the completions without an answer, by the reason."""
    rows = zip(rollout.problems, rollout.completions, rollout.answers, strict=True)
    unread = [
        (p, c.text) for p, group, answers in rows for c, a in zip(group, answers, strict=True) if a is None
    ]
    reasons = Counter(task.refusal(p, text) or "unreadable" for p, text in unread)
    total = sum(map(len, rollout.answers))
    return {f"completions/refused/{reason}": count / total for reason, count in sorted(reasons.items())}


def concordance(rewards: Any, quality: Any) -> float | None:
    """Chance that of two samples of different quality the better one has the higher reward, ties counting
    half. For quality in {0, 1} this is the area under the ROC curve. Both (n,); None without such a pair."""
    rewards, quality = np.asarray(rewards, float), np.asarray(quality, float)
    order = np.argsort(quality, kind="stable")
    rewards, quality = rewards[order], quality[order]
    wins = pairs = 0.0
    for value in np.unique(quality)[1:]:
        worse, same = np.sort(rewards[quality < value]), rewards[quality == value]
        below = np.searchsorted(worse, same, "left")
        not_above = np.searchsorted(worse, same, "right")
        wins += float((below + not_above).sum()) / 2
        pairs += len(worse) * len(same)
    return wins / pairs if pairs else None


def exchanges(sampler: Sampler, ask: Ask | None, task: Task, count: int) -> list[dict[str, Any]]:
    """Sample exchanges to read: greedy answers to held-out problems, put through their duals if the arm has
    any (`ask`). At least one right and one wrong, where both happen. Rows of samples.jsonl."""
    problems = list(task.held_out[:200])
    rollout = sample_answers(sampler, task, problems, 1, temperature=0.0, seed=0)
    right = [task.score(p, g[0]) >= 0.5 for p, g in zip(problems, rollout.answers, strict=True)]
    wrong_first = sorted(range(len(problems)), key=lambda i: right[i])
    chosen = [*wrong_first[:1], *[i for i in reversed(wrong_first) if i != wrong_first[0]][: count - 1]]
    part = Rollout(*([getattr(rollout, f)[i] for i in chosen] for f in Rollout.__slots__))
    found = reconstruct(task, part.problems, part.answers, ask) if ask else None
    rows = exchange_rows(part, found, sampler)
    judged = task.headline == "accuracy"  # a translation is better or worse, not right or wrong
    known = ({"correct": right[i] if judged else None, "gold": problems[i].gold} for i in chosen)
    return [row | more for row, more in zip(rows, known, strict=True)]


def exchange_rows(rollout: Rollout, found: Sequence[Any] | None, sampler: Sampler) -> list[dict[str, Any]]:
    """The first completion of each problem and what its duals gave back, as rows of samples.jsonl."""
    rows = []
    for p, problem in enumerate(rollout.problems):
        completion, answer = rollout.completions[p][0], rollout.answers[p][0]
        duals = found[p].get(answer, []) if found is not None else []
        rows.append(
            {
                "problem": problem.id,
                "prompt": sampler.tokenizer.decode([rollout.prompt_ids[p]])[0],
                "completion": completion.text,
                "answer": answer,
                "reward": answer_reward(duals, sampler.config) if duals else None,
                "correct": None,
                "duals": [
                    {
                        "prompt": r.prompt,
                        "completion": r.completions[0],
                        "unknown": r.dual.unknown,
                        "distance": r.distances[0],
                    }
                    for r in duals
                ],
            }
        )
    return rows
