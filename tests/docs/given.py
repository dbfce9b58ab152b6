"""What pages take for granted: the files that their commands read, the names that their code reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from dupo_kernels import token_logprobs_ref

QUESTIONS = [
    {"question": f"Tom has {n} pens and buys {n + 5} more. How many pens has he?", "answer": str(2 * n + 5)}
    for n in range(3, 15)
]
PAIRS = [{"prompt": f"Say {n}.", "completion": f"{n}, as asked."} for n in range(12)]
SENTENCES = [
    "The train leaves at noon.",
    "It rained all night.",
    "We sold the house.",
    "She reads a book.",
] * 3
TRANSLATIONS = [
    "Der Zug fährt mittags.",
    "Es regnete.",
    "Wir verkauften das Haus.",
    "Sie liest ein Buch.",
] * 3


def write_files(folder: Path) -> None:
    """The data sets that pages name without showing them."""

    def write(name: str, rows: list[dict[str, str]]) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    for name in ("train.jsonl", "questions.jsonl", "problems.jsonl", "data/gsm8k/train.jsonl"):
        write(name, QUESTIONS)
    write("pairs.jsonl", PAIRS)
    for name in ("flores_dev", "data/flores_dev"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "dev.en").write_text("\n".join(SENTENCES) + "\n")
        (folder / name / "dev.de").write_text("\n".join(TRANSLATIONS) + "\n")


def names_of_readme() -> dict[str, Any]:
    """Logits of two sequences of five tokens."""
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 11, requires_grad=True)
    targets = torch.randint(11, (2, 5))
    old = torch.log_softmax(logits.detach() / 0.9, -1).gather(-1, targets[..., None])[..., 0]
    names = {"logits": logits, "targets": targets, "old": old, "advantages": torch.tensor([1.0, -1.0])}
    return names | {"mask": torch.ones(2, 5)}


def check_readme(number: int, names: dict[str, Any]) -> None:
    if "loss" in names:
        assert torch.allclose(names["logprobs"], names["old"], atol=1e-5)
        assert names["logits"].grad is not None and names["logits"].grad.abs().sum() > 0


def names_of_loss_head() -> dict[str, Any]:
    """A model of transformers, whose weights move in the first block."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 11, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "tie_word_embeddings": True}
    model = Qwen3ForCausalLM(Qwen3Config(**sizes, **heads))
    ids, mask = torch.randint(11, (2, 6)), torch.ones(2, 5)
    mask[1, 3:] = 0
    with torch.no_grad():
        old = token_logprobs_ref(model(ids).logits[:, :-1], ids[:, 1:], temperature=0.9)[0] * mask
    names = {
        "torch": torch,
        "model": model,
        "teacher": model,
        "ids": ids,
        "mask": mask,
        "old": old,
        "expected": old,
    }
    return names | {"advantages": torch.tensor([1.0, -1.0])}


def check_loss_head(number: int, names: dict[str, Any]) -> None:
    mask, advantages = names["mask"], names["advantages"][:, None]
    if number == 0:
        assert torch.allclose(names["loss"], -(advantages * mask).sum() / mask.sum(), atol=1e-6)
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in names["model"].parameters())
    if number == 1:
        assert torch.allclose(names["old"], names["expected"], atol=1e-5)
    if number == 2:
        assert names["stats"].keys() == {"surprise", "top1_agreement", "tokens"}
        assert names["stats"]["tokens"] == 8
    if number == 3:
        # The teacher is the student: its likeliest tokens are those of the student.
        q = names["q"] * mask[..., None]
        assert torch.allclose(names["loss"], -(q * names["q"].log()).sum() / mask.sum(), atol=1e-5)
        assert names["accuracy"] == 1.0
    if number == 4:
        # The policy is its own reference but for the temperature of the old log-probabilities.
        assert names["stats"]["groups"] == 1 and names["stats"]["logps/chosen"] < 0
    if number == 5:
        # Both log-ratios are 0: half of the weight of each label.
        assert torch.allclose(names["loss"], torch.tensor((0.5 + 0.5 * 0.5) / 2), atol=1e-6)
    if number == 6:
        # The teacher is the student.
        assert names["loss"].abs() < 1e-6 and names["stats"]["tokens"] == 8
    if number == 7:
        # Again the teacher is the student.
        logp = names["model"](names["ids"]).logits[:, :-1].log_softmax(-1)
        of_label = logp.gather(-1, names["ids"][:, 1:, None])[..., 0]
        expected = -(0.9 * logp.amax(-1) + 0.1 * of_label)[mask != 0].mean()
        assert torch.allclose(names["loss"], expected, atol=1e-5)


def names_of_own_loop() -> dict[str, Any]:
    """Of the first loop alone; tests/docs/test_own_loop.py runs all."""
    names = names_of_loss_head()
    batch = {name: names[name] for name in ("ids", "mask", "advantages")} | {"old_logprobs": names["old"]}
    return names | {"rollouts": [batch]}


NAMES: dict[str, Callable[[], dict[str, Any]]] = {
    "README.md": names_of_readme,
    "docs/loss_head.md": names_of_loss_head,
    "docs/howto/own_loop.md": names_of_own_loop,
}
CHECKS: dict[str, Callable[[int, dict[str, Any]], None]] = {
    "README.md": check_readme,
    "docs/loss_head.md": check_loss_head,
}
