"""`dupo plan`: the options of a run and of a machine in, a plan on the screen out."""

from pathlib import Path

import pytest

from dupo.plan import main
from tests.helpers.worlds import rows, save_tiny

GPUS = ["--gpus", "2", "--memory", "80"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "small")


@pytest.mark.slow
def test_the_options_of_a_run_are_planned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model_name_or_path", str(folder), "--max_steps", "7", "--save-total-limit", "4"]
    assert main([*options, *GPUS]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for words in ("2 GPUs of 80 GB", "shared out among 2", "for 7 steps", "save_total_limit + 1 = 5"):
        assert words in out
    for row in ("weights, float32", "together", "rows at once", "answers", "update", "disk", "as it is"):
        assert f"\n  {row}" in out
    # Nothing fits into a thousandth of a GB, and the exit code tells a script.
    assert main([*options, "--gpus", "1", "--memory", "0.001"]) == 1
    assert "does not fit" in capsys.readouterr().out


@pytest.mark.slow
def test_the_built_in_model_is_planned_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu"]) == 0
    assert "this CPU" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--gpus", "0"], "gpus: expected at least 1, got 0"),
        (["--tflops", "100"], "memory: expected --memory beside --tflops"),
        (["--max_stepz", "3"], "did you mean --max_steps?"),
        # As training would refuse: no micro-batch holds a prompt and its completion.
        (
            ["--max_completion_length", "3000", "--token_budget", "2000"],
            "token_budget: expected at least 3,256 (mean_prompt_length 256 and max_completion_length 3,000)",
        ),
        (["--memory", "much"], "memory: expected a number or none, got"),
    ],
)
def test_a_wrong_option_is_one_line(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1


@pytest.mark.slow
def test_training_shows_its_plan_and_what_was_measured(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dupo.train import main as train

    few = ["--max_steps", "2", "--eval_size", "4", "--num_generations", "2", "--generation_batch_size", "4"]
    few += ["--output_dir", str(tmp_path / "run"), "--reward", "random"]
    assert train([*few, "--model_name_or_path", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "\n  plan " in out and "\nstep 1: answers " in out
    first, second = rows(tmp_path / "run", "timings.jsonl")
    assert first["plan/memory_gb"] > 0 and first["memory_gb"] > 0 and first["plan/update"] > 0
    assert not any("plan" in name for name in second)
