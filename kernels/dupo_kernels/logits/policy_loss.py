"""A policy loss straight from the logits: one kernel, and one reduction of all that it reports.

    logits -> logp, entropy -> loss of each token -> dlogits, where asked in the place of the logits

The gradient is made in the forward pass, while the logits are at hand; the backward pass multiplies it by the
gradient of the loss, and where that is 1 touches nothing (_scaling.py). policy_passes.py says which losses
and devices the kernel serves, and what serves the others.

Shape letters: N tokens, V vocabulary, K statistics. "Tokens" is the shape of targets.
"""

from typing import Any

import torch
from torch import Tensor

from dupo_kernels._checks import REAL, check_devices, check_flags, check_grad_scale, check_tensors
from dupo_kernels._custom_ops import differentiable, record_op, unpack
from dupo_kernels._scaling import scaled
from dupo_kernels.logits.logprobs import check_logits, check_scaling, prepare_rows
from dupo_kernels.logits.policy_passes import LossTokens, loss_and_gradient, stat_names
from dupo_kernels.logits.rows import Rows, sum_dtype
from dupo_kernels.tokens.layout import advantages_by_sequence, check_layout, check_tokens
from dupo_kernels.tokens.policy_objective import EncodedObjective, PolicyObjective
from dupo_kernels.tokens.token_report import COLUMNS, named_scalars

# --- autograd --------------------------------------------------------------------------------------


@record_op("dupo_kernels::fused_policy_loss")
def _op(rows: Rows, tokens: LossTokens, encoded: EncodedObjective) -> tuple[Tensor, Tensor, Tensor]:
    dlogits = rows.logits.new_empty(rows.logits.shape if tokens.wants_gradient else (0,))
    objective = PolicyObjective.decoded(encoded)
    loss, scalars = loss_and_gradient(rows, tokens, objective, dlogits if tokens.wants_gradient else None)
    return loss, scalars, dlogits


@_op.register_fake
def _(*values: Any) -> tuple[Tensor, ...]:
    rows, tokens, encoded = unpack(values, Rows, LossTokens, EncodedObjective)
    objective, new, wide = PolicyObjective.decoded(encoded), rows.logits.new_empty, sum_dtype(rows.logits)
    is_fused = tokens.is_fused(objective, rows.logits)
    scalars = new((COLUMNS, 3) if is_fused else len(stat_names(objective, tokens)), dtype=wide)
    return new((), dtype=wide), scalars, new(rows.logits.shape if tokens.wants_gradient else (0,))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, tokens = unpack(inputs, Rows, LossTokens)
    _, scalars, dlogits = output
    ctx.save_for_backward(dlogits)
    ctx.grad_scale, ctx.num_inputs, ctx.consumed = tokens.grad_scale, len(inputs), False
    ctx.mark_non_differentiable(scalars, dlogits)
    ctx.set_materialize_grads(False)  # zeros for dlogits would be as large as the logits


def _differentiate(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    # Grad mode in a backward pass means create_graph=True; the compiler traces this code in any mode.
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError("fused_policy_loss: expected to be differentiated once, got create_graph=True")
    if ctx.consumed:
        raise RuntimeError(
            "fused_policy_loss: expected one backward, got a second: the gradient is scaled in place"
        )
    ctx.consumed = True
    (dlogits,) = ctx.saved_tensors
    # None: the loss has no part in what is differentiated.
    if upstream is not None:
        dlogits = scaled(dlogits, upstream, ctx.grad_scale, dlogits.dtype)
    return dlogits if upstream is not None else None, *([None] * (ctx.num_inputs - 1))


_run = differentiable(_op, _save, _differentiate)


class _InPlace(torch.autograd.Function):
    """The same op, with dlogits written over the logits."""

    # No custom op: the result of an op may not share memory with its inputs.
    @staticmethod
    def forward(ctx, *inputs):
        """(loss, statistics); the logits are consumed."""
        rows, tokens, encoded = unpack(inputs, Rows, LossTokens, EncodedObjective)
        dlogits = rows.logits.detach()
        rows = rows._replace(logits=dlogits)
        loss, scalars = loss_and_gradient(rows, tokens, PolicyObjective.decoded(encoded), dlogits)
        # Autograd does not see a kernel write: others who saved these logits must fail, not go wrong.
        torch.autograd.graph.increment_version(dlogits)
        ctx.save_for_backward(dlogits)
        ctx.grad_scale, ctx.num_inputs, ctx.consumed = tokens.grad_scale, len(inputs), False
        ctx.mark_non_differentiable(scalars)
        ctx.set_materialize_grads(False)
        return loss, scalars

    backward = staticmethod(_differentiate)


# --- public function -------------------------------------------------------------------------------


def fused_policy_loss(
    logits: Tensor,
    targets: Tensor,
    advantages: Tensor,
    *,
    weights: Tensor,
    mask: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    old_logprobs: Tensor | None = None,
    ref_logprobs: Tensor | None = None,
    sampling_logprobs: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    entropy: bool = True,
    inplace: bool = False,
    grad_scale: float | None = None,
    check: bool = False,
    **options: Any,
) -> tuple[Tensor, dict[str, Tensor]]:
    """GRPO-style policy loss straight from logits: sum(weights * loss of each token), and its gradient.

    `token_logprobs` and `policy_loss` in one: on CUDA one kernel reads the logits, computes
    log-probabilities, entropies, ratios, KL and the clipped loss, and writes dlogits; a second reduces the
    statistics. Losses of sequences and of batches (GSPO, VESPO, off-policy mask, top-entropy) take more
    launches; CPUs and float64 go through torch. The result is the same. Names, meanings and defaults are TRL
    1.16's.

    Args:
        logits, targets, temperature, softcap: see `token_logprobs`; logits (..., V), targets (...), below
            "tokens".
        advantages: tokens, or one for each sequence: (B,) or (B, 1) with targets (B, T); (S,) packed.
        weights: tokens: `token_weights` of the loss type; not differentiated.
        mask: tokens, nonzero where a token counts. Without it every token counts. What the logits of other
            tokens hold, NaN too, changes nothing, and their gradient is 0.
        cu_seqlens: (S + 1,) bounds of packed sequences (N,), see `policy_loss`; tokens outside do not count.
        old_logprobs, ref_logprobs, sampling_logprobs: tokens, nats, see `policy_loss`.
        entropy: report the entropy; an objective that needs it gets it anyway.
        inplace: the logits are consumed: dlogits take their place in the forward pass, which saves a tensor
            of their size. No effect without a gradient and inside torch.compile.
        grad_scale: the factor that a loss scaler will multiply the loss by, taken in before anything is
            rounded. Required for fp16. Positive and finite.
        check: also check what tensors on a device hold, which waits for the device.
        options: those of `policy_loss`.

    Returns:
        (loss, stats). loss: scalar, fp32 (fp64 for fp64 logits), differentiable once, in logits. The
        backward pass is a launch that touches nothing where its gradient is 1 (or grad_scale), else a pass
        over dlogits. stats: those of `policy_loss`, and "top1_agreement", the share of targets that are the
        likeliest token.

    Raises:
        ValueError: what `token_logprobs`, `policy_loss` and `linear_objective` refuse.
        TypeError: an option that does not exist.
        RuntimeError: a second backward.
    """
    objective = PolicyObjective(**options)
    inputs = {
        "old_logprobs": old_logprobs,
        "ref_logprobs": ref_logprobs,
        "sampling_logprobs": sampling_logprobs,
    }
    check_flags(entropy=entropy, inplace=inplace, check=check)
    check_logits(logits, targets)
    check_scaling(logits, targets, temperature, softcap=softcap, check=check)
    # Tokens of any other shape are loose: no row of theirs is a sequence.
    shape = targets.shape if targets.dim() == 2 or cu_seqlens is not None else (targets.numel(),)
    _check_tokens(targets, advantages, cu_seqlens, weights=weights, mask=mask, **inputs)
    check_layout(targets, "targets", mask, cu_seqlens, check)
    objective.check_inputs(
        {"advantages": advantages, "entropy": True, **inputs}, len(shape) == 2 or cu_seqlens is not None
    )
    advantages_by_sequence(advantages, targets.shape, None if cu_seqlens is None else cu_seqlens.numel() - 1)
    wants_gradient = logits.requires_grad and torch.is_grad_enabled()
    check_grad_scale(grad_scale, logits.dtype, wants_gradient)
    if advantages.shape == targets.shape:
        advantages = advantages.reshape(shape)
    # A compiler plans memory by itself.
    in_place = inplace and wants_gradient and not torch.compiler.is_compiling()
    rows = prepare_rows(logits, targets, temperature, softcap, to_be_written=in_place)
    constant = {"weights": weights, "mask": mask, **inputs}
    flat = {name: None if x is None else x.detach().reshape(-1) for name, x in constant.items()}
    tokens = LossTokens(
        advantages=advantages.detach(),
        cu_seqlens=cu_seqlens,
        shape=list(shape),
        with_entropy=entropy or objective.entropy_coef != 0 or objective.top_entropy_quantile < 1,
        wants_gradient=wants_gradient,
        grad_scale=grad_scale or 1.0,
        **flat,  # type: ignore[arg-type]
    )
    op: Any = _InPlace.apply if in_place else _run
    loss, scalars, *_ = op(*rows, *tokens, *objective.encoded())
    names = stat_names(objective, tokens)
    if tokens.is_fused(objective, rows.logits):
        return loss, named_scalars(scalars, names)
    return loss, dict(zip(names, scalars.unbind(), strict=True))


def _check_tokens(targets: Tensor, advantages: Any, cu_seqlens: Any, **tokens: Any) -> None:
    others = {"advantages": advantages, "cu_seqlens": cu_seqlens}
    check_tensors(REAL, ("weights", "advantages"), **tokens, **others)
    check_tokens(targets.shape, "targets", **tokens)
    check_devices(targets.device, "targets", **tokens, **others)
