"""The operations as a trainer calls them: ours, eager torch, torch.compile of it, and the floors below all.

A function takes the leaves of Head or Logits and returns (logp, entropy), entropy None where there is none;
a loss returns a scalar instead. Gradients have the type of their leaves, casts included.

Shape letters: N tokens, V vocabulary, H hidden.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.loss_head.harness import Call, Result
from bench.loss_head.inputs import Head, Logits
from dupo_kernels import PolicyObjective, linear_objective, linear_token_logprobs, token_logprobs

Function = Callable[..., tuple[Tensor, Tensor | None]]
Loss = Callable[..., Tensor]


# --- from functions to calls -----------------------------------------------------------------------


def call(function: Function, given: Head | Logits, backward: bool, consumed: bool = False) -> Call:
    """consumed: the function writes over its leaves; it gets copies, made anew before each run."""
    leaves = given.leaves
    if consumed:
        leaves = tuple(x.detach().clone().requires_grad_() for x in leaves)

    def restore() -> None:
        for x, y in zip(leaves, given.leaves, strict=True):
            x.detach().copy_(y.detach())

    def run() -> Result:
        with torch.set_grad_enabled(backward):
            outputs = [x for x in function(*leaves) if x is not None]
        if not backward:
            return Result(outputs[0])
        slopes = [slope.to(x.dtype) for x, slope in zip(outputs, given.slopes, strict=False)]
        return Result(outputs[0].detach(), torch.autograd.grad(outputs, leaves, slopes))

    return Call(run, restore) if consumed else Call(run)


def loss_call(function: Loss, head: Head, backward: bool) -> Call:
    def run() -> Result:
        with torch.set_grad_enabled(backward):
            loss = function(*head.leaves)
        return Result(loss.detach(), torch.autograd.grad(loss, head.leaves) if backward else ())

    return Call(run)


def untold(run: Callable[[], Any]) -> Call:
    """Of what has no result to compare."""
    return Call(lambda: (run(), Result())[1])


def loss_of(function: Function, head: Head, objective: PolicyObjective) -> Loss:
    """The loss by any head."""
    given = {"advantages": head.advantages, "old_logprobs": head.old}
    return lambda *leaves: (objective(*function(*leaves), **given)[0] * head.weights).sum()


# --- ours ------------------------------------------------------------------------------------------


def our_loss(head: Head, objective: PolicyObjective, **options: Any) -> Loss:
    given = {"advantages": head.advantages, "old_logprobs": head.old}
    more = {"weights": head.weights, "entropy": objective.entropy_coef != 0} | options
    return lambda *leaves: linear_objective(*leaves, head.targets, objective, given, **more)[0]


def our_head(head: Head, **options: Any) -> Function:
    return lambda *leaves: linear_token_logprobs(*leaves, head.targets, **options)


def our_logits(given: Logits, **options: Any) -> Function:
    return lambda logits: token_logprobs(logits, given.targets, **options)


# --- torch -----------------------------------------------------------------------------------------


def eager_logits(given: Logits | Head, entropy: bool) -> Function:
    """What a trainer without kernels writes."""

    def function(logits: Tensor) -> tuple[Tensor, Tensor | None]:
        log_p = logits.float().log_softmax(-1)
        logp = log_p.gather(-1, given.targets[:, None])[:, 0]
        return logp, -(log_p.exp() * log_p).sum(-1) if entropy else None

    return function


def eager_head(head: Head, entropy: bool) -> Function:
    function = eager_logits(head, entropy)
    return lambda hidden, weight: function(hidden @ weight.t())


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without a GPU only traced: a C++ compiler would take longer than all else."""
    torch._dynamo.reset()
    backend = "inductor" if torch.cuda.is_available() else "eager"
    return torch.compile(function, dynamic=False, backend=backend)


# --- floors ----------------------------------------------------------------------------------------


def bare_gemms(head: Head, backward: bool, **mixed: Any) -> Callable[[], None]:
    """The products that nobody can do without: one forward, two more backward.

    mixed: out_dtype, of the logits where it is not that of the leaves.
    """
    hidden, weight = head.plain
    dlogits = hidden @ weight.t() if mixed and backward else None

    def run() -> None:
        logits = torch.mm(hidden, weight.t(), **mixed)
        if backward:
            slopes = logits if dlogits is None else dlogits
            torch.mm(slopes, weight), torch.mm(slopes.t(), hidden)

    return run


def bare_copy(given: Logits, backward: bool) -> Callable[[], None]:
    """As many bytes moved as one read of the logits, and backward one more read and one write."""
    source = given.leaves[0].detach()
    half = source.shape[0] // 2

    def run() -> None:
        copy = torch.empty_like(source if backward else source[:half])
        copy[:half].copy_(source[:half])
        if backward:
            copy.copy_(source)

    return run
