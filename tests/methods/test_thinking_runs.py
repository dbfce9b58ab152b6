"""Whole runs with a budget of thoughts: what is trained on, told, kept in checkpoints and refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dupo import audit, rerank, select, train
from dupo.config.command_line import parse
from dupo.methods.dupo import DuPO
from tests.helpers.runs import resume, same_files
from tests.helpers.small_world import PROBLEMS, question
from tests.helpers.thinking import thinker
from tests.helpers.tokenizers_made import chatml_bytes
from tests.helpers.worlds import rows

BUDGET, CLOSING = 5, "</think>"
TASK = ["--task", "word_problems", "--dataset", "data.jsonl", "--num_threads", "1", "--duals_per_prompt", "1"]
TASK += ["--max_completion_length", "14", "--thinking_token_budget", str(BUDGET)]
TRAIN = [*TASK, "--model_name_or_path", "model", "--eval_size", "2", "--reward", "random", "--beta", "0.05"]
TRAIN += ["--generation_batch_size", "8", "--num_generations", "4", "--learning_rate", "1e-3"]
# Half of a rollout waits at every other checkpoint.
TRAIN += ["--train_batch_size", "4", "--eval_steps", "1", "--save_steps", "1"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Word problems, and a model of random weights whose template opens a thought in every prompt."""
    monkeypatch.chdir(tmp_path)
    lines = [{"question": question(n, a, b), "answer": str(a + b)} for n, a, b in PROBLEMS]
    Path("data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    world = thinker()
    world.model.save_pretrained("model")
    world.tokenizer.hf.save_pretrained("model")
    return tmp_path


def refused(main: Callable[[list[str]], int], argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(argv) == 2
    return capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_rollout_is_trained_on_but_for_what_was_forced() -> None:
    method = DuPO(parse([*TRAIN, "--output_dir", "run"]))
    assert ("thoughts", f"of at most 5 tokens, then '{CLOSING}' is written, which is not trained on") in (
        method.describe()
    )
    method.load()
    method.start()
    steps = method.new_rollout(0)
    mark = method.tokenizer.hf.convert_tokens_to_ids(CLOSING)
    trajectories = [t for step in steps for t in step.trajectories]
    cut = [t for t in trajectories if t.forced is not None]
    assert len(cut) >= 6  # of eight: random bytes hardly ever end a thought
    for t in cut:
        assert t.forced is not None and t.ref_logprobs is not None
        assert t.forced.nonzero().tolist() == [[BUDGET]] and t.completion_ids[BUDGET] == mark
        assert t.logprobs[BUDGET] == t.ref_logprobs[BUDGET] == 0 and t.num_sampled == len(t.logprobs) - 1
    assert steps[0].metrics["completions/clipped_thought_ratio"] == len(cut) / len(trajectories)
    # The first step is on policy: sampler and learner agree on every token that was sampled.
    method.pending = steps
    metrics = method.update(method.next_batch(0), 0)
    assert metrics["ratio/max"] == pytest.approx(1.0, abs=1e-4) and not method.warnings()


@pytest.mark.slow
def test_a_resumed_run_with_waiting_forced_tokens_writes_the_same_bytes(folder: Path, capsys) -> None:
    assert train.main([*TRAIN, "--output_dir", "never", "--max_steps", "4"]) == 0
    assert "thoughts" in capsys.readouterr().out
    assert train.main([*TRAIN, "--output_dir", "resumed", "--max_steps", "1"]) == 0
    assert resume(folder / "resumed", "--max_steps", "4") == 0
    same_files(folder / "never", folder / "resumed", "metrics.jsonl", "checkpoint-4/model.safetensors")
    assert all(0 < row["completions/clipped_thought_ratio"] <= 1 for row in rows(folder / "never"))
    # Another budget is another run.
    arguments = ["--output_dir", "resumed", "--resume_from_checkpoint", "latest", "--max_steps", "5"]
    message = refused(train.main, [*arguments, "--thinking_token_budget", "4"], capsys)
    assert "thinking_token_budget is 4, the run was started with 5" in message


@pytest.mark.slow
@pytest.mark.parametrize("door", [rerank, audit, select])
def test_other_programs_have_the_budget_as_well(folder: Path, door, capsys) -> None:
    small = ["--pool_sizes", "2"] if door is select else []
    options = [*TASK, *small, "--num_problems", "3", "--model_name_or_path", "model", "--output_dir", "run"]
    assert door.main(options) == 0
    assert f"then '{CLOSING}' is written" in " ".join(capsys.readouterr().out.split())
    short = [*options, "--overwrite_output_dir", "--dual_max_completion_length", "6"]
    assert "dual_max_completion_length: expected at least 8" in refused(door.main, short, capsys)


@pytest.mark.slow
def test_a_judge_that_is_a_policy_thinks_within_the_budget_and_another_judge_needs_none(folder: Path) -> None:
    hf = chatml_bytes(pad_token="<pad>", eos_token="<|im_end|>")
    thinker().model.save_pretrained("plain")
    hf.save_pretrained("plain")
    for judge, length in (("policy", "14"), ("./plain", "3")):
        asked = ["--reward", "dual", "--dual_model", judge, "--dual_max_completion_length", length]
        run = ["--output_dir", f"run-{length}", "--max_steps", "1"]
        assert train.main([*TRAIN, "--beta", "0", *asked, *run]) == 0
        assert len(rows(folder / f"run-{length}")) == 1


@pytest.mark.slow
def test_a_model_without_thoughts_is_refused_before_work_starts(folder: Path, capsys) -> None:
    thinker().model.save_pretrained("plain")
    chatml_bytes(pad_token="<pad>", eos_token="<|im_end|>").save_pretrained("plain")
    expected = "thinking_token_budget: expected none with plain, whose chat template and tokenizer know no"
    plain = ["--model_name_or_path", "plain", "--output_dir", "run"]
    assert expected in refused(train.main, [*TRAIN, *plain], capsys)
    assert not (folder / "run").exists()
    options = [*TASK, *plain]
    assert expected in refused(rerank.main, options, capsys)
    assert not (folder / "run").exists()
