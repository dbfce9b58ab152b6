"""Log-probabilities and entropy straight from hidden states; logits exist a chunk at a time.

    logits = logit_scale (hidden weight^T + bias), then as in logprob.py

Serves any loss. The logits of as many tokens as `save_budget` allows are kept for the backward pass, the
rest are recomputed: 6NVH flop if all fit, 8NVH if none does. Where the loss is known beforehand,
`linear_objective` does with 6NVH and a chunk.

A half-precision head gets fp32 logits from half inputs: as exact as casting both, at the price of
the half product. Masked tokens reach no GEMM. Nothing here waits for the device, except once for a
device mask. The same inputs give the same bits; another chunking changes them by rounding.

Shape letters: N tokens, M of them that count, V vocabulary, H hidden. "Tokens" is (N,) or (B, T).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels.hidden import sharding as _parallel
from dupo_kernels.hidden.head import (
    ALIGN,
    Head,
    Plan,
    chunk_rows,
    head_backward,
    head_forward,
    kept_rows,
    select,
)
from dupo_kernels.logits.logprobs import Found, check_scaling, token_logprobs_ref

SAVE_BUDGET = 4 << 30  # bytes


# --- reference -------------------------------------------------------------------------------------


def linear_token_logprobs_ref(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    entropy: bool = False,
    mask: Tensor | None = None,
    rows: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """`linear_token_logprobs` by its definition and autograd; fp64 inputs give the truth."""
    wide = torch.promote_types(hidden.dtype, torch.float32)
    logits = hidden.to(wide) @ weight.to(wide).t()
    logits = logit_scale * (logits if bias is None else logits + bias)
    logp, H = token_logprobs_ref(logits, targets, temperature=temperature, softcap=softcap, entropy=entropy)
    if rows is not None:
        mask = torch.zeros_like(targets).flatten().index_fill(0, rows.long(), 1).view(targets.shape)
    if mask is not None:
        logp, H = logp.where(mask != 0, 0.0), None if H is None else H.where(mask != 0, 0.0)
    return logp, H


# --- log-probabilities: autograd -------------------------------------------------------------------


@torch.library.custom_op("dupo_kernels::linear_token_logprobs", mutates_args=())
def _op(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    index: Tensor | None,
    mask: Tensor | None,
    inv_temperature: Tensor,
    softcap: float,
    entropy: bool,
    wanted: list[bool],
    logits_dtype: torch.dtype,
    kept_rows: int,
    step: int,
    group: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(logp (N,), entropy (N,) or (0,), lse (N,), kept logits). A mask is for torch.compile alone."""
    N = targets.numel()
    index = index_of(index, mask)
    head = make_head(
        Given(hidden, weight, bias, targets, inv_temperature, softcap, logits_dtype, group, wanted), index
    )
    M = head.targets.numel()
    kept = head.buffer(kept_rows)
    found = head_forward(head, Plan(M, M, min(kept_rows, M), step), kept, entropy)
    H = spread(found.entropy, N, index) if entropy else found.entropy
    return spread(found.logp, N, index), H, spread(found.lse, N, index), kept


@_op.register_fake
def _(hidden, weight, bias, targets, index, mask, inv_temperature, softcap, entropy, wanted, dtype, kept, *_):
    new = inv_temperature.new_empty
    N, width = targets.shape[0], -(-weight.shape[0] // ALIGN) * ALIGN
    logits = hidden.new_empty(kept, width, dtype=dtype)[:, : weight.shape[0]]
    return new(N), new(N if entropy else 0), new(N), logits


@torch.library.custom_op("dupo_kernels::linear_token_logprobs_backward", mutates_args={"kept"})
def _backward_op(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    index: Tensor | None,
    mask: Tensor | None,
    inv_temperature: Tensor,
    softcap: float,
    wanted: list[bool],
    logits_dtype: torch.dtype,
    step: int,
    group: str,
    kept: Tensor,
    lse: Tensor,
    entropy: Tensor,
    dlogp: Tensor | None,
    dentropy: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    N = targets.numel()
    index = index_of(index, mask)
    head = make_head(
        Given(hidden, weight, bias, targets, inv_temperature, softcap, logits_dtype, group, wanted), index
    )
    if index is not None:
        lse, entropy = lse[index], entropy[index] if entropy.numel() else entropy
        dlogp, dentropy = (None if x is None else x[index] for x in (dlogp, dentropy))
    a = torch.zeros_like(lse) if dlogp is None else dlogp
    M = head.targets.numel()
    plan = Plan(M, M, min(kept.shape[0], M), step)
    head_backward(head, plan, kept, Found(lse, entropy, lse, lse), a, dentropy)
    return tuple(g.to(hidden.dtype) for g in head.gradients(N, index))  # type: ignore[return-value]


@_backward_op.register_fake
def _(hidden, weight, bias, targets, index, mask, inv_temperature, softcap, wanted, *_):
    like = (hidden, weight, hidden.new_empty(0) if bias is None else bias)
    return tuple(hidden.new_empty(x.shape if want else (0,)) for x, want in zip(like, wanted, strict=True))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, weight, bias, targets, index, mask, inv_temperature, softcap, ctx.entropy, *rest = inputs
    ctx.softcap = softcap
    ctx.wanted, ctx.logits_dtype, _, ctx.step, ctx.group = rest
    _, entropy, lse, kept = output
    ctx.save_for_backward(hidden, weight, bias, targets, index, mask, inv_temperature, kept, lse, entropy)
    ctx.set_materialize_grads(False)
    ctx.consumed = False


def _differentiate(ctx: Any, dlogp: Tensor | None, dentropy: Tensor | None, *_: Any) -> tuple[Any, ...]:
    if ctx.consumed:
        raise RuntimeError(
            "linear_token_logprobs allows one backward, got a second: the first wrote the gradient over "
            "the logits"
        )
    ctx.consumed = True
    *inputs, kept, lse, entropy = ctx.saved_tensors
    options = ctx.softcap, ctx.wanted, ctx.logits_dtype, ctx.step, ctx.group
    dentropy = dentropy if ctx.entropy else None
    gradients = _backward_op(*inputs, *options, kept, lse, entropy, dlogp, dentropy)
    found = [g if want else None for g, want in zip(gradients, ctx.wanted, strict=True)]
    return *found, *([None] * 11)


_op.register_autograd(_differentiate, setup_context=_save)


def index_of(index: Tensor | None, mask: Tensor | None) -> Tensor | None:
    return index if mask is None else mask.nonzero()[:, 0]


def make_head(given: "Given", index: Tensor | None) -> Head:
    """The head of the rows in `index`."""
    hidden, weight, bias, targets, inv_temperature, softcap, logits_dtype, group, wanted, _ = given
    if group:
        targets = targets - _parallel.vocabulary_start(group, weight.shape[0])
    if index is not None:
        hidden, targets = hidden[index], targets[index]
        inv_temperature = inv_temperature if inv_temperature.numel() == 1 else inv_temperature[index]
    flags = (wanted[0], wanted[1], wanted[2])
    return Head(hidden, weight, bias, targets, inv_temperature, softcap, logits_dtype, group, flags)


def spread(values: Tensor, N: int, index: Tensor | None) -> Tensor:
    """(M,) into (N,), zero elsewhere."""
    if index is None:
        return values
    return values.new_zeros(N).index_copy_(0, index, values)


# --- public functions ------------------------------------------------------------------------------


def linear_token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    entropy: bool = False,
    mask: Tensor | None = None,
    rows: Tensor | None = None,
    logits_dtype: torch.dtype = torch.float32,
    save_budget: int = SAVE_BUDGET,
    chunk_tokens: int | None = None,
    process_group: Any = None,
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of `targets` under the head, and the entropy of each distribution; for any loss.

    Under autocast, hidden, weight and bias take its type first, as in torch.nn.functional.linear. A DTensor
    weight or bias (FSDP2) is gathered, and its gradient is the mean over the processes. Under activation
    checkpointing the forward pass runs twice.

    Args:
        hidden: (*tokens, H), fp16, bf16, fp32 or fp64.
        weight: (V, H) of the same type; with process_group this rank's part of the vocabulary.
        targets: tokens, int64. Not checked on the device: outside [0, V) the result is NaN.
        bias: (V,), or None.
        temperature: positive; a number, or a tensor that broadcasts to `targets`, not differentiated.
        logit_scale: positive; multiplies the logits before softcap and temperature.
        softcap: positive, in units of logits.
        entropy: also return the entropy.
        mask: tokens; nonzero where a token counts. The others reach no GEMM; their results are 0. Finding
            them waits for the device once. Inside torch.compile room is kept for all tokens.
        rows: (M,) int64, the tokens that count as indices into the flattened tokens, without repeats:
            instead of the mask, for who knows them on the host; waits for nothing.
        logits_dtype: float32, or that of half inputs: half the memory, logp off by up to 0.1.
        save_budget: bytes of logits to keep for the backward pass, in whole rows; 0 keeps none. Up to 2 H
            tokens are all kept, as the backward pass would make them all at once.
        chunk_tokens: rows whose logits exist at once, of those not kept. None: see docs/loss_head.md.
        process_group: the ranks among which the vocabulary is split, in equal parts by rank; all have
            the same hidden, targets, mask. The result and the gradient of hidden are the same on all.

    Returns:
        (logprobs, entropy or None): tokens, fp32 (fp64 for fp64 inputs), nats, differentiable once.

    Raises:
        ValueError: shapes, dtypes or devices that do not match, values out of range, mask and rows both.
        RuntimeError: a second backward.
    """
    check_tensors(hidden=hidden, weight=weight, targets=targets, bias=bias, mask=mask, rows=rows)
    given = prepare(
        hidden, weight, targets, bias,
        temperature=temperature, logit_scale=logit_scale, softcap=softcap, logits_dtype=logits_dtype,
        process_group=process_group,
    )  # fmt: skip
    check_rows(targets, mask, rows, save_budget, chunk_tokens)
    N, H = given.hidden.shape
    index, late = None, None
    if mask is not None and torch.compiler.is_compiling():
        late = mask.reshape(N)
    else:
        index, _ = select(N, hidden.device, mask, rows, None)
    M = N if index is None else index.numel()
    sizes = given.weight.shape[0], H, given.logits_dtype.itemsize, save_budget, chunk_tokens
    kept = kept_rows(M, *sizes) if any(given.wanted) else 0
    step = chunk_rows(M - kept, *sizes)
    logp, found, *_ = _op(
        given.hidden,
        given.weight,
        given.bias,
        given.targets,
        index,
        late,
        given.inv_temperature,
        given.softcap,
        entropy,
        given.wanted,
        given.logits_dtype,
        kept,
        step,
        given.group,
    )
    return logp.view(targets.shape), found.view(targets.shape) if entropy else None


class Given(NamedTuple):
    """The inputs of a head, checked, in the form that its ops take."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: Tensor
    inv_temperature: Tensor
    softcap: float
    logits_dtype: torch.dtype
    group: str
    wanted: list[bool]
    report: Any = None


def prepare(
    hidden: Tensor,
    weight: Any,
    targets: Tensor,
    bias: Any,
    *,
    temperature: float | Tensor,
    logit_scale: float,
    softcap: float | None,
    logits_dtype: torch.dtype,
    process_group: Any,
) -> Given:
    weight, bias = _parallel.gathered(weight), _parallel.gathered(bias)
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind) and hidden.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(kind)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    _check(hidden, weight, targets, bias, logits_dtype)
    check_scaling(targets.shape, temperature, softcap)
    if not logit_scale > 0:
        raise ValueError(f"logit_scale must be positive, got {logit_scale}")
    N = targets.numel()
    wide = torch.promote_types(hidden.dtype, torch.float32)
    # A scale before the softcap is one after it, of a softcap that is as much smaller.
    if isinstance(temperature, Tensor):
        inv_temperature = logit_scale * temperature.to(hidden.device, wide).reciprocal()
        inv_temperature = inv_temperature.expand(targets.shape).reshape(N)
    else:
        inv_temperature = torch.full((1,), logit_scale / temperature, dtype=wide, device=hidden.device)
    grad = torch.is_grad_enabled()
    wanted = [grad and x is not None and x.requires_grad for x in (hidden, weight, bias)]
    return Given(
        hidden.reshape(N, hidden.shape[-1]),
        weight,
        bias,
        targets.reshape(N),
        inv_temperature,
        (softcap or 0.0) / logit_scale,
        wide if hidden.dtype.itemsize >= 4 else logits_dtype,
        "" if process_group is None else process_group.group_name,
        wanted,
    )


def _check(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, logits_dtype: torch.dtype
) -> None:
    tokens = tuple(targets.shape)
    if hidden.shape[:-1] != targets.shape or hidden.dim() == 0:
        raise ValueError(
            f"hidden must be (*tokens, H), targets (*tokens); got {(*hidden.shape,)} and {tokens}"
        )
    if weight.dim() != 2 or weight.shape[1] != hidden.shape[-1] or weight.shape[0] == 0:
        got = tuple(weight.shape)
        raise ValueError(f"weight must be (V, H), V > 0, with H = {hidden.shape[-1]} of hidden, got {got}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be (V,) = ({weight.shape[0]},), got {tuple(bias.shape)}")
    if targets.dtype != torch.int64:
        raise ValueError(f"targets must be int64, got {targets.dtype}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != hidden.dtype:
            raise ValueError(f"{name} must have the type of hidden {hidden.dtype}, got {tensor.dtype}")
    for name, tensor in (("weight", weight), ("bias", bias), ("targets", targets)):
        if tensor is not None and tensor.device != hidden.device:
            raise ValueError(f"{name} must be on {hidden.device} like hidden, got {tensor.device}")
    if not hidden.is_floating_point() or logits_dtype not in (torch.float32, hidden.dtype):
        raise ValueError(f"logits_dtype must be float32 or that of hidden {hidden.dtype}, got {logits_dtype}")


def check_tensors(required: Sequence[str] = ("hidden", "weight", "targets"), **inputs: Any) -> None:
    for name, x in inputs.items():
        if not isinstance(x, Tensor) and (x is not None or name in required):
            raise ValueError(f"{name} must be a tensor, got {type(x).__name__}")


def check_rows(
    targets: Tensor, mask: Tensor | None, rows: Tensor | None, save_budget: int, chunk_tokens: int | None
) -> None:
    if mask is not None and rows is not None:
        raise ValueError("mask or rows may be given, got both")
    if mask is not None and mask.shape != targets.shape:
        raise ValueError(
            f"mask must have the shape of targets {tuple(targets.shape)}, got {tuple(mask.shape)}"
        )
    if rows is not None and (rows.dim() != 1 or rows.dtype not in (torch.int64, torch.int32)):
        raise ValueError(f"rows must be integers of shape (M,), got {rows.dtype} of {tuple(rows.shape)}")
    if save_budget < 0:
        raise ValueError(f"save_budget must not be negative (bytes), got {save_budget}")
    if chunk_tokens is not None and chunk_tokens < 1:
        raise ValueError(f"chunk_tokens must be positive, got {chunk_tokens}")
