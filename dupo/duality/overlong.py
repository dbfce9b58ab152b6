"""What is too long for the model is left out and counted, and does not end the run (`--overlong`).

    drop            a problem whose prompt is too long is left out, and so is one without a dual that fits
    truncate_left   such a training problem loses words at its start until its prompt and its duals fit
    error           the first one ends the program

A dual that is too long is left out by itself as long as the problem has another one.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dupo.duality.length_check import TokenLimits, TooLong, check_known
from dupo.errors import UserError
from dupo.records import Dual, Problem
from dupo.tasks.base import Task, as_task, primal_prompt

ERROR, TRUNCATE = "error", "truncate_left"
NOTHING_TO_HIDE = "too long, and cut to what fits they have no dual: nothing to hide is left"
STAND_IN = "0"  # for an answer that is not known yet
# Problems whose duals a tokenizer must know: enough to tell another kind of text, and few beside all.
MOST_WITH_DUALS_READ = 500
# Behind white space, or a stop of a script that writes none: a cut elsewhere could halve a word or number.
_CUT = re.compile(r"(?<=[\s。！？；，、])(?=\S)")


@dataclass(slots=True)
class Tally:
    """How often something did not fit, and the first case in words.

    Attributes:
        what: "problems left out".
        reason: why.
    """

    what: str
    reason: str = "too long"
    count: int = 0
    first: str = ""

    def add(self, id: str, case: TooLong) -> None:
        """Counts one case."""
        self.first = self.first or f"{self.reason} ({case}), first {id}"
        self.count += 1

    def notes(self, total: int | None = None) -> list[str]:
        """A line for the start-up table; none where everything fits."""
        share = "" if total is None else f" of {total:,}"
        return [f"{self.count:,}{share} {self.what}: {self.first}"] if self.count else []


class FittingTask:
    """A task without the problems and duals that are too long for the model; see `dupo.tasks.base.Task`.

    Args:
        limits: of every model that is asked the problems of the task.
        overlong: `--overlong`.
        judge_limits: of every model that answers the duals; None: they are the models of `limits`.
    """

    def __init__(
        self,
        task: Task,
        limits: Sequence[TokenLimits],
        overlong: str,
        judge_limits: Sequence[TokenLimits] | None = None,
    ) -> None:
        self.task, self.limits, self.overlong = task, limits, overlong
        self.judge_limits = limits if judge_limits is None else judge_limits
        self.train, self.held_out, self.notes = task.train, task.held_out, list(task.notes)
        self._long_duals: set[tuple[str, Dual]] = set()
        self._left_out, self._cut = Tally("problems left out"), Tally("problems cut at their start")
        self._emptied = Tally("problems left out", NOTHING_TO_HIDE)
        self._duals_left_out = Tally("duals left out")

    def duals(self, problem: Problem) -> list[Dual]:
        """The duals of a problem that fit."""
        duals = self.task.duals(problem)
        # Most tasks have none that is too long.
        if not self._long_duals:
            return duals
        return [dual for dual in duals if (problem.text, dual) not in self._long_duals]

    def __getattr__(self, name: str) -> Any:
        # Prompts, answers and distances are those of the task.
        return getattr(self.task, name)

    def fit_all(self, *, needs_duals: bool) -> None:
        """Leaves out of `train` and `held_out` what does not fit.

        Args:
            needs_duals: a training problem whose duals are all too long is left out.

        Raises:
            UserError: the problems cannot be read by the tokenizer, or none of them fits.
        """
        self.check_known([*self.task.train, *self.task.held_out])
        may_cut = self.overlong == TRUNCATE
        self.train = list(self.fitting(self.task.train, needs_duals=needs_duals, may_cut=may_cut))
        for tally in (self._left_out, self._emptied, self._cut):
            self.notes += tally.notes(len(self.task.train))
        self._left_out = Tally("held-out problems left out")
        # A held-out problem is never cut: its right answer is that of the whole problem.
        held_out = self.fitting(self.task.held_out, needs_duals=False, may_cut=False, what="held-out problem")
        self.held_out = list(held_out)
        rest = f", metrics are those of the other {len(self.held_out):,}"
        self.notes += [note + rest for note in self._left_out.notes(len(self.task.held_out))]
        self.notes += self._duals_left_out.notes()

    def check_known(self, problems: Sequence[Problem]) -> None:
        """Checks that the tokenizers know the texts that their models are asked.

        Raises:
            UserError: see `length_check.check_known`; names `dual_model` where that is another model.
        """
        for limit in self.limits:
            texts = [(problem.id, self.task.prompt(problem)) for problem in problems]
            texts += [(problem.id, problem.system) for problem in problems if problem.system is not None]
            if limit.tokenizer is not None:
                check_known(limit.tokenizer, texts)
        if not self.judge_limits[0].lengths.dual_completion:
            return
        texts = dual_texts(self.task, problems[:: len(problems) // MOST_WITH_DUALS_READ + 1])
        # Answers are not known yet; those of the held-out problems show what they look like.
        texts += [(problem.id, problem.gold) for problem in self.task.held_out if problem.gold is not None]
        for limit in self.judge_limits:
            if limit.tokenizer is None:
                continue
            try:
                check_known(limit.tokenizer, texts)
            except UserError as problem:
                if limit in self.limits:
                    raise
                expected = "expected a model that can read the dual prompts"
                raise UserError(f"dual_model: {expected}; {problem}") from None

    def fitting(
        self, problems: Iterable[Problem], *, needs_duals: bool, may_cut: bool, what: str = "problem"
    ) -> Iterator[Problem]:
        """The problems that fit, where `may_cut` also those that fit after a cut.

        Raises:
            UserError: there are problems, and none of them fits.
        """
        first, is_any = None, False
        for problem in problems:
            cases = self._dual_cases(problem)
            case = self._case(problem, cases, needs_duals)
            if case is not None:
                complaint = case.complaint(problem.id)
                if self.overlong == ERROR:
                    raise UserError(f"{complaint} (--overlong drop leaves such problems out)")
                shorter, tally = self._shortened(problem, needs_duals) if may_cut else None, self._cut
                if shorter is None:
                    tally = self._left_out
                # The duals are those of what is left, which may hold nothing to hide.
                elif needs_duals and not self.task.duals(shorter):
                    shorter, tally = None, self._emptied
                    complaint += "; nothing to hide is left in what fits"
                first = first or complaint
                tally.add(problem.id, case)
                if shorter is None:
                    continue
                problem, cases = shorter, {}
            for dual, long in cases.items():
                if long is not None:
                    self._long_duals.add((problem.text, dual))
                    self._duals_left_out.add(problem.id, long)
            is_any = True
            yield problem
        if first and not is_any:
            raise UserError(f"{first}; no other {what} fits")

    def left_out_notes(self, num_left: int) -> list[str]:
        """What `fitting` left out beside `num_left` problems, for the start-up table."""
        return [*self._left_out.notes(num_left + self._left_out.count), *self._duals_left_out.notes()]

    def _case(
        self, problem: Problem, dual_cases: Mapping[Dual, TooLong | None], needs_duals: bool
    ) -> TooLong | None:
        """Why a problem does not fit; None where it does."""
        prompt = primal_prompt(self.task, problem)
        for limit in self.limits:
            if case := limit.prompt(problem.id, prompt):
                return case
        long = [case for case in dual_cases.values() if case is not None]
        are_all_long = needs_duals and len(long) == len(dual_cases)
        return long[0] if long and (are_all_long or self.overlong == ERROR) else None

    def _dual_cases(self, problem: Problem) -> dict[Dual, TooLong | None]:
        """Why each dual of a problem does not fit; empty where no dual is asked."""
        cases: dict[Dual, TooLong | None] = {}
        for dual in self.task.duals(problem) if self.judge_limits[0].lengths.dual_completion else ():
            prompt = self.task.dual_prompt(problem, dual, STAND_IN)
            long = (limit.dual_prompt(problem.id, prompt) for limit in self.judge_limits)
            cases[dual] = next((case for case in long if case is not None), None)
        return cases

    def _shortened(self, problem: Problem, needs_duals: bool) -> Problem | None:
        """The problem with as few words less as it must have; None where it cannot be cut so."""

        def fits(text: str) -> bool:
            shorter = replace(problem, text=text)
            cases = self._dual_cases(shorter)
            # Every dual of the rest must fit: a rest that keeps a single one would teach less.
            return self._case(shorter, cases, needs_duals) is None and not any(cases.values())

        text = longest_end(problem.text, fits)
        return None if text is None else replace(problem, text=text)


def fit_task(
    task: Task,
    limits: Sequence[TokenLimits],
    overlong: str,
    judge_limits: Sequence[TokenLimits] | None = None,
    *,
    needs_duals: bool,
) -> Task:
    """The task without what is too long; its notes say what was left out and why.

    Args:
        judge_limits: as of `FittingTask`.

    Raises:
        UserError: see `FittingTask.fit_all`.
    """
    fitting = FittingTask(task, limits, overlong, judge_limits)
    fitting.fit_all(needs_duals=needs_duals)
    return as_task(fitting)


def dual_texts(task: Task, problems: Sequence[Problem]) -> list[tuple[str, str]]:
    """The id of a problem and what a dual prompt says around the answer, for all its duals."""
    pieces = [
        (problem.id, task.dual_prompt(problem, dual, STAND_IN))
        for problem in problems
        for dual in task.duals(problem)
    ]
    # The answer is a piece by itself.
    return [(id, "".join(piece for piece in prompt if piece != STAND_IN)) for id, prompt in pieces]


def longest_end(text: str, fits: Callable[[str], bool]) -> str | None:
    """The longest end of a text that fits and starts with a word; None where not even its last word fits.

    Args:
        fits: whether an end fits; where it does, shorter ends are taken to fit as well.
    """
    starts = [match.start() for match in _CUT.finditer(text)]
    # "250 000" is one number.
    starts = [i for i in starts if not (text[i].isdigit() and re.fullmatch(r"\d\s", text[max(0, i - 2) : i]))]
    low, high = 0, len(starts)
    while low < high:
        middle = (low + high) // 2
        if fits(text[starts[middle] :]):
            high = middle
        else:
            low = middle + 1
    return text[starts[low] :] if low < len(starts) else None
