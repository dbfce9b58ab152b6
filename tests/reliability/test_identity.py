"""A run goes on with what it was started with, or says in one line what is not the same."""

import json
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dupo import audit, rerank, select, train
from dupo.config.command_line import parse
from dupo.config.model_options import ModelOptions
from dupo.engines.load import load_engine
from dupo.errors import UserError
from dupo.methods.dupo import DuPO
from dupo.models.fingerprints import weights_fingerprint
from dupo.run.rows import RowsRun
from dupo.storage.checkpoint import latest
from dupo.storage.commands import resume_command
from tests.helpers.damages import METRICS, edit, flip, lines
from tests.helpers.lessons import Lesson
from tests.helpers.runs import loop
from tests.helpers.small_world import RESUME, TASK, TRAIN, contents, copy_of, inside, make_inputs

ROWS = [*TASK, "--model_name_or_path", "./model", "--output_dir", "run", "--generation_batch_size", "8"]
ROWS += ["--num_generations", "2", "--max_completion_length", "6"]
DOORS = {"rerank": rerank.main, "select": select.main, "audit": audit.main}
BACK = ["--output_dir", "run", "--max_steps", "4", "--resume_from_checkpoint", "run/checkpoint-2"]


@pytest.fixture
def world(worlds):
    """A copy of the small world with its run, in which the test works."""
    with copy_of(worlds / "world", worlds / "copy") as place:
        yield place


@pytest.fixture
def inputs(tmp_path):
    """The data and the model without a run, in which the test works."""
    with inside(make_inputs(tmp_path / "inputs")) as place:
        yield place


def refusal(capfd, main, argv):
    """The one line with which a start is refused, after which nothing may have changed."""
    before = contents(Path())
    capfd.readouterr()
    assert main(argv) == 2
    message = capfd.readouterr().err
    assert message.count("\n") == 1 and contents(Path()) == before
    return message


# --- programs with rows ---


@pytest.mark.slow
@pytest.mark.parametrize("program", DOORS)
def test_rows_go_on_with_the_same_problems_and_the_same_model(program, inputs, capfd):
    door, options = DOORS[program], [*ROWS, *(["--pool_sizes", "2"] if program == "select" else [])]
    assert door(options) == 0
    finished = contents(Path("run"))
    assert door(options) == 0 and contents(Path("run")) == finished
    shutil.copytree("model", "first")
    flip(Path("model/model.safetensors"), 0.6)
    assert "the weights of the model have changed since the run was started: put them back" in refusal(
        capfd, door, options
    )
    shutil.copy("first/model.safetensors", "model")
    edit(Path("data.jsonl"), "Tom has", "Ben owns")
    assert refusal(capfd, door, options).startswith("error: run: the problems have changed since")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda row: {"problem": row["problem"], "question": row["question"]}, id="without keys"),
        pytest.param(
            lambda row: {**row, "votes": row["votes"] + 1}, id="another value", marks=pytest.mark.slow
        ),
    ],
)
def test_rows_that_were_changed_are_refused(change, inputs, capfd):
    assert rerank.main(ROWS) == 0
    file = Path("run/answers.jsonl")
    lines(file, lambda rows: [json.dumps(change(json.loads(rows[0]))).encode() + b"\n", *rows[1:]])
    assert "answers.jsonl has" in refusal(capfd, rerank.main, ROWS)
    for record in ("{}", '{"bytes": 1e999, "sha256": ""}', '{"bytes": -1, "sha256": ""}'):
        Path("run/rows.json").write_text(f'{{"answers.jsonl": {record}}}')
        assert "rows.json is damaged" in refusal(capfd, rerank.main, ROWS)
    Path("run/rows.json").unlink()
    assert "rows.json says nothing of answers.jsonl" in refusal(capfd, rerank.main, ROWS)


@pytest.mark.slow
def test_a_taught_model_that_was_changed_is_not_used(tmp_path):
    config = parse(["--num_problems", "4", "--num_threads", "1", "--output_dir", str(tmp_path)], "rerank")

    def start():
        run = RowsRun(config, lambda config, task, model: Lesson(model, 0), load_engine)
        try:
            return run.engine()
        finally:
            run.close()

    start()
    weights = tmp_path / "taught_model/model.safetensors"
    flip(weights, 0.6)
    with pytest.raises(UserError, match=r"model\.safetensors is not what was saved"):
        start()
    flip(weights, 0.6)
    start()
    edit(tmp_path / "taught_model/made_by.json", '"the settings": "', '"the settings": "0')
    with pytest.raises(UserError, match=r"made_by\.json is not what was saved"):
        start()


# --- training ---


@pytest.mark.slow
def test_examples_of_supervised_training_are_compared(inputs, capfd):
    pairs = Path("pairs.jsonl")
    pairs.write_text("".join(f'{{"prompt": "Say {n}:", "completion": " {n}"}}\n' for n in range(9)))
    options = ["--method", "sft", "--dataset", "pairs.jsonl", "--model_name_or_path", "./model"]
    options += ["--num_threads", "1", "--eval_size", "2", "--max_steps", "1", "--output_dir", "run"]
    assert train.main(options) == 0
    edit(pairs, '" 7"', '" 8"')
    message = refusal(capfd, train.main, ["--output_dir", "run", "--resume_from_checkpoint", "latest"])
    assert "the data set has changed" in message or "the held-out examples have changed" in message


@pytest.mark.slow
def test_another_judge_is_noticed(inputs, capfd):
    shutil.copytree("model", "judge")
    options = [*TRAIN, "--max_steps", "1", "--dual_model", "./judge", "--reward", "dual"]
    assert train.main(options) == 0
    flip(Path("judge/model.safetensors"), 0.6)
    message = refusal(capfd, train.main, ["--output_dir", "run", "--resume_from_checkpoint", "latest"])
    assert "the weights of the judge have changed" in message


def test_the_hub_names_weights_by_their_commit():
    options, shape = ModelOptions(model_name_or_path="owner/name"), SimpleNamespace(_commit_hash="0a1b")
    assert weights_fingerprint("model", options, shape) == {"the weights of the model": "commit 0a1b"}
    assert weights_fingerprint("model", ModelOptions()) == {}  # random weights follow from the seed


# --- older checkpoints ---


@pytest.mark.slow
def test_a_refused_resume_of_an_older_checkpoint_loses_nothing(world, capfd):
    lines(METRICS, lambda rows: [b"damaged\n", *rows[1:]])
    assert "metrics.jsonl has rows that were changed" in refusal(capfd, train.main, BACK)
    shutil.copytree("../other/run", "elsewhere")
    elsewhere = [*RESUME[:3], "elsewhere/checkpoint-4"]
    assert "expected elsewhere, the run that is resumed, got run" in refusal(capfd, train.main, elsewhere)


@pytest.mark.slow
def test_an_older_checkpoint_sets_the_newer_aside_as_a_run_of_its_own(world, unbroken, capfd):
    before = contents(Path("run"))
    assert train.main(BACK) == 0
    assert "set aside; go on from them with: python -m dupo.train" in " ".join(capfd.readouterr().out.split())
    again, aside = contents(Path("run")), contents(Path("run/set-aside-1"))
    for name in ("metrics.jsonl", "samples.jsonl", "checkpoint-4/model.safetensors"):
        assert again[name] == aside[name] == before[name]
    assert aside["checkpoint-4/state.pt"] == before["checkpoint-4/state.pt"]
    options = ["--output_dir", "run/set-aside-1", "--resume_from_checkpoint", "latest", "--max_steps", "6"]
    assert train.main(options) == 0
    assert contents(Path("run/set-aside-1"))["metrics.jsonl"] == unbroken["metrics.jsonl"]


def test_a_command_can_be_pasted_into_a_shell():
    command = resume_command(Path("my runs/it's"), Path("my runs/it's/checkpoint-2"))
    assert shlex.split(command)[-1] == "my runs/it's/checkpoint-2" and "'my runs/" in command


# --- what is not finite ---


@pytest.mark.parametrize(
    "broken", ["weights", *(pytest.param(name, marks=pytest.mark.slow) for name in ("average", "optimizer"))]
)
@pytest.mark.slow
def test_what_is_not_finite_is_never_saved_over_what_is(broken, inputs):
    class Breaking(DuPO):
        """Its third step leaves an infinite number behind; no loss shows the number."""

        def update(self, batch, step):
            metrics = super().update(batch, step)
            if step == 2:
                moments = next(iter(self.optimizer.state.values()))
                weight = {"weights": self.model, "average": self.ema}.get(broken)
                tensor = moments["exp_avg_sq"] if weight is None else next(weight.parameters()).data
                tensor.view(-1)[0] = torch.inf
            return metrics

    config = parse([*TRAIN, "--max_steps", "3", "--save_steps", "1", "--save_total_limit", "1"])
    with pytest.raises(FloatingPointError, match=r"step 3 .*not saved; checkpoint-2 is from before it"):
        loop(config, Breaking(config))
    assert latest(Path("run")) == Path("run/checkpoint-2")
    assert not Path("run/checkpoint-3").exists()
