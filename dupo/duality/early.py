"""Duals that are asked while other answers are still under way.

    two calls     all answers, then all duals: both wait for their last long completion
    one call      the duals of a problem follow as soon as its answers are there

One call needs one engine for answers and duals that can take prompts while it samples
(`EngineFeatures.follow_ups`). Samples, draws and their order are those of two calls.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar, cast

from dupo.duality.judge import UNIT, Asking
from dupo.duality.reconstruct import Ask, DualQuestion, dual_questions
from dupo.engines.base import (
    Engine,
    FollowingEngine,
    FollowUps,
    PrimalPrompts,
    Sampling,
    naming_problems,
    sample_answers,
    with_thoughts,
)
from dupo.records import ChatPrompt, Completion, Problem, Prompt, Rollout
from dupo.tasks.base import Task

# (number of a problem, its answers, which are all there) -> what can be asked now
Questions = Callable[[int, Sequence[str | None]], Sequence[DualQuestion]]
AskT = TypeVar("AskT", Ask, Ask | None)


def sample_with_duals(
    engine: Engine,
    task: Task,
    problems: Sequence[Problem],
    n: int,
    sampling: Sampling,
    seed: int,
    ask: AskT,
    *,
    questions: Questions | None = None,
    skip_equal: bool = False,
    once: bool = False,
    answered: Callable[[], None] = lambda: None,
) -> tuple[Rollout, AskT | Ask]:
    """Samples `n` answers to each problem, and duals beside them where one engine does both.

    Args:
        ask: who answers the duals; None: there are none.
        questions: all that the first call of the returned function asks, in any order; None: each different
            answer beside each dual of its problem, as `reconstruct` asks.
        skip_equal: as `reconstruct` is asked; not read beside `questions`.
        once: the first call asks equal prompts once; see `dupo.duality.judge.cached`.
        answered: is called once all answers are there.

    Returns:
        The rollout, and a function that asks duals: its first call gets the samples that are there already.
    """
    is_one_engine = isinstance(ask, Asking) and ask.judge.engine is engine and engine.features.follow_ups
    # Without problems there is no last answer.
    if not (is_one_engine and problems):
        return sample_answers(engine, task, problems, n, sampling, seed), ask
    early, together = _EarlyDuals(cast(Asking, ask), once=once), cast(FollowingEngine, engine)
    prompts, prompt_ids, asked = PrimalPrompts.of(engine, task, problems)
    names, everything = [problem.id for problem in problems], list[Prompt | list[int]](asked)
    completions = list[list[Completion]]([] for _ in problems)
    answers = list[list[str | None]]([] for _ in problems)

    def follow(number: int, group: list[Completion]) -> list[Prompt] | list[list[int]]:
        problem = problems[number]
        (completions[number],) = with_thoughts(engine, prompts[number : number + 1], [group])
        # Read here and nowhere else: reading may be slow, and some tasks ask a process of their own.
        answers[number] = [task.answer(problem, completion.to_read) for completion in completions[number]]
        if questions is None:
            own = dual_questions(task, [problem], [answers[number]], skip_equal=skip_equal)
            new = [question._replace(problem=number) for question in own]
        else:
            new = questions(number, answers[number])
        owners, taken = early.add(new)
        names.extend(problems[owner].id for owner in owners)
        everything.extend(taken)
        # Before the duals of the last problem are asked: their seconds are no seconds of answers.
        if all(completions):
            answered()
        return taken

    with naming_problems(names, everything):
        follow_ups = early.follow_ups(follow, n * sum(len(task.duals(problem)) for problem in problems))
        early.give(together.sample_and_follow(asked, n, sampling, seed, follow_ups).further)
    return Rollout(list(problems), prompt_ids, completions, answers), early


class _EarlyDuals:
    """Dual prompts that were asked early, and their samples: an `Ask` that hands them out.

    The first call must ask exactly what was asked early, in any order. Later calls ask anew.
    """

    def __init__(self, ask: Asking, *, once: bool) -> None:
        self.ask, self.once = ask, once
        # What the engine takes for a prompt decides the draws. None: too long to be asked.
        self._keys: dict[Prompt, Hashable | None] = {}
        self._order = list[Hashable]()
        self._samples: dict[Hashable, deque[list[Completion]]] | None = None

    def follow_ups(
        self, follow: Callable[[int, list[Completion]], list[Prompt] | list[list[int]]], expected: int
    ) -> FollowUps:
        """How the duals are asked.

        Args:
            follow, expected: see `FollowUps`.
        """
        judge = self.ask.judge
        return FollowUps(follow, judge.samples, judge.sampling, self.ask.seed, UNIT, expected)

    def add(self, questions: Sequence[DualQuestion]) -> tuple[list[int], list[Prompt] | list[list[int]]]:
        """Notes questions; the numbers of the problems of those to ask, and what the engine is asked."""
        judge = self.ask.judge
        if self.once:
            new = {q.prompt: q for q in reversed(questions) if q.prompt not in self._keys}
            questions = list(reversed(new.values()))
        # Too long until the engine has taken it.
        self._keys |= dict.fromkeys(question.prompt for question in questions)
        fits = judge.fit(question.prompt for question in questions)
        fitting = [question for question, is_fit in zip(questions, fits, strict=True) if is_fit]
        prompts: list[Prompt] = [question.prompt for question in fitting]
        taken = judge.engine.tokenizer.encode(prompts) if judge.engine.features.ids else prompts
        keys = [_key(asked) for asked in taken]
        self._keys |= zip(prompts, keys, strict=True)
        self._order += keys
        return [question.problem for question in fitting], taken

    def give(self, groups: Sequence[list[Completion]]) -> None:
        """Takes the samples of all that was asked, in its order."""
        self._samples = defaultdict(deque)
        for key, group in zip(self._order, groups, strict=True):
            self._samples[key].append(group)

    def __call__(self, prompts: Sequence[Prompt]) -> list[list[Completion]]:
        """The samples of dual prompts."""
        if self._samples is None:
            return self.ask(prompts)
        samples, self._samples = self._samples, None
        keys = [self._keys[prompt] for prompt in prompts]
        # Of equal prompts the first has the first draws, as in one call of an engine, whichever came first.
        groups = [self.ask.judge.unasked() if key is None else samples[key].popleft() for key in keys]
        assert not any(samples.values()), "duals were asked that nobody wants"
        return with_thoughts(self.ask.judge.engine, prompts, groups)


def _key(asked: Prompt | list[int]) -> Hashable:
    """What tells prompts apart for an engine: ids, or the text that a server frames and its history."""
    if isinstance(asked, list):
        return tuple(asked)
    return ("".join(asked.pieces), asked.history) if isinstance(asked, ChatPrompt) else "".join(asked)
