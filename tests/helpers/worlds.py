"""Small things that several tests need: a tiny policy without warm-up, and what a run wrote."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from dupo.config.command_line import parse
from dupo.config.options import Config
from dupo.models import load as policy
from dupo.models.tokenizers import load_tokenizer
from dupo.records import Completion, Prompt
from dupo.tasks.arithmetic import write
from dupo.text.tokenizer import PromptTokenizer


def tiny(*options: str, spread: float = 1.0) -> tuple[PreTrainedModel, PromptTokenizer, Config]:
    """The built-in model with random weights; `spread` scales its logits, so that they are not all alike."""
    config = parse(["--num_threads", "1", *options])
    tokenizer = load_tokenizer(config)
    model = policy.load_model(config, policy.model_config(config, tokenizer), torch.device("cpu"))
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(spread)
    return model, tokenizer, config


def save_tiny(folder: Path, seed: int = 0, *options: str) -> Path:
    """The same as a folder that `--model_name_or_path` takes: a run from it needs no warm-up."""
    model, tokenizer, _ = tiny("--seed", str(seed), *options)
    model.save_pretrained(folder)
    tokenizer.hf.save_pretrained(folder)
    return folder


def said(text: str) -> Completion:
    """A completion of two tokens."""
    return Completion([1, 2], [0.0, 0.0], text, False)


def solver(prompts: Sequence[Prompt]) -> list[list[Completion]]:
    """A perfect dual model of the arithmetic task: solves the masked equation for the hidden operand, however
    wrong the answer is; without one it says nothing."""
    replies = []
    for prompt in map("".join, prompts):
        op = "+" if "+" in prompt else "-"
        first, _, rest = prompt[1:].partition(op)
        second, _, answer = rest.rstrip(":").partition("=")
        if not answer[:4].isdigit():
            replies.append([said("???")])
            continue
        a, b, c = (int(x[::-1]) if x != "?" else None for x in (first, second, answer[:4]))
        sign = 1 if op == "+" else -1
        hidden = c - sign * b if a is None else sign * (c - a)
        replies.append([said(write(hidden, 3) if 0 <= hidden < 1000 else "???")])
    return replies


def rows(run: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())
