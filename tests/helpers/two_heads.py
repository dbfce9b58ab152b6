"""The heads of a student and of a teacher for tests: inputs, random mixes, a loss and its gradients."""

from typing import Any

import torch
from torch import Tensor

from tests.helpers.numerics import DEVICE

H, TEACHER_H = 16, 12
BETAS = (0.0, 1.0, 0.5, 0.1, 0.93)  # forward KL, reverse KL, three JSD
LEAVES = ("hidden", "weight", "bias")


def inputs(
    number: int = 0, dtype: torch.dtype = torch.float64, tokens: tuple[int, ...] = (3, 7), V: int = 101
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(number)
    shapes = {
        "hidden": (*tokens, H),
        "weight": (V, H),
        "bias": (V,),
        "teacher_hidden": (*tokens, TEACHER_H),
        "teacher_weight": (V, TEACHER_H),
        "teacher_bias": (V,),
    }
    drawn = {name: torch.randn(shape, generator=generator) / 2 for name, shape in shapes.items()}
    return {name: x.to(DEVICE, dtype) for name, x in drawn.items()}


def mix(number: int) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """(inputs, options of the loss, options of the chunks)."""
    generator = torch.Generator().manual_seed(1000 + number)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64).to(DEVICE)

    tokens = (5,) if number % 2 else (2, 4)
    V = (7, 33)[number // 2 % 2]
    given = inputs(number, tokens=tokens, V=V)
    options: dict[str, Any] = {"beta": BETAS[number % 5]}
    which = number // 5 % 4
    if which == 1:
        options["mask"] = draw(*tokens) > 0.4
    if which == 2:
        options["rows"] = torch.randperm(given["hidden"][..., 0].numel(), generator=generator)[:3]
    if number // 3 % 2:
        options["weights"] = draw(*tokens) - 0.3
    if number // 7 % 2:
        options |= {"softcap": 3.0, "teacher_softcap": 2.0 + float(draw())}
    if number // 11 % 2:
        options |= {"logit_scale": 0.5 + float(draw()), "teacher_logit_scale": 2.0}
    options["temperature"] = [1.0, 0.7, 2.0, 0.5 + draw(*tokens)][number // 13 % 4]
    if number % 4 == 3:
        # A vocabulary that both sides lack in part.
        given["bias"][:3] = given["teacher_bias"][:3] = -torch.inf
    if number % 9 == 0:
        del given["bias"], given["teacher_bias"]
    return given, options, [{}, {"save_budget": 0, "chunk_tokens": 2}][number // 17 % 2]


def both_ways(function: Any, given: dict[str, Tensor], **options: Any) -> list[Tensor]:
    """[loss, gradients of hidden, weight, bias], of twice the loss."""
    given = {n: x.detach().clone().requires_grad_(n in LEAVES) for n, x in given.items()}
    leaves = [given[name] for name in LEAVES if name in given]
    heads = [given.pop(name) for name in ("hidden", "weight", "teacher_hidden", "teacher_weight")]
    result = function(*heads, **given, **options)
    loss = result[0] if isinstance(result, tuple) else result
    return [loss.detach(), *torch.autograd.grad(2 * loss, leaves)]


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    """To 1e-12 of the largest number of each tensor; losses, which are sums that may cancel, also of 1."""
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        largest = torch.linalg.vector_norm(other, torch.inf).item() if other.numel() else 0.0
        largest = max(largest, 1.0) if other.dim() == 0 else largest
        assert not ((one - other).abs() > 1e-12 * largest).any() and one.isfinite().all()
