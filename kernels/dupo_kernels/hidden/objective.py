"""A loss straight from hidden states, when the loss is known: each chunk of logits lives once.

    logits -> logp, entropy -> objective on [chunk] -> dlogits in their place -> dhidden, dweight

6NVH flop and the logits of one chunk for every loss where the derivative of a token depends on that token
alone (scope "token"), and where it depends on its sequence (scope "sequence"), if sequences fit chunks and
the host knows where they end: then chunks are cut there. Otherwise all log-probabilities come first: 6NVH
while the logits fit `save_budget`, 8NVH for those that do not, with the same result.

The gradients are made in the forward pass; the backward pass multiplies them by the gradient of the loss
(early_gradients.py). Head, chunks and masks are as in logprobs.py.

Shape letters: N tokens, M of them that count, V vocabulary, H hidden, K statistics. "Tokens" is (N,) or
(B, T).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels._checks import (
    REAL,
    check_devices,
    check_grad_scale,
    check_host_or_device,
    check_mask,
    check_tensors,
)
from dupo_kernels._copies import to_device
from dupo_kernels._custom_ops import differentiable, record_op, unpack
from dupo_kernels._messages import refused
from dupo_kernels._triton import runs_on_triton
from dupo_kernels.hidden.chunk_loop import run_fused, run_objective
from dupo_kernels.hidden.chunks import SAVE_BUDGET, RowPlan, plan_rows
from dupo_kernels.hidden.early_gradients import (
    final_gradients,
    save_gradients,
    scaled_gradients,
    unfilled_gradients,
)
from dupo_kernels.hidden.group_objective import group_call
from dupo_kernels.hidden.head import Gradients
from dupo_kernels.hidden.inputs import (
    HeadInputs,
    check_rows,
    check_token_bounds,
    flatten_per_token,
    prepare_head,
)
from dupo_kernels.hidden.policy_rows import PolicyRows, PolicyTokens, kernel_objective
from dupo_kernels.hidden.segments import segments_of
from dupo_kernels.hidden.sequences import HostBounds
from dupo_kernels.hidden.user_objective import Objective, UserCall, UserObjective
from dupo_kernels.preferences.preference_objective import PreferenceObjective
from dupo_kernels.tokens.layout import check_tokens
from dupo_kernels.tokens.policy_objective import (
    TOKEN_INPUTS,
    EncodedObjective,
    PolicyObjective,
    head_stat_names,
)
from dupo_kernels.tokens.statistics import reduce_stats
from dupo_kernels.tokens.token_form import scope_as_tokens
from dupo_kernels.tokens.token_report import COLUMNS, named_scalars, reduce_report

SCOPES = ("token", "sequence", "batch", "group")

# --- a policy objective: one op, which torch.compile takes as it is --------------------------------


class _Output(NamedTuple):
    """What the op returns: loss, statistics, and the gradients of the head.

    Attributes:
        stats: (K,) in the order of `head_stat_names`; of a fused objective the scalars of `reduce_report`.
    """

    loss: Tensor
    stats: Tensor
    dhidden: Tensor
    dweight: Tensor
    dbias: Tensor


@record_op("dupo_kernels::linear_objective")
def _op(
    head: HeadInputs, plan: RowPlan, encoded: EncodedObjective, tokens: PolicyTokens
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    N = head.targets.numel()
    row_index, chunks = plan.resolve(N)
    # An op takes texts and numbers, so a compiled graph is keyed by the options and not by an object.
    objective = PolicyObjective.decoded(encoded)
    if tokens.is_fused:
        # The kernel finds what it reads of a row by its index: nothing but hidden states is gathered.
        rows_head = head.take_hidden(row_index)
        report, sums = run_fused(rows_head, chunks, kernel_objective(objective, tokens, row_index))
        loss = report.new_empty(())
        stats = reduce_report(report, loss)
    else:
        bounds, device = plan.segment_bounds, head.hidden.device
        segments = None if bounds is None else segments_of(bounds, device)
        evaluate = PolicyRows(objective, tokens, row_index, segments)
        loss, reported, sums = run_objective(
            head.take(row_index),
            chunks,
            evaluate,
            with_entropy=tokens.with_entropy,
            by_chunk=evaluate.layout is None,
        )
        scalars = reduce_stats(reported, evaluate.active_M, loss.dtype)
        names = head_stat_names(objective, tokens.inputs(), tokens.with_entropy)
        stats = torch.stack([scalars[name] for name in names])
    dhidden, dweight, dbias = final_gradients(sums, head, plan, row_index)
    return loss, stats, dhidden, dweight, dbias


@_op.register_fake
def _(*values: Any) -> tuple[Tensor, ...]:
    head, plan, encoded, tokens = unpack(values, HeadInputs, RowPlan, EncodedObjective, PolicyTokens)
    names = head_stat_names(PolicyObjective.decoded(encoded), tokens.inputs(), tokens.with_entropy)
    new, wide = head.hidden.new_empty, head.wide
    return (
        new((), dtype=wide),
        new((COLUMNS, 3) if tokens.is_fused else (len(names),), dtype=wide),
        *unfilled_gradients(head, plan),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    head, _, _, tokens = unpack(inputs, HeadInputs, RowPlan, EncodedObjective, PolicyTokens)
    result = _Output(*output)
    gradients = Gradients(result.dhidden, result.dweight, result.dbias)
    save_gradients(ctx, gradients, head, grad_scale=tokens.grad_scale, num_inputs=len(inputs))
    ctx.mark_non_differentiable(result.stats, *gradients)


_run = differentiable(_op, _save, scaled_gradients)


# --- public function -------------------------------------------------------------------------------


def linear_objective(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    objective: PolicyObjective | PreferenceObjective | Objective,
    per_token: Mapping[str, Tensor | None],
    *,
    weights: Tensor | None = None,
    groups: Tensor | None = None,
    mask: Tensor | None = None,
    rows: Tensor | None = None,
    row_needs_grad: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    entropy: bool = True,
    logits_dtype: torch.dtype = torch.float32,
    save_budget: int = SAVE_BUDGET,
    chunk_tokens: int | None = None,
    process_group: Any = None,
    grad_scale: float | None = None,
    check: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """sum(weights * objective) over the tokens that count, and its gradients, from hidden states.

    Args:
        hidden, weight, targets, bias, temperature, logit_scale, softcap, logits_dtype, process_group: see
            `linear_token_logprobs`, also for autocast, DTensor and activation checkpointing.
        objective: what `policy_objective` returns, or any callable (logprobs, entropy or None, **per_token)
            -> (loss, stats) of each token, which autograd differentiates (a graph break in torch.compile).
            The callable sees the tokens of a chunk, (C,), unless its attribute `scope` is "sequence" or
            "batch": then all tokens at once, of the shape of targets, 0 where a token does not count. With
            "sequence" and targets (B, T) it may be called for some of the B sequences at a time, (b, T).
            With "group" it is (sums, lengths, **inputs) -> (losses (g,), stats (g,)) of g groups of K
            sequences, (g, K) each, as `preference_objective` is; see groups.
        per_token: by name, tensors of the shape of targets. For a policy objective: advantages (also one
            for each sequence) and, as far as they exist, old_logprobs (without them the ratio is 1 and needs
            no pass), ref_logprobs, sampling_logprobs. With scope "group": of sequences, (S,) or (B,).
        weights: tokens, fp32: `token_weights` of the loss type. With scope "group": (G,), of groups in
            ascending order of their ids; None: 1 / G.
        groups: scope "group" alone: (S,) or (B,) integers on the CPU, sequences of one id are compared, the
            best first; see `preference_loss`. Whole groups are a chunk, wherever their sequences stand. A
            mask, rows or bounds on a device are waited for. torch.compile breaks its graph there.
        mask, rows: which tokens count, see `linear_token_logprobs`.
        row_needs_grad: tokens, bool; a token that is False gets no backward GEMM. Say False only where the
            gradient is known to be zero: advantage 0 (with a ratio of sequences, in the whole sequence),
            beta 0 and entropy_coef 0. A tensor on the host, without a mask on the device, waits for nothing.
            torch.compile ignores row_needs_grad. Refused with scope "group".
        cu_seqlens: (S + 1,), bounds of packed sequences. Tokens outside them do not count; `rows` would also
            leave them out of the GEMMs. Bounds on the host let a loss of sequences go chunk by chunk.
        entropy: report the entropy; a policy objective that needs it gets it anyway.
        save_budget: bytes of logits. With scope "token", or sequences that fit chunks, all tokens are one
            chunk if their logits fit the budget. Otherwise the budget is for the logits that are kept.
        chunk_tokens: the number of tokens whose logits exist at once. None: docs/loss_head.md says how many.
        grad_scale: fp16 only, where it is required: the factor that a loss scaler will multiply the loss by,
            taken in before anything is rounded to fp16. Positive and finite.
        check: also check what tensors on a device hold (temperature, rows, cu_seqlens, masks of floats),
            which waits for the device. Tensors on the CPU are checked always, and no tensor is inside
            torch.compile.

    Returns:
        (loss, stats). loss: scalar, fp32 (fp64 for fp64 inputs), differentiable once in hidden, weight, bias.
        stats: those of `policy_loss` or of `preference_loss`, and "top1_agreement", the share of targets that
        are the likeliest token.

    Raises:
        ValueError: as `linear_token_logprobs`, `policy_loss` and `preference_loss`; fp16 without grad_scale;
            groups, or no weights, where the scope does not say so.
        RuntimeError: a second backward.
    """
    # Sorting rows by need waits for their number, which a compiler cannot do: all rows get a gradient.
    row_needs_grad = None if torch.compiler.is_compiling() else row_needs_grad
    head = prepare_head(
        hidden, weight, targets, bias,
        temperature=temperature, logit_scale=logit_scale, softcap=softcap, logits_dtype=logits_dtype,
        process_group=process_group, check=check,
    )  # fmt: skip
    check_rows(
        targets, mask, rows, save_budget=save_budget, chunk_tokens=chunk_tokens, check=check, entropy=entropy
    )
    check_token_bounds(targets, cu_seqlens, check)
    check_grad_scale(grad_scale, head.hidden.dtype, head.wants_gradient)
    options = {
        "weights": weights, "mask": mask, "rows": rows, "cu_seqlens": cu_seqlens, "save_budget": save_budget,
        "chunk_tokens": chunk_tokens, "grad_scale": grad_scale or 1.0,
    }  # fmt: skip
    # A class whose objects are objectives is callable too.
    if not callable(objective) or isinstance(objective, type):
        raise refused("objective", "a policy_objective or a function", objective)
    if getattr(objective, "scope", "") == "group":
        if row_needs_grad is not None:
            raise refused("row_needs_grad", "None for an objective of groups", row_needs_grad)
        return _of_groups(head, targets.shape, objective, per_token, groups=groups, **options)
    if groups is not None:
        raise refused("groups", "None, as the scope of the objective is not 'group'", groups)
    _check_objective(objective, targets, weights, row_needs_grad, check)
    return _of_tokens(
        head, targets, objective, per_token, row_needs_grad=row_needs_grad, entropy=entropy, **options
    )


def _of_tokens(
    head: HeadInputs,
    targets: Tensor,
    objective: PolicyObjective | Objective,
    per_token: Mapping[str, Tensor | None],
    *,
    weights: Tensor,
    mask: Tensor | None,
    rows: Tensor | None,
    row_needs_grad: Tensor | None,
    cu_seqlens: Tensor | None,
    entropy: bool,
    save_budget: int,
    chunk_tokens: int | None,
    grad_scale: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    for_policy = isinstance(objective, PolicyObjective)
    inputs = flatten_per_token(per_token, targets, cu_seqlens, for_policy=for_policy)
    scope = _scope(objective, inputs, cu_seqlens is not None or targets.dim() == 2)
    plan = plan_rows(
        head, mask, rows, row_needs_grad,
        keeps_logits=scope != "token", save_budget=save_budget, chunk_tokens=chunk_tokens,
        bounds=_host_bounds(targets, cu_seqlens, for_policy=for_policy) if scope == "sequence" else None,
    )  # fmt: skip
    shape = list(targets.shape)
    # Weights may require grad by accident (a learned mask); the loss is not differentiated in them.
    weights = weights.detach().to(head.wide).reshape(-1)
    cu_seqlens = _device_bounds(objective, inputs, plan, targets, cu_seqlens)
    if not isinstance(objective, PolicyObjective):
        call = UserCall(head, plan, objective, weights, inputs, shape, cu_seqlens, entropy, grad_scale)
        loss: Any = UserObjective.apply(head.hidden, head.weight, head.bias, call)
        return loss, call.stats
    tokens = PolicyTokens(
        weights, **{name: inputs.get(name) for name in TOKEN_INPUTS}, shape=shape, cu_seqlens=cu_seqlens,
        with_entropy=entropy or objective.needs_entropy, grad_scale=grad_scale,
        # The parts of a vocabulary must meet between the log-probabilities and the objective.
        is_fused=scope == "token" and not head.group and runs_on_triton(head.hidden),
    )  # fmt: skip
    return _policy_loss(head, plan, objective, tokens)


# A callable and numbers of the host cannot be arguments of a custom op.
@torch.compiler.disable(reason="linear_objective: groups are cut on the host; compile around it")
def _of_groups(
    head: HeadInputs, shape: torch.Size, objective: Any, inputs: Any, **options: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    call = group_call(head, shape, objective, inputs, **options)
    loss: Any = UserObjective.apply(head.hidden, head.weight, head.bias, call)
    return loss, call.stats


def _policy_loss(
    head: HeadInputs, plan: RowPlan, objective: PolicyObjective, tokens: PolicyTokens
) -> tuple[Tensor, dict[str, Tensor]]:
    result = _Output(*_run(*head, *plan, *objective.encoded(), *tokens))
    names = head_stat_names(objective, tokens.inputs(), tokens.with_entropy)
    if tokens.is_fused:
        return result.loss, named_scalars(result.stats, names)
    return result.loss, dict(zip(names, result.stats.unbind(), strict=True))


def _check_objective(objective: Any, targets: Tensor, weights: Any, row_needs_grad: Any, check: bool) -> None:
    if getattr(objective, "scope", "token") not in SCOPES and not isinstance(objective, PolicyObjective):
        raise refused("scope of the objective", f"one of {', '.join(SCOPES)}", objective.scope)
    check_tensors(REAL, ("weights",), weights=weights, row_needs_grad=row_needs_grad)
    check_tokens(targets.shape, "targets", weights=weights, row_needs_grad=row_needs_grad)
    check_devices(targets.device, "targets", weights=weights)
    check_host_or_device(targets.device, "targets", row_needs_grad=row_needs_grad)
    check_mask("row_needs_grad", row_needs_grad, check)


def _scope(objective: Any, inputs: Mapping[str, Any], knows_sequences: bool) -> str:
    if not isinstance(objective, PolicyObjective):
        return getattr(objective, "scope", "token")
    objective.check_inputs({**inputs, "entropy": True}, knows_sequences)
    return scope_as_tokens(objective, inputs)


def _host_bounds(targets: Tensor, cu_seqlens: Tensor | None, *, for_policy: bool) -> HostBounds | None:
    # Inside torch.compile no values are read.
    if torch.compiler.is_compiling():
        return None
    if cu_seqlens is None:
        is_padded = targets.dim() == 2 and targets.numel() > 0
        return HostBounds(targets.numel(), targets.shape[1], None) if is_padded else None
    # A user's code does not get cu_seqlens. If it knows bounds of its own, they are those of all tokens.
    if not for_policy or cu_seqlens.device.type != "cpu":
        return None
    return HostBounds(targets.numel(), 0, cu_seqlens)


def _device_bounds(
    objective: Any, inputs: Mapping[str, Any], plan: RowPlan, targets: Tensor, cu_seqlens: Tensor | None
) -> Tensor | None:
    """The bounds on the device; None where nothing needs them.

    That is so if the bounds cover all tokens, and sequences are known otherwise or do not matter.
    """
    if cu_seqlens is None:
        return None
    is_known = cu_seqlens.device.type == "cpu" and not torch.compiler.is_compiling()
    ends = cu_seqlens.tolist()[:: max(cu_seqlens.numel() - 1, 1)] if is_known else []
    needs_sequences = isinstance(objective, PolicyObjective) and objective.scope(inputs) != "token"
    if ends == [0, targets.numel()] and (plan.segment_bounds is not None or not needs_sequences):
        return None
    return to_device(cu_seqlens, targets.device)
