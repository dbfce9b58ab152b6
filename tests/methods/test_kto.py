"""KTO on labelled answers: it learns, estimates how far it has moved, is resumed, and refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dupo.config.command_line import parse
from dupo.errors import UserError
from dupo.learning.preference_loss import PreferenceLoss, Singles, answer_logprobs
from dupo.methods.compared import Compared
from dupo.methods.kto import KTO
from dupo.train import main
from tests.helpers.runs import killed, loop, resume, same_files
from tests.helpers.worlds import rows, summary

WORDS = ["red", "green", "blue", "white", "black", "grey", "brown", "pink", "gold", "teal"]
# A good answer has no capital. Both labels of a prompt stand side by side.
ANSWERS = [
    {"prompt": f"Say {one} {two}.", "completion": f"{one} {two if good else two.upper()}", "label": good}
    for one in WORDS
    for two in WORDS[:5]
    for good in (True, False)
]
SHORT = ["--num_threads", "1", "--eval_size", "5", "--eval_steps", "3", "--save_steps", "3"]
SHORT += ["--learning_rate", "3e-4", "--train_batch_size", "12"]


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ANSWERS))
    return path


def command(dataset: Path, *options: str) -> list[str]:
    return ["--method", "kto", "--dataset", str(dataset), *SHORT, *options]


@pytest.mark.parametrize("loss", ["kto", "apo_zero_unpaired"])
def test_it_learns_which_answers_are_good(answers: Path, tmp_path: Path, loss: str) -> None:
    run = tmp_path / "run"
    words = command(answers, "--max_steps", "20", "--loss_type", loss, "--output_dir", str(run))
    assert main(words) == 0
    metrics, result = rows(run), summary(run)
    # The policy is its own reference: half of each label.
    assert metrics[0]["loss"] == pytest.approx(0.5, abs=1e-6)
    assert result["eval/loss_after"] < 0.45
    assert metrics[-1]["rewards/margins"] > 0.1
    assert ("kl" in metrics[0]) == (loss == "kto")


def test_other_answers_are_those_to_other_prompts(answers: Path) -> None:
    made = KTO(parse(command(answers)))
    for place, (answer, other) in enumerate(made.train):
        assert other.prompt_ids == answer.prompt_ids
        # Both answers of a prompt stand side by side, so the one before may be to the same prompt.
        before = next(
            made.train[place - k][0]
            for k in (1, 2)
            if made.train[place - k][0].prompt_ids != answer.prompt_ids
        )
        assert other.completion_ids.tolist() == before.completion_ids.tolist()
    to_train = [answer.completion_ids.tolist() for answer, _ in made.train]
    assert all(other.completion_ids.tolist() in to_train for _, other in made.held_out)


def test_how_far_the_policy_has_moved_is_a_mean_over_other_answers(answers: Path) -> None:
    made = KTO(parse(command(answers)))
    made.load()
    made.start()
    batch = made.next_batch(0)
    places = made.places(0)
    before = Compared([made.train[place] for place in places], made.references[places])
    with torch.no_grad():
        made.model.get_output_embeddings().weight.mul_(1.3)
    _, metrics = made.compare(made.model, before, learns=False)
    moved = answer_logprobs(made.model, [(other,) for _, other in before.groups], made.compute)[:, 0]
    expected = (moved - before.references[:, 1]).mean().clamp(min=0).item()
    assert metrics["kl"] == pytest.approx(expected) and len(batch.trajectories) == 24
    # By the definition, in float64, of every answer.
    own = answer_logprobs(made.model, [(answer,) for answer, _ in before.groups], made.compute)[:, 0]
    sign = torch.tensor([1.0 if (a.advantage > 0) else -1.0 for a, _ in before.groups]).double()
    losses = 1 - torch.sigmoid(sign * 0.1 * (own - before.references[:, 0] - expected))
    loss, _ = made.compare(made.model, before, learns=False)
    assert loss.item() == pytest.approx(losses.mean().item(), rel=1e-5)


@pytest.mark.parametrize("token_budget", [4096, 60, 30])
def test_any_split_gives_the_same_reports(answers: Path, token_budget: int) -> None:
    made = KTO(parse(command(answers)))
    made.load()
    whole = made.train[:9]
    labels = torch.tensor([answer.advantage > 0 for answer, _ in whole])
    references = torch.linspace(-60, -20, 9).double()[:, None]
    results = []
    for budget in (4096, token_budget):
        loss = PreferenceLoss(made.loss.objective, made.compute._replace(token_budget=budget))
        groups = [(answer,) for answer, _ in whole]
        value, metrics = loss.measure(made.model, groups, references, Singles(labels, torch.tensor(0.3)))
        results.append({"value": value.item(), **metrics})
    assert results[1] == pytest.approx(results[0], rel=1e-5)
    assert all(value == value for value in results[1].values())  # no NaN of a batch of one label


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--loss_type", "apo_zero_unpaired"]])
def test_killed_between_two_steps_and_resumed_equals_never_stopped(
    answers: Path, tmp_path: Path, run_python: Any, options: list[str]
) -> None:
    words = command(answers, "--max_steps", "8", *options)
    never = tmp_path / "never"
    loop(parse([*words, "--output_dir", str(never)]))
    run = killed(run_python, tmp_path / "killed", *words)
    assert resume(run) == 0
    same_files(never, run, "metrics.jsonl", "checkpoint-8/model.safetensors")
    assert summary(never)["evals"] == summary(run)["evals"]


def test_a_run_does_not_go_on_with_other_labels(answers: Path, tmp_path: Path, capsys: Any) -> None:
    run = tmp_path / "run"
    assert main(command(answers, "--max_steps", "3", "--output_dir", str(run))) == 0
    flipped = [{**row, "label": not row["label"]} for row in ANSWERS]
    answers.write_text("".join(json.dumps(row) + "\n" for row in flipped))
    assert resume(run, "--max_steps", "6") == 2
    assert "the data set" in capsys.readouterr().err


def test_files_of_one_name_keep_their_labels(answers: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    flipped = [{**row, "prompt": f"Please: {row['prompt']}", "label": not row["label"]} for row in ANSWERS]
    (folder / answers.name).write_text("".join(json.dumps(row) + "\n" for row in flipped))
    words = ["--method", "kto", "--dataset", str(answers), "--eval_dataset", str(folder / answers.name)]
    made = KTO(parse(words))
    assert [group[0].advantage > 0 for group in made.train] == [row["label"] for row in ANSWERS]
    assert [group[0].advantage > 0 for group in made.held_out] == [row["label"] for row in flipped]


def test_labels_follow_the_answers_that_fit(answers: Path) -> None:
    long = {"prompt": "Say it.", "completion": "it " * 200, "label": False}
    rest = [row for row in ANSWERS if row["label"]]
    answers.write_text("".join(json.dumps(row) + "\n" for row in [long, *rest, ANSWERS[1]]))
    made = KTO(parse([*command(answers, "--token_budget", "400"), "--eval_size", "0"]))
    assert [group[0].advantage for group in made.train] == [1.0] * len(rest) + [-1.0]
    (note,) = [note for note in made.notes if "labelled true" in note]
    assert (
        note == f"{len(rest)} labelled true, 1 false (--desirable_weight {1 / len(rest):.2g} evens them out)"
    )
    # What is left may be of one label.
    answers.write_text("".join(json.dumps(row) + "\n" for row in [long, *rest]))
    with pytest.raises(UserError, match=r"^dataset: expected answers of both labels, got true alone that"):
        KTO(parse([*command(answers, "--token_budget", "400"), "--eval_size", "0"]))


def test_answers_to_one_prompt_are_refused_by_kto_alone(answers: Path) -> None:
    answers.write_text("".join(json.dumps({**row, "prompt": "Say it."}) + "\n" for row in ANSWERS))
    with pytest.raises(UserError, match=r"^dataset: expected answers to several prompts, got"):
        KTO(parse([*command(answers), "--eval_size", "0"]))
    made = KTO(parse([*command(answers), "--eval_size", "0", "--loss_type", "apo_zero_unpaired"]))
    assert {len(group) for group in made.train} == {1} and made.references.shape[1] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--loss_type sigmoid", "loss_type: expected one of kto, apo_zero_unpaired, got 'sigmoid'"),
        ("--desirable_weight -1", "desirable_weight: expected at least 0, got -1"),
        ("--label_smoothing 0.1", "unknown option --label_smoothing: dupo.train --method kto does not have"),
    ],
)
def test_options_that_the_loss_does_not_read_are_refused(words: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(["--method", "kto", "--dataset", "a", *words.split()])
    assert str(caught.value).startswith(message)
    with pytest.raises(UserError, match=r"^dataset: expected --dataset FILE with columns prompt, completion"):
        parse(["--method", "kto"])
