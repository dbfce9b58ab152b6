"""A stage before a method that takes no time: it stands for the teaching."""

from collections.abc import Callable
from typing import Any

import torch


class Lesson:
    """Makes a few steps, then sets a weight of the model to their number.

    Args:
        length: steps to make.
        on_step: is told the number of every step that was made.
    """

    name, most_steps = "lesson", 1000

    def __init__(
        self, model: torch.nn.Module, length: int, on_step: Callable[[int], object] = lambda _: None
    ) -> None:
        self.model, self.length, self.on_step, self.steps = model, length, on_step, 0

    def step(self) -> None:
        self.steps += 1
        self.on_step(self.steps)

    def finished(self) -> bool:
        return self.steps == self.length

    def finish(self) -> str:
        with torch.no_grad():
            next(self.model.parameters()).fill_(self.steps)
        return "taught"

    def facts(self) -> dict[str, Any]:
        return {}

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
