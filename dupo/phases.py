"""What the seconds of a run go to: answers, duals, rewards, the update, evaluation, checkpoints."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """A clock for each phase. One runs at a time, so their seconds add up.

    Where duals are decoded beside answers, the seconds are those of answers until all answers are there, and
    those of duals from then on.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._name, self._started = "", 0.0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Adds the seconds of the block to those of the phase `name`, also where the block fails."""
        self._name, self._started = name, time.monotonic()
        try:
            yield
        finally:
            self.turn_to("")

    def turn_to(self, name: str) -> None:
        """Lets the seconds of the rest of the block count for the phase `name`."""
        # One reading of the clock for both: no second is lost between two phases, and none counts twice.
        now = time.monotonic()
        self._seconds[self._name] = self._seconds.get(self._name, 0.0) + now - self._started
        self._name, self._started = name, now

    def take(self) -> dict[str, float]:
        """Name -> seconds since the last call."""
        # Handed over and begun anew: a row tells of one step, not of all before it.
        seconds, self._seconds = self._seconds, {}
        return seconds
