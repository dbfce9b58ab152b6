"""Examples, and metrics that a user may name, are run."""

import importlib
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]


def test_own_trainer_learns():
    train = runpy.run_path(str(ROOT / "examples" / "own_trainer.py"))["train"]
    assert train() > 0.9


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


@pytest.mark.slow
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
