"""Engines that no model stands behind, and one that remembers what it was asked."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch

from dupo.engines.base import Engine, EngineFeatures, Followed, FollowingEngine, FollowUps, Sampling
from dupo.records import Completion, Prompt

FEATURES = EngineFeatures(logprobs=True, distributions=False, new_weights=False, exact=True)


class Call(NamedTuple):
    """One call of `Engine.sample`."""

    prompts: list[Any]
    n: int
    sampling: Sampling
    seed: int


class FakeTokenizer:
    """One token for each character; the ids are code points, so that prompts can be read back."""

    eos_ids = frozenset({0})
    pad_id = 0

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        return [[ord(character) for character in "".join(prompt)] for prompt in prompts]

    def opens_thought(self, prompt: Prompt) -> bool:
        return False

    def most_tokens(self, prompt: Prompt) -> int:
        return len(self.encode([prompt])[0])

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        return ["".join(map(chr, row)) for row in ids]


class FakeEngine:
    """Says what a function of the text of the prompt and the number of the sample says."""

    features = FEATURES
    max_positions: int | None = None

    def __init__(self, reply: Callable[[str, int], str]) -> None:
        self.reply, self.calls = reply, list[Call]()
        self.tokenizer: Any = FakeTokenizer()

    def sample(self, prompts: Sequence[Any], n: int, sampling: Sampling, seed: int) -> list[list[Completion]]:
        self.calls.append(Call(list(prompts), n, sampling, seed))
        texts = [
            self.tokenizer.decode([prompt])[0] if isinstance(prompt, list) else "".join(prompt)
            for prompt in prompts
        ]
        return [[self._completion(self.reply(text, k)) for k in range(n)] for text in texts]

    @staticmethod
    def _completion(text: str) -> Completion:
        ids = torch.tensor([ord(character) for character in text] + [0])
        return Completion(ids, torch.full((len(ids),), -0.5), text, False)

    def load_weights(self, model: Any) -> None:
        raise NotImplementedError

    def release_memory(self) -> None:
        """There is none."""


class FollowingFake(FakeEngine):
    """An engine that takes prompts while it samples, or not; its last group is complete first.

    What it says depends on the seed, the prompt, the sample, and how often the prompt stood before in the
    call, as the draws of real engines do.

    Attributes:
        followed: prompts that came while others were under way.
    """

    def __init__(self, say: Callable[[str, random.Random], str], *, follows: bool) -> None:
        super().__init__(lambda text, k: "")
        self.say, self.followed = say, list[Any]()
        self.features = FEATURES._replace(follow_ups=follows)

    def sample(self, prompts: Sequence[Any], n: int, sampling: Sampling, seed: int) -> list[list[Completion]]:
        self.calls.append(Call(list(prompts), n, sampling, seed))
        return self._groups(prompts, n, seed, Counter())

    def sample_and_follow(
        self, prompts: Sequence[Any], n: int, sampling: Sampling, seed: int, follow: FollowUps
    ) -> Followed:
        groups, further, times = self.sample(prompts, n, sampling, seed), [], Counter[str]()
        for number in reversed(range(len(prompts))):
            more = follow.after(number, groups[number])
            self.followed += more
            further += self._groups(more, follow.n, follow.seed, times)
        return Followed(groups, further)

    def _groups(
        self, prompts: Sequence[Any], n: int, seed: int, times: Counter[str]
    ) -> list[list[Completion]]:
        groups = []
        for prompt in prompts:
            text = self.tokenizer.decode([prompt])[0] if isinstance(prompt, list) else "".join(prompt)
            draws = [random.Random(f"{seed} {text} {times[text]} {k}") for k in range(n)]
            times[text] += 1
            groups.append([self._completion(self.say(text, draw)) for draw in draws])
        return groups


class RecordingEngine:
    """Passes every call on to another engine, and remembers the calls."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.tokenizer, self.calls = engine, engine.tokenizer, list[Call]()

    @property
    def features(self) -> EngineFeatures:
        return self.engine.features

    @property
    def max_positions(self) -> int | None:
        return self.engine.max_positions

    def sample(self, prompts: Sequence[Any], n: int, sampling: Sampling, seed: int) -> list[list[Completion]]:
        self.calls.append(Call(list(prompts), n, sampling, seed))
        return self.engine.sample(prompts, n, sampling, seed)

    def load_weights(self, model: Any) -> None:
        self.engine.load_weights(model)

    def release_memory(self) -> None:
        self.engine.release_memory()


class FollowedEngine(RecordingEngine):
    """Passes calls on to an engine that takes prompts while it samples, or hides that it does.

    Attributes:
        num_followed: prompts that followed.
    """

    def __init__(self, engine: Engine, *, follows: bool) -> None:
        super().__init__(engine)
        self.follows, self.num_followed = follows, 0

    @property
    def features(self) -> EngineFeatures:
        return self.engine.features._replace(follow_ups=self.follows)

    def sample_and_follow(self, *arguments: Any) -> Followed:
        followed = cast(FollowingEngine, self.engine).sample_and_follow(*arguments)
        self.num_followed += len(followed.further)
        return followed
