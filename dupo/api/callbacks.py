"""Callbacks: what a user wants to see of a run while it trains, and when the run shall stop."""

import inspect
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

from dupo.errors import UserError, quoted

METHODS = ("on_step", "on_evaluate")
_EXPECTED = (
    "functions of (step, metrics), or objects with on_step(step, metrics) or on_evaluate(step, metrics)"
)
Hook = Callable[[int, dict[str, Any]], Any]


# Neither True nor False: a callback that returns what it printed or counted must not end a run.
class _Stop(Enum):
    STOP = "stop"

    def __repr__(self) -> str:
        return "dupo.api.STOP"


STOP: Final = _Stop.STOP  # what a callback returns to end the run after the step


class Callbacks:
    """Calls the hooks of all callbacks after a step.

    Args:
        callbacks: a list, as the functions of `dupo.api` take it; None: no callback.

    Raises:
        UserError: something in the list is no callback.
    """

    def __init__(self, callbacks: Any) -> None:
        if not isinstance(callbacks, list | tuple | None):
            raise UserError(f"callbacks: expected a list of {_EXPECTED}, got {quoted(callbacks)}")
        self._on_step: list[Hook] = []
        self._on_evaluate: list[Hook] = []
        for callback in callbacks or ():
            # A class, as transformers takes one, stands for an object of it.
            hooks = _hooks_of(callback() if isinstance(callback, type) else callback)
            self._on_step += [hooks["on_step"]] if "on_step" in hooks else []
            self._on_evaluate += [hooks["on_evaluate"]] if "on_evaluate" in hooks else []

    def tell(self, row: Mapping[str, Any]) -> bool:
        """Calls every hook with a copy of a row of metrics.jsonl; returns whether one asks to stop."""
        step = row["step"]
        metrics = {name: value for name, value in row.items() if name != "step"}
        measured = {name: value for name, value in metrics.items() if name.startswith("eval/")}
        answers = [hook(step, dict(metrics)) for hook in self._on_step]
        answers += [hook(step, dict(measured)) for hook in self._on_evaluate if measured]
        return any(answer is STOP for answer in answers)


def _hooks_of(callback: Any) -> dict[str, Hook]:
    """Name -> hook of one callback; a plain function is its own `on_step`."""
    hooks = {name: getattr(callback, name) for name in METHODS if hasattr(callback, name)}
    if hasattr(callback, "on_step_end"):
        other = "a callback of transformers, whose methods take other arguments"
        raise UserError(f"callbacks: expected {_EXPECTED}, got {other}: {quoted(callback)}")
    if not hooks and callable(callback):
        hooks = {"on_step": callback}
    if not hooks:
        raise UserError(f"callbacks: expected {_EXPECTED}, got {quoted(callback)}")
    for name, hook in hooks.items():
        if not _takes_step_and_metrics(hook):
            raise UserError(f"callbacks: expected {name}(step, metrics), got {quoted(hook)}")
    return hooks


def _takes_step_and_metrics(hook: Any) -> bool:
    try:
        inspect.signature(hook).bind(0, {})
    except TypeError:
        return False
    except ValueError:  # a function of C, which does not tell
        return callable(hook)
    return True
