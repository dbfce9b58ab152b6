"""The dual reward for trainers that sample by themselves: what to ask of an answer, what replies are worth.

    duals = load_duals(task="word_problems", dataset="problems.jsonl")
    asked = duals.ask_of(prompt, completion)        the dual prompts of the answer in a completion
    reward = duals.reward(asked, replies)           DuPO, equation 2

Who replies is the trainer's business: its policy, a frozen copy, or a server.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from dupo.config.command_line import configure
from dupo.config.options import RewardOptions
from dupo.duality.reconstruct import Ask, DualQuestion, dual_questions, reconstruct
from dupo.errors import UserError, quoted
from dupo.records import Problem, Reconstruction
from dupo.rewards.dual import answer_reward
from dupo.tasks import make_task
from dupo.tasks.base import Task

Messages = Sequence[Mapping[str, Any]]
AskAsync = Callable[[str], Awaitable[Sequence[str]]]  # a dual prompt -> samples of its reply


class AskedAnswer(NamedTuple):
    """An answer and its duals.

    Attributes:
        answer: the final answer in the completion, normalised; None where none could be read.
        questions: the answer beside each dual of its problem; empty where there is none to ask.
    """

    answer: str | None
    questions: list[DualQuestion]

    @property
    def prompts(self) -> list[str]:
        """The dual prompts, before the chat template; equal for equal answers."""
        return ["".join(question.prompt) for question in self.questions]


class Duals:
    """The duals of a task's problems, which are known by their prompts."""

    def __init__(self, task: Task, options: RewardOptions) -> None:
        """Takes what `load_duals` read.

        Args:
            task: its training and held-out problems may be asked for.
            options: `reward_shape` and `reward_lambda` say what a distance is worth.
        """
        self.task = task
        self._options = options
        # Trainers hand back prompts, and no ids of problems.
        problems = chain(task.train, task.held_out)
        self._problems = {task.prompt(problem): problem for problem in problems}

    @property
    def prompts(self) -> list[str]:
        """The prompt of each training problem, before the chat template: the data of the trainer."""
        return [self.task.prompt(problem) for problem in self.task.train]

    def problem_of(self, prompt: str | Messages) -> Problem:
        """The problem that a prompt asks.

        Args:
            prompt: the text before the chat template, or messages of which the last is that text.

        Raises:
            UserError: no problem of the task has this prompt.
        """
        text = text_of(prompt)
        if text not in self._problems:
            expected = "the prompt of a problem of the task, before any chat template"
            raise UserError(f"prompt: expected {expected}, got {quoted(text)}")
        return self._problems[text]

    def ask_of(self, prompt: str | Messages, completion: str | Messages) -> AskedAnswer:
        """What to ask about the answer in a completion.

        Args:
            prompt: see `problem_of`.
            completion: its text, or messages of which the last is the answer. Where the chat template has
                opened a thinking part, `<think>` stands before the text.

        Raises:
            UserError: as `problem_of`.
        """
        problem = self.problem_of(prompt)
        answer = self.task.answer(problem, text_of(completion))
        return AskedAnswer(answer, dual_questions(self.task, [problem], [[answer]]))

    def reward(self, asked: AskedAnswer, replies: Sequence[Sequence[str]]) -> float:
        """The reward of an answer, in [0, 1]; 0 where no answer could be read.

        Args:
            replies: the samples of each dual prompt, texts.

        Raises:
            UserError: a dual prompt has no reply, or there are others.
        """
        counts = [len(samples) for samples in replies]
        if len(counts) != len(asked.questions) or 0 in counts:
            expected = f"samples of {len(asked.questions)} dual prompts"
            raise UserError(f"replies: expected {expected}, got {counts} samples")
        duals = [question.dual for question, n in zip(asked.questions, counts, strict=True) for _ in range(n)]
        answers = [asked.answer or ""] * len(duals)
        # One call for all samples, because a metric may be a model itself.
        distances = iter(self.task.distances(duals, answers, list(chain.from_iterable(replies))))
        rows = zip(asked.questions, asked.prompts, replies, strict=True)
        reconstructions = [
            Reconstruction(question.dual, prompt, list(samples), [next(distances) for _ in samples], tokens=0)
            for question, prompt, samples in rows
        ]
        return answer_reward(reconstructions, self._options)

    def rewards(
        self, prompts: Sequence[str | Messages], completions: Sequence[str | Messages], ask: Ask
    ) -> list[float]:
        """The rewards of many completions, with one call of the judge.

        Args:
            prompts, completions: see `ask_of`; of each completion. An answer that several completions of a
                problem give is asked about once.
            ask: gives the samples of each dual prompt.

        Raises:
            UserError: as `problem_of`.
        """
        # A problem is hashed by what it asks, so two rows of one text share their duals.
        places: dict[Problem, list[int]] = {}
        for place, prompt in enumerate(prompts):
            places.setdefault(self.problem_of(prompt), []).append(place)
        answers = {
            problem: [self.task.answer(problem, text_of(completions[place])) for place in group]
            for problem, group in places.items()
        }
        reconstructions = reconstruct(self.task, list(answers), list(answers.values()), ask)
        rewards = [0.0] * len(prompts)
        for (problem, group), by_answer in zip(places.items(), reconstructions, strict=True):
            for place, answer in zip(group, answers[problem], strict=True):
                if answer is not None:
                    rewards[place] = answer_reward(by_answer.get(answer, []), self._options)
        return rewards

    async def judged(self, prompt: str | Messages, completion: str | Messages, ask: AskAsync) -> float:
        """Asks all duals of an answer at once, and gives its reward.

        Args:
            ask: gives the samples of the reply to a dual prompt.

        Raises:
            UserError: as `ask_of` and `reward`.
        """
        asked = self.ask_of(prompt, completion)
        return self.reward(asked, await asyncio.gather(*map(ask, asked.prompts)))


def load_duals(**options: Any) -> Duals:
    """Reads the problems of a task for their duals.

    Args:
        options: those of `python -m dupo.train` for the task, the seed and the shape of the reward:
            `load_duals(task="word_problems", dataset="problems.jsonl", duals_per_prompt=3)`.

    Raises:
        UserError: an option or the data cannot be used.
    """
    config = configure(options)
    return Duals(make_task(config.task, config.run.seed), config.reward)


def text_of(content: str | Messages) -> str:
    """A text, or the text of the last of several messages."""
    return content if isinstance(content, str) else str(content[-1]["content"])
