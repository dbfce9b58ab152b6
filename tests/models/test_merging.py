"""Formulas of merging, beside definitions in float64."""

import math

import pytest
import torch
from torch import Tensor

from dupo.models.merging import Merging, slerp


def thetas(count: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(5, 7, generator=generator) for _ in range(count)]


def arc(a: Tensor, b: Tensor, t: float) -> Tensor:
    a, b = a.double(), b.double()
    angle = math.acos(float((a * b).sum() / math.sqrt(float((a * a).sum() * (b * b).sum()))))
    return (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)


def close(merged: Tensor, truth: Tensor) -> None:
    assert merged.dtype == torch.float32
    torch.testing.assert_close(merged.double(), truth.double(), rtol=0, atol=1e-6)


def test_the_mean_weighs_models() -> None:
    a, b, c = thetas(3)
    close(Merging("mean").of([a, b, c], None), (a.double() + b.double() + c.double()) / 3)
    close(Merging("mean", weights=(1, 3, 0)).of([a, b, c], None), (a.double() + 3 * b.double()) / 4)


@pytest.mark.parametrize("method", ["mean", "ema", "slerp"])
def test_equal_models_stay_as_they_are(method: str) -> None:
    (a,) = thetas(1)
    assert torch.equal(Merging(method).of([a, a.clone(), a.clone()], None), a)


def test_the_average_moves_from_model_to_model() -> None:
    a, b, c = thetas(3)
    expected = 0.9 * (0.9 * a.double() + 0.1 * b.double()) + 0.1 * c.double()
    close(Merging("ema", decay=0.9).of([a, b, c], None), expected)


@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
def test_slerp_goes_along_the_arc(t: float) -> None:
    a, b = thetas(2)
    close(Merging("slerp", t=t).of([a, b], None), arc(a, b, t))


def test_slerp_from_a_start_turns_the_ways_from_there() -> None:
    a, b, start = thetas(3)
    close(Merging("slerp", t=0.3).of([a, b], start), start.double() + arc(a - start, b - start, 0.3))


def test_an_arc_keeps_the_length_that_a_mean_loses() -> None:
    a, b = (x / x.norm() for x in thetas(2))
    assert float(slerp(a, b, 0.5).norm()) == pytest.approx(1, abs=1e-6)
    assert float(((a + b) / 2).norm()) < 0.9


@pytest.mark.parametrize(
    ("a", "b"),
    [(torch.ones(3), torch.ones(3) * 2), (torch.zeros(3), torch.ones(3)), (torch.ones(3), -torch.ones(3))],
    ids=["parallel", "zero", "opposite"],
)
def test_where_there_is_no_arc_slerp_is_a_line(a: Tensor, b: Tensor) -> None:
    close(slerp(a, b, 0.25), 0.75 * a.double() + 0.25 * b.double())


def test_warp_takes_models_in_one_by_one_and_goes_back_towards_the_start() -> None:
    a, b, c, start = thetas(4)
    way = arc(arc(a - start, b - start, 1 / 2).float(), c - start, 1 / 3)
    merged = Merging("warp", towards_start=0.3).of([a, b, c], start)
    close(merged, start.double() + 0.7 * way)


def test_bfloat16_weights_are_merged_in_float32() -> None:
    a, b = (x.bfloat16() for x in thetas(2))
    close(Merging("mean").of([a, b], None), (a.double() + b.double()) / 2)
