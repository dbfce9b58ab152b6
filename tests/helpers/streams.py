"""Streams and clocks that a display may be given, and one sampled exchange to show."""

import io
import re
from typing import Any

SAMPLE: dict[str, Any] = {
    "step": 7,
    "problem": "train.jsonl:17",
    "prompt": "17 + 25 =",
    "completion": "the sum is 42",
    "answer": "42",
    "reward": 0.5,
    "correct": True,
    "duals": [{"prompt": "A + 25 = 42, A?", "completion": "A = 71", "unknown": "17", "distance": 1.0}],
}


class Stream(io.TextIOWrapper):
    """A text stream over memory, in any encoding, that may claim to be a terminal."""

    def __init__(self, terminal: bool = False, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def written(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


class Clock:
    """Stands in for time.monotonic; the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def without_codes(text: str) -> str:
    """The text without the control codes of a terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "\n")
