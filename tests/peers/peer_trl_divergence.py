"""Checks against TRL 1.16: the divergence of two heads, of its DistillationTrainer and of its GKDTrainer."""

from typing import Any

import torch
from torch import Tensor

from dupo_kernels import linear_divergence
from tests.peers.peer_checks import EXACT, SINGLE, Checks, assert_apart, assert_close, differentiated

N, V, H, TEACHER_H = 13, 61, 8, 6
BETAS = (0.0, 0.3, 0.5, 1.0)
LABELS = torch.arange(N).masked_fill(torch.arange(N) % 3 == 0, -100)
LEAVES = "hidden", "weight", "bias"
CLOSE = 1e-6  # its numbers are float32, ours float64
SCALINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 2.0},
    {
        "temperature": 0.7,
        "logit_scale": 0.5,
        "softcap": 3.0,
        "teacher_logit_scale": 1.5,
        "teacher_softcap": 5.0,
    },
]


def heads(dtype: torch.dtype) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    shapes = {"hidden": (N, H), "weight": (V, H), "bias": (V,)}
    shapes |= {"teacher_hidden": (N, TEACHER_H), "teacher_weight": (V, TEACHER_H), "teacher_bias": (V,)}
    # Larger logits are rounded by more; smaller ones are so near to each other that their difference is lost.
    drawn = {name: 0.7 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {n: x.to(dtype).requires_grad_(not n.startswith("teacher")) for n, x in drawn.items()}


def ours(dtype: torch.dtype, beta: float, **options: Any) -> list[Tensor]:
    given = heads(dtype)
    loss, _ = linear_divergence(**given, beta=beta, chunk_tokens=5, save_budget=0, **options)
    return differentiated(loss, *(given[n] for n in LEAVES))


def chunked() -> None:
    """Value and three gradients of ChunkedDivergenceFunction."""
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    for beta in BETAS:
        for scaling in SCALINGS:
            given = heads(torch.float32)
            names = ("hidden", "weight", "bias", "teacher_hidden", "teacher_weight", "teacher_bias")
            numbers = [
                scaling.get("temperature", 1.0),
                scaling.get("logit_scale", 1.0),
                scaling.get("softcap"),
                scaling.get("teacher_logit_scale", 1.0),
                scaling.get("teacher_softcap"),
            ]
            found: Any = ChunkedDivergenceFunction.apply(*(given[n] for n in names), beta, *numbers)
            theirs = differentiated(found[0].mean(), *(given[n] for n in LEAVES))
            for dtype, tolerance in ((torch.float64, CLOSE), (torch.float32, SINGLE)):
                assert_close(ours(dtype, beta, **scaling), theirs, tolerance, (beta, scaling, dtype))


def gkd() -> None:
    """Value and gradients of GKDTrainer's loss of whole logits, in float64."""
    from trl.experimental.gkd.gkd_trainer import GKDTrainer

    for beta in BETAS:
        for temperature in (1.0, 2.0):
            given = heads(torch.float64)
            student = given["hidden"] @ given["weight"].t() + given["bias"]
            teacher = given["teacher_hidden"] @ given["teacher_weight"].t() + given["teacher_bias"]
            theirs = GKDTrainer.generalized_jsd_loss(
                student[None], teacher[None], labels=LABELS[None], beta=beta, temperature=temperature
            )
            expected = differentiated(theirs, *(given[n] for n in LEAVES))
            mine = ours(torch.float64, beta, temperature=temperature, mask=LABELS != -100)
            assert_close(mine, expected, EXACT, (beta, temperature))


def tokens_that_both_lack() -> None:
    """-inf in both biases: NaN in TRL's forward KL, no share in ours."""
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    given = heads(torch.float32)
    for name in ("bias", "teacher_bias"):
        given[name].data[:2] = -torch.inf
    names = ("hidden", "weight", "bias", "teacher_hidden", "teacher_weight", "teacher_bias")
    theirs: Any = ChunkedDivergenceFunction.apply(*(given[n] for n in names), 0.0)
    mine, _ = linear_divergence(**given, beta=0.0)
    assert_apart([mine.detach()], [theirs[0].mean().detach()], 1.0, "-inf in both rows")


CHECKS: Checks = {f.__name__: f for f in (chunked, gkd, tokens_that_both_lack)}
