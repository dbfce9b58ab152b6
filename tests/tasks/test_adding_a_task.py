"""A new task touches two places: a file in dupo/tasks, and a line in dupo/config/catalogue.py."""

import shutil

import pytest

from tests.helpers.package_copy import add_catalogue_line, copy_packages
from tests.helpers.project import ROOT
from tests.helpers.worlds import rows, save_tiny, summary


@pytest.mark.slow
def test_a_file_and_a_line_make_a_task(tmp_path, run_python):
    environment = copy_packages(tmp_path)
    shutil.copy(ROOT / "tests/tasks/reverse_task.py", tmp_path / "dupo" / "tasks" / "reverse.py")
    add_catalogue_line(tmp_path, "TASKS", '"reverse": TaskEntry("dupo.tasks.reverse.Reverse", True, {}),')

    help_page = run_python("-m", "dupo.train", "--help", env=environment, cwd=tmp_path)
    assert help_page.returncode == 0 and "reverse" in help_page.stdout

    model = save_tiny(tmp_path / "model")  # knows the characters of the built-in task
    folders = ["--model_name_or_path", str(model), "--output_dir", str(tmp_path / "run")]
    sizes = ["--max_steps", "1", "--generation_batch_size", "32", "--eval_size", "8"]
    lengths = ["--max_completion_length", "6", "--num_generations", "4"]
    trained = run_python(
        "-m", "dupo.train", "--task", "reverse", *folders, *sizes, *lengths, env=environment, cwd=tmp_path
    )
    assert trained.returncode == 0, trained.stderr
    (row,) = rows(tmp_path / "run")
    assert {"reward", "dual/reconstruct_rate", "eval/accuracy"} <= row.keys()
    assert summary(tmp_path / "run")["steps"] == 1
