"""How ranks are started: by one command, and by torchrun."""

from functools import partial
from pathlib import Path

import pytest
import torch.distributed

from dupo import train
from tests.helpers.project import RunPython
from tests.helpers.ranks import run_ranks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="needs gloo"
    ),
]
OPTIONS = ["--num_threads", "1", "--eval_size", "8", "--generation_batch_size", "16", "--quiet"]
OPTIONS += ["--num_generations", "4", "--train_batch_size", "8", "--reward", "random", "--max_steps", "3"]
MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture(scope="module")
def two(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks that are forked from the tests."""
    out = tmp_path_factory.mktemp("ranks") / "two"
    paths = ["--model_name_or_path", str(untrained), "--output_dir", str(out)]
    ended = run_ranks(partial(train.main, [*OPTIONS, *paths]), out.with_suffix(".said"))
    assert (ended.codes, ended.err) == ([0, 0], "")
    return out


@pytest.mark.full
def test_one_command_starts_several_processes(two, untrained, tmp_path, run_python: RunPython):
    paths = ["--model_name_or_path", str(untrained), "--output_dir", str(tmp_path / "run")]
    done = run_python("-m", "dupo.train", *OPTIONS, *paths, "--num_processes", "2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (two / "metrics.jsonl").read_bytes()


@pytest.mark.full
def test_torchrun_starts_several_processes(two, untrained, tmp_path, run_python: RunPython):
    paths = ["--model_name_or_path", str(untrained), "--output_dir", str(tmp_path / "run")]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-endpoint", "127.0.0.1:0"]
    done = run_python(*torchrun, "-m", "dupo.train", *OPTIONS, *paths)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (two / "metrics.jsonl").read_bytes()


def test_a_wrong_option_is_one_line_whatever_the_number_of_processes(tmp_path, run_python: RunPython):
    done = run_python("-m", "dupo.train", "--num_processes", "2", "--task", "no task")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    variables = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", **MEETING}
    done = run_python("-m", "dupo.train", "--num_processes", "3", env=variables, cwd=tmp_path)
    expected = "error: num_processes: expected 2, as many as were started, got 3\n"
    assert (done.returncode, done.stderr) == (2, expected)


def test_a_folder_that_is_refused_starts_no_process(tmp_path: Path, run_python: RunPython) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").touch()
    done = run_python(
        "-m", "dupo.train", "--num_processes", "2", "--output_dir", "run", cwd=tmp_path, timeout=15
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "output_dir run is not empty and holds no run" in done.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]
