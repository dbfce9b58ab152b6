"""A policy loss straight from the logits: one kernel, and one reduction of all that it reports.

    logits -> logp, entropy -> loss of each token -> dlogits, where asked in the place of the logits

The gradient is made in the forward pass, while the logits are at hand; the backward pass multiplies it by the
gradient of the loss, and where that is 1 touches nothing (_scaling.py). fused_loss.py serves CUDA tensors
where the derivative of a token depends on that token alone. For all others, log-probabilities come first,
then the loss of policy_terms.py, then dlogits: the same result from more launches.

Shape letters: N tokens, V vocabulary, K statistics. "Tokens" is the shape of targets.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels._checks import REAL, check_devices, check_flags, check_grad_scale, check_tensors
from dupo_kernels._custom_ops import record_op, unpack
from dupo_kernels._scaling import scaled
from dupo_kernels._triton import runs_on_triton
from dupo_kernels.logits.fused_loss import fused_loss
from dupo_kernels.logits.launch import logprobs_backward, logprobs_forward
from dupo_kernels.logits.logprobs import check_logits, check_scaling, prepare_rows
from dupo_kernels.logits.rows import Rows, sum_dtype
from dupo_kernels.tokens.layout import (
    Layout,
    advantages_by_sequence,
    advantages_per_token,
    check_layout,
    check_tokens,
    token_layout,
)
from dupo_kernels.tokens.policy_objective import EncodedObjective, PolicyObjective
from dupo_kernels.tokens.statistics import reduce_stats
from dupo_kernels.tokens.token_objective import TokenInputs, token_objective
from dupo_kernels.tokens.token_report import COLUMNS, named_scalars, new_report, reduce_report

INPUTS = ("advantages", "old_logprobs", "ref_logprobs", "sampling_logprobs")


class _Tokens(NamedTuple):
    """What is known of the tokens beside their logits, as the op takes it; see `fused_policy_loss`.

    Attributes:
        shape: (B, T), or (N,) of tokens of any other shape.
        with_entropy: the objective reads or reports the entropy.
        wants_gradient: dlogits are made.
    """

    weights: Tensor
    advantages: Tensor
    mask: Tensor | None
    old_logprobs: Tensor | None
    ref_logprobs: Tensor | None
    sampling_logprobs: Tensor | None
    cu_seqlens: Tensor | None
    shape: list[int]
    with_entropy: bool
    wants_gradient: bool
    grad_scale: float

    def inputs(self) -> dict[str, Tensor]:
        """The inputs of the objective that are there, by name."""
        named = {name: getattr(self, name) for name in INPUTS}
        return {name: x for name, x in named.items() if x is not None}

    def layout(self) -> Layout:
        """Which tokens count, and their sequences."""
        like = self.weights.view(self.shape)
        return token_layout(
            like, "targets", None if self.mask is None else self.mask.view(self.shape), self.cu_seqlens
        )

    def is_fused(self, objective: PolicyObjective, logits: Tensor) -> bool:
        """Whether one kernel serves these tokens."""
        # With old_logprobs the mismatch weights of sequences depend on inputs alone, and are one of them.
        computed = {} if self.old_logprobs is None else {"importance_sampling_ratio": True}
        by_token = objective.scope(self.inputs() | computed) == "token"
        # No tokens are no grid.
        return by_token and runs_on_triton(logits) and logits.shape[0] > 0


# --- both ways -------------------------------------------------------------------------------------


def _compute(
    rows: Rows, tokens: _Tokens, objective: PolicyObjective, dlogits: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(loss, statistics); writes dlogits, which may be the memory of the logits."""
    way = _in_one_launch if tokens.is_fused(objective, rows.logits) else _by_logprobs
    return way(rows, tokens, objective, dlogits)


def _in_one_launch(
    rows: Rows, tokens: _Tokens, objective: PolicyObjective, dlogits: Tensor | None
) -> tuple[Tensor, Tensor]:
    shape, cu_seqlens = torch.Size(tokens.shape), tokens.cu_seqlens
    sequences = None if cu_seqlens is None else cu_seqlens.numel() - 1
    inputs = TokenInputs(
        weights=tokens.weights,
        active=tokens.mask,
        importance_sampling_ratio=_mismatch_weights(tokens, objective),
        cu_seqlens=cu_seqlens,
        sequences=sequences or 0,
        num_tokens=rows.targets.numel(),
        length=shape[1] if len(shape) == 2 else 1,
        **tokens.inputs(),
    )
    kernel_objective = token_objective(
        objective,
        inputs,
        has_entropy=tokens.with_entropy,
        grad_scale=tokens.grad_scale,
        by_sequence=advantages_by_sequence(tokens.advantages, shape, sequences),
    )
    report = new_report(rows.targets.numel(), rows.logits.device)
    loss = report.new_empty(())
    fused_loss(rows, kernel_objective._replace(inputs=_flat(inputs)), report, dlogits)
    return loss, reduce_report(report, loss)


def _flat(inputs: TokenInputs) -> TokenInputs:
    tensors = {name: x for name, x in inputs._asdict().items() if isinstance(x, Tensor)}
    return inputs._replace(**{name: x.reshape(-1).contiguous() for name, x in tensors.items()})


def _mismatch_weights(tokens: _Tokens, objective: PolicyObjective) -> Tensor | None:
    inputs = tokens.inputs()
    if objective.scope(inputs) == "token":
        return None
    views = {name: x.view(tokens.shape) for name, x in inputs.items() if name != "advantages"}
    return objective.with_mismatch_weights(views, tokens.layout())["importance_sampling_ratio"]


def _by_logprobs(
    rows: Rows, tokens: _Tokens, objective: PolicyObjective, dlogits: Tensor | None
) -> tuple[Tensor, Tensor]:
    statistics, layout = logprobs_forward(rows, tokens.with_entropy), tokens.layout()
    logp, dtype = statistics.logp.view(tokens.shape), statistics.logp.dtype
    entropy = statistics.entropy.view(tokens.shape) if tokens.with_entropy else None
    weights = tokens.weights.to(dtype).view(tokens.shape).where(layout.active, 0.0)
    inputs = tokens.inputs()
    advantages = advantages_per_token(inputs.pop("advantages"), layout)
    inputs = {name: x.view(tokens.shape) for name, x in inputs.items()}
    terms = objective.terms(logp, entropy, weights, layout, advantages=advantages, **inputs)
    agreement = {"top1_agreement": logp == statistics.top.view(tokens.shape)}
    scalars = reduce_stats(terms.stats | agreement, layout.active, dtype)
    if dlogits is not None:
        # Without a coefficient the entropy has no gradient, and the kernel need not read it.
        dentropy = terms.dentropy if objective.entropy_coef else None
        logprobs_backward(
            rows,
            statistics.lse,
            statistics.entropy,
            terms.dlogp.flatten() * tokens.grad_scale,
            None if dentropy is None else dentropy.flatten() * tokens.grad_scale,
            dlogits,
        )
    names = _stat_names(objective, tokens)
    return (terms.loss * weights).sum(), torch.stack([scalars[name] for name in names])


def _stat_names(objective: PolicyObjective, tokens: _Tokens) -> list[str]:
    return [*objective.stat_names(tokens.inputs(), tokens.with_entropy), "top1_agreement", "tokens"]


# --- autograd --------------------------------------------------------------------------------------


@record_op("dupo_kernels::fused_policy_loss")
def _op(rows: Rows, tokens: _Tokens, encoded: EncodedObjective) -> tuple[Tensor, Tensor, Tensor]:
    dlogits = rows.logits.new_empty(rows.logits.shape if tokens.wants_gradient else (0,))
    objective = PolicyObjective.decoded(encoded)
    loss, scalars = _compute(rows, tokens, objective, dlogits if tokens.wants_gradient else None)
    return loss, scalars, dlogits


@_op.register_fake
def _(*values: Any) -> tuple[Tensor, ...]:
    rows, tokens, encoded = unpack(values, Rows, _Tokens, EncodedObjective)
    objective, new, wide = PolicyObjective.decoded(encoded), rows.logits.new_empty, sum_dtype(rows.logits)
    is_fused = tokens.is_fused(objective, rows.logits)
    scalars = new((COLUMNS, 3) if is_fused else len(_stat_names(objective, tokens)), dtype=wide)
    return new((), dtype=wide), scalars, new(rows.logits.shape if tokens.wants_gradient else (0,))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, tokens = unpack(inputs, Rows, _Tokens)
    _, scalars, dlogits = output
    ctx.save_for_backward(dlogits)
    ctx.grad_scale, ctx.num_inputs, ctx.consumed = tokens.grad_scale, len(inputs), False
    ctx.mark_non_differentiable(scalars, dlogits)
    ctx.set_materialize_grads(False)  # else backward starts with zeros as large as the logits


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
    if upstream is not None:
        dlogits = scaled(dlogits, upstream, ctx.grad_scale, dlogits.dtype)
    return dlogits if upstream is not None else None, *([None] * (ctx.num_inputs - 1))


_op.register_autograd(_differentiate, setup_context=_save)


class _InPlace(torch.autograd.Function):
    """The same op, with dlogits written over the logits."""

    # No custom op: the result of an op may not share memory with its inputs.
    @staticmethod
    def forward(ctx, *inputs):
        """(loss, statistics); the logits are consumed."""
        rows, tokens, encoded = unpack(inputs, Rows, _Tokens, EncodedObjective)
        dlogits = rows.logits.detach()
        rows = rows._replace(logits=dlogits)
        loss, scalars = _compute(rows, tokens, PolicyObjective.decoded(encoded), dlogits)
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
    in_place = inplace and wants_gradient and not torch.compiler.is_compiling()
    rows = prepare_rows(logits, targets, temperature, softcap, to_be_written=in_place)
    constant = {"weights": weights, "mask": mask, **inputs}
    flat = {name: None if x is None else x.detach().reshape(-1) for name, x in constant.items()}
    tokens = _Tokens(
        advantages=advantages.detach(),
        cu_seqlens=cu_seqlens,
        shape=list(shape),
        with_entropy=entropy or objective.entropy_coef != 0 or objective.top_entropy_quantile < 1,
        wants_gradient=wants_gradient,
        grad_scale=grad_scale or 1.0,
        **flat,  # type: ignore[arg-type]
    )
    op: Any = _InPlace.apply if in_place else _op
    loss, scalars, *_ = op(*rows, *tokens, *objective.encoded())
    names = _stat_names(objective, tokens)
    if tokens.is_fused(objective, rows.logits):
        return loss, named_scalars(scalars, names)
    return loss, dict(zip(names, scalars.unbind(), strict=True))


def _check_tokens(targets: Tensor, advantages: Any, cu_seqlens: Any, **tokens: Any) -> None:
    others = {"advantages": advantages, "cu_seqlens": cu_seqlens}
    check_tensors(REAL, ("weights", "advantages"), **tokens, **others)
    check_tokens(targets.shape, "targets", **tokens)
    check_devices(targets.device, "targets", **tokens, **others)
