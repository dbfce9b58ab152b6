"""The bench of a training step, at tiny sizes: our half is right, rows and table tell what they say."""

import json
from typing import Any

import pytest
import torch

from bench import step
from bench.training.trainers import Row, Variant, make_model, make_rows, make_trainer, padded_batches
from tests.helpers.project import ROOT, RunPython

VOCABULARY = 60
RECOMPUTED = Variant("ours, activations recomputed", recomputed=True)


@pytest.fixture
def rows() -> list[Row]:
    return make_rows(4, VOCABULARY)


def test_our_step_has_the_gradient_of_the_definition(rows: list[Row]) -> None:
    """A row a pass through transformers alone: on policy the loss is -sum A log p / tokens."""
    model: Any = make_model(VOCABULARY, "eager")
    rows = rows[:2]
    count = sum(len(row.completion) for row in rows)
    for row in rows:
        ids = torch.tensor([row.prompt + row.completion])
        logp = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
        (-row.advantage / count * logp[-len(row.completion) :].sum()).backward()
    truth = {name: weight.grad for name, weight in model.named_parameters()}
    for variant in (step.OURS, RECOMPUTED):
        loss, gradients = make_trainer(variant, rows, VOCABULARY).gradients()
        assert step.difference(truth, gradients) < step.MOST_DIFFERENCE
        expected = -sum(row.advantage * len(row.completion) for row in rows) / count
        assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_variants_are_timed_in_turn(rows: list[Row]) -> None:
    measured = step.measure_time((step.OURS, RECOMPUTED), rows, VOCABULARY, repeats=1)
    for variant in measured.values():
        assert variant.tokens == sum(len(row.prompt) + len(row.completion) for row in rows)
        assert variant.difference < step.MOST_DIFFERENCE
        assert len(variant.cpu_seconds) == 1 and variant.cpu_seconds[0] > 0


def test_another_gradient_is_seen() -> None:
    ours = {"w": torch.tensor([3.0, 4.0]), "v": torch.tensor([1.0])}
    theirs = {"w": torch.tensor([3.0, 4.5]), "v": torch.tensor([1.0])}
    assert step.difference(ours, theirs) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="one for each weight"):
        step.difference(ours, {"w": ours["w"]})


@pytest.mark.parametrize("padded_whole", [False, True])
def test_padding_holds_the_rows(rows: list[Row], padded_whole: bool) -> None:
    batches = padded_batches(rows, 2, padded_whole)
    assert len(batches) == 2
    columns = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages")
    padded = [line for batch in batches for line in zip(*(batch[name] for name in columns), strict=True)]
    for row, (prompt, prompt_mask, completion, completion_mask, advantage) in zip(rows, padded, strict=True):
        assert prompt[prompt_mask.bool()].tolist() == row.prompt
        assert prompt[-len(row.prompt) :].tolist() == row.prompt  # padded on the left
        assert completion[completion_mask.bool()].tolist() == row.completion
        assert completion[: len(row.completion)].tolist() == row.completion
        assert advantage.item() == pytest.approx(row.advantage)
    widths = [batch["completion_ids"].shape[1] for batch in batches]
    lengths = [len(row.completion) for row in rows]
    longest = [max(lengths)] * 2 if padded_whole else [max(lengths[:2]), max(lengths[2:])]
    assert widths == longest and len(set(lengths)) > 1


@pytest.mark.slow
@pytest.mark.full
def test_memory_counts_gradient_and_moments(run_python: RunPython) -> None:
    """What the first step adds at least: three numbers for each weight."""
    vocabulary = 100_000
    cell = json.dumps([step.OURS, vocabulary, 2])
    done = run_python("-m", "bench.step", "--cell", cell)
    assert done.returncode == 0, done.stderr
    num_weights = sum(weight.numel() for weight in make_model(vocabulary, "eager").parameters())
    assert 3 * 4 * num_weights < int(done.stdout) < 10 * 4 * num_weights


def result_of(seconds: float, peak: int, difference: float) -> dict[str, Any]:
    """A result in which our step takes 1 s and 100 bytes."""
    of_trl = step.Measured(step.GOAL.name, 9, 0.5, difference, [seconds, 2 * seconds, 3 * seconds], [peak])
    variants = [step.Measured(step.OURS.name, 5, 0.5, 0.0, [1.0] * 3, [100]), of_trl]
    made_by = {"command": "COMMAND", "git": "1234567", "trl": "0.0", "device": "CPU"}
    sizes = {"vocabulary": 7, "rows": 2, "tokens": 5}
    return {"signature": made_by, **sizes, "variants": [variant._asdict() for variant in variants]}


def test_a_missed_goal_is_told() -> None:
    assert all(is_reached for _, is_reached in step.goals(result_of(1.25, 300, 1e-6)))
    for missed, values in enumerate([(1.24, 300, 1e-6), (1.25, 299, 1e-6), (1.25, 300, 2e-5)]):
        assert [is_reached for _, is_reached in step.goals(result_of(*values))] == [
            place != missed for place in range(3)
        ]


def test_the_table_tells_medians_beside_ours() -> None:
    text = step.markdown(result_of(1.25, 300, 1e-6), "file.json")
    assert "2.50 (1.25-3.75)" in text and "2.5 (1.2-3.8)" in text and "3.0" in text and "COMMAND" in text


def test_the_page_has_the_newest_results() -> None:
    newest = step.newest_results()
    assert len(newest) == len(step.SIZES)
    page = (ROOT / step.PAGE).read_text()
    assert step.publish(page, newest) == page, "python -m bench.step --write"
