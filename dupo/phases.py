"""What the seconds of a run go to: answers, duals, rewards, the update, evaluation, checkpoints."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """A clock for each phase. Phases do not overlap, so their seconds add up."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Adds the seconds of the block to those of the phase `name`, also where the block fails."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - started

    def take(self) -> dict[str, float]:
        """Name -> seconds since the last call."""
        # Handed over and begun anew: a row tells of one step, not of all before it.
        seconds, self._seconds = self._seconds, {}
        return seconds
