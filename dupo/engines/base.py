"""What an engine is: prompts in, completions out. All sampling goes through an engine.

Engines differ in what they can do (`EngineFeatures`): a server may give no log-probs, and may not take new
weights. Who needs a feature checks for it before the work starts.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, cast

from dupo.errors import UserError
from dupo.models.load import Model
from dupo.records import Completion, Problem, Prompt, Rollout
from dupo.tasks.base import Task, primal_prompt
from dupo.text.tokenizer import PromptTokenizer


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn.

    Attributes:
        temperature: divides the logits; 0 takes the most likely token (greedy).
        max_tokens: most tokens of a completion, the end token among them.
    """

    temperature: float
    max_tokens: int


class EngineFeatures(NamedTuple):
    """What an engine can do.

    Attributes:
        logprobs: completions carry the log-probs of their tokens.
        distributions: completions carry the entropy and self-certainty of the distributions.
        new_weights: `load_weights` works, so the engine can sample from a policy in training.
        ids: prompts may be token ids, which `tokenizer` gives; if not, there is no tokenizer.
        exact: log-probs are those of the learner, whose arithmetic the engine shares.
        follow_ups: it is a `FollowingEngine`: prompts may follow while others are still under way.
    """

    logprobs: bool
    distributions: bool
    new_weights: bool
    ids: bool = True
    exact: bool = False
    follow_ups: bool = False


class FollowUps(NamedTuple):
    """Prompts that follow from the completions of others, and how they are sampled.

    Attributes:
        after: further prompts, from the number of a prompt and its completions, which are all there.
        n, sampling, seed: of the further prompts, as of one call of `Engine.sample`.
        unit: what their samples are counted as; see `dupo.progress`.
        expected: about how many there will be; memory is set aside for them.
    """

    after: Callable[[int, list[Completion]], Sequence[Prompt] | Sequence[list[int]]]
    n: int
    sampling: Sampling
    seed: int
    unit: str
    expected: int


class Followed(NamedTuple):
    """What came of prompts and of those that followed.

    Attributes:
        groups: the completions of each prompt.
        further: the completions of each further prompt, in the order in which they were asked. The draws are
            those of one call of `Engine.sample` with the further prompts in that order.
    """

    groups: list[list[Completion]]
    further: list[list[Completion]]


class PromptRefused(UserError):
    """A prompt that the model behind an engine refuses.

    Attributes:
        prompt: as it came to the engine.
    """

    def __init__(self, message: str, prompt: Prompt | list[int]) -> None:
        super().__init__(message)
        self.prompt = prompt

    def __reduce__(self) -> tuple[Any, ...]:
        # Without this the error could not be sent to another rank: pickle knows the message alone.
        return type(self), (str(self), self.prompt)


@contextmanager
def naming_problems(problem_ids: Sequence[str], prompts: Sequence[Prompt | list[int]]) -> Iterator[None]:
    """Names the problem of a prompt that is refused inside the block.

    Args:
        problem_ids: id of the problem of each prompt. Both lists may grow within the block.
    """
    try:
        yield
    except PromptRefused as refusal:
        places = (place for place, prompt in enumerate(prompts) if prompt == refusal.prompt)
        place = next(places, None)
        name = "a problem" if place is None else problem_ids[place]
        named = UserError(f"{name}: {refusal}")
        # What ranks have noted of the refusal holds of its new words.
        vars(named).update(vars(refusal))
        raise named from None


def require(features: EngineFeatures, needed: EngineFeatures, who: str) -> None:
    """Checks that an engine can do all that is needed.

    Args:
        needed: true where the feature is needed.
        who: what needs the features, for the message.

    Raises:
        UserError: a feature is missing.
    """
    # All that is missing is said at once.
    missing = [
        name for name in EngineFeatures._fields if getattr(needed, name) and not getattr(features, name)
    ]
    if missing:
        raise UserError(f"{who} needs an engine with {', '.join(missing)}, got one without")


class Engine(Protocol):
    """Samples from one model.

    Attributes:
        tokenizer: turns prompts into the ids that the model reads; only where `features.ids`.
    """

    tokenizer: PromptTokenizer

    @property
    def features(self) -> EngineFeatures:
        """What the engine can do."""
        ...

    @property
    def max_positions(self) -> int | None:
        """Most tokens of a prompt and its completion; None: no limit."""
        ...

    def sample(
        self, prompts: Sequence[Prompt] | Sequence[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """Draws `n` completions of each prompt.

        Args:
            prompts: texts, texts in pieces, or token ids that `tokenizer.encode` gave.
            seed: fixes the draws; see `dupo.seeds`.

        Raises:
            FloatingPointError: the logits of the model are not finite.
            PromptRefused: the model refuses a prompt.
        """
        ...

    def load_weights(self, model: Model) -> None:
        """Samples from the weights of `model` from now on.

        Raises:
            NotImplementedError: `features.new_weights` is false.
        """
        ...

    def release_memory(self) -> None:
        """Gives up what `sample` allocates again, as an optimizer step follows."""
        ...


class FollowingEngine(Engine, Protocol):
    """An engine that takes prompts while it samples; only where `features.follow_ups`."""

    def sample_and_follow(
        self,
        prompts: Sequence[Prompt] | Sequence[list[int]],
        n: int,
        sampling: Sampling,
        seed: int,
        follow: FollowUps,
    ) -> Followed:
        """As `sample`; prompts that follow from a group are sampled while other groups are under way.

        Raises:
            FloatingPointError, PromptRefused: as `sample`.
        """
        ...


def ids_of(tokenizer: PromptTokenizer, prompts: Sequence[Prompt] | Sequence[list[int]]) -> list[list[int]]:
    """The token ids of prompts, which may be ids already."""
    if prompts and isinstance(prompts[0], list):
        return cast(list[list[int]], list(prompts))
    return tokenizer.encode(cast(Sequence[Prompt], prompts))


def in_groups(completions: list[Completion], n: int) -> list[list[Completion]]:
    """The completions of each prompt, from those of all prompts one after another."""
    return [completions[start : start + n] for start in range(0, len(completions), n)]


def check_room(prompt_ids: Sequence[list[int]], max_tokens: int, limit: int | None, where: str) -> None:
    """Checks that every prompt leaves room for a completion.

    Args:
        limit: most positions; None: any number.
        where: what has so many positions: "the model".

    Raises:
        UserError: a prompt leaves too little room.
    """
    longest = max(map(len, prompt_ids), default=0)
    needed = longest + max_tokens
    if limit is not None and needed > limit:
        raise UserError(
            f"a prompt of {longest} tokens and a completion of {max_tokens} need {needed} positions; "
            f"{where} has {limit}"
        )


def with_thoughts(
    engine: Engine, prompts: Sequence[Prompt], completions: list[list[Completion]]
) -> list[list[Completion]]:
    """The completions of each prompt, marked where the chat template has opened a thinking part for them."""
    if not engine.features.ids:  # a server frames the prompts, and says what is a thought
        return completions
    return [
        [replace(completion, starts_in_thought=True) for completion in group]
        if engine.tokenizer.opens_thought(prompt)
        else group
        for prompt, group in zip(prompts, completions, strict=True)
    ]


class PrimalPrompts(NamedTuple):
    """The primal prompts of problems, as an engine takes them.

    Attributes:
        ids: token ids of each prompt; empty where the engine takes texts.
        asked: what the engine is asked.
    """

    prompts: list[Prompt]
    ids: list[list[int]]
    asked: list[Prompt] | list[list[int]]

    @classmethod
    def of(cls, engine: Engine, task: Task, problems: Sequence[Problem]) -> "PrimalPrompts":
        """The prompts of `problems` for an engine."""
        prompts = [primal_prompt(task, problem) for problem in problems]
        # The ids are kept: training uses the very ids that were sampled from.
        if engine.features.ids:
            ids = engine.tokenizer.encode(prompts)
            return cls(prompts, ids, ids)
        return cls(prompts, [[] for _ in problems], prompts)


def sample_answers(
    engine: Engine, task: Task, problems: Sequence[Problem], n: int, sampling: Sampling, seed: int
) -> Rollout:
    """The primal task: samples `n` answers to each problem and reads them."""
    prompts, prompt_ids, asked = PrimalPrompts.of(engine, task, problems)
    with naming_problems([problem.id for problem in problems], asked):
        completions = with_thoughts(engine, prompts, engine.sample(asked, n, sampling, seed))
    answers = [
        [task.answer(problem, completion.to_read) for completion in group]
        for problem, group in zip(problems, completions, strict=True)
    ]
    return Rollout(list(problems), prompt_ids, completions, answers)
