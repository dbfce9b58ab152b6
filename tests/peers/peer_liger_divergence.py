"""Checks against Liger-Kernel's chunked divergence of two heads, in plain PyTorch and float32.

It has no softcap, and one temperature for all tokens. Its kernel: peer_liger_triton.py.
"""

from typing import Any

import torch
from torch import Tensor

from dupo_kernels import linear_divergence, linear_token_logprobs
from tests.peers.peer_checks import SINGLE, Checks, assert_apart, assert_close, differentiated
from tests.peers.peer_trl_divergence import BETAS, LEAVES, N, V, heads

LABELS = torch.arange(N) * 5 % V
IGNORED = LABELS.masked_fill(torch.arange(N) % 4 == 1, -100)


def their_loss(given: dict[str, Tensor], **options: Any) -> Tensor:
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    weights = {"weight_hard_loss": 0.0, "weight_soft_loss": 1.0} | options
    loss: Any = LigerFusedLinearJSDLoss(compiled=False, chunk_size=5, **weights)
    names = "hidden", "weight", "teacher_hidden", "teacher_weight"
    return loss(*(given[n] for n in names), IGNORED, given.get("bias"), given.get("teacher_bias"))


def our_loss(given: dict[str, Tensor], **options: Any) -> Tensor:
    return linear_divergence(**given, mask=IGNORED >= 0, chunk_tokens=5, save_budget=0, **options)[0]


def chunked() -> None:
    """Value and three gradients, with labels that do not count."""
    for beta in BETAS:
        for temperature in (1.0, 2.0, 0.7):
            options = {"beta": beta, "temperature": temperature}
            given = heads(torch.float32)
            theirs = differentiated(their_loss(given, **options), *(given[n] for n in LEAVES))
            for dtype in (torch.float64, torch.float32):
                given = heads(dtype)
                mine = differentiated(our_loss(given, **options), *(given[n] for n in LEAVES))
                assert_close(mine, theirs, SINGLE, (options, dtype))


def with_the_label() -> None:
    """Its hard loss is the cross entropy of the labels, which the temperature does not divide."""
    given = heads(torch.float32)
    options = {"beta": 0.3, "temperature": 2.0}
    both = their_loss(given, weight_hard_loss=0.4, weight_soft_loss=0.6, **options)
    theirs = differentiated(both, *(given[n] for n in LEAVES))
    given = heads(torch.float64)
    student = {name: given[name] for name in LEAVES}
    logprobs, _ = linear_token_logprobs(**student, targets=LABELS, mask=IGNORED >= 0)
    hard = -logprobs.sum() / (IGNORED >= 0).sum()
    mine = differentiated(0.4 * hard + 0.6 * our_loss(given, **options), *student.values())
    assert_close(mine, theirs, SINGLE, options)


def a_longer_teacher() -> None:
    """Tokens that the student lacks have logit 0 in Liger, as if they were tokens; ours is asked for -inf."""
    given = heads(torch.float32)
    longer = {n: torch.cat([given[n], given[n][:3]]) for n in ("teacher_weight", "teacher_bias")}
    theirs = their_loss(given | longer, beta=0.5)
    padded = {"weight": torch.cat([given["weight"], torch.zeros_like(given["weight"][:3])])}
    padded["bias"] = torch.cat([given["bias"], torch.full((3,), -torch.inf)])
    mine = our_loss(given | longer | padded, beta=0.5)
    assert_apart([mine.detach()], [theirs.detach()], 1e-3, "a longer teacher")
    padded["bias"] = torch.cat([given["bias"], torch.zeros(3)])
    same = our_loss(given | longer | padded, beta=0.5)
    assert_close([same.detach()], [theirs.detach()], SINGLE, "zeros are logits of tokens")


CHECKS: Checks = {f.__name__: f for f in (chunked, with_the_label, a_longer_teacher)}
