"""The third built-in task: word problems in English, with numbers that do not enter, of one to three steps.

    primal   tom has 7 apples . ana is 9 years old . tom buys 5 . tom loses 2 . how many apples has tom ?
             ->  7 + 5 = 12 . 12 - 2 = 10 . answer 10          or at once:  answer 10
    dual     tom has x apples . ana is ... how many apples has tom ? answer 10 . x ?
             ->  10 + 2 = 12 . 12 - 5 = 7 . x = 7

The task is built so that votes help. People often write an answer without its steps, and models learn from
them: the most likely answer is then one at once, while the steps stand among the samples (Wang and Zhou 2024,
arXiv 2402.10200). So the share `AT_ONCE` of the lessons has no steps. A greedy answer comes at once and is
often wrong. Sampled steps come in any order, go wrong in different ways, and agree where they are right.

Every number of a story is hidden in turn, as the text alone does not tell which numbers enter. A number that
does not enter cannot be recovered: `dupo.select` finds such duals.
"""

import random
import re
from collections.abc import Iterator, Sequence
from functools import partial

from dupo.config.task_options import TaskOptions
from dupo.records import Dual, Problem
from dupo.tasks.base import Lessons
from dupo.tasks.exact_match import ExactMatchTask
from dupo.tasks.generated import generate_dev, generate_split, set_of, stream_seed
from dupo.tasks.story_text import VOCABULARY, random_story, steps_back, steps_forward

AT_ONCE = 0.55  # share of the lessons that answer without steps
# The teaching is over early, so that votes are far from always right. A third of the duals hides a number
# that does not enter, so 0.6 of all are nine of ten that have a solution.
GOALS = 0.25, 0.6
ANSWER = re.compile(r"(?:.* )?answer (\d{1,2})", re.ASCII)
HIDDEN = re.compile(r"(?:.* )?x = (\d{1,2})", re.ASCII)


class Stories(ExactMatchTask):
    """Word problems with one hidden number as duals; see `dupo.tasks.base.Task`.

    Args:
        options: how many problems are held out, and how many duals a problem has.
        seed: decides which training problems are made; the held-out ones are always the same.

    Raises:
        UserError: too many held-out problems.
    """

    def __init__(self, options: TaskOptions, seed: int) -> None:
        self.train, self.held_out = generate_split(random_problems, options.eval_size, seed)
        self.problems = self.train
        self.lessons = Lessons(VOCABULARY, lesson_examples, partial(generate_dev, random_problems), GOALS)
        self.duals_per_prompt = options.duals_per_prompt
        self.notes = [
            "word problems in English of one to three steps, with numbers that do not enter",
            f"{len(self.train):,} problems, {len(self.held_out):,} held out",
        ]

    def prompt(self, problem: Problem) -> str:
        """The text of the problem; the built-in model has no chat template."""
        return problem.text

    def answer(self, problem: Problem, completion: str) -> str | None:
        """The number of `answer 10`, which ends the completion."""
        match = ANSWER.fullmatch(completion)
        return match[1] if match else None

    def duals(self, problem: Problem) -> list[Dual]:
        """Hides every number of the text in turn, those that do not enter as well."""
        words = problem.text.split()
        hidden = [i for i, word in enumerate(words) if word.isdigit()]
        duals = [hide(words, i) for i in hidden]
        return duals[: self.duals_per_prompt or None]  # 0: all

    def dual_prompt(self, problem: Problem, dual: Dual, answer: str) -> tuple[str, ...]:
        """The story with x in it, its answer, and the question for x."""
        return f"{dual.known} answer ", answer, " . x ?"

    def distance(self, dual: Dual, completion: str) -> float | None:
        """0 for the hidden number, 1 for another one, None where the completion does not end with one."""
        match = HIDDEN.fullmatch(completion)
        return float(match[1] != dual.unknown) if match else None


def hide(words: Sequence[str], place: int) -> Dual:
    """The dual that hides the word at a place."""
    return Dual(" ".join([*words[:place], "x", *words[place + 1 :]]), words[place], "x")


def random_problems(set_name: str, seed: int) -> Iterator[Problem]:
    """Yields random labelled problems of one of `generated.SETS`, for ever, with repeats."""
    rng = random.Random(stream_seed("stories", set_name, seed))
    while True:
        story = random_story(rng)
        text = " ".join(story.words)
        if set_of(text) == set_name:
            yield Problem(text, text, str(story.answer))


def lesson_examples(seed: int, dual_share: float) -> Iterator[tuple[str, str]]:
    """Yields (prompt, completion) pairs of both formats from the set of lessons, for ever."""
    rng = random.Random(stream_seed("stories", "lessons", seed))
    while True:
        story = random_story(rng)
        text = " ".join(story.words)
        if set_of(text) != "lessons":
            continue
        if rng.random() < dual_share:
            # A number that does not enter has no right reconstruction, so no lesson asks for one.
            quantity = rng.choice(story.quantities)
            known = hide(story.words, quantity.place).known
            steps = " . ".join([*steps_back(story, quantity, rng), f"x = {quantity.value}"])
            yield f"{known} answer {story.answer} . x ?", steps
        else:
            steps = [] if rng.random() < AT_ONCE else steps_forward(story, rng)
            yield text, " . ".join([*steps, f"answer {story.answer}"])
