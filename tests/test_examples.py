"""What the documentation shows is run as it stands."""

import re
import runpy
from pathlib import Path

import torch

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
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/loss_head.md").read_text(), re.DOTALL)
    torch.manual_seed(0)
    head, hidden = torch.nn.Linear(8, 11), torch.randn(2, 5, 8, requires_grad=True)
    names = {"head": head, "hidden": hidden, "targets": torch.randint(11, (2, 5)), "mask": torch.ones(2, 5)}
    names |= {"advantages": torch.tensor([1.0, -1.0]), "old": torch.full((2, 5), -2.4)}
    exec(code, names)
    assert hidden.grad is not None and hidden.grad.abs().sum() > 0
    assert head.weight.grad is not None and names["stats"]["tokens"] == 10
