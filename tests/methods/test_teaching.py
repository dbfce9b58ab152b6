"""Teaching the built-in model: when it ends, what it counts, and that a stopped stage goes on as it was."""

import io
import re

import pytest
import torch

from dupo.config.catalogue import TEACHING
from dupo.engines.builtin import BuiltinEngine
from dupo.methods import teaching
from dupo.methods.teaching import Teaching, teaching_stage
from tests.helpers.options import RUN
from tests.helpers.project import ROOT
from tests.helpers.worlds import save_tiny, task_of, tiny

CONFIG = RUN.changed(eval_size=20, learning_rate=0.5, teach=True)
TASK = task_of(CONFIG)


@pytest.fixture
def short(monkeypatch):
    """Two steps between checks, and goals that everything meets."""
    for name, value in (("CHECK_EVERY", 2), ("PRIMAL_GOAL", 0.0), ("DUAL_GOAL", 0.0)):
        monkeypatch.setattr(teaching, name, value)


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def same(first, second):
    return all(torch.equal(p, q) for p, q in zip(first, second, strict=True))


@pytest.mark.slow
def test_the_stage_ends_when_both_goals_are_met(short):
    stage = Teaching(CONFIG, TASK, tiny().model)
    notes = []
    while not stage.finished():
        notes.append(stage.step())
    assert stage.steps == 2 and notes[0] is None
    assert re.fullmatch("[0-9]+ of 1,000 duals right, goal 0", notes[1] or "")
    assert stage.facts() == {
        "teaching_labels": 2 * TEACHING["train_batch_size"],
        "teaching_steps": 2,
        "teaching_dev_labels": 500,
    }


@pytest.mark.slow
def test_a_goal_that_is_missed_goes_on_to_the_last_step(short, monkeypatch):
    monkeypatch.setattr(teaching, "PRIMAL_GOAL", 1.01)
    monkeypatch.setattr(teaching, "MAX_STEPS", 5)
    stage = Teaching(CONFIG, TASK, tiny().model)
    notes = []
    while not stage.finished():
        notes.append(stage.step())
    assert stage.steps == stage.most_steps == 5
    assert [note is not None for note in notes] == [False, True, False, True, False]
    assert re.fullmatch("[0-9]+ of 500 answers right, goal 505", notes[3] or "")


def test_the_options_of_the_user_are_not_those_of_the_lessons(short):
    stage = Teaching(CONFIG, TASK, tiny().model)
    optimizer = stage.sft.config.optimizer
    assert optimizer.learning_rate == TEACHING["learning_rate"] != CONFIG.optimizer.learning_rate
    assert (optimizer.train_batch_size, optimizer.warmup_steps) == (64, 50)
    assert stage.sft.config.method == "sft" and stage.sft.seed == CONFIG.run.seed


@pytest.mark.slow
def test_another_engine_samples_from_the_policy_and_not_from_the_lessons(short):
    stage = Teaching(CONFIG.changed(engine="vllm"), TASK, tiny().model)
    assert isinstance(stage.engine, BuiltinEngine)


@pytest.mark.slow
def test_the_result_is_the_moving_average(short):
    target = tiny().model
    stage = Teaching(CONFIG, TASK, target)
    before = weights(target)
    for _ in range(3):
        stage.step()
    assert same(before, weights(target))  # nothing changes until the end
    message = stage.finish()
    assert same(weights(stage.average), weights(target))
    assert not same(weights(stage.sft.model), weights(target)) and not same(before, weights(target))
    assert "3 steps on 192 labelled examples" in message


@pytest.mark.slow
@pytest.mark.full
def test_a_stopped_stage_goes_on_as_if_never_stopped(short):
    never = Teaching(CONFIG, TASK, tiny().model)
    for _ in range(5):
        never.step()
    stopped = Teaching(CONFIG, TASK, tiny().model)
    for _ in range(3):
        stopped.step()
    buffer = io.BytesIO()
    torch.save(stopped.state(), buffer)
    buffer.seek(0)
    resumed = Teaching(CONFIG, TASK, tiny().model)
    resumed.load_state(torch.load(buffer, weights_only=True))
    for _ in range(2):
        resumed.step()
    assert resumed.steps == 5 and resumed.labels == never.labels
    assert same(weights(never.sft.model), weights(resumed.sft.model))
    assert same(weights(never.average), weights(resumed.average))


@pytest.mark.slow
def test_only_random_weights_with_lessons_are_taught(tmp_path):
    model = tiny().model
    assert isinstance(teaching_stage(CONFIG, TASK, model), Teaching)
    folder = save_tiny(tmp_path / "model")
    assert teaching_stage(CONFIG.changed(model_name_or_path=str(folder), teach=False), TASK, model) is None

    class NoLessons(type(TASK)):
        def __init__(self):
            super().__init__(CONFIG.task, 0)
            self.lessons = None

    assert teaching_stage(CONFIG, NoLessons(), model) is None


def test_how_much_is_taught_is_written_down_once():
    """The start-up table reads the size of a step from the options; no text repeats a count of examples.

    The README has one, which tests/docs/test_words.py compares with the code.
    """
    assert f"{TEACHING['train_batch_size']} labelled examples a step" in teaching.TEACHING_NOTE
    for path in (ROOT / "docs/trust.md", ROOT / "dupo/methods/teaching.py"):
        assert not re.search(r"\d[\d,]* (labelled|supervised) examples", path.read_text()), path
