"""The operations as a trainer calls them: dupo_kernels, eager torch, torch.compile, and the floors.

A function takes the leaves of HeadInputs or LogitsInputs and returns (logp, entropy), with None for an
entropy that it does not compute. A loss returns a scalar instead. Gradients have the dtype of their leaves,
casts included.

Shape letters: N tokens, V vocabulary, H hidden size.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from bench.loss_head.harness import Call, Result
from bench.loss_head.inputs import HeadInputs, LogitsInputs, per_token, squashed
from dupo_kernels import (
    PolicyObjective,
    fused_policy_loss,
    linear_objective,
    linear_token_logprobs,
    policy_loss,
    token_logprobs,
)

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
    leaves, restore = _leaves(inputs, overwrites)

    def run() -> Result:
        with torch.set_grad_enabled(backward):
            # A function without an entropy returns None in its place.
            outputs = [x for x in function(*leaves) if x is not None]
        if not backward:
            return Result(outputs[0])
        # A peer may return half precision; autograd wants slopes of the same dtype.
        slopes = [slope.to(x.dtype) for x, slope in zip(outputs, inputs.slopes, strict=False)]
        return Result(outputs[0].detach(), torch.autograd.grad(outputs, leaves, slopes))

    return Call(run, restore)


def loss_call(
    function: Loss, inputs: HeadInputs | LogitsInputs, backward: bool, overwrites: bool = False
) -> Call:
    """The call of a loss; the arguments are those of `call`."""
    leaves, restore = _leaves(inputs, overwrites)

    def run() -> Result:
        with torch.set_grad_enabled(backward):
            loss = function(*leaves)
        return Result(loss.detach(), torch.autograd.grad(loss, leaves) if backward else ())

    return Call(run, restore)


def _leaves(
    inputs: HeadInputs | LogitsInputs, overwrites: bool
) -> tuple[tuple[Tensor, ...], Callable[[], None]]:
    """The leaves that a call takes, and what makes them anew."""
    if not overwrites:
        return inputs.leaves, lambda: None
    leaves = tuple(x.detach().clone().requires_grad_() for x in inputs.leaves)

    def restore() -> None:
        for copy, leaf in zip(leaves, inputs.leaves, strict=True):
            copy.detach().copy_(leaf.detach())

    return leaves, restore


def without_result(run: Callable[[], Any]) -> Call:
    """The call of a function that returns nothing to compare."""

    def run_and_drop() -> Result:
        run()
        return Result()

    return Call(run_and_drop)


def loss_of(function: Function, inputs: HeadInputs | LogitsInputs, objective: PolicyObjective) -> Loss:
    """The loss that a trainer writes in torch, on the log-probabilities of any function.

    The clipped ratio, the k3 estimate of the KL and the entropy bonus in as few operations as they need: the
    function is not charged with the statistics and checks of `policy_loss`.
    """
    old, ref, A = inputs.old_logprobs, inputs.ref_logprobs, inputs.advantages
    low, high = 1 - objective.epsilon, 1 + (objective.epsilon_high or objective.epsilon)
    by_sequence = objective.importance_sampling_level == "sequence"

    def loss(*leaves: Tensor) -> Tensor:
        logp, entropy = function(*leaves)
        log_ratio = logp - old
        if by_sequence:
            mean = log_ratio.view(-1, inputs.sequence_length).mean(1)
            log_ratio = mean.repeat_interleave(inputs.sequence_length)
        ratio = log_ratio.exp()
        losses = torch.maximum(-ratio * A, -ratio.clamp(low, high) * A)
        if objective.beta:
            losses = losses + objective.beta * ratio * ((ref - logp).exp() - (ref - logp) - 1)
        if objective.entropy_coef:
            assert entropy is not None
            losses = losses - objective.entropy_coef * entropy
        return (losses * inputs.weights).sum()

    return loss


# --- dupo_kernels ----------------------------------------------------------------------------------


def our_loss(head: HeadInputs, objective: PolicyObjective, **options: Any) -> Loss:
    """`linear_objective`."""
    # Sequences are rows: their lengths are known without a look at the device.
    shape = (-1, head.sequence_length) if objective.importance_sampling_level == "sequence" else (-1,)
    read = {name: x.view(shape) for name, x in per_token(head, objective).items()}
    options = {"weights": head.weights.view(shape), "entropy": objective.entropy_coef != 0} | options
    options = {"softcap": head.setting.softcap or None, "rows": head.rows} | options
    targets = head.targets.view(shape)

    def loss(hidden: Tensor, weight: Tensor) -> Tensor:
        return linear_objective(hidden.view(*targets.shape, -1), weight, targets, objective, read, **options)[
            0
        ]

    return loss


def our_head(head: HeadInputs, **options: Any) -> Function:
    """`linear_token_logprobs`."""
    options = {"softcap": head.setting.softcap or None} | options
    return lambda *leaves: linear_token_logprobs(*leaves, head.targets, **options)


def our_logits(inputs: LogitsInputs, **options: Any) -> Function:
    """`token_logprobs`."""
    options = {"softcap": inputs.setting.softcap or None} | options
    return lambda logits: token_logprobs(logits, inputs.targets, **options)


def our_fused_loss(inputs: LogitsInputs, objective: PolicyObjective, **options: Any) -> Loss:
    """`fused_policy_loss`: logits to loss and dlogits in one launch."""
    read = per_token(inputs, objective)
    advantages = read.pop("advantages")
    options = read | _changed(objective) | {"softcap": inputs.setting.softcap or None} | options
    options |= {"weights": inputs.weights}
    return lambda logits: fused_policy_loss(logits, inputs.targets, advantages, **options)[0]


def our_two_kernels(inputs: LogitsInputs, objective: PolicyObjective, **options: Any) -> Loss:
    """`token_logprobs` and `policy_loss`, which one launch replaces."""
    function = our_logits(inputs, entropy=objective.entropy_coef != 0, **options)
    read = per_token(inputs, objective) | _changed(objective)

    def loss(logits: Tensor) -> Tensor:
        logp, entropy = function(logits)
        return policy_loss(logp, entropy=entropy, **read)[0]

    return loss


def _changed(objective: PolicyObjective) -> dict[str, Any]:
    """The options that differ from their defaults."""
    return {
        spec.name: getattr(objective, spec.name)
        for spec in fields(objective)
        if getattr(objective, spec.name) != spec.default
    } | {"loss_type": objective.loss_type}


# --- torch -----------------------------------------------------------------------------------------


def eager_logits(inputs: LogitsInputs | HeadInputs, entropy: bool) -> Function:
    """What a trainer without kernels writes, from logits."""

    softcap = inputs.setting.softcap

    def function(logits: Tensor) -> tuple[Tensor, Tensor | None]:
        log_p = squashed(logits.float(), softcap).log_softmax(-1)
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
    """The products that no head can do without, of the rows that count: one forward, two more backward.

    Args:
        mixed: `out_dtype` of the logits where it is not the dtype of the leaves.
    """
    hidden_NH, weight_VH = head.hidden_that_counts, head.plain[1]
    dlogits_NV = hidden_NH @ weight_VH.t() if mixed and backward else None

    def run() -> None:
        logits_NV = product(hidden_NH, weight_VH.t(), **mixed)
        if backward:
            slopes_NV = logits_NV if dlogits_NV is None else dlogits_NV
            torch.mm(slopes_NV, weight_VH)
            torch.mm(slopes_NV.t(), hidden_NH)

    return run


def product(
    left: Tensor, right: Tensor, out_dtype: torch.dtype | None = None, total: Tensor | None = None
) -> Tensor:
    """left @ right, plus `total` in its place if there is one; a CPU casts for a result of another type."""
    mixed: dict[str, Any] = {} if out_dtype is None else {"out_dtype": out_dtype}
    if mixed and not left.is_cuda:
        left, right, mixed = left.to(out_dtype), right.to(out_dtype), {}
    if total is None:
        return torch.mm(left, right, **mixed)
    return torch.addmm(total, left, right, out=total, **mixed)


def one_copy(inputs: LogitsInputs) -> Callable[[], None]:
    """Reads the logits once and writes as many bytes once."""
    source_NV = inputs.leaves[0].detach()
    copy_NV = torch.empty_like(source_NV)

    def run() -> None:
        copy_NV.copy_(source_NV)

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
