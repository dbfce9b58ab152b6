"""The run of a program that does not train: how the built-in model is taught, stopped and continued."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dupo.config.command_line import parse
from dupo.engines.load import load_engine
from dupo.run.program import run_program
from dupo.run.rows import RowsRun
from tests.helpers.lessons import Lesson

OPTIONS = ["--num_problems", "4", "--num_threads", "1"]


def first_weight(engine: Any) -> torch.Tensor:
    return next(engine.model.parameters())


@pytest.fixture
def taught(tmp_path):
    """(models that were taught, engine of the run or None if it was stopped) of one start of the program."""
    models, stops = [], [2]

    def stop(step):
        if step in stops:
            stops.remove(step)
            signal.raise_signal(signal.SIGINT)

    def teach(config, task, model):
        models.append(config.model.model_name_or_path)
        return Lesson(model, 4, stop)

    def start():
        engines = []

        def body(config):
            run = RowsRun(config, teach, load_engine)
            engines.append(run.engine())
            assert run.engine() is engines[0]

        code = run_program("rerank", body, [*OPTIONS, "--output_dir", str(tmp_path / "run")])
        assert (code, len(engines)) in ((0, 1), (130, 0))
        return engines[0] if engines else None

    return models, start


def test_teaching_is_continued_where_it_was_stopped_and_done_once(taught, tmp_path, capfd):
    models, start = taught
    out: Path = tmp_path / "run"
    assert start() is None and models == ["tiny"]
    assert (out / "teaching.pt").is_file() and not (out / "taught_model").exists()
    assert "Stopped in the lesson, after step 2; saved." in capfd.readouterr().out
    engine = start()
    assert "resumed the lesson after step 2" in capfd.readouterr().out
    assert (first_weight(engine) == 4).all() and models == ["tiny", "tiny"]
    assert not (out / "teaching.pt").exists()
    assert any((weight == 4).all() for weight in load_file(out / "taught_model/model.safetensors").values())
    assert (first_weight(start()) == 4).all() and models == ["tiny", "tiny"]  # read from the folder


def test_a_model_that_needs_no_teaching_is_left_alone(tmp_path):
    config = parse([*OPTIONS, "--output_dir", str(tmp_path / "run")], "rerank")
    engine = RowsRun(config, lambda *_: None, load_engine).engine()
    assert first_weight(engine).std() > 0
    assert not (tmp_path / "run/taught_model").exists()


def test_nothing_is_written_where_the_input_is_wrong(tmp_path, capsys):
    def body(config):
        RowsRun(config, lambda *_: None, load_engine)

    file = tmp_path / "empty.jsonl"
    file.write_text("")
    options = ["--task", "word_problems", "--dataset", str(file), "--output_dir", str(tmp_path / "run")]
    assert run_program("rerank", body, options) == 2
    assert "empty.jsonl" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
