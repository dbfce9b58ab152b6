"""Small things that several tests need: an untaught policy, fake completions, and what a run wrote."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from transformers import PreTrainedModel

from dupo.config.command_line import parse
from dupo.config.config import Config
from dupo.engines.builtin import BuiltinEngine
from dupo.engines.load import make_engine
from dupo.learning.logprobs import Compute
from dupo.models.load import end_tokens, load_model, model_config
from dupo.models.tokenizers import load_tokenizer
from dupo.records import Completion, Prompt
from dupo.tasks import make_task
from dupo.tasks.arithmetic import reversed_digits
from dupo.tasks.base import Task
from dupo.text.tokenizer import PromptTokenizer

CPU = torch.device("cpu")


class World(NamedTuple):
    """The built-in model with random weights, and what comes with it."""

    model: PreTrainedModel
    tokenizer: PromptTokenizer
    engine: BuiltinEngine
    config: Config

    @property
    def compute(self) -> Compute:
        """How the options make passes through the model."""
        c = self.config
        return Compute(c.rollout.temperature, c.model.compute_dtype, c.optimizer.token_budget)


def tiny(*options: str, spread: float = 1.0) -> World:
    """The built-in model, untaught; `spread` scales its logits, so that they are not all alike."""
    config = parse(["--num_threads", "1", *options])
    # The vocabulary is that of the task; its problems are not looked at.
    few = replace(config.task, eval_size=0)
    lessons = make_task(few, 0).lessons if config.model.model_name_or_path == "tiny" else None
    tokenizer = load_tokenizer(config.model, lessons.vocabulary if lessons else None)
    model = load_model(config.model, model_config(config.model, tokenizer), CPU, config.run.seed)
    tokenizer.eos_ids |= end_tokens(model)
    engine = cast(BuiltinEngine, make_engine(config, model, tokenizer))
    with torch.no_grad():
        engine.model.get_input_embeddings().weight.mul_(spread)
    return World(engine.model, tokenizer, engine, config)


def task_of(config: Config) -> Task:
    """The task of a config, with the problems of its seed."""
    return make_task(config.task, config.run.seed)


def save_tiny(folder: Path, seed: int = 0, *options: str) -> Path:
    """The same as a folder that `--model_name_or_path` takes: a run from it needs no teaching."""
    world = tiny("--seed", str(seed), *options)
    world.model.save_pretrained(folder)
    world.tokenizer.hf.save_pretrained(folder)
    return folder


def said(text: str) -> Completion:
    """A completion of two tokens."""
    return Completion(torch.tensor([1, 2]), torch.zeros(2), text, False)


def solver(prompts: Sequence[Prompt]) -> list[list[Completion]]:
    """A perfect judge of the arithmetic task: solves the masked equation for the hidden operand, however
    wrong the answer is; without an answer the judge says nothing."""
    replies = []
    for prompt in map("".join, prompts):
        op = "+" if "+" in prompt else "-"
        first, _, rest = prompt[1:].partition(op)
        second, _, answer = rest.rstrip(":").partition("=")
        if not answer[:4].isdigit():
            replies.append([said("???")])
            continue
        x, y, z = (int(digits[::-1]) if digits != "?" else None for digits in (first, second, answer[:4]))
        sign = 1 if op == "+" else -1
        hidden = z - sign * y if x is None else sign * (z - x)
        replies.append([said(reversed_digits(hidden, 3) if 0 <= hidden < 1000 else "???")])
    return replies


def rows(run: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """The rows of a .jsonl file of a run."""
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def summary(run: Path) -> dict[str, Any]:
    """What summary.json of a run holds."""
    return json.loads((run / "summary.json").read_text())
