"""Scores of reward models: those of transformers, packed or not; and the loss of ranked answers."""

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from dupo.config.command_line import parse
from dupo.config.model_options import ModelOptions
from dupo.config.preference_options import ScoreOptions
from dupo.errors import UserError
from dupo.learning.logprobs import Compute
from dupo.learning.packed_check import check_packed
from dupo.learning.scores import Ranked, RankingLoss, calibration_error, score_metrics, trajectory_scores
from dupo.models.load import load_model, model_config, scorer_config
from dupo.models.tokenizers import load_tokenizer
from dupo.models.weights import read_checkpoint_weights
from dupo.records import Trajectory
from tests.helpers.model_kinds import model_of_kind, spread_out
from tests.helpers.slow import with_slow
from tests.helpers.worlds import save_tiny

CPU = torch.device("cpu")
COMPUTE = Compute(1.0, "float32", 64)


def trajectory(prompt: list[int], completion: list[int]) -> Trajectory:
    return Trajectory(prompt, torch.tensor(completion, dtype=torch.int32), torch.zeros(len(completion)), 0.0)


def options_of(folder: Path) -> ModelOptions:
    return parse(["--method", "sft", "--model_name_or_path", str(folder), "--dataset", "x.jsonl"]).model


def scorer(folder: Path, seed: int = 0) -> Any:
    options = options_of(folder)
    shape = scorer_config(options, load_tokenizer(options, None))
    return load_model(options, shape, CPU, seed, scores=True)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "tiny")


@pytest.fixture
def answers() -> list[Trajectory]:
    draws = torch.Generator().manual_seed(0)
    lengths = [(3, 5), (9, 2), (4, 12), (20, 20), (1, 1), (6, 3)]
    ids = [torch.randint(3, 15, (sum(pair),), generator=draws).tolist() for pair in lengths]
    return [trajectory(row[:p], row[p:]) for row, (p, _) in zip(ids, lengths, strict=True)]


def test_a_language_model_becomes_a_reward_model_whose_folder_transformers_scores_alike(
    tiny, answers, tmp_path
):
    model = scorer(tiny)
    ours = trajectory_scores(model, answers, COMPUTE)
    model.save_pretrained(tmp_path / "saved")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert theirs.config.num_labels == 1 and theirs.config.pad_token_id is not None
    for score, t in zip(ours.tolist(), answers, strict=True):
        ids = torch.tensor([t.prompt_ids + t.completion_ids.tolist()])
        assert score == pytest.approx(theirs(input_ids=ids).logits.item(), abs=1e-5)
    # The body is that of the language model, and the new score that of the seed.
    body = AutoModelForCausalLM.from_pretrained(tiny).base_model.state_dict()
    assert all(torch.equal(weight, body[name]) for name, weight in model.base_model.state_dict().items())
    assert torch.equal(scorer(tiny).score.weight, model.score.weight)
    assert not torch.equal(scorer(tiny, seed=1).score.weight, model.score.weight)


@pytest.mark.parametrize(
    "kind", with_slow(["llama", "gpt2", "gemma2", "mistral", "qwen3_moe"], quick=("gemma2",))
)
def test_other_classes_are_packed_with_their_own_scores(kind, answers, tmp_path):
    language_model = model_of_kind(kind)
    language_model.save_pretrained(tmp_path)
    shape = language_model.config
    shape.num_labels, shape.pad_token_id = 1, 0
    model = load_model(options_of(tmp_path), shape, CPU, 0, scores=True)
    spread_out(model)
    assert check_packed(model, COMPUTE) == 0.0
    scores = trajectory_scores(model, answers, COMPUTE)
    model.save_pretrained(tmp_path / "saved")
    saved = tmp_path / "saved"
    theirs = AutoModelForSequenceClassification.from_pretrained(saved, attn_implementation="eager")
    ids = torch.tensor([answers[3].prompt_ids + answers[3].completion_ids.tolist()])
    assert scores[3].item() == pytest.approx(theirs(input_ids=ids).logits.item(), abs=1e-3)


def test_an_end_token_that_is_the_padding_token_is_passed_over_as_transformers_does(tiny, answers):
    model = scorer(tiny)
    padding = model.config.pad_token_id
    ended = [
        t._replace(completion_ids=torch.cat([t.completion_ids, torch.tensor([padding]).int()]))
        for t in answers
    ]
    scores = trajectory_scores(model, ended, COMPUTE)
    assert torch.allclose(scores, trajectory_scores(model, answers, COMPUTE), atol=1e-6)
    ids = torch.tensor([ended[0].prompt_ids + ended[0].completion_ids.tolist()])
    assert scores[0].item() == pytest.approx(model(input_ids=ids).logits.item(), abs=1e-5)


def test_packing_is_checked_at_the_start(tiny):
    model = scorer(tiny)
    assert check_packed(model, COMPUTE) == 0.0
    model.score = torch.nn.Linear(128, 1, bias=False)
    own = model.forward

    def other(**inputs):
        result = own(**inputs)
        result.logits = result.logits + 1
        return result

    model.forward = other
    with pytest.raises(UserError, match="its scores differ by 1 from those of its own forward pass"):
        check_packed(model, COMPUTE)


def test_folders_that_are_no_reward_model_or_no_language_model_are_refused(tiny, tmp_path):
    folder = tmp_path / "reward"
    model = scorer(tiny)
    model.save_pretrained(folder)
    load_tokenizer(options_of(tiny), None).hf.save_pretrained(folder)
    assert torch.equal(scorer(folder).score.weight, model.score.weight)
    with pytest.raises(UserError, match="expected a language model, got the reward model"):
        model_config(options_of(folder), None)
    # A reward model whose score is lost would get a random one.
    del model.score
    model.save_pretrained(folder)
    with pytest.raises(UserError, match=r"1 missing \(score.weight\)"):
        scorer(folder)
    with pytest.raises(UserError, match=r"1 missing \(score.weight\)"):
        read_checkpoint_weights(scorer(tiny), folder)
    config = json.loads((folder / "config.json").read_text())
    labels = {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}
    (folder / "config.json").write_text(json.dumps(config | labels))
    with pytest.raises(UserError, match="expected one label, the score, got 2 of a classifier"):
        scorer(folder)


# --- the loss ---


def defined(kind: str, scores: list[float], margin: float, center: float) -> float:
    """The loss of one group in Python's floats."""
    if kind == "plackett_luce":
        return -sum(s - math.log(sum(map(math.exp, scores[k:]))) for k, s in enumerate(scores[:-1]))
    losses = [
        -math.log(1 / (1 + math.exp(-(a - b - margin)))) + center * (a + b) ** 2
        for a, b in combinations(scores, 2)
    ]
    return sum(losses) / len(losses)


@pytest.mark.parametrize(
    ("kind", "center"), [("bradley_terry", 0.0), ("bradley_terry", 0.1), ("plackett_luce", 0.0)]
)
@pytest.mark.parametrize("budget", [64, 10_000])
def test_the_loss_is_its_definition_however_the_step_is_cut(tiny, answers, kind, center, budget):
    groups = [
        Ranked((answers[0], answers[1]), 0.5),
        Ranked(tuple(answers[2:5])),
        Ranked((answers[5], answers[0])),
    ]
    groups = [group._replace(margin=0.0) for group in groups] if kind == "plackett_luce" else groups
    options = ScoreOptions(loss_type=kind, center_rewards_coefficient=center)
    model, loss = scorer(tiny), RankingLoss(options, COMPUTE._replace(token_budget=budget))
    value, metrics = loss.accumulate_gradient(model, groups)
    scores = [trajectory_scores(model, group.answers, COMPUTE).tolist() for group in groups]
    expected = sum(defined(kind, row, g.margin, center) for row, g in zip(scores, groups, strict=True)) / 3
    assert value.item() == pytest.approx(expected, abs=1e-5)
    measured, again = loss.measure(model, groups)
    assert measured.item() == pytest.approx(expected, abs=1e-5)
    assert metrics.items() <= {name: pytest.approx(v, abs=1e-6) for name, v in again.items()}.items()
    # The gradient of the score is a difference quotient of the loss.
    gradient: Tensor = model.score.weight.grad[0, 3]
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            model.score.weight[0, 3] += sign * 1e-2
            ends.append(loss.measure(model, groups)[0].item())
            model.score.weight[0, 3] -= sign * 1e-2
    assert gradient.item() == pytest.approx((ends[0] - ends[1]) / 2e-2, abs=2e-4)


def test_what_is_reported_by_hand():
    rows = [torch.tensor([2.0, 1.0]), torch.tensor([0.0, 3.0, -1.0])]
    told = score_metrics(rows)
    assert told["accuracy"] == pytest.approx((1 + 2 / 3) / 2)
    assert told["margin"] == pytest.approx((1 + (-3 + 1 + 4) / 3) / 2)
    assert (told["mean_reward"], told["min_reward"], told["max_reward"]) == (1.0, -1.0, 3.0)


def test_the_calibration_error_by_hand():
    # Confidence 0.75, right in three of four: calibrated. All right: a quarter off.
    three = math.log(3)
    right, wrong = torch.tensor([three, 0.0]), torch.tensor([0.0, three])
    assert calibration_error([right, right, right, wrong]) == pytest.approx(0.0, abs=1e-6)
    assert calibration_error([right] * 4) == pytest.approx(0.25, abs=1e-6)
    assert calibration_error([torch.zeros(2)]) == 0.0
