"""Taught weights of the built-in model that come with the package, so that a first run begins at once.

`python -m bench.taught_start` makes the file of a task: the teaching of seed 0, as `--teach` does it.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from dupo.config.config import Config
from dupo.models.load import Model

TAUGHT_SEED = 0
MADE = "made"  # the only name in the metadata of a file: safetensors keeps no order of several


def taught_file(task: str) -> Path:
    """Where the taught weights of a built-in task stand, if the package has such weights."""
    return Path(__file__).parent / "taught" / f"{task}.safetensors"


def comes_taught(config: Config) -> bool:
    """Whether a run that needs teaching takes the weights of the package instead."""
    model = config.model
    # Other tokens would be other rows of the embedding.
    own_tokens = any(name is not None for name in (model.tokenizer_name, model.pad_token, model.eos_token))
    is_there = config.run.seed == TAUGHT_SEED and taught_file(config.task.task).is_file()
    return is_there and not own_tokens and not model.teach


def made_of(task: str) -> dict[str, Any]:
    """What made the file of a task: `by` (library, CPU, threads) and `facts` (what summary.json tells)."""
    with safe_open(taught_file(task), framework="pt") as file:
        return json.loads(file.metadata()[MADE])


def taught_note(task: str) -> str:
    """The row of the start-up table."""
    return f"came with the package: {_in_words(made_of(task))}; it stands in for pre-training (--teach: anew)"


def _in_words(made: dict[str, Any]) -> str:
    """How much was taught."""
    facts = made["facts"]
    return f"supervised, {facts['teaching_steps']} steps on {facts['teaching_labels']:,} labelled examples"


class TaughtStart:
    """The stage of a run that needs no teaching any more; see `dupo.methods.base.Stage`.

    Args:
        task: a task whose file is there.
        target: the model that gets the weights, of the shape that was taught.
    """

    name = "teaching"

    def __init__(self, task: str, target: Model) -> None:
        self.task, self.target, self.made = task, target, made_of(task)
        self.steps: int = self.made["facts"]["teaching_steps"]
        self.most_steps = self.steps

    def finished(self) -> bool:
        """Always: the teaching was done when the package was made."""
        return True

    def step(self) -> str | None:
        """Never called, as the stage is finished from the start."""
        raise AssertionError("the teaching is over")

    @torch.no_grad()
    def finish(self) -> str:
        """Copies the weights into the model of the method."""
        with safe_open(taught_file(self.task), framework="pt") as file:
            for name, weight in self.target.named_parameters():
                weight.copy_(file.get_tensor(name))
        return f"taught weights loaded: {_in_words(self.made)}"

    def facts(self) -> dict[str, Any]:
        """Steps, labelled examples, and the labelled problems that told when to stop."""
        return dict(self.made["facts"])

    def state(self) -> dict[str, Any]:
        """Nothing: the next step is one of the method."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes nothing of a teaching that was stopped: the weights of the package are there."""
