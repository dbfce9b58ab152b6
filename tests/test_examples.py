"""What the documentation shows is run as it stands."""

import re
import runpy
from pathlib import Path

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from dupo_kernels import token_logprobs_ref

ROOT = Path(__file__).parents[1]


def test_own_trainer_learns():
    train = runpy.run_path(str(ROOT / "examples" / "own_trainer.py"))["train"]
    assert train() > 0.9


def test_the_readme_s_code_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 11, requires_grad=True)
    targets = torch.randint(11, (2, 5))
    old = torch.log_softmax(logits.detach() / 0.9, -1).gather(-1, targets[..., None])[..., 0]
    names = {"logits": logits, "targets": targets, "old": old, "advantages": torch.tensor([1.0, -1.0])}
    names["mask"] = torch.ones(2, 5)
    exec(code, names)
    assert torch.allclose(names["logprobs"], old, atol=1e-5)
    assert logits.grad is not None and logits.grad.abs().sum() > 0


def test_the_readme_names_files_that_exist():
    text = (ROOT / "README.md").read_text() + (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`((?:dupo|kernels|bench|tests|examples|docs|dev)/[\w/.]+?\.\w+)", text))
    assert len(named) > 5
    assert all((ROOT / name).exists() for name in named), [n for n in named if not (ROOT / n).exists()]


def test_the_code_of_the_loss_head_s_page_runs():
    """With a model of transformers, whose weights move in the first example."""
    step, old, own = re.findall(r"```python\n(.*?)```", (ROOT / "docs/loss_head.md").read_text(), re.DOTALL)
    torch.manual_seed(0)
    sizes = {"vocab_size": 11, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "tie_word_embeddings": True}
    model = Qwen3ForCausalLM(Qwen3Config(**sizes, **heads))
    ids, mask = torch.randint(11, (2, 6)), torch.ones(2, 5)
    mask[1, 3:] = 0
    with torch.no_grad():
        expected = token_logprobs_ref(model(ids).logits[:, :-1], ids[:, 1:], temperature=0.9)[0] * mask
    names = {"torch": torch, "model": model, "ids": ids, "mask": mask, "old": expected}
    names["advantages"] = torch.tensor([1.0, -1.0])
    exec(step, names)
    loss, advantages = names["loss"], names["advantages"][:, None]
    assert torch.allclose(loss, -(advantages * mask).sum() / mask.sum(), atol=1e-6)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    exec(old, names)
    assert torch.allclose(names["old"], expected, atol=1e-5)
    exec(own, names)
    assert names["stats"].keys() == {"surprise", "top1_agreement", "tokens"}
    assert names["stats"]["tokens"] == 8
