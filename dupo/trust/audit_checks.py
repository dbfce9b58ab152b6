"""Is a reward one to train on? Figures from sampled answers and tried duals, and the checks that decide.

Everything here is computed from the rows of audit.jsonl: a problem each, with its answers, their rewards, and
their quality where the right answer is known, and how its duals fared (`selection.Trial`).
"""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch

from dupo.evaluation.held_out import concordance
from dupo.evaluation.intervals import bootstrap
from dupo.rewards.base import group_advantages
from dupo.trust.dual_filter import leak_rates

Row = dict[str, Any]

# Least (or most) that a figure may be. Of the within-problem agreement, .5 is chance and 1 a perfect order;
# .65 is a rank correlation of .3, below which a back-translation reward was seen to do harm. Its interval has
# to leave chance out as well.
DUAL_ANSWERS, LEAKS, READABLE, AGREEMENT, CHANCE, SPREAD = 0.3, 0.1, 0.1, 0.65, 0.5, 0.1
BEYOND = 0.05  # without gold: what sampled answers solve beyond chance


class Check(NamedTuple):
    """One condition of training: what was measured, its bound, what to do where it is not met."""

    name: str
    value: float
    bound: float
    at_least: bool
    advice: str

    @property
    def passed(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def sentence(self) -> str:
        side = "at least" if self.at_least else "at most"
        return f"{self.name} {self.value:.2f}, {side} {self.bound:.2f} needed"


def figures(rows: Sequence[Row], threshold: float, scale_rewards: str = "group") -> Row:
    """What can be said without and with the right answers; the latter are None without any, and so are
    shares of duals where none were tried.

    Returns:
        readable: share of completions with an answer; refused: of those without, by reason.
        duals_per_problem, dual_readable; solvable: share of duals that some answer of the pool solves;
        beyond_decoys: share of (sample, dual) pairs that are solved, less that of the controls;
        leak/no_answer, leak/decoy: of `selection.leak_rates`; outcomes: counts of `selection.OUTCOMES`.
        reward, reward_std (mean over groups); frac_reward_zero_std, all_zero, differing: shares of groups.
        accuracy, reward_auc, reward_accuracy, agreement (within problems), best_of_n: what the best rewarded
        answer is worth; dual_on_gold, dual_on_wrong: recovery from right and from wrong answers; signal: the
        policy gradient's push towards quality, as a share of what gold rewards would give; advantages are
        those of `rewards.group_advantages` with `scale_rewards`.
    """
    answers = [a for row in rows for a in row["answers"]]
    duals = [d for row in rows for d in row["duals"]]
    asked = [d for d in duals if d["solved"]]
    refused = Counter[str]()
    for row in rows:
        refused.update(row["refused"])
    return {
        "problems": len(rows),
        "with_gold": sum(row["quality"] is not None for row in rows),
        "completions": len(answers),
        "readable": share(a is not None for a in answers),
        "refused": {reason: count / len(answers) for reason, count in refused.most_common()},
        "without_dual": share(not row["duals"] for row in rows),
        "duals_per_problem": len(duals) / max(1, len(rows)),
        "dual_readable": fmean(1 - d["unread"] for d in asked) if asked else None,
        "solvable": share(max(d["solved"].values()) >= threshold for d in asked) if asked else None,
        **leak_rates(duals, threshold),
        "beyond_decoys": beyond_decoys(rows, threshold) if asked else None,
        "outcomes": dict(Counter(d["outcome"] for d in duals)),
        **spread(rows),
        **against_gold([row for row in rows if row["quality"] is not None], scale_rewards),
    }


def beyond_decoys(rows: Sequence[Row], threshold: float) -> float:
    """How much oftener a sampled answer solves a dual than no answer or a decoy does: 0 for a dual model that
    guesses, however many answers the pool has."""
    sampled, controls = list[float](), list[float]()
    for row in rows:
        for d in row["duals"]:
            sampled += [d["solved"][answer] for answer in row["answers"] if answer in d["solved"]]
            controls += [d["no_answer"], *d["decoys"].values()]
    return share(s >= threshold for s in sampled) - share(s >= threshold for s in controls)


def share(conditions: Any) -> float:
    """Of all, those that hold; 0 where there are none at all."""
    values = [bool(c) for c in conditions]
    return sum(values) / max(1, len(values))


def spread(rows: Sequence[Row]) -> Row:
    """How much the rewards of a group differ: without a difference nothing is learnt."""
    rewards = torch.tensor([row["rewards"] for row in rows])
    differing = (rewards != rewards[:, :1]).any(-1)
    nothing = (rewards == 0).all(-1)
    figures = group_advantages(rewards, "none")[1]
    return figures | {"differing": share(differing.tolist()), "all_zero": share(nothing.tolist())}


def against_gold(rows: Sequence[Row], scale_rewards: str) -> Row:
    """How well rewards follow quality, over all samples and within problems."""
    names = ("accuracy", "reward_auc", "reward_accuracy", "agreement", "best_of_n", "dual_on_gold")
    if not rows:
        return dict.fromkeys((*names, "dual_on_wrong", "signal"))
    rewards, quality = (np.array([row[key] for row in rows], float) for key in ("rewards", "quality"))
    ordered = [c for r, q in zip(rewards, quality, strict=True) if (c := concordance(r, q)) is not None]
    right = [d["gold"] for row in rows for d in row["duals"] if d.get("gold") is not None]
    wrong = [
        similarity
        for row in rows
        for answer in {
            a for a, q in zip(row["answers"], row["quality"], strict=True) if a is not None and q < 0.5
        }
        for d in row["duals"]
        if (similarity := d["solved"].get(answer)) is not None
    ]
    best = [q[r == r.max()].mean() for r, q in zip(rewards, quality, strict=True)]
    centred = quality - quality.mean(-1, keepdims=True)
    advantages = (group_advantages(torch.tensor(x), scale_rewards)[0].numpy() for x in (rewards, quality))
    pushes = [float((each * centred).mean()) for each in advantages]
    return {
        "accuracy": float(quality.mean()),
        "reward_auc": concordance(rewards.ravel(), quality.ravel()),
        "reward_accuracy": float(((rewards >= 0.5) == (quality >= 0.5)).mean()),
        "agreement": bootstrap(ordered)._asdict() if ordered else None,
        "best_of_n": float(np.mean(best)),
        "dual_on_gold": fmean(right) if right else None,
        "dual_on_wrong": fmean(wrong) if wrong else None,
        "signal": pushes[0] / pushes[1] if pushes[1] else None,
    }


def checks(found: Row) -> list[Check]:
    """What training needs, in the order in which it is to be put right. What was not measured is left out."""
    made = []
    cannot = (
        "the dual cannot answer: another --dual_model, more --dual_max_completion_length, easier problems"
    )
    if found["dual_on_gold"] is not None:
        made.append(
            Check("dual accuracy on right answers", found["dual_on_gold"], DUAL_ANSWERS, True, cannot)
        )
    elif (beyond := found["beyond_decoys"]) is not None:
        made.append(Check("duals solved by samples, less those by controls", beyond, BEYOND, True, cannot))
    leak = "duals are solved without the answer: run dupo.select and train on --selected_duals"
    for name, key in (("no answer", "leak/no_answer"), ("a decoy", "leak/decoy")):
        if found[key] is not None:
            made.append(Check(f"duals solved with {name}", found[key], LEAKS, False, leak))
    advice = "answers cannot be read or do not pass the gates: longer completions, another prompt or model"
    made.append(Check("completions with an answer", found["readable"], READABLE, True, advice))
    if found["agreement"] is not None:
        advice = (
            "the reward does not tell better from worse answers: another --dual_model, metric or --reward"
        )
        made.append(
            Check("within-problem agreement with gold", found["agreement"]["mean"], AGREEMENT, True, advice)
        )
        few = "too few problems with right answers to tell the reward from chance: more of them"
        made.append(Check("low end of its 95% interval", found["agreement"]["low"], CHANCE, True, few))
    advice = (
        "answers to one problem all get the same reward: more --num_generations, or problems of another level"
    )
    made.append(Check("groups whose rewards differ", found["differing"], SPREAD, True, advice))
    return made


def verdict(made: Sequence[Check], judged: bool) -> str:
    """`train`, or what to put right first, with the threshold that decided. `judged`: by right answers."""
    failed = next((check for check in made if not check.passed), None)
    if failed is not None:
        return f"fix this first: {failed.advice} ({failed.sentence()})"
    return "train" if judged else "train, as far as can be told without right answers"
