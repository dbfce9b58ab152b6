"""Word problems and translation end to end, on text written here and, where it is there, on real data."""

import json
import math
from pathlib import Path

import pytest

from dupo.train import main
from tests.helpers.runs import resume, same_files
from tests.helpers.worlds import rows, summary

SMALL = ["--model_name_or_path", "tiny", "--num_threads", "1", "--max_steps", "2", "--eval_size", "4"]
SMALL += ["--generation_batch_size", "8", "--num_generations", "4", "--max_completion_length", "24"]
SMALL += ["--eval_steps", "2", "--save_steps", "1"]
PROBLEMS = [
    {"question": f"Ann has {n} pens and buys {n + 31} more. How many pens has she?", "answer": 2 * n + 31}
    for n in range(5, 30)
]


def run(out: Path, *options: str) -> Path:
    assert main([*SMALL, "--output_dir", str(out), *options]) == 0
    return out


def finite(row: dict) -> bool:
    return all(math.isfinite(value) for value in row.values())


@pytest.fixture
def problems(tmp_path: Path) -> str:
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps(p) + "\n" for p in PROBLEMS))
    return str(file)


@pytest.mark.slow
@pytest.mark.full
def test_word_problems(problems, tmp_path):
    out = run(
        tmp_path / "run", "--task", "word_problems", "--dataset", problems, "--max_completion_length", "100"
    )
    assert [row["step"] for row in rows(out)] == [1, 2] and all(map(finite, rows(out)))
    assert summary(out)["eval/problems"] == 4
    asked = [dual for row in rows(out, "samples.jsonl") for dual in row["duals"]]
    assert asked, "random bytes hold a number now and then"
    for dual in asked:
        assert "\\boxed{" in dual["prompt"] and dual["unknown"].isdecimal()


@pytest.mark.slow
def test_word_problems_without_answers(tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps({"prompt": p["question"]}) + "\n" for p in PROBLEMS))
    out = run(tmp_path / "run", "--task", "word_problems", "--dataset", str(file))
    assert len(rows(out)) == 2 and summary(out)["eval/problems"] == 0
    assert not any(key.endswith("_before") for key in summary(out))


@pytest.mark.slow
def test_translation_from_jsonl_with_a_language_called_no(tmp_path):
    file = tmp_path / "pairs.jsonl"
    pairs = [
        {"en": f"The house number {n} is old.", "no": f"Huset nummer {n} er gammelt."} for n in range(20)
    ]
    file.write_text("".join(json.dumps(p) + "\n" for p in pairs))
    config = tmp_path / "config.yaml"
    config.write_text(
        f"task: translation\ndataset: {file}\nsrc: en\ntgt: no\nlearning_rate: 1e-6\ngates: off\n"
    )
    out = run(tmp_path / "run", "--config", str(config))
    assert all(map(finite, rows(out))) and {"eval/chrf", "eval/bleu"} <= rows(out)[-1].keys()
    (first, *_) = rows(out, "samples.jsonl")
    assert "English" in first["prompt"] and first["duals"][0]["unknown"] in first["prompt"]


REAL = {
    "gsm8k": ["--task", "word_problems", "--dataset", "gsm8k/train.jsonl"],
    "flores": ["--task", "translation", "--src", "en", "--tgt", "de", "--dataset", "flores_dev"],
}


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("name", ["gsm8k", "flores"])
def test_real_data_with_a_real_tokenizer(name, data_dir, tmp_path):
    *options, dataset = REAL[name]
    common = [*options, str(data_dir / dataset), "--tokenizer_name", str(data_dir / "tokenizers" / "qwen3")]
    common += ["--reward", "random", "--learning_rate", "1e-4"]
    never_stopped = run(tmp_path / "never", *common)
    resumed = run(tmp_path / "resumed", *common, "--max_steps", "1")
    assert all(map(finite, rows(never_stopped))) and rows(never_stopped)[0]["grad_norm"] > 0
    assert resume(resumed, "--max_steps", "2") == 0
    same_files(never_stopped, resumed, "checkpoint-2/model.safetensors")
