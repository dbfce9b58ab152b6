"""The dual reward for trainers that sample by themselves: what to ask of an answer, what replies are worth.

    duals = load_duals(task="word_problems", dataset="problems.jsonl")
    asked = duals.ask_of(prompt, completion)        the dual prompts of the answer in a completion
    reward = duals.reward(asked, replies)           DuPO, equation 2

Who replies is the trainer's business: its policy, a frozen copy, or a server.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import fields
from itertools import chain
from typing import Any, NamedTuple

from dupo.config.command_line import configure
from dupo.config.config import OPTIONS, Config
from dupo.config.engine_options import EngineOptions
from dupo.config.task_options import TaskOptions
from dupo.duality.reconstruct import Ask, DualQuestion, dual_questions, reconstruct
from dupo.errors import UserError, quoted
from dupo.records import Problem, Reconstruction
from dupo.rewards.dual import answer_reward
from dupo.tasks import make_task
from dupo.tasks.base import Task

Messages = Sequence[Mapping[str, Any]]
# Beside the options of tasks and servers, what is read of `python -m dupo.train`.
_READ = ("seed", "reward_shape", "reward_lambda", "max_completion_length", "dual_max_completion_length")
_READ += ("system_prompt", "chat_template_kwargs")
_THOUGHTS = ("reasoning_content", "thinking")  # fields of messages, as TRL's parsers of models name them
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

    def __init__(self, task: Task, config: Config) -> None:
        """Indexes the problems of a task, held-out ones too, by their prompts.

        Args:
            config: `reward_shape` and `reward_lambda` say what a distance is worth; where a server judges,
                how it is asked.
        """
        self.task, self.config = task, config
        self._options = config.reward
        # Trainers hand back prompts, and no ids of problems.
        problems = chain(task.train, task.held_out)
        self._problems: dict[str, Problem] = {}
        self._ambiguous: list[str] = []
        for problem in problems:
            first = self._problems.setdefault(task.prompt(problem), problem)
            if first.gold != problem.gold:
                self._ambiguous.append(problem.id)

    @classmethod
    def of(cls, config: Config) -> "Duals":
        """Reads the data of a task.

        Raises:
            UserError: the data cannot be used.
        """
        return cls(make_task(config.task, config.run.seed), config)

    @property
    def prompts(self) -> list[str]:
        """The prompt of each training problem, before the chat template: the data of the trainer.

        The question, with the instruction that the task adds to it.
        """
        return [self.task.prompt(problem) for problem in self.task.train]

    @property
    def held_out_prompts(self) -> list[str]:
        """The same of the problems that are held out (`eval_size`)."""
        return [self.task.prompt(problem) for problem in self.task.held_out]

    def check_labels(self) -> None:
        """Checks that every prompt has one right answer; only the reward gold reads any.

        Raises:
            UserError: a problem has none, or two problems of one prompt have different ones.
        """
        lacking = [problem.id for problem in self.task.train if problem.gold is None]
        for ids, got in ((lacking, "none"), (self._ambiguous, "another than a problem before it")):
            if ids:
                raise UserError(f"gold: expected one right answer for every prompt, {ids[0]} has {got}")

    def problem_of(self, prompt: str | Messages) -> Problem:
        """The problem that a prompt asks.

        Args:
            prompt: the text before the chat template, or messages of which the last is that text.

        Raises:
            UserError: no problem of the task has this prompt.
        """
        text = text_of(prompt)
        if text not in self._problems:
            expected = f"one of the {len(self._problems):,} prompts of the data, before any chat template"
            raise UserError(f"prompt: expected {expected} (see Duals.prompts), got {quoted(text)}")
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
        """The reward of an answer, in [0, 1]; 0 where no answer could be read, or its problem has no dual.

        Args:
            replies: of each of `asked.prompts`, in their order, a list of texts: the samples.

        Raises:
            UserError: a dual prompt has no reply, there are others, or a text stands for a list.
        """
        # A text is a sequence of letters, each of which would be a sample.
        if any(isinstance(samples, str) for samples in replies):
            raise UserError("replies: expected a list of texts for each dual prompt, got a text")
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
        """The rewards of many completions, with one call of the judge; see `reward`.

        Args:
            prompts, completions: see `ask_of`; of each completion. An answer that several completions of a
                problem give is asked about once.
            ask: list of dual prompts -> the samples of each, as `dupo.records.Completion`.

        Returns:
            One number for each completion.

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
        """Asks all duals of an answer at once, and gives its reward; see `reward`.

        Args:
            prompt, completion: see `ask_of`.
            ask: a coroutine function: a dual prompt -> the samples of the reply, a list of texts.

        Raises:
            UserError: as `ask_of` and `reward`.
        """
        asked = self.ask_of(prompt, completion)
        return self.reward(asked, await asyncio.gather(*map(ask, asked.prompts)))


def load_duals(**options: Any) -> Duals:
    """Reads the problems of a task for their duals.

    Args:
        options: those of `python -m dupo.train` for the task and its data, `reward_shape`, `reward_lambda`
            and `seed`; for a server that judges, those of servers, `max_completion_length` and
            `dual_max_completion_length`.

    Raises:
        UserError: an option or the data cannot be used, or an option has no effect here.
    """
    return Duals.of(configured(options, ()))


def configured(options: Mapping[str, Any], further: Collection[str]) -> Config:
    """The options of duals in other trainers.

    Args:
        further: names that the caller reads beside those of `load_duals`.

    Raises:
        UserError: an option that nothing here would read, or that cannot be used.
    """
    of_groups = {spec.name for group in (TaskOptions, EngineOptions) for spec in fields(group)}
    read = {*_READ, *further, *of_groups} - {"engine", "base_url"}
    # An effect that was asked for and cannot happen is an error, never ignored in silence.
    if unread := [name for name in options if name in OPTIONS and name not in read]:
        told = "; who answers duals is told to dual_rollout, server_reward or verl's agent loop"
        advice = told if unread[0].startswith("dual_") else ""
        expected = "an option of tasks and their duals"
        raise UserError(f"{unread[0]}: expected {expected}, got one without effect{advice}")
    return configure(options)


def sampling_temperature(samples: int, temperature: float | None) -> float:
    """The temperature of duals: None is 0, which is greedy, and 1 for several samples.

    Raises:
        UserError: no sample, a negative temperature, or several samples that would be equal.
    """
    if not isinstance(samples, int) or samples < 1:
        raise UserError(f"samples: expected a whole number of at least 1, got {quoted(samples)}")
    temperature = (0.0 if samples == 1 else 1.0) if temperature is None else temperature
    if not isinstance(temperature, int | float) or not math.isfinite(temperature):
        raise UserError(f"temperature: expected a number, got {quoted(temperature)}")
    if temperature < 0 or (temperature == 0 and samples > 1):
        expected = "0 or more" if samples == 1 else f"more than 0 for {samples} samples, which would be equal"
        raise UserError(f"temperature: expected {expected}, got {temperature:g}")
    return temperature


def behind_thought(prompt: str, completion: str) -> str:
    """A completion as `ask_of` reads it: behind the `<think>` that the framed prompt may end with.

    Args:
        prompt: as the model reads it, with the chat template, or its last words.
    """
    # A thought that was cut off holds no answer, and only the prompt tells that a thought was open.
    return "<think>" + completion if prompt.rstrip().endswith("<think>") else completion


def answer_text(completion: str | Messages, opens_thought: bool) -> str:
    """A completion as `ask_of` reads it, where nobody knows the framed prompt.

    Args:
        completion: its text, or messages of which the last is the answer.
        opens_thought: the chat template ends a prompt with `<think>`, so a completion starts in a thought.

    Raises:
        UserError: `opens_thought` is neither true nor false.
    """
    # A text such as "false" would be true.
    if not isinstance(opens_thought, bool):
        raise UserError(f"opens_thought: expected true or false, got {quoted(opens_thought)}")
    # Whoever has parsed a thought out of a message has taken its marks away with it.
    if not isinstance(completion, str) and any(completion[-1:] and completion[-1].get(n) for n in _THOUGHTS):
        return text_of(completion)
    return ("<think>" if opens_thought else "") + text_of(completion)


def check_duals(duals: Any) -> None:
    """Raises UserError for what is no `Duals`, such as the name of a task."""
    if not isinstance(duals, Duals):
        raise UserError(f"duals: expected what load_duals gives, got {quoted(duals)}")


def text_of(content: str | Messages) -> str:
    """A text, or the text of the last of several messages; "" where that message has none.

    Raises:
        UserError: there is no message.
    """
    if isinstance(content, str):
        return content
    if not len(content):
        raise UserError("messages: expected at least one, got none")
    text = content[-1].get("content")
    # The form that models of pictures take: blocks, of which those of text are read.
    if isinstance(text, list | tuple):
        return "".join(str(block.get("text", "")) for block in text)
    return "" if text is None else str(text)
