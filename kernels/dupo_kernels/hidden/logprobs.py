"""Log-probabilities and entropy straight from hidden states; logits exist a chunk at a time.

    logits = logit_scale (hidden weight^T + bias), then logp and entropy as in logits/logprobs.py

Serves any loss. The logits of as many tokens as `save_budget` allows are kept for the backward pass, the
others are computed again: 6NVH flop if all fit, 8NVH if none does. Where the loss is known beforehand,
`linear_objective` needs 6NVH flop and the logits of one chunk.

A half-precision head gets fp32 logits from half inputs: as exact as casting both, at the price of
the half product. Masked tokens reach no GEMM. Nothing here waits for the device, except once for a
device mask. The same inputs give the same bits; another chunking changes them by rounding.

A token may have K targets, whose log-probabilities come from one softmax: logits/several_targets.py. What
else a row of logits tells is computed while the chunk exists: logits/row_outputs.py.

Shape letters: N tokens, M of them that count, K targets, V vocabulary, H hidden. "Tokens" is (N,) or (B, T).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, overload

import torch
from torch import Tensor

from dupo_kernels._custom_ops import differentiable, record_op, save, saved, unpack
from dupo_kernels.hidden.chunk_loop import head_backward, head_forward
from dupo_kernels.hidden.chunks import SAVE_BUDGET, RowPlan, plan_rows, scatter_rows
from dupo_kernels.hidden.head import Gradients, logits_buffer
from dupo_kernels.hidden.inputs import HeadInputs, check_rows, first_targets, prepare_head
from dupo_kernels.hidden.outputs import HeadOutputs, wanted_outputs
from dupo_kernels.logits.row_outputs import Wanted
from dupo_kernels.logits.rows import RowStatistics

# --- autograd --------------------------------------------------------------------------------------


@record_op("dupo_kernels::linear_token_logprobs")
def _op(
    head: HeadInputs, plan: RowPlan, wanted: Wanted
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """logp (N,) or (N, K), entropy, lse (N,), kept logits (num_kept, V), then `Wanted` without its entropy.

    entropy and the last four are (N,), or (0,) where they are not wanted.
    """
    N = head.num_tokens
    row_index, chunks = plan.resolve(N)
    rows_head = head.take(row_index)
    # An output of the op, so that autograd keeps it; its size must be known to the compiler before M is.
    kept_logits = logits_buffer(rows_head, plan.num_kept)
    statistics, outputs = head_forward(rows_head, chunks, kept_logits, wanted)
    logp, entropy, lse, _ = statistics
    entropy = scatter_rows(entropy, N, row_index) if wanted.with_entropy else entropy
    top1, mean_logits, log_sum_sq, likeliest = (
        lse.new_empty(0) if x is None else scatter_rows(x, N, row_index)
        for x in (outputs.top1, outputs.mean_logits, outputs.log_sum_sq, outputs.likeliest)
    )
    logp, lse = scatter_rows(logp, N, row_index), scatter_rows(lse, N, row_index)
    return logp, entropy, lse, kept_logits, top1, mean_logits, log_sum_sq, likeliest


@_op.register_fake
def _(*values: Any) -> tuple[Tensor, ...]:
    head, plan, wanted = unpack(values, HeadInputs, RowPlan, Wanted)
    new, N = partial(head.hidden.new_empty, dtype=head.wide), head.num_tokens
    entropy, top1, mean_logits, log_sum_sq, likeliest = (new(N if asked else 0) for asked in wanted)
    top1 = top1.to(torch.bool) if wanted.with_top1 else top1
    likeliest = likeliest.to(torch.int64) if wanted.with_likeliest else likeliest
    kept_logits = logits_buffer(head, plan.num_kept)
    others = top1, mean_logits, log_sum_sq, likeliest
    return new(head.targets.shape), entropy, new(N), kept_logits, *others


@record_op("dupo_kernels::linear_token_logprobs_backward", mutates_args={"kept_logits"})
def _backward_op(
    head: HeadInputs,
    plan: RowPlan,
    kept_logits: Tensor,
    lse: Tensor,
    entropy: Tensor,
    dlogp: Tensor | None,
    dentropy: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of hidden, weight and bias; (0,) for those that are not wanted.

    dlogp is (N,) or (N, K), the other tensors are (N,).
    """
    N = head.num_tokens
    row_index, chunks = plan.resolve(N)
    rows_head = head.take(row_index)
    # Results are (N,) for the caller; the head works on the rows that count.
    if row_index is not None:
        lse = lse[row_index]
        entropy = entropy[row_index] if entropy.numel() else entropy
        dlogp = None if dlogp is None else dlogp[row_index]
        dentropy = None if dentropy is None else dentropy[row_index]
    dlogp = lse.new_zeros(rows_head.targets.shape) if dlogp is None else dlogp
    statistics = RowStatistics(logp=lse, entropy=entropy, lse=lse, top=lse)  # logp and top are not read
    sums = head_backward(rows_head, chunks, kept_logits, statistics, dlogp, dentropy)
    dhidden, dweight, dbias = (x.to(head.hidden.dtype) for x in sums.result(N, row_index))
    return dhidden, dweight, dbias


@_backward_op.register_fake
def _(*values: Any) -> tuple[Tensor, ...]:
    (head,) = unpack(values, HeadInputs)
    new = head.hidden.new_empty
    return (
        new(head.hidden.shape if head.wants_dhidden else (0,)),
        new(head.weight.shape if head.wants_dweight else (0,)),
        new(head.bias.shape if head.wants_dbias and head.bias is not None else (0,)),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    head, plan, wanted = unpack(inputs, HeadInputs, RowPlan, Wanted)
    _, entropy, lse, kept_logits, *_ = output
    save(ctx, head, plan, wanted, kept_logits, lse, entropy)
    ctx.set_materialize_grads(False)  # an output without a gradient costs nothing
    ctx.consumed = False
    ctx.num_inputs = len(inputs)


def _differentiate(ctx: Any, dlogp: Tensor | None, dentropy: Tensor | None, *_: Any) -> tuple[Any, ...]:
    if ctx.consumed:
        raise RuntimeError(
            "linear_token_logprobs: expected one backward, got a second: the first wrote the gradient over "
            "the logits"
        )
    ctx.consumed = True
    head, plan, wanted, kept_logits, lse, entropy = saved(ctx)
    dentropy = dentropy if wanted.with_entropy else None
    gradients = Gradients(*_backward_op(*head, *plan, kept_logits, lse, entropy, dlogp, dentropy))
    return (
        gradients.dhidden if head.wants_dhidden else None,
        gradients.dweight if head.wants_dweight else None,
        gradients.dbias if head.wants_dbias else None,
        *[None] * (ctx.num_inputs - 3),
    )


_run = differentiable(_op, _save, _differentiate)


# --- public function -------------------------------------------------------------------------------


@overload
def linear_token_logprobs(
    hidden: Tensor, weight: Tensor, targets: Tensor, *,
    bias: Tensor | None = None, temperature: float | Tensor = 1.0, logit_scale: float = 1.0,
    softcap: float | None = None, entropy: bool = False, outputs: None = None,
    mask: Tensor | None = None, rows: Tensor | None = None, logits_dtype: torch.dtype = torch.float32,
    save_budget: int = SAVE_BUDGET, chunk_tokens: int | None = None, process_group: Any = None,
    check: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Log-probabilities and, if asked for, entropies."""


@overload
def linear_token_logprobs(
    hidden: Tensor, weight: Tensor, targets: Tensor, *,
    bias: Tensor | None = None, temperature: float | Tensor = 1.0, logit_scale: float = 1.0,
    softcap: float | None = None, outputs: Sequence[str],
    mask: Tensor | None = None, rows: Tensor | None = None, logits_dtype: torch.dtype = torch.float32,
    save_budget: int = SAVE_BUDGET, chunk_tokens: int | None = None, process_group: Any = None,
    check: bool = False,
) -> HeadOutputs:  # fmt: skip
    """What `outputs` names."""


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
    outputs: Sequence[str] | None = None,
    mask: Tensor | None = None,
    rows: Tensor | None = None,
    logits_dtype: torch.dtype = torch.float32,
    save_budget: int = SAVE_BUDGET,
    chunk_tokens: int | None = None,
    process_group: Any = None,
    check: bool = False,
) -> tuple[Tensor, Tensor | None] | HeadOutputs:
    """Log-probability of `targets` under the head, and the entropy of each distribution; for any loss.

    Under autocast, hidden, weight and bias are cast to the autocast type first, as torch.nn.functional.linear
    casts them. A DTensor weight or bias (FSDP2) is gathered, and its gradient is the mean over the processes.
    Under activation checkpointing the forward pass runs twice.

    Args:
        hidden: (*tokens, H), fp16, bf16, fp32 or fp64.
        weight: (V, H) of the same type; with process_group this rank's part of the vocabulary.
        targets: tokens, int64; or (*tokens, K), K targets of each token, known by as many dimensions as those
            of hidden. Outside [0, V) the log-probability is NaN.
        bias: (V,), or None.
        temperature: positive and finite, as 1 / temperature must be; a number, or a tensor that broadcasts to
            the tokens, not differentiated.
        logit_scale: positive and finite; multiplies the logits before softcap and temperature.
        softcap: positive and finite, in units of logits.
        entropy: also return the entropy.
        outputs: names of what to return, among the fields of `HeadOutputs`: logprobs, entropy, top1,
            mean_logits, log_sum_sq, likeliest. None of them costs a product. In the forward pass top1 and
            likeliest read the logits once more, and so do mean_logits and log_sum_sq. Not with `entropy`.
        mask: tokens; nonzero where a token counts. Other tokens reach no GEMM; their results are 0. Finding
            the tokens that count waits for the device once. Inside torch.compile memory is taken for all N.
        rows: (M,) int64 or int32, instead of the mask: the tokens that count, as indices into the flattened
            tokens, without repeats. Waits for nothing.
        logits_dtype: float32, or the type of half inputs: half the memory, logp off by up to 0.1.
        save_budget: bytes of logits to keep for the backward pass, in whole rows; 0 keeps none. Up to 2 H
            tokens are all kept, because the backward pass would make their logits all at once.
        chunk_tokens: how many of the other tokens have logits at once. None: see docs/loss_head.md.
        process_group: the ranks among which the vocabulary is split, in equal parts by rank; all have
            the same hidden, targets, mask. The result and the gradient of hidden are the same on all.
        check: also check what tensors on a device hold (temperature, rows, a mask of floats), which waits for
            the device. Tensors on the CPU are checked always, and no tensor is inside torch.compile.

    Returns:
        (logprobs, entropy or None), or with `outputs` a `HeadOutputs`: tokens, fp32 (fp64 for fp64 inputs),
        nats. logprobs and entropy are differentiable once. Of K targets logprobs are (*tokens, K).

    Raises:
        ValueError: types, shapes, dtypes or devices that do not match, values out of range or not finite,
            rows out of range or repeated, a mask of NaN, mask and rows both, entropy and outputs both,
            unknown or repeated names.
        RuntimeError: a second backward.
    """
    head = prepare_head(
        hidden, weight, targets, bias,
        temperature=temperature, logit_scale=logit_scale, softcap=softcap, logits_dtype=logits_dtype,
        process_group=process_group, check=check, several_targets=True,
    )  # fmt: skip
    tokens = first_targets(hidden, targets)
    check_rows(
        tokens, mask, rows, save_budget=save_budget, chunk_tokens=chunk_tokens, check=check, entropy=entropy
    )
    wanted = wanted_outputs(outputs, entropy)
    plan = plan_rows(
        head, mask, rows, None, keeps_logits=True, save_budget=save_budget, chunk_tokens=chunk_tokens
    )
    logp_N, entropy_N, _, _, *others = _run(*head, *plan, *wanted)
    logprobs = logp_N.view(targets.shape)
    if outputs is None:
        return logprobs, entropy_N.view(tokens.shape) if entropy else None
    # The op does not differentiate these, which autograd must know.
    values = [entropy_N, *(x.detach() for x in others)]
    shown = [x.view(tokens.shape) if asked else None for x, asked in zip(values, wanted, strict=True)]
    return HeadOutputs(logprobs if "logprobs" in outputs else None, *shown)
