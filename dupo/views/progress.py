"""How far a run is, how fast it goes and how long it still takes: words for a bar or for a line."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_SHOWN_METRICS = {"reward": "reward", "rebuilt": "dual/reconstruct_rate"}
_STEPS_OF_RATE = 50
PATIENCE = 2.0  # seconds, after which work inside of a step is shown as well


@dataclass(frozen=True)
class Plan:
    """What a bar counts.

    Attributes:
        total: steps of the whole run; the most that there can be where `is_most`.
        start: steps already done (a resumed run).
        headline: the held-out metric to show ("accuracy" for eval/accuracy); None: the first eval/ key.
        unit: what a step is called.
        title: what stands before the count; empty: nothing.
        is_most: the work may end before `total`.
        line_every: steps between two lines where there is no terminal.
    """

    total: int
    start: int = 0
    headline: str | None = None
    unit: str = "step"
    title: str = ""
    is_most: bool = False
    line_every: int = 10


@dataclass(frozen=True)
class Status:
    """What is known after one step.

    Attributes:
        evaluated: the step ended with a held-out evaluation.
        metrics: words such as "reward 0.500".
        pace: the rate and the time left; empty before the first step is timed.
    """

    step: int
    evaluated: bool
    metrics: list[str]
    pace: list[str]


class StepProgress:
    """Progress of one run; made by `Display.progress`.

    Args:
        plan: what is counted.
        clock: seconds, from any start.
        show: draws a status.
    """

    def __init__(self, plan: Plan, *, clock: Callable[[], float], show: Callable[[Status], None]) -> None:
        self._plan, self._clock, self._show = plan, clock, show
        self._recent = deque([(clock(), plan.start)], maxlen=_STEPS_OF_RATE)
        self._held_out = self._said = ""
        self._is_fast: bool | None = None

    def update(self, step: int, metrics: Mapping[str, Any], words: str | None = None) -> None:
        """Shows that `step` is done. Reads reward, dual/reconstruct_rate and eval/<headline> if present.

        Args:
            words: how far the work is; they stay until there are others.
        """
        # Only recent steps count: completions may grow longer while a model learns.
        self._recent.append((self._clock(), step))
        # A run without a headline shows whichever evaluation comes first in the row.
        first_evaluation = next((name for name in metrics if name.startswith("eval/")), "")
        headline = f"eval/{self._plan.headline}" if self._plan.headline else first_evaluation
        evaluated = headline in metrics
        # An evaluation comes every few hundred steps; its result stays on the screen until the next one.
        if evaluated:
            self._held_out = f"{headline.removeprefix('eval/')} {metrics[headline]:.3f}"
        shown = [
            f"{word} {metrics[name]:.3f}"
            for word, name in _SHOWN_METRICS.items()
            if isinstance(metrics.get(name), int | float)
        ]
        self._said = self._said if words is None else words
        shown += [text for text in (self._held_out, self._said) if text]
        self._show(Status(step, evaluated, shown, self._pace()))

    def _pace(self) -> list[str]:
        """Rate over the last 50 steps and time left; nothing before the first step is timed."""
        (begin, first), (now, last) = self._recent[0], self._recent[-1]
        if last == first or now == begin:
            return []
        rate = (last - first) / (now - begin)
        # Slow steps read better as seconds per step than as 0.0 steps per second.
        unit, most = self._plan.unit, "at most " if self._plan.is_most else ""
        # Only a clear change of speed changes the unit: rates near 1 would flip it from line to line.
        self._is_fast = rate >= 0.5 if self._is_fast else rate >= (2 if self._is_fast is False else 1)
        speed = f"{rate:.1f} {unit}s/s" if self._is_fast else f"{1 / rate:.1f} s/{unit}"
        return [speed, f"{most}{_duration((self._plan.total - last) / rate)} left"]


@dataclass(frozen=True)
class PartStatus:
    """How far one part of some work is.

    Attributes:
        seconds: since the part began.
        count: "512/2,000 samples".
        left: "0:40 left"; empty as long as the rate is not known.
    """

    done: int
    total: int
    seconds: float
    count: str
    left: str

    @property
    def words(self) -> str:
        """Count and time left in one line."""
        return ", ".join(text for text in (self.count, self.left) if text)


class PartProgress:
    """Progress of work that tells by itself how far it is (`dupo.progress`), part after part.

    Args:
        clock: seconds, from any start.
        show: draws a status.
    """

    def __init__(self, *, clock: Callable[[], float], show: Callable[[PartStatus], None]) -> None:
        self._clock, self._show = clock, show
        self._began = clock()
        self._part, self._first, self._last = ("", 0), 0, 0

    def hear(self, unit: str, done: int, total: int) -> None:
        """A listener of `dupo.progress`."""
        now = self._clock()
        # Work often has several parts, answers before duals: each has a count and a rate of its own.
        if self._part != (unit, total) or done < self._last:
            self._part, self._began, self._first = (unit, total), now, done
        self._last = done
        seconds, num = now - self._began, done - self._first
        left = f"{_duration((total - done) * seconds / num)} left" if num and seconds else ""
        self._show(PartStatus(done, total, seconds, f"{done:,}/{total:,} {unit}", left))


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
