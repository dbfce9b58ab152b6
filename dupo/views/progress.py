"""How far a run is, how fast it goes and how long it still takes: words for a bar or for a line."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_SHOWN_METRICS = {"reward": "reward", "rebuilt": "dual/reconstruct_rate"}
_STEPS_OF_RATE = 50


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
        total: steps of the whole run.
        start: steps already done (a resumed run).
        headline: the held-out metric to show ("accuracy" for eval/accuracy); None: the first eval/ key.
        unit: what a step is called.
        clock: seconds, from any start.
        show: draws a status.
    """

    def __init__(
        self,
        total: int,
        start: int,
        headline: str | None,
        unit: str,
        *,
        clock: Callable[[], float],
        show: Callable[[Status], None],
    ) -> None:
        self._total, self._headline, self._unit = total, headline, unit
        self._clock, self._show = clock, show
        self._recent = deque([(clock(), start)], maxlen=_STEPS_OF_RATE)
        self._held_out = ""

    def update(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Shows that `step` is done. Reads reward, dual/reconstruct_rate and eval/<headline> if present."""
        # Only recent steps count: completions may grow longer while a model learns.
        self._recent.append((self._clock(), step))
        # A run without a headline shows whichever evaluation comes first in the row.
        first_evaluation = next((name for name in metrics if name.startswith("eval/")), "")
        headline = f"eval/{self._headline}" if self._headline else first_evaluation
        evaluated = headline in metrics
        # An evaluation comes every few hundred steps; its result stays on the screen until the next one.
        if evaluated:
            self._held_out = f"{headline.removeprefix('eval/')} {metrics[headline]:.3f}"
        words = [
            f"{word} {metrics[name]:.3f}"
            for word, name in _SHOWN_METRICS.items()
            if isinstance(metrics.get(name), int | float)
        ]
        words += [self._held_out] if self._held_out else []
        self._show(Status(step, evaluated, words, self._pace()))

    def _pace(self) -> list[str]:
        """Rate over the last 50 steps and time left; nothing before the first step is timed."""
        (begin, first), (now, last) = self._recent[0], self._recent[-1]
        if last == first or now == begin:
            return []
        rate = (last - first) / (now - begin)
        # Slow steps read better as seconds per step than as 0.0 steps per second.
        speed = f"{rate:.1f} {self._unit}s/s" if rate >= 1 else f"{1 / rate:.1f} s/{self._unit}"
        return [speed, f"{_duration((self._total - last) / rate)} left"]


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
