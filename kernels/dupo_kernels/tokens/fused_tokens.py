"""The kernels of triton_path.py as custom ops: one for the losses of a batch, one for their gradients.

An op can be traced, with fake tensors and by torch.compile, where a kernel cannot be launched. policy_loss.py
checks what comes in here. Tokens are (B, T) or (N,).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels._custom_ops import differentiable, record_op, unpack
from dupo_kernels._triton import runs_on_triton
from dupo_kernels.tokens.choices import LOSS_TYPES
from dupo_kernels.tokens.layout import advantages_by_sequence
from dupo_kernels.tokens.policy_objective import EncodedObjective, PolicyObjective
from dupo_kernels.tokens.token_inputs import TokenInputs
from dupo_kernels.tokens.token_objective import token_objective
from dupo_kernels.tokens.token_report import COLUMNS, named_scalars
from dupo_kernels.tokens.token_weights import PIECE, Weighing
from dupo_kernels.tokens.triton_path import TokenLosses, token_gradients, token_losses


class TokenTensors(NamedTuple):
    """The tensors of a call of `policy_loss`, by its names."""

    logprobs: Tensor
    entropy: Tensor | None
    advantages: Tensor
    mask: Tensor | None
    old_logprobs: Tensor | None
    ref_logprobs: Tensor | None
    sampling_logprobs: Tensor | None
    cu_seqlens: Tensor | None


class _Place(NamedTuple):
    """Where the sequences are, and whether the advantages are those of sequences; see `TokenInputs`."""

    sequences: int
    length: int
    by_sequence: bool


# --- ops -------------------------------------------------------------------------------------------


@record_op("dupo_kernels::policy_loss")
def _op(
    tokens: TokenTensors, place: _Place, weighing: Weighing, encoded: EncodedObjective
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    flat = TokenTensors(*(None if x is None else x.reshape(-1).contiguous() for x in tokens))  # type: ignore[arg-type]
    inputs = TokenInputs(
        weights=None,
        advantages=flat.advantages,
        active=flat.mask,
        old_logprobs=flat.old_logprobs,
        ref_logprobs=flat.ref_logprobs,
        sampling_logprobs=flat.sampling_logprobs,
        cu_seqlens=flat.cu_seqlens,
        sequences=place.sequences,
        num_tokens=flat.logprobs.numel(),
        length=place.length,
    )
    objective = token_objective(
        PolicyObjective.decoded(encoded),
        inputs,
        has_entropy=flat.entropy is not None,
        by_sequence=place.by_sequence,
    )
    loss, scalars, dlogp, dentropy = token_losses(flat.logprobs, flat.entropy, objective, weighing)
    return loss, scalars, dlogp, dentropy


@_op.register_fake
def _(*values: Any) -> tuple[Tensor, ...]:
    tokens, _, _, encoded = unpack(values, TokenTensors, _Place, Weighing, EncodedObjective)
    N, has_bonus = tokens.logprobs.numel(), PolicyObjective.decoded(encoded).entropy_coef != 0
    sizes = (), (COLUMNS, 3), (N,), (N if has_bonus else 0,)
    return tuple(tokens.logprobs.new_empty(size, dtype=torch.float32) for size in sizes)


@record_op("dupo_kernels::policy_loss_backward")
def _backward_op(
    upstream: Tensor,
    dlogp: Tensor,
    dentropy: Tensor,
    logp_dtype: torch.dtype,
    entropy_dtype: torch.dtype,
    wants_dlogp: bool,
    wants_dentropy: bool,
) -> tuple[Tensor, Tensor]:
    dtypes = logp_dtype if wants_dlogp else None, entropy_dtype if wants_dentropy else None
    gradients = token_gradients(upstream, dlogp, dentropy, *dtypes)
    # An op returns tensors alone.
    logp_grad, entropy_grad = (upstream.new_empty(0) if x is None else x for x in gradients)
    return logp_grad, entropy_grad


@_backward_op.register_fake
def _(
    upstream: Tensor,
    dlogp: Tensor,
    dentropy: Tensor,
    logp_dtype: torch.dtype,
    entropy_dtype: torch.dtype,
    wants_dlogp: bool,
    wants_dentropy: bool,
) -> tuple[Tensor, Tensor]:
    N, new = dlogp.numel(), upstream.new_empty
    logp_grad = new(N, dtype=logp_dtype) if wants_dlogp else new(0)
    return logp_grad, new(N, dtype=entropy_dtype) if wants_dentropy else new(0)


def _refuse(*_: Any) -> None:
    # As once_differentiable does on the torch path; the derivatives are constants to autograd.
    raise RuntimeError(
        "policy_loss: trying to differentiate twice a function that was marked with @once_differentiable"
    )


_backward_op.register_autograd(_refuse)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    (tokens,) = unpack(inputs, TokenTensors)
    losses = TokenLosses(*output)
    # Not the loss, which its user may change in place.
    ctx.save_for_backward(losses.dlogp, losses.dentropy)
    entropy = tokens.logprobs if tokens.entropy is None else tokens.entropy
    ctx.dtypes = tokens.logprobs.dtype, entropy.dtype
    ctx.wanted = tokens.logprobs.requires_grad, tokens.entropy is not None and tokens.entropy.requires_grad
    ctx.shape, ctx.num_inputs = tokens.logprobs.shape, len(inputs)
    ctx.mark_non_differentiable(losses.scalars, losses.dlogp, losses.dentropy)
    ctx.set_materialize_grads(False)  # outputs without a gradient would cost a launch each


def _differentiate(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    gradients: list[Tensor | None] = [None, None]
    if upstream is not None:
        computed = _backward_op(upstream, *ctx.saved_tensors, *ctx.dtypes, *ctx.wanted)
        pairs = zip(computed, ctx.wanted, strict=True)
        gradients = [gradient.view(ctx.shape) if is_wanted else None for gradient, is_wanted in pairs]
    return *gradients, *([None] * (ctx.num_inputs - 2))


_run = differentiable(_op, _save, _differentiate)


# --- for policy_loss.py ----------------------------------------------------------------------------


def serves(objective: PolicyObjective, tokens: TokenTensors) -> bool:
    """Whether the kernels serve these tokens: on a device of theirs, for an objective of single tokens."""
    named = tokens._asdict()
    # No tokens are no grid.
    return (
        runs_on_triton(tokens.logprobs) and objective.scope(named) == "token" and tokens.logprobs.numel() > 0
    )


def fused_tokens(
    objective: PolicyObjective,
    tokens: TokenTensors,
    num_items: Tensor | float | None,
    max_completion_length: int | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss, stats) of `policy_loss`, whose checks must have passed."""
    shape, cu_seqlens = tokens.logprobs.shape, tokens.cu_seqlens
    is_padded, N = len(shape) == 2, tokens.logprobs.numel()
    sequences = shape[0] if is_padded else 0 if cu_seqlens is None else cu_seqlens.numel() - 1
    # Loose tokens are counted in pieces, each a program, and their sum is the number of all.
    place = _Place(
        sequences=sequences,
        length=shape[1] if is_padded else PIECE,
        by_sequence=advantages_by_sequence(
            tokens.advantages, shape, None if cu_seqlens is None else sequences
        ),
    )
    kind = LOSS_TYPES[objective.loss_type]
    # Factors that the host knows are multiplied here, once, and not by every token.
    divisor, counts_items = 1.0, False
    if kind.divisor == "max_completion_length":
        divisor *= max_completion_length or 1
    # What the host knows needs no kernel: without a mask, padded sequences are as long as their row.
    knows_lengths = is_padded and tokens.mask is None
    if kind.divisor == "length" and knows_lengths:
        divisor *= shape[1]
    if isinstance(num_items, Tensor):
        num_items = num_items.detach().reshape(()).to(tokens.logprobs.device)
    elif num_items is not None:
        divisor *= max(num_items, 1)
    elif not kind.counts_tokens:
        divisor *= max(sequences, 1)
    elif tokens.mask is None and cu_seqlens is None:
        divisor *= N
    else:
        counts_items = True
    weighing = Weighing(
        divisor=float(divisor),
        num_items=num_items if isinstance(num_items, Tensor) else None,
        counts_items=counts_items,
        by_length=kind.divisor == "length" and not knows_lengths,
    )
    constant = [None if x is None else x.detach() for x in tokens[2:]]
    loss, scalars, *_ = _run(*tokens[:2], *constant, *place, *weighing, *objective.encoded())
    inputs = {name: x for name, x in tokens._asdict().items() if x is not None}
    names = ["tokens", *objective.stat_names(inputs, tokens.entropy is not None)]
    return loss, named_scalars(scalars, names)
