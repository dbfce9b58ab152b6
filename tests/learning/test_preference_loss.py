"""The loss of compared answers on a model: the definition in float64, any split; sums under a model."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from dupo.config.config import Config
from dupo.learning.preference_loss import PreferenceLoss, answer_logprobs, comparison_of
from dupo.records import Trajectory
from tests.helpers.worlds import tiny

WORLD = tiny("--seed", "3", spread=3.0)
MODEL, COMPUTE = WORLD.model, WORLD.compute._replace(temperature=1.0)
PROMPTS = [[5, 6, 7], [9], [4, 4, 8, 11, 2], [3, 12]]
ANSWERS = [([1, 2, 3], [4]), ([7], [8, 9]), ([6, 5], [10, 11, 12, 13]), ([2, 2, 2], [3, 3])]
REFERENCES = torch.tensor([[-9.0, -4.0], [-2.5, -7.0], [-6.0, -14.0], [-8.0, -6.5]], dtype=torch.float64)


def answer(prompt: list[int], ids: list[int]) -> Trajectory:
    return Trajectory(prompt, torch.tensor(ids, dtype=torch.int32), torch.zeros(len(ids)), 0.0)


PAIRS = [
    (answer(prompt, chosen), answer(prompt, rejected))
    for prompt, (chosen, rejected) in zip(PROMPTS, ANSWERS, strict=True)
]


def loss_of(**options) -> PreferenceLoss:
    config = Config.of(method="dpo", dataset="pairs.jsonl", **options)
    return PreferenceLoss(comparison_of(config.comparison), COMPUTE)


def sum_of(model, prompt: list[int], ids: list[int]) -> Tensor:
    """log p of an answer, by transformers' own pass over one sequence."""
    logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].double()
    return logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None]).sum()


def defined(name: str) -> Tensor:
    """The losses as their papers write them, for beta 0.3."""
    per_pair, chosen_logps, num_chosen = [], [], 0
    for prompt, (chosen, rejected), (ref_c, ref_r) in zip(PROMPTS, ANSWERS, REFERENCES, strict=True):
        c, r = sum_of(MODEL, prompt, chosen), sum_of(MODEL, prompt, rejected)
        ratio = (c - ref_c) - (r - ref_r)
        means = c / len(chosen) - r / len(rejected)
        per_pair.append(
            {
                "sigmoid": -(0.3 * ratio).sigmoid().log(),
                "ipo": ((c - ref_c) / len(chosen) - (r - ref_r) / len(rejected) - 1 / 0.6) ** 2,
                "simpo": -(0.3 * means - 0.5).sigmoid().log(),
                "sft": torch.zeros(()),
            }
        )
        chosen_logps.append(c)
        num_chosen += len(chosen)
    names = name.split(",")
    mean = sum(torch.stack([losses[n] for losses in per_pair]).mean() for n in names)
    return mean - (torch.stack(chosen_logps).sum() / num_chosen if "sft" in names else 0)


def gradient() -> Tensor:
    return torch.cat([p.grad.flatten() for p in MODEL.parameters() if p.grad is not None])


NAMES = ["sigmoid", "ipo", "simpo", "sigmoid,sft"]


@pytest.mark.parametrize(("name", "budget"), [*product(NAMES, [10_000, 16])])
def test_loss_and_gradient_are_those_of_the_definition(name, budget):
    MODEL.zero_grad()
    expected = defined(name)
    expected.backward()
    truth = gradient()
    MODEL.zero_grad()
    loss = loss_of(loss_type=name, beta=0.3)
    loss.compute = COMPUTE._replace(token_budget=budget)
    references = REFERENCES if loss.objective.needs_reference else None
    value, metrics = loss.accumulate_gradient(MODEL, PAIRS, references)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (gradient() - truth).norm() <= 2e-6 * truth.norm()
    sums = [
        [sum_of(MODEL, p, ids).item() for ids in answers] for p, answers in zip(PROMPTS, ANSWERS, strict=True)
    ]
    assert metrics["logps/chosen"] == pytest.approx(sum(c for c, _ in sums) / 4, rel=1e-6)
    assert set(metrics) == {
        *("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"),
        *("logps/chosen", "logps/rejected", "top1_agreement"),
    }
    measured, same = loss.measure(MODEL, PAIRS, references)
    assert measured.item() == pytest.approx(value.item(), rel=1e-6)
    assert same == pytest.approx(metrics, rel=1e-5)


def test_measuring_leaves_no_gradient():
    MODEL.zero_grad()
    loss_of().measure(MODEL, PAIRS, REFERENCES)
    assert all(p.grad is None for p in MODEL.parameters())


def test_answers_are_scored_as_whole_sums():
    expected = [
        [sum_of(MODEL, p, ids).item() for ids in answers] for p, answers in zip(PROMPTS, ANSWERS, strict=True)
    ]
    for budget in (10_000, 16):
        logps = answer_logprobs(MODEL, PAIRS, COMPUTE._replace(token_budget=budget))
        assert logps.dtype == torch.float64
        torch.testing.assert_close(logps, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_a_policy_that_is_its_reference_starts_at_log_two():
    references = answer_logprobs(MODEL, PAIRS, COMPUTE)
    value, metrics = loss_of(beta=0.7).measure(MODEL, PAIRS, references)
    assert value.item() == pytest.approx(math.log(2), rel=1e-6)
    assert metrics["rewards/margins"] == pytest.approx(0, abs=1e-5)
