"""Who answers the duals: another model brings its own tokenizer, and a typing error is no model."""

import json
from pathlib import Path

import pytest
import torch

from dupo.config.command_line import parse
from dupo.config.options import DualOptions
from dupo.duality.judge import Judge, cached
from dupo.engines.base import Sampling
from dupo.engines.load import load_engine, load_judge_engine
from dupo.errors import UserError
from dupo.methods.dupo import DuPO
from dupo.models.tokenizers import load_tokenizer
from dupo.run.rows import RowsRun
from dupo.tasks import generated
from dupo.tasks.base import Task
from dupo.train import main
from tests.helpers.engines import FakeEngine, RecordingEngine
from tests.helpers.worlds import CPU, said, save_tiny

SMALL = ["--num_threads", "1", "--eval_size", "20", "--generation_batch_size", "16", "--max_steps", "2"]


def engine_of(folder, *options):
    config = parse(["--model_name_or_path", str(folder), *options])
    return load_engine(config, config.model, load_tokenizer(config.model, None), CPU)


@pytest.mark.slow
def test_the_other_model_answers_with_its_own_weights_and_tokenizer(tmp_path):
    ours, theirs = save_tiny(tmp_path / "ours", 0), save_tiny(tmp_path / "theirs", 1, "--task", "conlang")
    config = parse(["--model_name_or_path", str(ours), "--dual_model", str(theirs), "--dual_samples", "2",
                    "--dual_temperature", "1"])  # fmt: skip
    engine = load_judge_engine(config, CPU)
    alone = engine_of(theirs)
    assert len(engine.tokenizer) != len(engine_of(ours).tokenizer)
    judge = Judge.of(engine, config.duals, config.rollout.max_completion_length)
    (answers,) = judge.asking(5)(["ana kesh"])
    (expected,) = alone.sample(["ana kesh"], 2, Sampling(1.0, config.rollout.max_completion_length), 5)
    for answer, other in zip(answers, expected, strict=True):
        assert answer.text == other.text
        assert torch.equal(answer.ids, other.ids) and torch.equal(answer.logprobs, other.logprobs)
    assert not any(p.requires_grad for p in engine.model.parameters())


def test_the_same_model_keeps_the_tokenizer_that_was_asked_for():
    options = parse(["--tokenizer_name", "tiny", "--model_name_or_path", "m"]).model
    assert options.for_model("m") is options
    chosen = parse(
        ["--tokenizer_name=tiny", "--model_name_or_path=m", "--pad_token=<pad>", "--eos_token=<eos>"]
    )
    other = chosen.model.for_model("n")
    assert (other.tokenizer_name, other.pad_token, other.eos_token) == (None, None, None)
    assert other.model_name_or_path == "n"


@pytest.mark.slow
def test_training_asks_it(tmp_path):
    ours, theirs = save_tiny(tmp_path / "ours", 0), save_tiny(tmp_path / "theirs", 1)
    config = parse([*SMALL, "--model_name_or_path", str(ours), "--dual_model", str(theirs)])
    method = DuPO(config)
    method.load()
    method.start()
    judge = method.judge
    assert judge is not None
    for seen, weight in zip(
        judge.engine.model.parameters(), engine_of(theirs).model.parameters(), strict=True
    ):
        assert torch.equal(seen, weight)
    recorder = RecordingEngine(judge.engine)
    method.judge = Judge(recorder, judge.samples, judge.sampling)
    for step in range(2):
        batch = method.next_batch(step)
        assert batch.metrics["dual/prompts"] == len(recorder.calls[-1].prompts)
        method.update(batch, step)
    assert len(recorder.calls) == 2 and len({call.seed for call in recorder.calls}) == 2


def with_positions(folder: Path, positions: int) -> str:
    """A small model that reads `positions` tokens."""
    settings = json.loads((save_tiny(folder, 0) / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": positions}))
    return str(folder)


@pytest.mark.parametrize("program", ["train", "audit"])
def test_duals_must_fit_the_model_that_answers_them(program, tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "TRAIN_SIZE", 40)
    short, long = with_positions(tmp_path / "short", 16), with_positions(tmp_path / "long", 100)

    def task_of(policy: str, judge: str) -> Task:
        # Of nine tokens each: a prompt and its answer need 15 positions, a dual and its answer 18.
        options = ["--max_completion_length", "6", "--dual_max_completion_length", "9"]
        options += ["--model_name_or_path", policy, "--dual_model", judge, "--overlong", "error"]
        config = parse([*options, "--output_dir", str(tmp_path / f"run-{Path(policy).name}")], program)
        if program == "train":
            return DuPO(config.changed(eval_size=8)).task
        return RowsRun(config, lambda *_: None, load_engine).task

    task = task_of(short, long)
    assert all(len(task.duals(problem)) == 2 for problem in task.train)
    with pytest.raises(UserError, match="its dual prompt of 9 tokens and a completion of 9"):
        task_of(long, short)


def test_a_folder_without_a_model_is_refused_before_training(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    run = tmp_path / "run"
    ours = save_tiny(tmp_path / "ours", 0)
    options = [*SMALL, "--model_name_or_path", str(ours), "--output_dir", str(run)]
    assert main([*options, "--dual_model", str(tmp_path / "empty")]) == 2
    error = capsys.readouterr().err
    assert "empty" in error and error.count("\n") == 1
    assert not (run / "metrics.jsonl").exists()
    with pytest.raises(UserError, match="did you mean policy"):
        parse(["--dual_model", "polcy"])


def test_a_judge_asks_as_the_options_say():
    engine = FakeEngine(lambda prompt, k: f"{prompt}/{k}")
    options = DualOptions(dual_samples=2, dual_temperature=0.7)
    groups = Judge.of(engine, options, 9).asking(4)([("a", "b"), "c"])
    assert [[c.text for c in group] for group in groups] == [["ab/0", "ab/1"], ["c/0", "c/1"]]
    (call,) = engine.calls
    assert (call.n, call.sampling, call.seed) == (2, Sampling(0.7, 9), 4)
    own_length = DualOptions(dual_max_completion_length=3)
    assert Judge.of(engine, own_length, 9).sampling == Sampling(0.0, 3)


def test_a_dual_prompt_without_room_for_its_answer_is_not_asked():
    engine = FakeEngine(lambda prompt, k: prompt)
    engine.max_positions = 10
    judge = Judge.of(
        engine, DualOptions(dual_samples=2, dual_temperature=1.0, dual_max_completion_length=4), 99
    )
    fits, long, last = judge.asking(5)(["123456", "1234567", "1"])
    assert [c.text for c in fits + last] == ["123456", "123456", "1", "1"]
    assert [(c.text, len(c.ids), c.truncated) for c in long] == [("", 0, True)] * 2
    assert engine.calls[0].prompts == ["123456", "1"]


def test_what_was_asked_once_is_remembered():
    prompts_asked = []

    def ask(prompts):
        prompts_asked.append(list(prompts))
        return [[said(f"{prompt}{len(prompts_asked)}")] for prompt in prompts]

    ask_once = cached(ask)
    assert [group[0].text for group in ask_once(["x", "y", "x"])] == ["x1", "y1", "x1"]
    assert [group[0].text for group in ask_once(["y", "z"])] == ["y1", "z2"]
    assert prompts_asked == [["x", "y"], ["z"]]
