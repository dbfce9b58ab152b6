"""score_loss: Bradley-Terry and Plackett-Luce by their definitions, in float64."""

from itertools import permutations
from typing import Any

import pytest
import torch

from dupo_kernels import score_loss, score_loss_ref

SCORES = torch.tensor([[0.5, -0.7], [1.5, 1.4], [-2.0, 3.0]], dtype=torch.float64)


def test_bradley_terry() -> None:
    scores = SCORES.clone().requires_grad_()
    margin = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    loss = score_loss(scores, margin=margin, center_rewards_coefficient=0.1)
    wins = 1 / (1 + torch.exp(-(scores[:, 0] - scores[:, 1] - margin)))
    expected = (-wins.log() + 0.1 * scores.sum(1) ** 2).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    (found,), (wanted,) = (torch.autograd.grad(x, scores) for x in (loss, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", ["bradley_terry", "plackett_luce"])
def test_two_hundred_mixes_equal_the_definition(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    for number in range(200):
        G = 1 + number % 5
        scores = (drawn(G, 2 if kind == "bradley_terry" else 2 + number % 4) * 3).requires_grad_()
        options: dict[str, Any] = {}
        if kind == "bradley_terry":
            options["center_rewards_coefficient"] = 0.1 * (number % 3)
            options["margin"] = drawn(G) if number % 2 else None
        loss = score_loss(scores, kind=kind, **options)
        if (margin := options.get("margin")) is not None:
            options["margin"] = margin.tolist()
        expected = score_loss_ref([list(group) for group in scores], kind=kind, **options)
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-14)
        (ours,), (truth,) = (torch.autograd.grad(x, scores) for x in (loss, expected))
        torch.testing.assert_close(ours, truth, rtol=1e-11, atol=1e-14)


def test_two_in_order_are_bradley_terry() -> None:
    torch.testing.assert_close(
        score_loss(SCORES, kind="plackett_luce"), score_loss(SCORES), rtol=1e-12, atol=0
    )


def test_all_orders_of_four_have_a_probability_of_one() -> None:
    scores = torch.tensor([0.3, -1.2, 2.0, 0.1], dtype=torch.float64)
    losses = [score_loss(scores[list(order)][None], kind="plackett_luce") for order in permutations(range(4))]
    torch.testing.assert_close(torch.stack(losses).neg().exp().sum(), torch.ones((), dtype=torch.float64))


def test_large_half_scores_are_compared_in_float32() -> None:
    scores = torch.tensor([[100.0, 99.0, -100.0]], dtype=torch.bfloat16, requires_grad=True)
    loss = score_loss(scores, kind="plackett_luce")
    loss.backward()
    assert loss.dtype == torch.float32 and scores.grad is not None
    torch.testing.assert_close(loss.detach(), torch.tensor(1.0).neg().exp().log1p(), atol=1e-6, rtol=0)


def test_an_impossible_sequence_may_stand_last() -> None:
    scores = torch.tensor([[2.0, 1.0, -torch.inf]], dtype=torch.float64, requires_grad=True)
    loss = score_loss(scores, kind="plackett_luce")
    loss.backward()
    p = 1 / (1 + torch.exp(torch.tensor(-1.0, dtype=torch.float64)))
    torch.testing.assert_close(loss.detach(), -p.log())
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad[0], torch.stack([p - 1, 1 - p, 0 * p]))
    assert score_loss(scores[:, 1:].detach()) == 0


def test_a_centre_that_was_not_asked_for_costs_nothing() -> None:
    """The square of the sum would be infinite."""
    scores = torch.tensor([[3e19, 0.0]])
    assert score_loss(scores) == score_loss(scores, kind="plackett_luce") == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bool, torch.int64, torch.bfloat16])
def test_a_margin_of_any_type_has_the_type_of_the_scores(dtype: torch.dtype) -> None:
    loss = score_loss(torch.zeros(1, 2), margin=torch.ones(1, dtype=dtype))
    torch.testing.assert_close(loss, torch.tensor(1.0).exp().log1p())


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"kind": "thurstone"}, "kind: expected one of bradley_terry, plackett_luce, got 'thurstone'"),
    ({"scores": torch.zeros(3, 3)}, r"scores: expected shape \(G, 2\), got"),
    ({"scores": torch.zeros(3, 1), "kind": "plackett_luce"}, r"scores: expected shape \(G, K\)"),
    ({"margin": torch.zeros(2)}, r"margin: expected shape \(3,\), got"),
    (
        {"margin": torch.zeros(3), "kind": "plackett_luce"},
        "margin: expected none for kind='plackett_luce'",
    ),
    (
        {"center_rewards_coefficient": 1.0, "kind": "plackett_luce"},
        "center_rewards_coefficient: expected none for kind='plackett_luce'",
    ),
    ({"center_rewards_coefficient": -1.0}, "center_rewards_coefficient: expected a finite number"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_cannot_be_used_is_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        score_loss(**{"scores": SCORES, **change})
