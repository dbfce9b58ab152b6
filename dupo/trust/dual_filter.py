"""Which duals can be trusted, without labels (DuPO, appendix A: "unknown component selection").

A pool of answers is sampled for each problem, and each different answer is put through each dual. A dual is
kept if exactly one answer of the pool solves the dual. At least one: the dual can be answered. At most one:
the solution tells the answers apart. The rule says little where the pool holds a single answer; such duals
are counted apart. A dual that is solved with a control (`dupo.duality.controls`) is dropped whatever the pool
says.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from dupo.config.options import SelectOptions
from dupo.duality.controls import NO_ANSWER, answers_of_other_problems, with_other_digits
from dupo.duality.reconstruct import Ask, DualQuestion, dual_questions, reconstruct
from dupo.duality.votes import votes
from dupo.records import Dual, Problem, Reconstruction, Rollout
from dupo.tasks.base import Task

KEPT, VACUOUS = "kept", "kept, one answer in the pool"
UNREADABLE, UNANSWERABLE = "no answer could be read", "no answer solves it"
AMBIGUOUS, NO_ANSWER_LEAK = "several answers solve it", "solved without an answer"
DECOY_LEAK, VACUOUS_DROPPED = "solved with a decoy", "dropped, one answer in the pool"
OUTCOMES = (
    KEPT, VACUOUS, UNREADABLE, UNANSWERABLE, AMBIGUOUS, NO_ANSWER_LEAK, DECOY_LEAK, VACUOUS_DROPPED
)  # fmt: skip
# What training may use. A pool with one answer is a weak reason to trust a dual, but none to doubt it.
TRUSTED = (KEPT, VACUOUS)

ByAnswer = Mapping[str, Sequence[Reconstruction]]  # answer -> one reconstruction for each dual of the problem


@dataclass(frozen=True, slots=True)
class Trial:
    """One dual, tried with every answer of the pool and with the controls. A similarity is a mean of 1 - d.

    Attributes:
        solved: different answer of the pool -> similarity over the dual samples.
        no_answer: similarity with no answer.
        decoys: decoy -> similarity.
        unread: share of the dual samples of the pool that could not be read; None where no answer was tried.
        gold: similarity with the right answer; None where the right answer is unknown or was not tried.
    """

    dual: Dual
    solved: Mapping[str, float]
    no_answer: float
    decoys: Mapping[str, float]
    unread: float | None = None
    gold: float | None = None

    def outcome(self, threshold: float, one_answer: bool, keep_vacuous: bool = True) -> str:
        """What becomes of the dual, one of `OUTCOMES`.

        Args:
            threshold: least similarity at which an answer solves the dual.
            one_answer: a problem has one right answer. Where several can be right, several answers that solve
                a dual say nothing against the dual.
            keep_vacuous: keep a dual whose pool holds one answer.
        """
        num_solving = sum(similarity >= threshold for similarity in self.solved.values())
        decoy_solves = any(similarity >= threshold for similarity in self.decoys.values())
        # The first rule that is met decides. Leaks come first: where the hidden part can be had without the
        # answer, it says nothing about the answer that one answer solves the dual.
        rules = (
            (self.no_answer >= threshold, NO_ANSWER_LEAK),
            (decoy_solves, DECOY_LEAK),
            (not self.solved, UNREADABLE),
            (num_solving == 0, UNANSWERABLE),
            (num_solving > 1 and one_answer, AMBIGUOUS),
            (len(self.solved) == 1, VACUOUS if keep_vacuous else VACUOUS_DROPPED),
        )
        return next((outcome for is_met, outcome in rules if is_met), KEPT)


class TrialAnswers(NamedTuple):
    """The answers that the duals of one problem are tried with.

    Attributes:
        pool: the different sampled answers, the most frequent first.
        decoys: answers to other problems.
        gold: the right answer; None where it is unknown or not to be tried.
    """

    pool: list[str]
    decoys: list[str]
    gold: str | None

    @property
    def all(self) -> list[str | None]:
        """Every answer, and the control without one."""
        return [*self.pool, NO_ANSWER, *self.decoys, self.gold]


def trial_answers(
    groups: Sequence[Sequence[str | None]],
    options: SelectOptions,
    seed: int,
    golds: Sequence[str | None] | None,
) -> list[TrialAnswers]:
    """The answers that the duals of each problem are tried with.

    Args:
        groups: the sampled answers to each problem.
        options, seed, golds: as of `try_duals`.
    """
    pools = [[answer for answer, _ in votes(group).most_common()] for group in groups]
    # The most frequent answer to another problem is the best decoy: fluent, of the right kind, and about
    # something else. The right answer is never a decoy, as many problems share one (2, 10, ...).
    answers = []
    for index, gold in enumerate(golds or [None] * len(groups)):
        candidates = [pool[0] for other, pool in enumerate(pools) if other != index and pool]
        pool = pools[index]
        decoys = answers_of_other_problems([*pool, gold], candidates, options.num_decoys, seed + index)
        answers.append(TrialAnswers(pool, decoys, gold))
    return answers


class TrialQuestions:
    """What the first call of `try_duals` asks, as soon as it is known; see `dupo.duality.early.Questions`.

    A decoy is an answer to another problem, so questions with decoys are known with the last answer.

    Args:
        options, seed, golds: as of `try_duals`.
    """

    def __init__(
        self,
        task: Task,
        problems: Sequence[Problem],
        options: SelectOptions,
        seed: int,
        golds: Sequence[str | None] | None = None,
    ) -> None:
        self.task, self.problems, self.options, self.seed, self.golds = task, problems, options, seed, golds
        self._groups: dict[int, Sequence[str | None]] = {}
        self._asked = Counter[DualQuestion]()

    def __call__(self, number: int, answers: Sequence[str | None]) -> list[DualQuestion]:
        """The questions that the answers to one more problem allow."""
        self._groups[number] = answers
        # Decoys are left out until all answers are there, then everything is asked that is still missing.
        if len(self._groups) < len(self.problems):
            gold = self.golds[number] if self.golds else None
            own = TrialAnswers([*votes(answers)], [], gold).all
            questions = dual_questions(self.task, [self.problems[number]], [own])
            questions = [question._replace(problem=number) for question in questions]
        else:
            groups = [self._groups[place] for place in range(len(self.problems))]
            tried = trial_answers(groups, self.options, self.seed, self.golds)
            everything = Counter(dual_questions(self.task, self.problems, [of.all for of in tried]))
            questions = list((everything - self._asked).elements())
        self._asked.update(questions)
        return questions


def try_duals(
    task: Task,
    rollout: Rollout,
    ask: Ask,
    options: SelectOptions,
    seed: int,
    golds: Sequence[str | None] | None = None,
) -> list[list[Trial]]:
    """Tries every dual of every problem of a rollout with the sampled answers and with the controls.

    Args:
        rollout: the pools of answers. Decoys of a problem come from the other problems of the rollout.
        ask: the model that answers duals.
        options: number of decoys, and the similarity at which a dual counts as solved.
        seed: fixes the draws of decoys.
        golds: right answers to try as well; None: no label is read.

    Returns:
        For each problem one trial for each of its duals.
    """
    problems = rollout.problems
    answers = trial_answers(rollout.answers, options, seed, golds)
    # All questions go to the model in one call, which fills its batches.
    reconstructions = reconstruct(task, problems, [tried.all for tried in answers], ask)

    # Only what solves a dual can hold the hidden number in its text. Where several answers can be right, as
    # in translation, an answer with other numbers is still mostly right: solving the dual with it is no leak.
    copies: list[list[str]] = [[] for _ in problems]
    if task.one_answer and options.num_decoys:
        copies = [
            copies_of_solving(task.duals(problem), tried, by_answer, options.solve_threshold, seed + index)
            for index, (problem, tried, by_answer) in enumerate(
                zip(problems, answers, reconstructions, strict=True)
            )
        ]
    copied = reconstruct(task, problems, copies, ask)
    return [
        trials_of(task, problem, tried, by_answer, by_copy)
        for problem, tried, by_answer, by_copy in zip(problems, answers, reconstructions, copied, strict=True)
    ]


def copies_of_solving(
    duals: Sequence[Dual], tried: TrialAnswers, by_answer: ByAnswer, threshold: float, seed: int
) -> list[str]:
    """The answers of the pool that solve any of the duals, with other digits; none that was tried already."""
    solving = [
        answer
        for answer in tried.pool
        if any(reconstruction.similarity >= threshold for reconstruction in by_answer.get(answer, ()))
    ]
    # Two answers can turn into one copy, and a copy can be an answer of the pool: neither is asked twice.
    copies = dict.fromkeys(with_other_digits(answer, duals, seed) for answer in solving)
    return [copy for copy in copies if copy is not None and copy not in tried.all]


def trials_of(
    task: Task, problem: Problem, tried: TrialAnswers, by_answer: ByAnswer, by_copy: ByAnswer
) -> list[Trial]:
    """One trial for each dual of a problem.

    Args:
        by_answer: what each answer of `tried` gave back.
        by_copy: what each copy with other digits gave back.
    """
    trials = []
    for index, dual in enumerate(task.duals(problem)):
        pool = {answer: by_answer[answer][index] for answer in tried.pool}
        decoys = {decoy: by_answer[decoy][index] for decoy in tried.decoys}
        decoys |= {copy: reconstructions[index] for copy, reconstructions in by_copy.items()}
        # Controls are left out: that nothing can be read after a decoy is no fault of the dual.
        distances = [distance for reconstruction in pool.values() for distance in reconstruction.distances]
        trials.append(
            Trial(
                dual,
                {answer: reconstruction.similarity for answer, reconstruction in pool.items()},
                by_answer[NO_ANSWER][index].similarity,
                {decoy: reconstruction.similarity for decoy, reconstruction in decoys.items()},
                unread=fmean(distance is None for distance in distances) if distances else None,
                gold=None if tried.gold is None else by_answer[tried.gold][index].similarity,
            )
        )
    return trials


class LeakRates(NamedTuple):
    """Shares of the tried duals that a control solves, whether the dual was dropped for it or not.

    Attributes:
        no_answer: share that is solved with no answer; None where no dual was tried.
        decoy: share that is solved with a decoy, of the duals that were tried with one; None without any.
        duals: number of tried duals.
        with_decoy: number of duals that were tried with a decoy.
    """

    no_answer: float | None
    decoy: float | None
    duals: int
    with_decoy: int

    def to_json(self) -> dict[str, float | None]:
        """As the .json files hold it."""
        return {f"leak/{name}": value for name, value in self._asdict().items()}


def leak_rates(trials: Sequence[Trial], threshold: float) -> LeakRates:
    """How many duals a control solves.

    Args:
        threshold: least similarity at which an answer solves a dual.
    """
    # A dual leaks if any of its decoys solves it, so the best decoy stands for all.
    best_decoys = [max(trial.decoys.values()) for trial in trials if trial.decoys]
    return LeakRates(
        no_answer=fmean(trial.no_answer >= threshold for trial in trials) if trials else None,
        decoy=fmean(similarity >= threshold for similarity in best_decoys) if best_decoys else None,
        duals=len(trials),
        with_decoy=len(best_decoys),
    )
