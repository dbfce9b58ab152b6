"""Log-probability of each target token, and the entropy of its distribution, straight from the logits.

    z       = softcap tanh(logits / softcap) / temperature      (no softcap: logits / temperature)
    logp    = z_y - lse,  lse = log sum_v exp z_v,  H = -sum_v p_v log p_v,  p_v = exp(z_v - lse)
    dz_v    = dlogp (1[v = y] - p_v) - dentropy p_v (log p_v + H)
    dlogits = dz / temperature (1 - tanh(logits / softcap)^2)

The forward pass reads the logits once and keeps three floats a token (logp, H, lse). The backward pass reads
them again and writes dlogits, over the logits if asked. Losses are unknown here: every loss arrives as two
numbers of each token, dlogp = dloss / dlogp and dentropy = dloss / dH.

A logit at -inf has p = 0 and the gradient of the formula (0, or dlogp / temperature for the target, as in
torch). A target at -inf has logp = -inf. A row of nothing but -inf has logp = -inf, H = 0 and no gradient.
After a softcap, -inf is -softcap. A row whose dlogp and dentropy are 0 gets exact zeros, whatever its logits
are. A target outside [0, V), such as the label -100, gives NaN. A row that holds NaN or +inf has NaN for all
of its results, and a gradient of NaN where it has one.

The kernels hold z at -1e30. A lower z has p = 0, as everywhere, and the right logp. But a row of nothing but
lower z counts as a row of nothing but -inf, and where z is above 1e30 the entropy is right or NaN.

Shape letters: N tokens, V vocabulary. Sums are in fp32; in fp64 for fp64 logits.
"""

from typing import Any

import torch
from torch import Tensor

from dupo_kernels._checks import (
    FLOATING,
    INT64,
    NUMBERS,
    check_devices,
    check_flags,
    check_positive,
    check_tensors,
    check_values,
    may_read,
)
from dupo_kernels._custom_ops import differentiable, record_op, save, saved, unpack
from dupo_kernels._messages import refused
from dupo_kernels.logits.launch import logprobs_backward, logprobs_forward
from dupo_kernels.logits.rows import Rows, RowStatistics, new_statistics, sum_dtype

# --- autograd --------------------------------------------------------------------------------------


@record_op("dupo_kernels::token_logprobs")
def _op(rows: Rows, with_entropy: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logp, entropy, lse, top = logprobs_forward(rows, with_entropy)
    return logp, entropy, lse, top


@_op.register_fake
def _(*values: Any) -> tuple[Tensor, ...]:
    rows, with_entropy = unpack(values, Rows, bool)
    return tuple(new_statistics(rows.logits, rows.logits.shape[0], with_entropy))


@record_op("dupo_kernels::token_logprobs_backward")
def _backward_op(
    rows: Rows, lse: Tensor, entropy: Tensor, dlogp: Tensor | None, dentropy: Tensor | None
) -> Tensor:
    dlogits = torch.empty_like(rows.logits, memory_format=torch.contiguous_format)
    logprobs_backward(rows, lse, entropy, dlogp, dentropy, dlogits)
    return dlogits


@_backward_op.register_fake
def _(*values: Any) -> Tensor:
    (rows,) = unpack(values, Rows)
    return torch.empty_like(rows.logits, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    rows, with_entropy = unpack(inputs, Rows, bool)
    statistics = RowStatistics(*output)
    save(ctx, rows, with_entropy, statistics.lse, statistics.entropy)
    ctx.set_materialize_grads(False)  # an output without a gradient costs nothing


def _differentiate(ctx: Any, dlogp: Tensor | None, dentropy: Tensor | None, *_: Any) -> tuple[Any, ...]:
    rows, with_entropy, lse, entropy = saved(ctx)
    dlogits = _backward_op(*rows, lse, entropy, dlogp, dentropy if with_entropy else None)
    return dlogits, *([None] * len(Rows._fields))


_run = differentiable(_op, _save, _differentiate)


class _InPlace(torch.autograd.Function):
    """The same op, with dlogits written over the logits."""

    # No custom op: the result of an op may not share memory with its inputs.
    @staticmethod
    def forward(ctx, *inputs):
        """The statistics of each row."""
        rows, with_entropy = unpack(inputs, Rows, bool)
        statistics = tuple(logprobs_forward(rows, with_entropy))
        _save(ctx, (*rows, with_entropy), statistics)
        ctx.consumed = False
        return statistics

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dlogp, dentropy, *_):
        """dlogits, in the memory of the logits."""
        if ctx.consumed:
            raise RuntimeError(
                "token_logprobs(inplace_backward=True): expected one backward, got a second: the first wrote "
                "the gradient over the logits"
            )
        rows, with_entropy, lse, entropy = saved(ctx)
        ctx.consumed = True
        dlogits = rows.logits.detach()
        rows = rows._replace(logits=dlogits)
        logprobs_backward(rows, lse, entropy, dlogp, dentropy if with_entropy else None, dlogits)
        # Autograd does not see a kernel write: others who saved these logits must fail, not go wrong.
        torch.autograd.graph.increment_version(dlogits)
        return dlogits, *([None] * len(Rows._fields))


# --- public function -------------------------------------------------------------------------------


def token_logprobs(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    entropy: bool = False,
    inplace_backward: bool = False,
    check: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of `targets` under `logits`, and the entropy of each distribution.

    CUDA tensors go through Triton kernels, others through torch in chunks of rows. The module docstring says
    what happens to logits at -inf and to targets outside the vocabulary.

    Args:
        logits: (..., V) fp16, bf16, fp32 or fp64. Rows may lie apart; logits that have no view (N, V) with
            stride 1 along V are copied.
        targets: (...) int64. Outside [0, V) the result is NaN.
        temperature: positive and finite, as 1 / temperature must be; a number, or a tensor that broadcasts to
            `targets`, not differentiated.
        softcap: positive and finite, in units of logits; applied before the temperature.
        entropy: also return the entropy.
        inplace_backward: write dlogits over the logits, which saves a tensor of their size. The logits are
            consumed: one backward only. No effect inside torch.compile.
        check: also check what tensors on a device hold (temperature), which waits for the device. Tensors on
            the CPU are checked always, and no tensor is inside torch.compile.

    Returns:
        (logprobs, entropy or None): each (...), fp32 (fp64 for fp64 logits), nats, differentiable.

    Raises:
        ValueError: types, shapes, dtypes or devices that do not match; temperature or softcap not positive
            or not finite; a temperature that requires grad.
        RuntimeError: a second backward after inplace_backward.
    """
    check_flags(entropy=entropy, inplace_backward=inplace_backward, check=check)
    check_logits(logits, targets)
    check_scaling(logits, targets, temperature, softcap=softcap, check=check)
    # In place pays only where there will be a backward pass; a compiler plans memory by itself.
    in_place = inplace_backward and logits.requires_grad and torch.is_grad_enabled()
    in_place = in_place and not torch.compiler.is_compiling()
    rows = prepare_rows(logits, targets, temperature, softcap, to_be_written=in_place)
    op: Any = _InPlace.apply if in_place else _run
    statistics = RowStatistics(*op(*rows, entropy))
    logp = statistics.logp.view(targets.shape)
    return logp, statistics.entropy.view(targets.shape) if entropy else None


def prepare_rows(
    logits: Tensor,
    targets: Tensor,
    temperature: float | Tensor,
    softcap: float | None,
    *,
    to_be_written: bool,
) -> Rows:
    """The rows of logits (..., V); the logits are copied where they have no view that the kernels take.

    Args:
        logits, targets, temperature, softcap: see `token_logprobs`, which checks them.
        to_be_written: each row needs memory of its own.
    """
    N, V = targets.numel(), logits.shape[-1]
    logits_NV = logits.reshape(N, V)
    # Rows that overlap in memory (an expanded tensor) cannot hold a gradient each.
    overlaps = N > 1 and logits_NV.stride(0) < V
    if logits_NV.stride(1) != 1 or (to_be_written and overlaps):
        logits_NV = logits_NV.contiguous()
    rows = Rows(logits_NV, targets.reshape(N), None, float(softcap or 0.0))
    if not isinstance(temperature, Tensor):
        return rows._replace(inv_temperature_of_all=1.0 / temperature)
    inv_temperature = temperature.to(logits.device, sum_dtype(logits)).reciprocal()
    return rows._replace(inv_temperature=inv_temperature.expand(targets.shape).reshape(N))


def check_logits(logits: Any, targets: Any) -> None:
    """Raises ValueError unless these are logits (..., V) and the targets of their rows."""
    check_tensors(FLOATING, ("logits",), logits=logits)
    check_tensors(INT64, ("targets",), targets=targets)
    if logits.dim() == 0 or logits.shape[-1] == 0:
        raise refused("logits", "shape (..., V) with V > 0", logits.shape)
    if logits.shape[:-1] != targets.shape:
        raise refused("targets", f"shape {(*logits.shape[:-1],)} of the rows of logits", targets.shape)
    check_devices(logits.device, "logits", targets=targets)


def check_scaling(
    like: Tensor,
    targets: Tensor,
    temperature: Any,
    *,
    softcap: Any = None,
    logit_scale: Any = 1.0,
    check: bool = False,
) -> None:
    """Raises ValueError for a temperature, softcap or logit_scale that cannot be used.

    Args:
        like: a tensor of the type and on the device of the logits.
        targets: tokens, to which a temperature broadcasts.
        check: also read a temperature that is on a device.
    """
    dtype = sum_dtype(like)
    check_positive("logit_scale", logit_scale, dtype)
    if softcap is not None:
        check_positive("softcap", softcap, dtype)
        # The kernels take the quotient; each number alone may be fine.
        check_positive("softcap / logit_scale", softcap / logit_scale, dtype)
    if not isinstance(temperature, Tensor):
        check_positive("temperature", temperature, dtype)
        check_positive("temperature / logit_scale", temperature / logit_scale, dtype)
        return
    check_tensors(NUMBERS, temperature=temperature)
    if temperature.requires_grad:
        raise ValueError(
            "temperature: expected no requires_grad (it is not differentiated), got a tensor that has it"
        )
    shape, got = targets.shape, temperature.shape
    # Sizes are compared from the last one on, as broadcasting does.
    if len(got) > len(shape) or any(t not in (1, n) for t, n in zip(got[::-1], shape[::-1], strict=False)):
        raise refused("temperature", f"a shape that broadcasts to targets {tuple(shape)}", got)
    if "meta" in (temperature.device.type, like.device.type):
        check_devices(like.device, "logits", temperature=temperature)
    if may_read(temperature, check):
        tiny, t = torch.finfo(dtype).tiny, temperature.to(dtype)
        # NaN fails every comparison, so it is not valid.
        is_valid = (t >= tiny) & (t <= 1 / tiny) & (t / logit_scale >= tiny) & (t / logit_scale <= 1 / tiny)
        check_values("temperature", "positive values, finite as their inverse is", temperature, is_valid)
