"""A step that is not finite stops the run and leaves what is needed to find out why."""

import json

import torch

from dupo.records import StepBatch, Trajectory
from dupo.run.failures import write_failure
from dupo.train import main
from tests.helpers.runs import SMALL
from tests.helpers.worlds import rows


def test_a_step_that_is_not_finite_stops_the_run_and_saves_its_batch(untrained, tmp_path, capsys):
    run = tmp_path / "run"
    command = [*SMALL, "--model_name_or_path", str(untrained), "--output_dir", str(run), "--reward", "random"]
    assert main([*command, "--learning_rate", "1", "--beta", "1e38"]) == 1
    message = capsys.readouterr().err
    steps = len(rows(run))
    assert (
        "is not finite" in message
        and "try a lower --learning_rate than 1" in message
        and len(message.splitlines()) == 1
    )
    assert steps < 200
    (file,) = run.glob("nonfinite-*")
    saved = json.loads(file.read_text())
    assert saved["problems"] and saved["batch"] and saved["step"] == int(file.stem.rpartition("-")[2])
    assert all(len(row["completion_ids"]) == len(row["logprobs"]) for row in saved["batch"])


def test_the_batch_of_a_failure_can_be_read_without_torch(tmp_path):
    trajectory = Trajectory([1, 2], torch.tensor([3]), torch.tensor([-0.5]), 0.25, problem="a")
    file = write_failure(tmp_path, 7, StepBatch([trajectory], {}, []))
    assert file.name == "nonfinite-7.json"
    assert json.loads(file.read_text()) == {
        "step": 7,
        "problems": ["a"],
        "batch": [
            {
                "prompt_ids": [1, 2],
                "completion_ids": [3],
                "logprobs": [-0.5],
                "advantage": 0.25,
                "ref_logprobs": None,
                "problem": "a",
                "masked": False,
                "sampling_logprobs": None,
                "forced": None,
            }
        ],
    }


def test_a_failure_before_there_is_a_batch_is_written_too(tmp_path):
    saved = json.loads(write_failure(tmp_path, 1, None).read_text())
    assert saved == {"step": 1, "problems": [], "batch": []}
