"""policy_loss in four launches: lengths, losses, their sums, and the backward pass.

    mask, bounds -> active tokens of each sequence                   _count, only where a weight needs them
    log-probabilities, inputs -> dlogp, dentropy, the report         _losses, which makes the weights
    report -> loss and statistics                                    token_report.py
    upstream gradient, dlogp, dentropy -> gradients                  _gradients

The loss of a token is that of token_loss.py; weights are those of token_weights.py. Scope "token" alone. The
host reads nothing that a device holds.

Shape letters: N tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dupo_kernels._triton import jit, tl
from dupo_kernels.tokens.token_inputs import advantage_of, place
from dupo_kernels.tokens.token_loss import weighed_loss
from dupo_kernels.tokens.token_objective import TokenObjective
from dupo_kernels.tokens.token_report import new_report, reduce_report
from dupo_kernels.tokens.token_weights import Weighing, count_tokens, weights_of

BLOCK = 1024
NUM_WARPS = 4


class TokenLosses(NamedTuple):
    """The loss of all tokens and what came with it.

    Attributes:
        loss: (), float32.
        scalars: (COLUMNS, 3), see `reduce_report`.
        dlogp, dentropy: (N,) float32; dentropy is (0,) without an entropy bonus.
    """

    loss: Tensor
    scalars: Tensor
    dlogp: Tensor
    dentropy: Tensor


# --- kernels ---------------------------------------------------------------------------------------


@jit(do_not_specialize=["N", "report_stride", "num_counts"])
def _losses(
    logp_ptr, entropy_ptr, dlogp_ptr, dentropy_ptr, report_ptr, report_stride, N,
    counts_ptr, num_counts, divisor, num_items_ptr, inputs, numbers, kinds: tl.constexpr,
    COUNTS_ITEMS: tl.constexpr, BY_LENGTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A program a block of tokens."""
    token = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    within = token < N
    active, sequence, is_readable, is_broken = place(token, within, inputs)
    weight = weights_of(
        active, sequence, is_readable, is_broken, inputs, counts_ptr, num_counts,
        divisor, num_items_ptr, COUNTS_ITEMS, BY_LENGTH, BLOCK,
    )  # fmt: skip
    advantage = advantage_of(token, sequence, is_readable, inputs, kinds)
    # What masked tokens hold is not read, so it cannot enter.
    logp = tl.load(logp_ptr + token, mask=active, other=0).to(tl.float32)
    entropy = tl.zeros_like(logp)
    if kinds.has_entropy:
        entropy = tl.load(entropy_ptr + token, mask=active, other=0).to(tl.float32)
    dlogp, dentropy = weighed_loss(
        logp, entropy, None, token, token, within, active, weight, advantage,
        inputs, numbers, kinds, report_ptr, report_stride,
    )  # fmt: skip
    tl.store(dlogp_ptr + token, dlogp, mask=within)
    if kinds.has_bonus:
        tl.store(dentropy_ptr + token, dentropy, mask=within)


@jit(do_not_specialize=["N"])
def _gradients(
    upstream_ptr, dlogp_ptr, dentropy_ptr, logp_grad_ptr, entropy_grad_ptr, N, BLOCK: tl.constexpr
):
    """The derivatives times the upstream gradient, in the types of the inputs; None is not written."""
    token = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    within = token < N
    upstream = tl.load(upstream_ptr).to(tl.float32)
    if logp_grad_ptr is not None:
        gradient = upstream * tl.load(dlogp_ptr + token, mask=within, other=0.0)
        tl.store(logp_grad_ptr + token, gradient.to(logp_grad_ptr.dtype.element_ty), mask=within)
    if entropy_grad_ptr is not None:
        # Without a bonus the gradient is zero times upstream, which is NaN where upstream is.
        gradient = tl.zeros([BLOCK], tl.float32) * upstream
        if dentropy_ptr is not None:
            gradient = upstream * tl.load(dentropy_ptr + token, mask=within, other=0.0)
        tl.store(entropy_grad_ptr + token, gradient.to(entropy_grad_ptr.dtype.element_ty), mask=within)


# --- launchers -------------------------------------------------------------------------------------


def token_losses(
    logprobs: Tensor, entropy: Tensor | None, objective: TokenObjective, weighing: Weighing
) -> TokenLosses:
    """The loss of N > 0 tokens, its statistics and derivatives, in two launches, or three with `_count`.

    Args:
        logprobs, entropy: (N,), contiguous, nats.
        objective: of the tokens; its inputs have no weights.
        weighing: how the weights are made.
    """
    N, inputs, kinds = logprobs.numel(), objective.inputs, objective.kinds
    report = new_report(N, logprobs.device)
    # Each result has memory of its own: an op may not return views of one buffer, and users write to a loss.
    new = report.new_empty
    result = TokenLosses(new(()), new(0), new(N), new(N if kinds.has_bonus else 0))
    counts = count_tokens(inputs, N, weighing)
    with torch.cuda.device_of(logprobs):
        _losses[(-(-N // BLOCK),)](
            logp_ptr=logprobs,
            entropy_ptr=entropy if kinds.has_entropy else None,
            dlogp_ptr=result.dlogp,
            dentropy_ptr=result.dentropy if kinds.has_bonus else None,
            report_ptr=report,
            report_stride=report.stride(0),
            N=N,
            counts_ptr=counts,
            num_counts=0 if counts is None else counts.numel(),
            divisor=weighing.divisor,
            num_items_ptr=weighing.num_items,
            inputs=inputs,
            numbers=objective.numbers,
            kinds=kinds,
            COUNTS_ITEMS=weighing.counts_items,
            BY_LENGTH=weighing.by_length,
            BLOCK=BLOCK,
            num_warps=NUM_WARPS,
            enable_fp_fusion=True,
        )
    return result._replace(scalars=reduce_report(report, result.loss))


def token_gradients(
    upstream: Tensor,
    dlogp: Tensor,
    dentropy: Tensor,
    logp_dtype: torch.dtype | None,
    entropy_dtype: torch.dtype | None,
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of log-probabilities and entropies, (N,), in one launch; None where a type is None.

    Args:
        upstream: (), the gradient of the loss.
        dlogp, dentropy: see `TokenLosses`.
        logp_dtype, entropy_dtype: of the gradients.
    """
    N, new = dlogp.numel(), dlogp.new_empty
    logp_grad = None if logp_dtype is None else new(N, dtype=logp_dtype)
    entropy_grad = None if entropy_dtype is None else new(N, dtype=entropy_dtype)
    with torch.cuda.device_of(upstream):
        _gradients[(-(-N // BLOCK),)](
            upstream_ptr=upstream,
            dlogp_ptr=dlogp,
            dentropy_ptr=dentropy if dentropy.numel() else None,
            logp_grad_ptr=logp_grad,
            entropy_grad_ptr=entropy_grad,
            N=N,
            BLOCK=BLOCK,
            num_warps=NUM_WARPS,
            enable_fp_fusion=True,
        )
    return logp_grad, entropy_grad
