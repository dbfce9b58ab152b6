"""An engine without a model: answers right with a given chance, and duals from a function."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dupo.config.config import Config
from dupo.config.model_options import ModelOptions
from dupo.duality.reconstruct import Ask
from dupo.engines.base import Engine, EngineFeatures, Sampling
from dupo.engines.load import load_engine
from dupo.records import Completion, Prompt
from dupo.run.program import run_program
from dupo.run.rows import LoadEngine
from dupo.tasks import make_task
from dupo.text.tokenizer import PromptTokenizer
from tests.helpers.engines import RecordingEngine
from tests.helpers.worlds import said, solver

# (gold answers of the prompts, samples of each, seed) -> texts of the samples
Answers = Callable[[Sequence[str | None], int, int], list[list[str]]]


class PlannedEngine:
    """See `dupo.engines.base.Engine`. Primal prompts come as token ids, dual prompts as text."""

    max_positions: int | None = None

    def __init__(
        self, tokenizer: PromptTokenizer, golds: Mapping[str, str | None], answers: Answers, ask: Ask
    ) -> None:
        self.tokenizer, self.golds, self.answers, self.ask = tokenizer, golds, answers, ask

    @property
    def features(self) -> EngineFeatures:
        return EngineFeatures(logprobs=False, distributions=False, new_weights=False)

    def sample(
        self, prompts: Sequence[Prompt] | Sequence[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        if not is_primal(prompts):
            return self.ask(prompts)  # type: ignore[arg-type]
        golds = [self.golds[text] for text in self.tokenizer.decode(prompts)]  # type: ignore[arg-type]
        return [
            [Completion(torch.ones(5, dtype=torch.int64), torch.zeros(5), text, False) for text in group]
            for group in self.answers(golds, n, seed)
        ]

    def load_weights(self, model: Any) -> None:
        raise NotImplementedError


def write_jsonl(file: Path, *lines: dict[str, Any]) -> str:
    """Writes a data set and returns its path."""
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


def is_primal(prompts: Sequence[Any]) -> bool:
    """Whether the prompts are those of primals: `sample_answers` encodes them, a judge does not."""
    return bool(prompts) and isinstance(prompts[0], list)


def fake(ask: Ask, right: float = 0.4, read: float = 0.9, answers: Answers | None = None) -> LoadEngine:
    """Loads a fake engine in the place of every model.

    Args:
        ask: answers the duals.
        right: chance of a right answer.
        read: chance of an answer that can be read; one that is not right is off by a digit.
        answers: in the place of both chances.
    """
    chosen = answers or partial(off_by_a_digit, right=right, read=read)

    def load(
        config: Config, options: ModelOptions, tokenizer: PromptTokenizer, device: torch.device
    ) -> Engine:
        task = make_task(config.task, config.run.seed)
        golds = {task.prompt(p): p.gold for p in [*task.problems, *task.held_out]}
        return PlannedEngine(tokenizer, golds, chosen, ask)

    return load


def off_by_a_digit(
    golds: Sequence[str | None], n: int, seed: int, *, right: float, read: float
) -> list[list[str]]:
    """Right answers with a chance, else answers that are off by a digit or unreadable."""
    rng = random.Random(seed)

    def text_for(gold: str) -> str:
        luck = rng.random()
        if luck < right:
            return gold
        place = rng.randrange(len(gold))
        digit = str((int(gold[place]) + rng.randint(1, 9)) % 10)
        return gold[:place] + digit + gold[place + 1 :] if luck < read else "no idea"

    return [[text_for(gold or "0000") for _ in range(n)] for gold in golds]


def solve(prompts: Sequence[Prompt]) -> list[list[Completion]]:
    """The perfect judge, which has nothing to say where there is no answer."""
    return [[said("")] if prompt[1] == "" else solver([prompt])[0] for prompt in prompts]


def untaught(*_: Any) -> None:
    """Stands in for the teaching: the built-in model stays as it is."""


def start(
    program: str, body: Callable[..., Any], load: LoadEngine, out: Path, *options: str, code: int = 0
) -> Path:
    """Runs a program as its door does, with engines from `load`, and returns its folder."""
    argv = [*options, "--output_dir", str(out)]
    assert run_program(program, partial(body, load=load, teach=untaught), argv) == code
    return out


class WatchedEngine(RecordingEngine):
    """A real engine that tells `see` of every call: (whether primal, samples of each prompt, completions)."""

    def __init__(self, engine: Engine, see: Callable[[bool, int, list[list[Completion]]], None]) -> None:
        super().__init__(engine)
        self.see = see

    def sample(self, prompts: Sequence[Any], n: int, sampling: Sampling, seed: int) -> list[list[Completion]]:
        completions = super().sample(prompts, n, sampling, seed)
        self.see(is_primal(prompts), n, completions)
        return completions


def watched(see: Callable[[bool, int, list[list[Completion]]], None]) -> LoadEngine:
    """Loads real engines that tell `see` of every call."""

    def load(
        config: Config, options: ModelOptions, tokenizer: PromptTokenizer, device: torch.device
    ) -> Engine:
        return WatchedEngine(load_engine(config, options, tokenizer, device), see)

    return load
