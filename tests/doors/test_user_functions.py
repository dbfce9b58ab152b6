"""Functions of the user in a whole run: what they may do, and what becomes of a run in which they fail."""

import json
from pathlib import Path

import pytest

from dupo.train import main
from tests.helpers.runs import same_files
from tests.helpers.worlds import save_tiny

HONEST = """
def score(prompts, completions, completion_ids, **columns):
    return [len(set(ids)) / 10 + len(level) for ids, level in zip(completion_ids, columns["level"])]
"""
GREEDY = """
def score(prompts, completions, completion_ids, **columns):
    values = [len(set(ids)) / 10 + len(level) for ids, level in zip(completion_ids, columns["level"])]
    for ids, level in zip(completion_ids, columns["level"]):
        ids.sort()
        ids.pop()
        level.clear()
    prompts[:] = completions[:] = columns["level"][:] = ["x"] * len(prompts)
    return values
"""
METRICS = """
def failing(hypotheses, references, sources):
    return [1 / 0 for _ in hypotheses]
def interrupted(hypotheses, references, sources):
    raise KeyboardInterrupt
"""
QUESTIONS = [
    f'{{"question": "Ann has {n} pens and gets {n + 3} more. How many?", "level": [["a"], {n}]}}\n'
    for n in range(5, 9)
]
SMALL = "--num_threads 1 --max_steps 2 --num_generations 2 --generation_batch_size 4 --eval_size 0 "
SMALL += "--max_completion_length 4 --num_exchanges_to_log 4"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the modules and data of the user."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "honest_reward.py").write_text(HONEST)
    (tmp_path / "greedy_reward.py").write_text(GREEDY)
    (tmp_path / "metrics_of_the_door.py").write_text(METRICS)
    (tmp_path / "questions.jsonl").write_text("".join(QUESTIONS))
    (tmp_path / "sentences.jsonl").write_text('{"en": "Good day."}\n{"en": "Where are you?"}\n')
    return tmp_path


@pytest.mark.slow
def test_a_reward_that_changes_its_arguments_trains_like_an_honest_one(folder: Path) -> None:
    for module in ("honest", "greedy"):
        words = f"--task word_problems --dataset questions.jsonl --reward {module}_reward.score"
        # Twice over the same questions: the second time the columns would be empty.
        words += f" {SMALL} --max_steps 4 --output_dir {module}"
        assert main(words.split()) == 0
    same_files(folder / "honest", folder / "greedy", "metrics.jsonl", "samples.jsonl")


@pytest.mark.slow
def test_a_reward_that_was_edited_is_refused_on_resume(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"--task word_problems --dataset questions.jsonl --reward edited_reward.score {SMALL}"
    source = folder / "edited_reward.py"
    source.write_text(HONEST)
    assert main([*words.split(), "--max_steps", "1", "--output_dir", "run"]) == 0
    resumed = ["--output_dir", "run", "--resume_from_checkpoint", "latest"]
    source.write_text(HONEST.replace("/ 10", "/ 20"))
    assert main([*resumed, "--max_steps", "2"]) == 2
    assert "the source of edited_reward.score has changed since" in capsys.readouterr().err
    source.write_text(HONEST)
    assert main([*resumed, "--max_steps", "2"]) == 0


@pytest.mark.parametrize(
    ("metric", "code", "words"),
    [
        ("metrics_of_the_door.failing", 2, ["ZeroDivisionError: division by zero", "of_the_door.py, line 3"]),
        ("metrics_of_the_door.interrupted", 130, ["stopped"]),
    ],
)
@pytest.mark.slow
def test_a_metric_that_fails_is_one_line(
    folder: Path, metric: str, code: int, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    command = f"--task translation --dataset sentences.jsonl --translation_metric {metric} --gates off"
    assert main([*command.split(), *SMALL.split(), "--max_completion_length", "40"]) == code
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and all(word in lines[0] for word in words)


def test_a_tokenizer_of_another_kind_of_text_is_refused(
    folder: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    save_tiny(folder / "arithmetic_model")
    words = ["--model_name_or_path", "arithmetic_model", "--eval_size", "0"]
    asked = "--task word_problems --dataset questions.jsonl"
    (folder / "pairs.jsonl").write_text('{"prompt": "12+", "completion": "hello"}\n')
    for command, place in (
        (asked, "questions.jsonl:1"),
        ("--method sft --dataset pairs.jsonl", "pairs.jsonl:1"),
    ):
        assert main([*command.split(), *words]) == 2
        err = capfd.readouterr().err
        assert "tokenizer: expected to know the texts, got " in err and f"first in {place}" in err


OF_MESSAGES = """
async def score(prompts, completions, trainer_state, log_metric, log_extra, **columns):
    log_metric("step", trainer_state.global_step)
    log_metric("max_steps", trainer_state.max_steps)
    log_extra("place", [f"{k} {prompt[0]['content'][:3]}" for k, prompt in enumerate(prompts)])
    return [float(len(completion[0]["content"]) % 3) for completion in completions]
"""


def test_a_function_of_messages_trains_and_logs(folder: Path) -> None:
    (folder / "of_messages.py").write_text(OF_MESSAGES)
    rows = [{"prompt": [{"role": "user", "content": json.loads(line)["question"]}]} for line in QUESTIONS]
    (folder / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = "--task word_problems --dataset_name chats.jsonl --reward of_messages.score --output_dir run"
    words += f" {SMALL} --max_steps 4 --train_batch_size 2"
    assert main(words.split()) == 0
    steps = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    # A rollout is made before its first step, and has two.
    assert [row["rewards/score/step"] for row in steps] == [0, 0, 2, 2]
    assert {row["rewards/score/max_steps"] for row in steps} == {4}
    samples = [json.loads(line) for line in (folder / "run/samples.jsonl").read_text().splitlines()]
    trained = [row for row in samples if not row.get("held_out")]
    # The first of the two completions of each problem.
    assert [row["logged"] for row in trained] == [{"score/place": f"{k} Ann"} for k in (0, 2, 0, 2)]
