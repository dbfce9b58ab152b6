"""Autograd of linear_objective.py: gradients that the forward pass has made, and objectives that are code."""

from typing import Any

import torch
from torch import Tensor

from dupo_kernels.hidden.head import Evaluated, run_objective
from dupo_kernels.hidden.logprobs import make_head, spread
from dupo_kernels.logits.logprobs import Found
from dupo_kernels.tokens.policy_terms import reduce_stats


def differentiate(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError("linear_objective is differentiable once, got create_graph=True")
    if ctx.consumed:
        raise RuntimeError(
            "linear_objective allows one backward, got a second: the gradient is scaled in place"
        )
    ctx.consumed = True
    factor = grad / ctx.grad_scale
    found = [
        _times(saved, factor, ctx.dtype) if want else None
        for saved, want in zip(ctx.saved_tensors, ctx.wanted, strict=True)
    ]
    return *found, *([None] * (ctx.inputs - 3))


def _times(gradient: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """factor * gradient, in its own memory or, from float32 sums, in one pass to their type."""
    if torch.compiler.is_compiling():
        return (gradient * factor).to(dtype)
    if gradient.dtype == dtype:
        return gradient.mul_(factor)
    return torch.mul(gradient, factor, out=torch.empty_like(gradient, dtype=dtype))


class CallableObjective(torch.autograd.Function):
    """The same for an objective that is code."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, call):
        given, index, inside, plan, objective, weights, per_token, shape, entropy, scale = call
        N = given.targets.numel()
        head = make_head(given._replace(hidden=hidden, weight=weight, bias=bias), index)
        token_scope = getattr(objective, "scope", "token") == "token"

        def rows(x: Tensor) -> Tensor:
            return x if index is None else x[index]

        counts = inside if index is None else spread(rows(inside), N, index)

        def evaluate(found: Found, at: slice) -> Evaluated:
            leaves = [found.logp.clone().requires_grad_()]
            leaves += [found.entropy.clone().requires_grad_()] if entropy else []
            with torch.enable_grad():

                def lay_out(x: Tensor, of_rows: bool = False) -> Tensor:
                    """As the objective sees it: what tokens hold that do not count is no concern of it."""
                    if token_scope:
                        return (x if of_rows else rows(x)[at]).where(rows(inside)[at], 0)
                    return (spread(x, N, index) if of_rows else x).where(counts, 0).view(shape)

                seen, w = [lay_out(x, of_rows=True) for x in leaves], lay_out(weights)
                inputs = {n: lay_out(x) for n, x in per_token.items()}
                loss, stats = _checked(objective(seen[0], seen[1] if entropy else None, **inputs), w)
                total = (loss * w).where(w != 0, 0.0).sum()
            slopes = torch.autograd.grad(total, leaves, allow_unused=True) if total.requires_grad else (None,)
            a, b = (None if g is None else g * scale for g in (*slopes, None)[:2])
            flat = {n: x.detach().expand(w.shape).flatten() for n, x in stats.items()}
            flat = flat if token_scope else {n: rows(x) for n, x in flat.items()}
            return total.detach(), torch.zeros_like(leaves[0]) if a is None else a, b, flat

        loss, stats = run_objective(head, plan, evaluate, entropy, token_scope)
        given.report.update(reduce_stats(stats, rows(inside), loss.dtype))
        ctx.save_for_backward(*head.gradients(N, index))
        ctx.dtype, ctx.wanted, ctx.inputs = hidden.dtype, given.wanted, 4
        ctx.grad_scale, ctx.consumed = scale, False
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return differentiate(ctx, grad)


def _checked(result: Any, weights: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What an objective has returned."""
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise ValueError(f"objective must return (loss, stats), got {type(result).__name__}")
    loss, stats = result
    if not isinstance(loss, Tensor) or loss.shape != weights.shape:
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"objective must return a loss for each token {tuple(weights.shape)}, got {got}")
    if wrong := [name for name, x in stats.items() if not isinstance(x, Tensor)]:
        raise ValueError(f"stats of an objective must be tensors, got something else for {', '.join(wrong)}")
    return loss, stats
