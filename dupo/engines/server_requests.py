"""The requests of one call of a server engine: answers that are kept, answers that come, and what follows."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Event
from typing import Any, NamedTuple, Protocol

from dupo.engines.connection import Stopped
from dupo.engines.in_flight import Call
from dupo.engines.openai_protocol import ServerAnswer
from dupo.progress import tell_progress
from dupo.records import Prompt

Answer = ServerAnswer | None  # None: the prompt is too long


class Answers(Protocol):
    """Answers of earlier starts of a run, by the key of their request; see `storage.kept_answers`."""

    def __len__(self) -> int: ...

    def __contains__(self, key: str) -> bool: ...

    def get(self, key: str) -> Mapping[str, Any]:
        """The answer to a request."""
        ...

    def put(self, key: str, answer: Mapping[str, Any]) -> None:
        """Keeps an answer."""
        ...

    def sync(self) -> None:
        """Waits until all answers are on the disk."""
        ...


class Request(NamedTuple):
    """What a server is asked for one completion.

    Attributes:
        key: of the answer among those that are kept.
    """

    key: str
    prompt: Prompt | list[int]
    body: Mapping[str, Any]


class PendingRequests:
    """Turns requests into calls for `run_all`, and results of calls into answers.

    Args:
        requests: grows by those that follow.
        kept: answers of earlier starts; None: none are kept.
        follow: further requests, from the number of a request and its answer; None: nothing follows.
        ask: (prompt, body, event that ends the waiting) -> answer.

    Attributes:
        answers: number of a request -> its answer.
    """

    def __init__(
        self,
        requests: list[Request],
        kept: Answers | None,
        follow: Callable[[int, Answer], list[Request]] | None,
        ask: Callable[[Prompt | list[int], Mapping[str, Any], Event], Answer],
    ) -> None:
        self.requests, self.kept, self.follow, self.ask = requests, kept, follow, ask
        self.answers = dict[int, Answer]()
        self._numbers = list[int]()  # of the request of each call
        self._num_looked_up = 0

    def calls(self) -> list[Call[Answer]]:
        """What must be asked for of the new requests. Everything that is kept is looked up before."""
        calls = list[Call[Answer]]()
        # What is kept may lead to requests of its own, which are looked up in the same walk.
        while (number := self._num_looked_up) < len(self.requests):
            self._num_looked_up += 1
            key, prompt, body = self.requests[number]
            if self.kept is not None and key in self.kept:
                self.answers[number] = ServerAnswer(**self.kept.get(key))
                self._extend_after(number)
            else:
                calls.append(partial(self.ask, prompt, body))
                self._numbers.append(number)
        return calls

    def take(self, call: int, answer: Answer) -> None:
        """Takes the result of a call."""
        number = self._numbers[call]
        self.answers[number] = answer
        if self.kept is not None and answer is not None:
            self.kept.put(self.requests[number].key, answer._asdict())
        if self.follow is None:
            tell_progress("samples", len(self.answers), len(self.requests))

    def calls_after(self, call: int) -> Sequence[Call[Answer]]:
        """The calls that follow from one whose result was taken."""
        # After `take`: an answer is kept before anything that may fail is made of it.
        self._extend_after(self._numbers[call])
        return self.calls()

    def _extend_after(self, number: int) -> None:
        if self.follow is not None:
            self.requests += self.follow(number, self.answers[number])


def is_stopped(problem: BaseException) -> bool:
    """Whether a request was given up because another one had failed."""
    return isinstance(problem, Stopped)
