"""The loops of docs/howto/own_loop.md train: beside the definition of each loss, written with autograd."""

import os
import sys
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Qwen3Config, Qwen3ForCausalLM

from tests.helpers.doc_blocks import blocks_of
from tests.helpers.project import ROOT

PAGE = ROOT / "docs/howto/own_loop.md"
VOCABULARY, STEPS, B, T = 13, 3, 4, 7
Loss = Callable[[Any, dict[str, Tensor]], Tensor]


def small_model(seed: int) -> Any:
    torch.manual_seed(seed)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "tie_word_embeddings": False}
    return Qwen3ForCausalLM(Qwen3Config(**sizes, **heads, initializer_range=0.5)).eval()


def batches() -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    rows = []
    for _ in range(STEPS):
        mask = torch.rand(B, T - 1, generator=generator) < 0.7
        mask[:, 0] = True
        ids = torch.randint(VOCABULARY, (B, T), generator=generator)
        numbers = torch.randn(3, B, generator=generator)
        row = {"ids": ids, "mask": mask, "advantages": numbers[0], "ref_logps": numbers[1] - 9.0}
        rows.append(row | {"old_logprobs": -2.0 + torch.randn(B, T - 1, generator=generator) / 4})
    return rows


def logprobs_of(model: Any, batch: dict[str, Tensor]) -> Tensor:
    logprobs = model(batch["ids"]).logits[:, :-1].log_softmax(-1)
    return logprobs.gather(-1, batch["ids"][:, 1:, None])[..., 0]


def dapo(model: Any, batch: dict[str, Tensor]) -> Tensor:
    ratio = (logprobs_of(model, batch) - batch["old_logprobs"]).exp()
    advantages = batch["advantages"][:, None]
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.28) * advantages)
    return -surrogate[batch["mask"]].mean()


def dpo(model: Any, batch: dict[str, Tensor]) -> Tensor:
    log_ratios = (logprobs_of(model, batch) * batch["mask"]).sum(1) - batch["ref_logps"]
    chosen, rejected = log_ratios.chunk(2)
    return -torch.nn.functional.logsigmoid(0.1 * (chosen - rejected)).mean()


def jsd(model: Any, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        teacher = small_model(1)(batch["ids"]).logits[:, :-1].softmax(-1)
    student = model(batch["ids"]).logits[:, :-1].softmax(-1)
    middle = (student + teacher) / 2
    both = [(p * (p / middle).log()).sum(-1) for p in (student, teacher)]
    return ((both[0] + both[1]) / 2)[batch["mask"]].mean()


@pytest.mark.parametrize(
    ("number", "loss", "peer"),
    [
        (0, dapo, None),
        pytest.param(1, dpo, "accelerate", marks=pytest.mark.slow),
        pytest.param(2, jsd, "lightning_fabric", marks=pytest.mark.slow),
    ],
    ids=["torch", "accelerate", "fabric"],
)
def test_a_loop_trains_as_its_definition(
    number: int, loss: Loss, peer: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if peer is not None:
        for folder in filter(None, (os.environ.get("DUPO_PEER_TRL"), os.environ.get("DUPO_PEER_FABRIC"))):
            monkeypatch.setattr(sys, "path", [*sys.path, folder])
        pytest.importorskip(peer)
    rows = batches()
    model, expected, loader = small_model(0), small_model(0), DataLoader(rows, batch_size=None)
    names = {"torch": torch, "model": model, "teacher": small_model(1), "rollouts": rows}
    block = [block for block in blocks_of(PAGE) if block.language == "python"][number]
    exec(compile(block.text, block.place, "exec"), names | {"pairs": loader, "texts": loader})
    optimizer = torch.optim.AdamW(expected.parameters(), lr=1e-3)
    start = deepcopy(expected)
    for batch in rows:
        loss(expected, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    for one, other, before in zip(*(m.parameters() for m in (model, expected, start)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-6)
        assert not torch.equal(other, before)
