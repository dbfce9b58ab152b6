"""Log-probability of each chosen token, and the entropy of its distribution, straight from the logits.

    z       = softcap tanh(logits / softcap) / temperature      (no softcap: logits / temperature)
    logp    = z_y - lse,  lse = log sum_v exp z_v,  H = -sum_v p_v log p_v,  p_v = exp(z_v - lse)
    dz_v    = a (1[v = y] - p_v) - b p_v (log p_v + H)          a = dloss / dlogp, b = dloss / dH
    dlogits = dz / temperature (1 - tanh(logits / softcap)^2)

Forward reads the logits once and keeps three floats a token (logp, H, lse). Backward reads them
again and writes dlogits, over the logits if asked. Losses are unknown here: all of them arrive as
the two numbers a and b of each token.

At -inf: such a logit has p = 0 and the gradient that the formula gives (0, or a / temperature if it
is the target, as in torch). A target at -inf has logp = -inf. A row of nothing but -inf has logp =
-inf, H = 0 and no gradient. (After a softcap, -inf is -softcap.) A row whose a and b are 0 gets
exact zeros, whatever it holds. A target outside [0, V), such as the label -100, gives NaN.

Shape letters: N tokens, V vocabulary. Sums are in fp32; in fp64 for fp64 logits.
"""

from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels._triton import runs_on_triton
from dupo_kernels.logits import torch_path as _logprob_torch
from dupo_kernels.logits import triton_path as _logprob_triton
from dupo_kernels.logits.torch_path import Rows

# --- reference: the definition that both paths are tested against --------------------------------


def token_logprobs_ref(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    entropy: bool = False,
    inplace_backward: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """`token_logprobs` by its definition and autograd, never in place; fp64 logits give the truth."""
    z = logits.to(dtype_of_sums(logits))
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    if isinstance(temperature, Tensor):
        temperature = temperature.to(z).expand(targets.shape)[..., None]
    z = z / temperature
    empty = (z == -torch.inf).all(-1)
    log_p = z.masked_fill(empty[..., None], 0.0).log_softmax(-1)
    valid = (targets >= 0) & (targets < z.shape[-1])
    chosen = log_p.gather(-1, targets.where(valid, 0)[..., None]).squeeze(-1)
    logp = chosen.masked_fill(empty, -torch.inf).masked_fill(~valid, torch.nan)
    if not entropy:
        return logp, None
    finite = log_p.masked_fill(log_p == -torch.inf, 0.0)  # p log p is 0 there, and so is its derivative
    return logp, -(log_p.exp() * finite).sum(-1).masked_fill(empty, 0.0)


# --- launchers: no autograd, either path; a linear head calls them per chunk ----------------------


class Found(NamedTuple):
    """What the forward pass keeps of each token, (N,) each; entropy is (0,) if not asked for.

    Attributes:
        lse: log of the sum of exponentials.
        top: log-probability of the likeliest token; `logp == top` tells whether it was chosen.
    """

    logp: Tensor
    entropy: Tensor
    lse: Tensor
    top: Tensor


def logprobs_forward(rows: Rows, with_entropy: bool) -> Found:
    found = _empty(rows.logits, rows.targets.numel(), with_entropy)
    _path(rows.logits).forward(rows, found.logp, found.entropy if with_entropy else None, *found[2:])
    return found


def _empty(logits: Tensor, N: int, with_entropy: bool) -> Found:
    sizes = N, N if with_entropy else 0, N, N
    return Found(*(logits.new_empty(size, dtype=dtype_of_sums(logits)) for size in sizes))


def logprobs_backward(
    rows: Rows, lse: Tensor, entropy: Tensor, dlogp: Tensor | None, dentropy: Tensor | None, out: Tensor
) -> None:
    """Writes dlogits into `out` (N, V), which may be the logits themselves: then they are consumed."""
    a = torch.zeros_like(lse) if dlogp is None else dlogp.to(lse.dtype).contiguous()
    b = None if dentropy is None else dentropy.to(lse.dtype).contiguous()
    _path(rows.logits).backward(rows, lse, entropy, a, b, out)


def _path(logits: Tensor) -> ModuleType:
    return _logprob_triton if runs_on_triton(logits) else _logprob_torch


def dtype_of_sums(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


# --- autograd --------------------------------------------------------------------------------------


@torch.library.custom_op("dupo_kernels::token_logprobs", mutates_args=())
def _op(
    logits: Tensor, targets: Tensor, inv_temperature: Tensor, softcap: float, entropy: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logp, H, lse, top = logprobs_forward(Rows(logits, targets, inv_temperature, softcap), entropy)
    return logp, H, lse, top


@torch.library.custom_op("dupo_kernels::token_logprobs_backward", mutates_args=())
def _backward_op(
    logits: Tensor,
    targets: Tensor,
    inv_temperature: Tensor,
    softcap: float,
    lse: Tensor,
    entropy: Tensor,
    dlogp: Tensor | None,
    dentropy: Tensor | None,
) -> Tensor:
    dlogits = torch.empty_like(logits, memory_format=torch.contiguous_format)
    rows = Rows(logits, targets, inv_temperature, softcap)
    logprobs_backward(rows, lse, entropy, dlogp, dentropy, dlogits)
    return dlogits


@_op.register_fake
def _(logits, targets, inv_temperature, softcap, entropy):
    return tuple(_empty(logits, logits.shape[0], entropy))


@_backward_op.register_fake
def _(logits, *_):
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, targets, inv_temperature, ctx.softcap, ctx.entropy = inputs
    _, entropy, lse, _ = output
    ctx.save_for_backward(logits, targets, inv_temperature, lse, entropy)
    ctx.set_materialize_grads(False)  # an output without a gradient costs nothing


def _differentiate(ctx: Any, dlogp: Tensor | None, dentropy: Tensor | None, *_: Any) -> tuple[Any, ...]:
    logits, targets, inv_temperature, lse, entropy = ctx.saved_tensors
    dentropy = dentropy if ctx.entropy else None
    dlogits = _backward_op(logits, targets, inv_temperature, ctx.softcap, lse, entropy, dlogp, dentropy)
    return dlogits, None, None, None, None


_op.register_autograd(_differentiate, setup_context=_save)


class _InPlace(torch.autograd.Function):
    """The same, with dlogits written over the logits."""

    @staticmethod
    def forward(ctx, logits, targets, inv_temperature, softcap, entropy):
        output = logprobs_forward(Rows(logits, targets, inv_temperature, softcap), entropy)
        _save(ctx, (logits, targets, inv_temperature, softcap, entropy), output)
        ctx.consumed = False
        return tuple(output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dlogp, dentropy, *_):
        if ctx.consumed:
            raise RuntimeError(
                "token_logprobs(inplace_backward=True) allows one backward, got a second: the first wrote "
                "the gradient over the logits"
            )
        logits, targets, inv_temperature, lse, entropy = ctx.saved_tensors
        ctx.consumed = True
        dlogits = logits.detach()
        rows = Rows(dlogits, targets, inv_temperature, ctx.softcap)
        logprobs_backward(rows, lse, entropy, dlogp, dentropy if ctx.entropy else None, dlogits)
        # Autograd does not see a kernel write: make others who saved these logits fail, not go wrong.
        torch.autograd.graph.increment_version(dlogits)
        return dlogits, None, None, None, None


# --- public function -------------------------------------------------------------------------------


def token_logprobs(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    entropy: bool = False,
    inplace_backward: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of `targets` under `logits`, and the entropy of each distribution.

    CUDA tensors go through Triton kernels, others through torch in chunks of rows. Values at -inf
    and outside the vocabulary: see the module.

    Args:
        logits: (..., V) fp16, bf16, fp32 or fp64. Rows may lie apart; where they cannot be seen as
            (N, V) with stride 1 along V, a contiguous copy is made.
        targets: (...) int64. Not checked on the device: outside [0, V) the result is NaN.
        temperature: positive; a number, or a tensor that broadcasts to `targets`, not differentiated.
        softcap: positive, in units of logits; applied before the temperature.
        entropy: also return the entropy.
        inplace_backward: write dlogits over the logits, which saves as many bytes as they have. They
            are consumed: one backward only. No effect inside torch.compile.

    Returns:
        (logprobs, entropy or None): each (...), fp32 (fp64 for fp64 logits), nats, differentiable.

    Raises:
        ValueError: shapes, dtypes or devices that do not match; temperature or softcap not positive;
            a temperature that requires grad.
        RuntimeError: a second backward after inplace_backward.
    """
    _check(logits, targets, temperature, softcap)
    N, V = targets.numel(), logits.shape[-1]
    in_place = inplace_backward and logits.requires_grad and torch.is_grad_enabled()
    in_place = in_place and not torch.compiler.is_compiling()
    rows = logits.reshape(N, V)
    shares_memory = N > 1 and rows.stride(0) < V  # then it cannot hold a gradient for each row
    if rows.stride(1) != 1 or (in_place and shares_memory):
        rows = rows.contiguous()
    new = {"dtype": dtype_of_sums(logits), "device": logits.device}
    if isinstance(temperature, Tensor):
        inv_temperature = temperature.to(**new).reciprocal().expand(targets.shape).reshape(N)
    else:
        inv_temperature = torch.full((1,), 1.0 / temperature, **new)
    apply: Any = _InPlace.apply if in_place else _op
    logp, H, *_ = apply(rows, targets.reshape(N), inv_temperature, float(softcap or 0.0), entropy)
    return logp.view(targets.shape), H.view(targets.shape) if entropy else None


def _check(logits: Tensor, targets: Tensor, temperature: float | Tensor, softcap: float | None) -> None:
    shape = tuple(targets.shape)
    if logits.dim() == 0 or logits.shape[:-1] != targets.shape or logits.shape[-1] == 0:
        raise ValueError(f"logits must be (..., V), V > 0, targets (...); got {(*logits.shape,)} and {shape}")
    if not logits.is_floating_point() or targets.dtype != torch.int64:
        raise ValueError(f"logits must be floating, targets int64; got {logits.dtype} and {targets.dtype}")
    if logits.device != targets.device:
        raise ValueError(f"targets must be on {logits.device} like logits, got {targets.device}")
    check_scaling(targets.shape, temperature, softcap)


def check_scaling(tokens: torch.Size, temperature: float | Tensor, softcap: float | None) -> None:
    """Raises ValueError for a temperature or softcap that cannot be used with `targets` of this shape."""
    shape = tuple(tokens)
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap must be None or positive, got {softcap}")
    if not isinstance(temperature, Tensor):
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        return
    if temperature.requires_grad:
        raise ValueError("temperature must not require grad (it is not differentiated), got one that does")
    own = tuple(temperature.shape)
    if len(own) > len(shape) or any(t not in (1, n) for t, n in zip(own[::-1], shape[::-1], strict=False)):
        raise ValueError(f"temperature must broadcast to targets {shape}, got {own}")
