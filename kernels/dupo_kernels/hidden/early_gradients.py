"""Autograd for losses whose gradients are made in the forward pass.

The forward pass knows the gradient of the loss; the backward pass only brings the factor d total / d loss and
multiplies by it. So the logits of a chunk exist once, and nothing is recomputed.
"""

from typing import Any

from torch import Tensor

from dupo_kernels._scaling import claim_gradients, scaled
from dupo_kernels.hidden.chunks import RowPlan
from dupo_kernels.hidden.head import Gradients, GradientSums
from dupo_kernels.hidden.inputs import HeadInputs


def final_gradients(
    sums: GradientSums, head: HeadInputs, plan: RowPlan, row_index: Tensor | None
) -> Gradients:
    """The gradients of all N tokens, in the types of `unfilled_gradients`."""
    N = head.num_tokens
    gradients = sums.result(N, row_index)
    if plan.mask is not None and plan.sums_dweight(N):
        # The compiler expects the sum of several chunks; the mask may have left one chunk.
        gradients = gradients._replace(dweight=gradients.dweight.to(head.wide))
    return gradients


def unfilled_gradients(head: HeadInputs, plan: RowPlan) -> Gradients:
    """Shapes and types of the gradients, for the compiler."""
    new, wide = head.hidden.new_empty, head.wide
    dweight_dtype = wide if plan.sums_dweight(head.hidden.shape[0]) else head.hidden.dtype
    return Gradients(
        new(head.hidden.shape if head.wants_dhidden else (0,), dtype=head.dhidden_dtype),
        new(head.weight.shape if head.wants_dweight else (0,), dtype=dweight_dtype),
        new(head.bias.shape if head.wants_dbias and head.bias is not None else (0,), dtype=wide),
    )


def save_gradients(
    ctx: Any,
    gradients: Gradients,
    head: HeadInputs,
    *,
    grad_scale: float,
    num_inputs: int,
    name: str = "linear_objective",
) -> None:
    """Keeps the gradients for `scaled_gradients`.

    Args:
        gradients: of the loss times grad_scale.
        head: which gradients are wanted, and their type.
        num_inputs: of the function; hidden, weight and bias come first, and no other input has a gradient.
        name: of the public function, for its errors.
    """
    ctx.save_for_backward(*gradients)
    ctx.dtype = head.hidden.dtype
    ctx.wanted = head.wants_dhidden, head.wants_dweight, head.wants_dbias
    ctx.grad_scale, ctx.num_inputs = grad_scale, num_inputs
    ctx.consumed, ctx.name = False, name
    ctx.set_materialize_grads(False)  # else backward starts with zeros as large as the gradients


def scaled_gradients(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
    """The gradients of all inputs, for the upstream gradient `grad` of the loss (a scalar)."""
    claim_gradients(ctx, ctx.name)
    # The loss scale of float16 went into the gradients before they were rounded. `grad` has it too: divide.
    # A float32 sum is cast in the same pass.
    gradients = [
        scaled(gradient, grad, ctx.grad_scale, ctx.dtype) if is_wanted else None
        for gradient, is_wanted in zip(ctx.saved_tensors, ctx.wanted, strict=True)
    ]
    return *gradients, *([None] * (ctx.num_inputs - 3))
