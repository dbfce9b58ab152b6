"""Which duals can be trusted, without labels (DuPO, appendix A: "unknown component selection").

A pool of answers is sampled for each problem, and each different one is put through each dual. A dual is kept
iff exactly one answer of the pool solves it: at least one (it can be answered), at most one (its solution
tells the answers apart). The rule says little where the pool holds one answer only; such duals are counted
apart. A dual that is solved without the answer, or with a decoy, is dropped whatever else it does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from dupo.config.options import Config
from dupo.duality.controls import NO_ANSWER, altered, foreign
from dupo.duality.reconstruct import Ask, mean_similarity, reconstruct
from dupo.records import Dual, Reconstruction, Rollout
from dupo.rewards.base import votes
from dupo.tasks import Task

KEPT, VACUOUS = "kept", "kept, one answer in the pool"
UNREADABLE, UNANSWERABLE = "no answer could be read", "no answer solves it"
AMBIGUOUS, NO_ANSWER_LEAK = "several answers solve it", "solved without an answer"
DECOY_LEAK, VACUOUS_DROPPED = "solved with a decoy", "dropped, one answer in the pool"
OUTCOMES = (
    KEPT, VACUOUS, UNREADABLE, UNANSWERABLE, AMBIGUOUS, NO_ANSWER_LEAK, DECOY_LEAK, VACUOUS_DROPPED
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trial:
    """One dual, tried with every answer of the pool and with the controls.

    Attributes:
        solved: different answer of the pool -> mean similarity (1 - d) over the dual samples.
        unread: share of these samples that could not be read.
        gold: the same similarity with the right answer, where it is known and was asked for.
        no_answer: the same with no answer.
        decoys: decoy -> the same.
    """

    dual: Dual
    solved: Mapping[str, float]
    no_answer: float
    decoys: Mapping[str, float]
    unread: float = 0.0
    gold: float | None = None

    def outcome(self, threshold: float, one_answer: bool, keep_vacuous: bool = True) -> str:
        """One of `OUTCOMES`. An answer solves the dual if its similarity is at least `threshold`.

        `one_answer`: of the task; where several answers can be right, several that solve a dual say nothing
        against it.
        """
        solving = sum(similarity >= threshold for similarity in self.solved.values())
        leaks = any(similarity >= threshold for similarity in self.decoys.values())
        rules = (
            (self.no_answer >= threshold, NO_ANSWER_LEAK),
            (leaks, DECOY_LEAK),
            (not self.solved, UNREADABLE),
            (solving == 0, UNANSWERABLE),
            (solving > 1 and one_answer, AMBIGUOUS),
            (len(self.solved) == 1, VACUOUS if keep_vacuous else VACUOUS_DROPPED),
        )
        return next((name for met, name in rules if met), KEPT)

    def row(self) -> dict[str, Any]:
        """For JSON."""
        tried = {
            "solved": self.solved,
            "no_answer": self.no_answer,
            "decoys": self.decoys,
            "unread": self.unread,
        }
        return {**asdict(self.dual), **tried, **({} if self.gold is None else {"gold": self.gold})}


def try_duals(
    task: Task,
    rollout: Rollout,
    ask: Ask,
    config: Config,
    seed: int,
    golds: Sequence[str | None] | None = None,
) -> list[list[Trial]]:
    """Every dual of every problem of a rollout, tried with its different answers and with the controls.

    Foreign decoys come from the other problems of the rollout. What solves a dual is tried again with its
    numbers changed, where a problem has one right answer: a translation with another number is still mostly
    right. `golds`: right answers to try as well, for an audit; a selection gives none.
    """
    golds = golds or [None] * len(rollout.problems)
    popular = [[answer for answer, _ in votes(group).most_common()] for group in rollout.answers]
    fake: list[list[str]] = []
    groups: list[list[str | None]] = []
    for p, gold in enumerate(golds):
        others = [answers[0] for q, answers in enumerate(popular) if q != p and answers]
        fake.append(foreign([*popular[p], gold], others, config.num_decoys, seed + p))
        groups.append([*popular[p], NO_ANSWER, *fake[p], gold])
    found = reconstruct(task, rollout.problems, groups, ask)
    again: list[list[str | None]] = [[] for _ in rollout.problems]
    for p, problem in enumerate(rollout.problems if task.one_answer and config.num_decoys else ()):
        best = {a: max(map(solved_at, found[p][a])) for a in popular[p] if a in found[p]}
        solving = [answer for answer, similarity in best.items() if similarity >= config.solve_threshold]
        made = [altered(answer, task.duals(problem), seed + p) for answer in solving]
        again[p] = [answer for answer in dict.fromkeys(made) if answer not in (*groups[p], None)]
    controls = reconstruct(task, rollout.problems, again, ask)
    trials = []
    for p, problem in enumerate(rollout.problems):
        per_dual = []
        for d, dual in enumerate(task.duals(problem)):
            rate = {answer: solved_at(duals[d]) for answer, duals in (found[p] | controls[p]).items()}
            real, wrong = ({a: rate[a] for a in some} for some in (popular[p], [*fake[p], *controls[p]]))
            said = [x for answer in popular[p] for x in found[p][answer][d].distances]
            unread = sum(x is None for x in said) / max(1, len(said))
            gold = golds[p]
            known = None if gold is None else rate[gold]
            per_dual.append(Trial(dual, real, rate[NO_ANSWER], wrong, unread, known))
        trials.append(per_dual)
    return trials


def solved_at(reconstruction: Reconstruction) -> float:
    """Mean similarity over the samples of one dual."""
    return mean_similarity([reconstruction])


def leak_rates(duals: Sequence[Mapping[str, Any]], threshold: float) -> dict[str, float | None]:
    """Shares of tried duals (`Trial.row`) that are solved without the answer, and with a decoy, of those that
    were tried with one; dropped for it or not. None where none was tried."""
    decoyed = [max(dual["decoys"].values()) for dual in duals if dual["decoys"]]
    solved = {"leak/no_answer": [dual["no_answer"] for dual in duals], "leak/decoy": decoyed}
    return {name: fmean(s >= threshold for s in some) if some else None for name, some in solved.items()}
