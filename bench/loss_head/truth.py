"""What is right, in float64 from the same inputs, and how far a result is from it.

log-probabilities of every token; gradients of a few rows of hidden and of a few rows of weight, which stand
for the rest: dhidden[n] needs row n of the logits alone, dweight[v] column v and the sums of every row.

Shape letters: N tokens, V vocabulary, H hidden.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.loss_head.harness import Result
from bench.loss_head.inputs import Head, Logits
from dupo_kernels import PolicyObjective, token_logprobs_ref

CHECKED_ROWS, CHECKED_COLUMNS = 64, 1024
SLICE_ELEMENTS = 1 << 27  # of float64 logits at once


@dataclass(frozen=True)
class Sums:
    """Of every token, (N,) float64."""

    logp: Tensor
    entropy: Tensor
    lse: Tensor


def sums(head: Head) -> Sums:
    hidden, weight = (x.double() for x in head.plain)
    N, V, _ = head.shape
    parts = []
    for rows in torch.arange(N, device=hidden.device).split(max(1, SLICE_ELEMENTS // V)):
        z = hidden[rows] @ weight.t()
        logp, entropy = token_logprobs_ref(z, head.targets[rows], entropy=True)
        parts.append((logp, entropy, z.logsumexp(-1)))
    return Sums(*map(torch.cat, zip(*parts, strict=True)))


def objective_slopes(
    head: Head, known: Sums, objective: PolicyObjective
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(loss, dloss / dlogp, dloss / dentropy) of sum(weights * objective)."""
    leaves = [known.logp.clone().requires_grad_(), known.entropy.clone().requires_grad_()]
    given = {"advantages": head.advantages, "old_logprobs": head.old}
    loss, _ = objective(*leaves, **{name: x.double() for name, x in given.items()})
    total = (loss * head.weights.double()).sum()
    a, b = torch.autograd.grad(total, leaves, allow_unused=True)
    assert a is not None
    return total.detach(), a, b if objective.entropy_coef else None


def head_errors(
    head: Head, known: Sums, a: Tensor, b: Tensor | None, loss: Tensor | None = None
) -> Callable[[Result], dict[str, float]]:
    """Errors of the value, absolute, and of both gradients, relative; a is dlogp, b is dentropy.

    loss: the value, of a loss; None: log-probabilities are the value.
    """
    hidden, weight = head.plain
    device, V = hidden.device, weight.shape[0]
    rows, columns = _few(len(hidden), CHECKED_ROWS, device), _few(V, CHECKED_COLUMNS, device)
    b = torch.zeros_like(a) if b is None else b

    def slopes(tokens: Tensor | slice, ids: Tensor) -> Tensor:
        """dlogits of these tokens and ids."""
        log_p = hidden[tokens].double() @ weight[ids].double().t() - known.lse[tokens, None]
        there = (head.targets[tokens, None] == ids).double()
        p, given = log_p.exp(), (a[tokens, None], b[tokens, None])
        return given[0] * (there - p) - given[1] * p * (log_p + known.entropy[tokens, None])

    dhidden = slopes(rows, torch.arange(V, device=device)) @ weight.double()
    dweight = slopes(slice(None), columns).t() @ hidden.double()
    value = known.logp if loss is None else loss

    def errors(result: Result) -> dict[str, float]:
        found = {}
        if result.value is not None:
            found["logp" if loss is None else "loss"] = absolute(result.value, value)
        if result.gradients:
            found["dhidden"] = relative(result.gradients[0][rows], dhidden)
            found["dweight"] = relative(result.gradients[1][columns], dweight)
        return found

    return errors


def logits_errors(given: Logits, entropy: bool) -> Callable[[Result], dict[str, float]]:
    """The same for the logits path."""
    logits = given.leaves[0].detach()
    rows = _few(logits.shape[0], CHECKED_ROWS, logits.device)
    leaf = logits[rows].double().requires_grad_()
    logp, H = token_logprobs_ref(leaf, given.targets[rows], entropy=entropy)
    outputs = (logp,) if H is None else (logp, H)
    slopes = [slope[rows].double() for slope in given.slopes][: len(outputs)]
    (dlogits,) = torch.autograd.grad(outputs, leaf, slopes)

    def errors(result: Result) -> dict[str, float]:
        found = {}
        if result.value is not None:
            found["logp"] = absolute(result.value[rows], logp.detach())
        if result.gradients:
            found["dlogits"] = relative(result.gradients[0][rows], dlogits)
        return found

    return errors


def absolute(found: Tensor, truth: Tensor) -> float:
    """The largest; NaN if there is one."""
    return (found.double() - truth).abs().max().item()


def relative(found: Tensor, truth: Tensor) -> float:
    """Frobenius."""
    return ((found.double() - truth).norm() / truth.norm()).item()


def _few(size: int, most: int, device: torch.device) -> Tensor:
    """Evenly spread indices."""
    return torch.arange(0, size, max(1, size // most), device=device)[:most]
