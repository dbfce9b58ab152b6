"""Nothing is written to stderr unless something is wrong: every program in a process of its own, with every
warning that Python shows by request."""

import json
from pathlib import Path

import pytest

from dupo.config.doors import DOORS
from tests.helpers.project import RunPython
from tests.helpers.small_world import HELD_OUT, RESUME, TASK, TRAIN, make_world

MODEL = ["--model_name_or_path", "./model"]
SAMPLING = [*TASK, *MODEL, "--num_generations", "4", "--max_completion_length", "6"]
SHORT = ["--max_steps", "2", "--save_steps", "1", "--eval_steps", "1", "--num_threads", "1"]
PAIRS = ["--method", "sft", "--dataset", "pairs.jsonl", "--eval_size", "2", "--train_batch_size", "4"]
TEXTS = [
    "--task",
    "translation",
    "--dataset",
    "texts.jsonl",
    "--src",
    "en",
    "--tgt",
    "de",
    "--eval_size",
    "2",
]
ROLLOUT = ["--generation_batch_size", "8", "--num_generations", "4", "--max_completion_length", "6"]
# Each is a process of its own: in CI one of each kind, which loads something that no other loads.
IN_CI: list[list[str]] = [
    ["completion", "bash"],
    ["report", "run"],
    ["duals", "--dataset", "data.jsonl"],
    ["train", *TRAIN, "--max_steps", "2", "--output_dir", "other"],
    ["doctor"],
    ["export", "run", "--output_dir", "exported"],
    ["merge", "model", "model", "--output_dir", "merged"],
    ["plan", *ROLLOUT, *MODEL, *TASK],
    ["train", *PAIRS, *MODEL, *SHORT],
    ["rerank", *SAMPLING],
]
COMMANDS: list[list[str]] = [
    *IN_CI,
    ["train", *SHORT, *ROLLOUT, *MODEL, *TASK, "--eval_size", "2", "--quiet"],
    ["train", *RESUME],
    ["train", *TEXTS, "--eval_size", "2", *MODEL, *ROLLOUT, *SHORT],
    ["train", *SHORT, *ROLLOUT, *MODEL, *TASK, *HELD_OUT, "--compute_dtype", "bfloat16", "--beta", "0.1"],
    ["audit", *SAMPLING],
    ["select", *SAMPLING],
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a model, and a run that can go on."""
    folder = make_world(tmp_path_factory.mktemp("noise") / "world")
    pairs = [{"prompt": f"{n} + 1 =", "completion": str(n + 1)} for n in range(12)]
    texts = [{"en": f"It rains for {n} days.", "de": f"Es regnet {n} Tage."} for n in range(12)]
    for name, rows in (("pairs", pairs), ("texts", texts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [pytest.param(words, marks=() if words in IN_CI else pytest.mark.full) for words in COMMANDS],
    ids=lambda words: " ".join(words[:3]),
)
def test_stderr_is_empty(words: list[str], world: Path, run_python: RunPython) -> None:
    if words[0] == "completion":
        pytest.importorskip("shtab")
    done = run_python("-m", "dupo", *words, cwd=world, env={"PYTHONWARNINGS": "default"})
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert (done.stdout == "") == ("--quiet" in words)


def test_every_program_is_tried() -> None:
    # A push needs a Hub: tests/doors/test_push.py brings one, and looks at stderr as well.
    assert {words[0] for words in COMMANDS} | {"push"} == set(DOORS)
