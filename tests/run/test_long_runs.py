"""A thousand steps in one process: memory stays, and no open file, child process or thread is left."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.long_runs import Reading, complaints
from tests.helpers.project import RunPython

pytestmark = [
    pytest.mark.slow,
    pytest.mark.full,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
OPTIONS: dict[str, dict[str, Any]] = {
    "whole": {"learning_rate": 1e-4, "dual_model": "ema", "beta": 0.05},
    "adapters": {"learning_rate": 1e-3, "use_peft": True, "lora_r": 2, "beta": 0.05},
}


def readings(
    run_python: RunPython, folder: Path, options: dict[str, Any], steps: list[int], *leak: str
) -> tuple[dict[str, Any], list[str]]:
    """What a run told, and the complaints about it."""
    arguments = [str(folder), json.dumps(options), json.dumps(steps), *leak]
    done = run_python("-m", "tests.helpers.long_runs", *arguments, timeout=500)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    return told, complaints(*(Reading(*told[key]) for key in ("before", *map(str, steps), "after")))


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_thousand_steps_leave_nothing(run_python: RunPython, tmp_path: Path, kind: str) -> None:
    told, problems = readings(run_python, tmp_path, OPTIONS[kind], [200, 1000])
    assert told["updates"] == 1000
    assert not problems, told


def test_what_is_left_at_every_step_would_be_seen(run_python: RunPython, tmp_path: Path) -> None:
    _, problems = readings(run_python, tmp_path, OPTIONS["whole"], [5, 25], "leak")
    assert [problem.partition(":")[0] for problem in problems] == ["memory", "handles", "children"]
