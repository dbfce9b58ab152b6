"""What the documentation shows is run as it stands."""

import importlib
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from dupo_kernels import token_logprobs_ref

ROOT = Path(__file__).parents[2]


def test_own_trainer_learns():
    train = runpy.run_path(str(ROOT / "examples" / "own_trainer.py"))["train"]
    assert train() > 0.9


def test_the_readme_s_code_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (code,) = (block for block in blocks if "dupo_kernels" in block)
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
    step_code, old_code, objective_code = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/loss_head.md").read_text(), re.DOTALL
    )
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
    exec(step_code, names)
    loss, advantages = names["loss"], names["advantages"][:, None]
    assert torch.allclose(loss, -(advantages * mask).sum() / mask.sum(), atol=1e-6)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    exec(old_code, names)
    assert torch.allclose(names["old"], expected, atol=1e-5)
    exec(objective_code, names)
    assert names["stats"].keys() == {"surprise", "top1_agreement", "tokens"}
    assert names["stats"]["tokens"] == 8


HYPOTHESES, REFERENCES, SOURCES = ["a", "bb", "c"], ["A", "B", "CCC"], ["1", "2", "3"]
COMET = """
def download_model(model):
    return f"cache/{model}"
def load_from_checkpoint(checkpoint_path):
    print("Lightning talks to stdout")
    return Model()
class Model:
    def predict(self, samples, batch_size=16, gpus=1, devices=None, mc_dropout=0, progress_bar=True):
        print("Predicting")
        assert progress_bar is False
        scores = [len(s["mt"]) / 2 + (s["src"] == "1") / 4 - len(s["ref"]) / 4 for s in samples]
        return type("Prediction", (), {"scores": scores})
"""
COMET_SCORES = [0.5, 0.75, 0.0]  # the last would be -0.25


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.delenv("METRIC_PYTHON", raising=False)
    monkeypatch.delitem(sys.modules, "dupo.metrics.learned", raising=False)
    return importlib.import_module("dupo.metrics.learned")


def test_comet_as_a_metric(metrics: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the functions and arguments of unbabel-comet 2.2.7."""
    loaded: list[str] = []
    fake = ModuleType("comet")
    exec(COMET, fake.__dict__)
    make = fake.load_from_checkpoint
    fake.load_from_checkpoint = lambda path: loaded.append(path) or make(path)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "comet", fake)
    assert metrics.comet(HYPOTHESES, REFERENCES, SOURCES) == COMET_SCORES
    assert metrics.comet(["abcdefg"], ["a"], ["x"]) == [1.0]
    assert loaded == ["cache/Unbabel/wmt22-comet-da"]


def test_a_metric_in_an_environment_of_its_own(
    metrics: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "comet.py").write_text(COMET)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("METRIC_PYTHON", sys.executable)
    assert metrics.comet(HYPOTHESES, REFERENCES, SOURCES) == COMET_SCORES
    assert metrics.comet(["\u00e9\u2028\n"], ["a"], ["x"]) == [1.0]
    worker = metrics._worker(sys.executable, "comet")
    worker.stdin.close()
    assert worker.wait(30) == 0
    worker.stdout.close()


def test_bleurt_as_a_metric(metrics: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the classes of bleurt-pytorch: the reference goes first, one logit comes back for each pair."""
    batches: list[int] = []

    class Tokenizer:
        def __call__(self, text: list[str], text_pair: list[str], **options: Any) -> dict[str, torch.Tensor]:
            assert options["return_tensors"] == "pt" and options["padding"] == "longest"
            batches.append(len(text))
            rows = [[len(first), len(second)] for first, second in zip(text, text_pair, strict=True)]
            return {"input_ids": torch.tensor(rows)}

    class Model:
        def eval(self) -> "Model":
            return self

        def __call__(self, input_ids: torch.Tensor) -> SimpleNamespace:
            assert not torch.is_grad_enabled()
            return SimpleNamespace(logits=(input_ids[:, :1] - input_ids[:, 1:] / 4).float() / 2)

    fake, loaded = ModuleType("bleurt_pytorch"), []
    for name, kind in (("BleurtTokenizer", Tokenizer), ("BleurtForSequenceClassification", Model)):
        load = lambda path, kind=kind: loaded.append(path) or kind()  # noqa: E731
        setattr(fake, name, SimpleNamespace(from_pretrained=load))
    monkeypatch.setitem(sys.modules, "bleurt_pytorch", fake)
    assert metrics.bleurt(HYPOTHESES, REFERENCES, SOURCES) == [0.375, 0.25, 1.0]
    assert metrics.bleurt(HYPOTHESES * 30, REFERENCES * 30, SOURCES * 30) == [0.375, 0.25, 1.0] * 30
    assert loaded == ["lucadiliello/BLEURT-20"] * 2 and batches == [3, 32, 32, 26]
