"""Why completions have no answer."""

from collections import Counter

from dupo.records import Rollout
from dupo.tasks.base import Task


def refusal_metrics(task: Task, rollout: Rollout) -> dict[str, float]:
    """`completions/refused/<reason>`: share of the completions without an answer, by the reason."""
    reasons = Counter[str]()
    for problem, completions, answers in zip(
        rollout.problems, rollout.completions, rollout.answers, strict=True
    ):
        for completion, answer in zip(completions, answers, strict=True):
            if answer is None:
                reasons[task.refusal(problem, completion.to_read) or "unreadable"] += 1
    total = sum(map(len, rollout.answers))
    return {f"completions/refused/{reason}": count / total for reason, count in sorted(reasons.items())}
