"""A new reward touches two places: a file in dupo/rewards, and a line in dupo/config/catalogue.py."""

import shutil

import pytest

from tests.helpers.package_copy import add_catalogue_line, copy_packages
from tests.helpers.project import ROOT
from tests.helpers.worlds import rows, save_tiny


@pytest.mark.slow
@pytest.mark.full
def test_a_file_and_a_line_make_a_reward(tmp_path, run_python):
    environment = copy_packages(tmp_path)
    shutil.copy(ROOT / "tests/rewards/brevity_reward.py", tmp_path / "dupo" / "rewards" / "brevity.py")
    add_catalogue_line(tmp_path, "REWARDS", '"brevity": RewardEntry("dupo.rewards.brevity.brevity"),')

    model = save_tiny(tmp_path / "model")
    folders = ["--model_name_or_path", str(model), "--output_dir", str(tmp_path / "run")]
    sizes = ["--max_steps", "1", "--generation_batch_size", "32", "--eval_size", "8"]
    command = ["-m", "dupo.train", "--reward", "brevity,format_only", *folders, *sizes]
    trained = run_python(*command, env=environment, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    (row,) = rows(tmp_path / "run")
    assert 1 / 7 <= row["rewards/brevity/mean"] <= 1 / 2  # one to six tokens

    misspelt = run_python("-m", "dupo.train", "--reward", "brevty", env=environment, cwd=tmp_path)
    assert misspelt.returncode == 2 and "did you mean brevity?" in misspelt.stderr
