"""The operations as a trainer calls them: dupo_kernels, eager torch, torch.compile, and the floors.

A function takes the leaves of HeadInputs or LogitsInputs and returns (logp, entropy), with None for an
entropy that it does not compute. A loss returns a scalar instead. Gradients have the dtype of their leaves,
casts included.

Shape letters: N tokens, V vocabulary, H hidden size.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.loss_head.harness import Call, Result
from bench.loss_head.inputs import HeadInputs, LogitsInputs
from dupo_kernels import PolicyObjective, linear_objective, linear_token_logprobs, token_logprobs

Function = Callable[..., tuple[Tensor, Tensor | None]]
Loss = Callable[..., Tensor]


# --- from functions to calls -----------------------------------------------------------------------


def call(
    function: Function, inputs: HeadInputs | LogitsInputs, backward: bool, overwrites: bool = False
) -> Call:
    """The call of a function.

    Args:
        backward: also compute the gradients of the leaves, from the slopes of the inputs.
        overwrites: the function writes over its leaves; it gets copies, made anew before each run.
    """
    leaves = inputs.leaves
    if overwrites:
        leaves = tuple(x.detach().clone().requires_grad_() for x in leaves)

    def restore() -> None:
        for copy, leaf in zip(leaves, inputs.leaves, strict=True):
            copy.detach().copy_(leaf.detach())

    def run() -> Result:
        with torch.set_grad_enabled(backward):
            # A function without an entropy returns None in its place.
            outputs = [x for x in function(*leaves) if x is not None]
        if not backward:
            return Result(outputs[0])
        # A peer may return half precision; autograd wants slopes of the same dtype.
        slopes = [slope.to(x.dtype) for x, slope in zip(outputs, inputs.slopes, strict=False)]
        return Result(outputs[0].detach(), torch.autograd.grad(outputs, leaves, slopes))

    return Call(run, restore) if overwrites else Call(run)


def loss_call(function: Loss, head: HeadInputs, backward: bool) -> Call:
    """The call of a loss."""

    def run() -> Result:
        with torch.set_grad_enabled(backward):
            loss = function(*head.leaves)
        return Result(loss.detach(), torch.autograd.grad(loss, head.leaves) if backward else ())

    return Call(run)


def without_result(run: Callable[[], Any]) -> Call:
    """The call of a function that returns nothing to compare."""

    def run_and_drop() -> Result:
        run()
        return Result()

    return Call(run_and_drop)


def loss_of(function: Function, head: HeadInputs, objective: PolicyObjective) -> Loss:
    """The loss of an objective, with the log-probabilities of any head."""
    per_token = head.per_token
    return lambda *leaves: (objective(*function(*leaves), **per_token)[0] * head.weights).sum()


# --- dupo_kernels ----------------------------------------------------------------------------------


def our_loss(head: HeadInputs, objective: PolicyObjective, **options: Any) -> Loss:
    """`linear_objective`."""
    per_token = head.per_token
    options = {"weights": head.weights, "entropy": objective.entropy_coef != 0} | options
    return lambda *leaves: linear_objective(*leaves, head.targets, objective, per_token, **options)[0]


def our_head(head: HeadInputs, **options: Any) -> Function:
    """`linear_token_logprobs`."""
    return lambda *leaves: linear_token_logprobs(*leaves, head.targets, **options)


def our_logits(inputs: LogitsInputs, **options: Any) -> Function:
    """`token_logprobs`."""
    return lambda logits: token_logprobs(logits, inputs.targets, **options)


# --- torch -----------------------------------------------------------------------------------------


def eager_logits(inputs: LogitsInputs | HeadInputs, entropy: bool) -> Function:
    """What a trainer without kernels writes, from logits."""

    def function(logits: Tensor) -> tuple[Tensor, Tensor | None]:
        log_p = logits.float().log_softmax(-1)
        logp = log_p.gather(-1, inputs.targets[:, None])[:, 0]
        return logp, -(log_p.exp() * log_p).sum(-1) if entropy else None

    return function


def eager_head(head: HeadInputs, entropy: bool) -> Function:
    """What a trainer without kernels writes, from hidden states."""
    function = eager_logits(head, entropy)
    return lambda hidden, weight: function(hidden @ weight.t())


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """torch.compile of a function."""
    # Dynamo refuses to compile one function for many shapes; a reset starts its count anew.
    torch._dynamo.reset()
    # Without a GPU the function is only traced: the C++ compiler would take longer than all measurements.
    backend = "inductor" if torch.cuda.is_available() else "eager"
    return torch.compile(function, dynamic=False, backend=backend)


# --- floors ----------------------------------------------------------------------------------------


def bare_gemms(head: HeadInputs, backward: bool, **mixed: Any) -> Callable[[], None]:
    """The products that no head can do without: one forward, two more backward.

    Args:
        mixed: `out_dtype` of the logits where it is not the dtype of the leaves.
    """
    hidden_NH, weight_VH = head.plain
    dlogits_NV = hidden_NH @ weight_VH.t() if mixed and backward else None

    def run() -> None:
        logits_NV = torch.mm(hidden_NH, weight_VH.t(), **mixed)
        if backward:
            slopes_NV = logits_NV if dlogits_NV is None else dlogits_NV
            torch.mm(slopes_NV, weight_VH)
            torch.mm(slopes_NV.t(), hidden_NH)

    return run


def bare_copy(inputs: LogitsInputs, backward: bool) -> Callable[[], None]:
    """Moves as many bytes as one read of the logits; backward one more read and one write."""
    source_NV = inputs.leaves[0].detach()
    half = source_NV.shape[0] // 2

    def run() -> None:
        copy = torch.empty_like(source_NV if backward else source_NV[:half])
        copy[:half].copy_(source_NV[:half])
        if backward:
            copy.copy_(source_NV)

    return run
