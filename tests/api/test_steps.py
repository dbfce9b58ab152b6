"""Steps one by one, and callbacks: stopped in any way, a run is saved and can be resumed."""

from pathlib import Path
from typing import Any

import pytest

from dupo import api
from dupo.api.callbacks import Callbacks
from dupo.errors import UserError
from dupo.run.hub import finished_checkpoint
from dupo.storage.lock import owned
from tests.helpers.python_runs import ROWS, SMALL, same_run, variety

RUN: dict[str, Any] = dict(dataset=ROWS, reward=variety, **SMALL)


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, dict[str, Any]]] = []

    def on_step(self, step: int, metrics: dict[str, Any]) -> None:
        self.calls.append(("step", step, metrics))
        metrics.clear()  # its own copy

    def on_evaluate(self, step: int, metrics: dict[str, Any]) -> None:
        self.calls.append(("evaluate", step, metrics))


def test_callbacks_are_told_steps_and_evaluations() -> None:
    recorder, seen = Recorder(), []
    told = Callbacks([recorder, lambda step, metrics: seen.append((step, metrics))])
    assert not told.tell({"step": 1, "reward": 0.5})
    assert not told.tell({"step": 2, "reward": 1.0, "eval/accuracy": 0.25})
    assert [call[:2] for call in recorder.calls] == [("step", 1), ("step", 2), ("evaluate", 2)]
    assert recorder.calls[-1][2] == {"eval/accuracy": 0.25}
    assert seen == [(1, {"reward": 0.5}), (2, {"reward": 1.0, "eval/accuracy": 0.25})]


def test_a_callback_stops_by_stop_alone() -> None:
    row = {"step": 3, "eval/accuracy": 1.0}

    class Stopper:
        def on_evaluate(self, step: int, metrics: dict[str, Any]) -> Any:
            return api.STOP

    assert Callbacks([Stopper]).tell(row)
    assert not Callbacks([Stopper]).tell({"step": 3})
    # What a function happens to return is no request.
    assert not Callbacks([lambda step, metrics: True, print]).tell(row)


@pytest.mark.slow
def test_an_error_of_a_callback_reaches_the_caller_and_costs_no_step(here: Path) -> None:
    class MineError(Exception):
        pass

    def fail(step: int, metrics: dict[str, Any]) -> None:
        if step == 3:
            raise MineError("as it is")

    whole = api.train(output_dir="whole", **RUN)
    with pytest.raises(MineError, match="as it is"):
        api.train(output_dir="run", callbacks=[fail], **RUN)
    assert (here / "run/checkpoint-3").is_dir() and owned() == []
    resumed = api.train(output_dir="run", resume_from_checkpoint="latest", **RUN)
    assert same_run(whole.folder, resumed.folder)


@pytest.mark.slow
def test_a_loop_that_is_left_saves_in_every_way_of_leaving(here: Path) -> None:
    whole = [row for row in api.train_steps(output_dir="whole", **RUN)]
    for row in api.train_steps(output_dir="unnamed", **RUN):
        if row["step"] == 2:
            break
    named = api.train_steps(output_dir="named", **RUN)
    assert next(named) == whole[0]
    result = named.result
    assert result.stopped and result.metrics == whole[:1]
    with pytest.raises(KeyError), api.train_steps(output_dir="with", **RUN) as steps:
        for row in steps:
            row["nothing of that name"]
    for name, step in (("unnamed", 2), ("named", 1), ("with", 1)):
        assert (here / name / f"checkpoint-{step}").is_dir() and owned() == []
        api.train(output_dir=name, resume_from_checkpoint="latest", **RUN)
        assert same_run(here / "whole", here / name)


@pytest.mark.slow
def test_a_stop_at_the_last_step_is_a_finished_run() -> None:
    result = api.train(callbacks=[lambda step, _: api.STOP if step == 4 else None], **RUN)
    assert not result.stopped and result.summary["steps"] == 4
    steps = api.train_steps(**RUN)
    rows = list(steps)
    assert len(rows) == 4 and steps.result.summary["steps"] == 4 and list(steps) == []


@pytest.mark.slow
def test_a_folder_in_use_by_a_loop_is_refused_until_the_loop_is_closed() -> None:
    steps = api.train_steps(output_dir="run", **RUN)
    next(steps)
    with pytest.raises(UserError, match="in use by another call of this process"):
        api.train(output_dir="run", resume_from_checkpoint="latest", **RUN)
    steps.close()
    steps.close()
    assert not api.train(output_dir="run", resume_from_checkpoint="latest", **RUN).stopped


def test_a_result_without_a_loop_is_refused(here: Path) -> None:
    (here / "run").mkdir()  # the folder of a run that was there before
    with pytest.raises(UserError, match="result: expected a loop"):
        _ = api.train_steps(output_dir="run", **RUN).result


@pytest.mark.slow
def test_a_finished_run_that_is_made_longer_and_stopped_is_not_finished(here: Path) -> None:
    assert not api.train(output_dir="run", **RUN).stopped
    longer = RUN | {"max_steps": 8, "output_dir": "run", "resume_from_checkpoint": True}
    assert api.train(callbacks=[lambda *_: api.STOP], **longer).stopped
    assert not (here / "run/summary.json").exists()
    with pytest.raises(UserError, match="expected the folder of a finished run"):
        finished_checkpoint(here / "run")
    assert api.train(**longer).summary["steps"] == 8
    assert finished_checkpoint(here / "run").name == "checkpoint-8"


@pytest.mark.slow
def test_a_function_that_is_another_one_is_refused_on_resume() -> None:
    api.train(output_dir="run", **RUN | {"max_steps": 1, "reward": lambda completions, **_: [1.0, 0.0] * 2})
    other = RUN | {"max_steps": 2, "reward": lambda completions, **_: [0.0, 1.0] * 2}
    with pytest.raises(UserError, match="the source of lambda has changed since the run was started"):
        api.train(output_dir="run", resume_from_checkpoint=True, **other)
