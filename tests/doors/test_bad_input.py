"""What a user can get wrong: one plain line on stderr, exit code 2, before any model is loaded."""

import json
from pathlib import Path

import pytest
import torch

from dupo.config.command_line import parse
from dupo.engines import load as engines
from dupo.methods import offline, policy
from dupo.models.load import model_config
from dupo.models.tokenizers import load_tokenizer
from dupo.tasks import make_task
from dupo.train import main

GOOD = [
    {"question": f"Ann has {n} pens and gets {n + 3} more. How many?", "answer": 2 * n + 3}
    for n in range(5, 40)
]


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    def load(*_):
        raise AssertionError("a model was loaded")

    for module in (engines, policy, offline):
        monkeypatch.setattr(module, "load_model", load)


def write(path: Path, rows: list[object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def refused(capsys, *options: str) -> str:
    """The one line that a bad command line gives."""
    assert main(list(options)) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in out + err
    return err


def test_bad_data(tmp_path, capsys):
    def words(path: str, *options: str) -> str:
        command = ["--task", "word_problems", "--dataset", path, "--output_dir", str(tmp_path / "r")]
        return refused(capsys, *command, *options)

    assert "missing.jsonl" in words(str(tmp_path / "missing.jsonl"))
    (tmp_path / "empty.jsonl").write_text("")
    assert "empty.jsonl" in words(str(tmp_path / "empty.jsonl"))
    (tmp_path / "broken.jsonl").write_text(json.dumps(GOOD[0]) + '\n{"question": "x"\n')
    assert "broken.jsonl, line 2" in words(str(tmp_path / "broken.jsonl"))
    other = write(tmp_path / "other.jsonl", [{"text": "x 5", "label": 1}])
    line = words(other)
    assert "question" in line and "text" in line and "label" in line and "question_column" in line
    good = write(tmp_path / "good.jsonl", GOOD)
    assert "solution_text" in words(good, "--answer_column", "solution_text")
    plain = write(tmp_path / "plain.jsonl", [{"question": "Why is the sky blue?", "answer": "x"}] * 3)
    assert "number" in words(plain, "--eval_size", "0")
    assert not (tmp_path / "r").exists()


def test_bad_translation_data(tmp_path, capsys):
    (tmp_path / "dev.en").write_text("Hello.\n")
    command = ["--task", "translation", "--dataset", str(tmp_path), "--output_dir", str(tmp_path / "r")]
    assert ".fr" in refused(capsys, *command, "--src", "fr", "--tgt", "en")
    assert "tgt" in refused(capsys, *command, "--src", "en", "--tgt", "en")


def test_a_prompt_longer_than_the_model_allows(tmp_path, capsys):
    long = write(
        tmp_path / "long.jsonl",
        [*GOOD, {"question": " ".join(f"{n} pens." for n in range(600)), "answer": 1}],
    )
    command = ["--task", "word_problems", "--dataset", long, "--output_dir", str(tmp_path / "r")]
    command += ["--eval_size", "4", "--overlong", "error"]
    line = refused(capsys, *command)
    assert "long.jsonl:36" in line and "4096" in line
    assert "--token_budget allows 300" in refused(capsys, *command, "--token_budget", "300")


def test_a_tokenizer_without_pad_or_eos(tmp_path, capsys):
    folder = save_tiny_without_loading(tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    for missing in ("pad_token", "eos_token"):
        without = {k: v for k, v in settings.items() if k != missing}
        (folder / "tokenizer_config.json").write_text(json.dumps(without))
        line = refused(capsys, "--model_name_or_path", str(folder), "--output_dir", str(tmp_path / "r"))
        assert f"has no {missing}" in line and f"--{missing}" in line


def save_tiny_without_loading(tmp_path: Path) -> Path:
    """Shape and tokenizer of the built-in model, without weights."""
    config = parse([])
    lessons = make_task(config.task, 0).lessons
    assert lessons is not None
    tokenizer = load_tokenizer(config.model, lessons.vocabulary)
    model_config(config.model, tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.hf.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_that_is_not_there(tmp_path, capsys):
    gone = str(tmp_path / "nothing")
    assert gone in refused(capsys, "--model_name_or_path", gone)
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(capsys, "--model_name_or_path", str(tmp_path / "empty"))


def test_an_output_folder_of_another_run(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("seed: 1\n")
    (run / "metrics.jsonl").write_text("")
    line = refused(capsys, "--output_dir", str(run))
    assert "--overwrite_output_dir" in line and "--resume_from_checkpoint" in line
    (run / "metrics.jsonl").unlink()
    (run / "config.yaml").rename(run / "thesis.txt")
    assert "never overwritten" in refused(capsys, "--output_dir", str(run), "--overwrite_output_dir")
    assert (run / "thesis.txt").read_text() == "seed: 1\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--num_generations", "0"], ["num_generations", "got 0"]),
        (["--num_generation", "8"], ["did you mean --num_generations?"]),
        (["--loss_type", "ppo"], ["loss_type", "grpo", "dapo", "dr_grpo", "ppo"]),
        (["--learning_rate", "fast"], ["learning_rate", "fast"]),
        (["--config", "/no/such.yaml"], ["/no/such.yaml"]),
        (["--eval_size", "300000"], ["eval_size", "50,000", "300,000"]),
        (["--task", "word_problems"], ["--dataset"]),
        (["--method", "sft", "--dataset", "/no/such.jsonl"], ["/no/such.jsonl"]),
        (["--method", "sft", "--num_generations", "4"], ["--num_generations", "dupo.train --method sft"]),
        (["--resume_from_checkpoint", "/no/such/checkpoint-3"], ["/no/such"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_options(options, words, capsys):
    line = refused(capsys, *options)
    assert all(word in line for word in words), line


def test_gold_without_answers(tmp_path, capsys):
    file = write(tmp_path / "plain.jsonl", [{"question": p["question"]} for p in GOOD])
    command = ["--task", "word_problems", "--dataset", file, "--output_dir", str(tmp_path / "r")]
    assert "plain.jsonl:" in refused(capsys, *command, "--reward", "gold")


def test_a_tokenizer_larger_than_the_model(tmp_path, capsys):
    folder = save_tiny_without_loading(tmp_path)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"vocab_size": 15}))
    for method in ("dupo", "sft"):
        options = ["--method", method, "--output_dir", str(tmp_path / "r")]
        assert "model's 15 tokens, got 20" in refused(capsys, *options, "--model_name_or_path", str(folder))


def test_a_dual_prompt_longer_than_the_model_allows(tmp_path, capsys):
    data = write(tmp_path / "good.jsonl", GOOD)
    command = ["--task", "word_problems", "--dataset", data, "--eval_size", "4"]
    command += ["--output_dir", str(tmp_path / "r"), "--max_completion_length", "9"]
    assert "dual prompt" in refused(capsys, *command, "--dual_max_completion_length", "4090")


def test_cuda_where_there_is_none(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device cpu" in refused(capsys, "--device", "cuda", "--output_dir", str(tmp_path / "r"))
    assert not (tmp_path / "r").exists()


def test_the_process_says_it_too(run_python):
    """The same through a real process: the exit code, and nothing slow or noisy before the line."""
    done = run_python("-m", "dupo.train", "--num_generations", "0")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
