"""Learned metrics as rewards of back-translation: COMET and BLEURT.

    python -m dupo.train --task translation ... --translation_metric dupo.metrics.learned.comet

A metric is any function f(hypotheses, references, sources) that returns a value in [0, 1] for each
hypothesis, 1 = same meaning. Hypotheses are back-translations, references the sentences they should be,
sources the translations that they were made from. Both metrics DOWNLOAD their models from the Hugging Face
Hub at the first call (COMET 2.3 GB, BLEURT-20 also some gigabytes). With HF_HUB_OFFLINE=1 the models must be
in the cache already.

    comet   pip install unbabel-comet                                             Unbabel/wmt22-comet-da
    bleurt  pip install git+https://github.com/lucadiliello/bleurt-pytorch.git    lucadiliello/BLEURT-20

unbabel-comet 2.2.7 asks for transformers below 5 and numpy below 2, dupo for transformers 5: they do not fit
into one environment. So set METRIC_PYTHON to the Python of another environment, which needs nothing of dupo:
that Python is started once and answers over a pipe. Without METRIC_PYTHON the packages are imported here.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import cache
from typing import Any

import torch

COMET_MODEL = "Unbabel/wmt22-comet-da"
BLEURT_MODEL = "lucadiliello/BLEURT-20"
BATCH_SIZE = 32  # sentences


def comet(hypotheses: list[str], references: list[str], sources: list[str]) -> list[float]:
    """COMET-22 with references (Rei et al. 2022). Its values stray a little above 1."""
    return _clamped(_score("comet", hypotheses, references, sources))


def bleurt(hypotheses: list[str], references: list[str], sources: list[str]) -> list[float]:
    """BLEURT-20 (Sellam et al. 2020; Pu et al. 2021), which compares with the reference alone."""
    return _clamped(_score("bleurt", hypotheses, references, sources))


def _clamped(values: Sequence[float]) -> list[float]:
    return [min(1.0, max(0.0, float(value))) for value in values]


def _score(name: str, *columns: list[str]) -> list[float]:
    python = os.environ.get("METRIC_PYTHON")
    return _ask(_worker(python, name), columns) if python else SCORERS[name](*columns)


@cache
def _comet_model() -> Any:
    from comet import download_model, load_from_checkpoint  # type: ignore[import-not-found]

    return load_from_checkpoint(download_model(COMET_MODEL))


def _comet(hypotheses: list[str], references: list[str], sources: list[str]) -> list[float]:
    rows = zip(hypotheses, references, sources, strict=True)
    samples = [{"mt": mt, "ref": ref, "src": src} for mt, ref, src in rows]
    gpus = int(torch.cuda.is_available())
    return _comet_model().predict(samples, batch_size=BATCH_SIZE, gpus=gpus, progress_bar=False).scores


@cache
def _bleurt_model() -> tuple[Any, Any]:
    from bleurt_pytorch import BleurtForSequenceClassification, BleurtTokenizer  # type: ignore[import-not-found]

    model = BleurtForSequenceClassification.from_pretrained(BLEURT_MODEL).eval()
    return model, BleurtTokenizer.from_pretrained(BLEURT_MODEL)


def _bleurt(hypotheses: list[str], references: list[str], sources: list[str]) -> list[float]:
    model, tokenizer = _bleurt_model()
    scores: list[float] = []
    for start in range(0, len(hypotheses), BATCH_SIZE):
        end = start + BATCH_SIZE
        texts = references[start:end], hypotheses[start:end]  # BLEURT reads the reference first
        inputs = tokenizer(*texts, padding="longest", truncation=True, max_length=512, return_tensors="pt")
        with torch.no_grad():
            scores += model(**inputs).logits.flatten().tolist()
    return scores


SCORERS = {"comet": _comet, "bleurt": _bleurt}


# --- in another environment: a line of JSON asks, a line answers ---


# Kept between calls, because loading the model takes longer than scoring.
@cache
def _worker(python: str, name: str) -> subprocess.Popen[str]:
    command = [python, os.path.abspath(__file__), name]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )


def _ask(worker: subprocess.Popen[str], columns: Sequence[list[str]]) -> list[float]:
    assert worker.stdin and worker.stdout
    worker.stdin.write(json.dumps(columns) + "\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError(f"METRIC_PYTHON: expected scores from {worker.args}, got its end; see above")
    return json.loads(line)


def serve(name: str) -> None:
    """Answers lines of columns with lines of scores, until standard input ends."""
    for line in sys.stdin:
        # The packages print progress, which would stand between the answers.
        with redirect_stdout(sys.stderr):
            scores = [float(value) for value in SCORERS[name](*json.loads(line))]
        print(json.dumps(scores), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
