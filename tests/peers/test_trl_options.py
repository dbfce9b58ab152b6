"""docs/trl.md is true of TRL and of dupo, and TRL's names lead where they say."""

import json
import os
import re
import shlex
from dataclasses import fields

import pytest
import torch
import transformers

from dupo.config.command_line import parse
from dupo.config.config import OPTIONS
from dupo.config.options import OptimizerOptions
from dupo.config.trl import ALIASES, EARLIER, INSTEAD, options_in
from dupo.learning.optimizer import learning_rate
from dupo_kernels.tokens.policy_options import PolicyOptions
from tests.helpers.project import ROOT, RunPython
from tests.peers.trl_options import DIFFERS, PAGE, REMARKS, SAME, read_page, shown, tables, tables_of_page

VARIABLE = "DUPO_PEER_TRL"


@pytest.mark.slow  # with the peers, as CI runs them
def test_the_tables_are_those_of_trl(run_python: RunPython) -> None:
    folder, page = os.environ.get(VARIABLE), read_page()
    if not folder:
        pytest.skip(f"{VARIABLE} is not set; .ci/peers says how to")
    if transformers.__version__ != page["versions"]["transformers"]:
        pytest.skip(f"docs/trl.md is of transformers {page['versions']['transformers']}")
    path = os.pathsep.join([str(ROOT / "kernels"), str(ROOT), folder])
    done = run_python("-m", "tests.peers.trl_options", env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == page


def test_the_tables_say_of_dupo_what_dupo_does() -> None:
    """Names, defaults and hints are those of the code: made anew from what the page says of TRL."""
    page = read_page()
    assert tables(page["versions"], page["defaults"]) == tables_of_page()


def test_every_name_of_trl_stands_in_one_list() -> None:
    names = read_page()["defaults"].keys()
    assert len(names) > 200
    assert SAME | DIFFERS.keys() == names & OPTIONS.keys()
    assert REMARKS.keys() <= SAME
    assert INSTEAD.keys() | ALIASES.keys() == names - OPTIONS.keys()
    assert not EARLIER.keys() & (names | OPTIONS.keys() | ALIASES.keys())
    assert set(ALIASES.values()) <= OPTIONS.keys()


@pytest.mark.parametrize("text", sorted({*INSTEAD.values(), *EARLIER.values()}))
def test_what_is_named_instead_is_an_option(text: str) -> None:
    assert set(options_in(text)) <= OPTIONS.keys()


def test_the_command_of_the_page_is_one_of_ours() -> None:
    (code,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    command = shlex.split(code.replace("\\\n", ""), comments=True)
    assert command[:3] == ["python", "-m", "dupo.train"]
    config = parse(command[3:])
    there = read_page()["defaults"]
    assert shown(config.rollout.max_completion_length) == there["max_completion_length"]
    assert shown(config.optimizer.lr_scheduler_type) == there["lr_scheduler_type"]


@pytest.mark.parametrize(
    ("shape", "theirs"), [("linear",) * 2, ("cosine",) * 2, ("constant", "constant_with_warmup")]
)
@pytest.mark.parametrize("warmup", [0, 4])
def test_the_learning_rate_differs_as_the_page_says(shape: str, theirs: str, warmup: int) -> None:
    options = OptimizerOptions(learning_rate=1.0, lr_scheduler_type=shape, warmup_steps=warmup, max_steps=10)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    kwargs = {"num_training_steps": 10} if shape != "constant" else {}
    schedule = transformers.get_scheduler(theirs, optimizer, warmup, **kwargs)
    for step in range(10):
        (there,) = schedule.get_last_lr()
        expected = there if step >= warmup else there + 1 / warmup
        assert learning_rate(step, options) == pytest.approx(expected), step
        optimizer.step()
        schedule.step()


def test_defaults_of_the_loss_are_those_of_trl() -> None:
    """As `dupo_kernels.tokens.policy_options` says."""
    there = read_page()["defaults"]
    shared = [spec for spec in fields(PolicyOptions) if spec.name in there]
    assert len(shared) == len(fields(PolicyOptions)) - 2  # clip_ratio_c and kl are of others
    for spec in shared:
        assert shown(spec.default) == there[spec.name], spec.name
