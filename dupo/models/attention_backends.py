"""One call for the attention of packed sequences, and the table of what computes it.

Each backend takes some of what a layer may want. The first of the table that is installed and takes all of it
is used; `bucketed`, the last, takes everything on any device.

    name           package                   takes, beside causal attention with GQA
    flash_attn_2   flash-attn                window, softcap
    flash_attn_4   flash-attn-4              window, softcap, sinks, values of another head size
    torch_varlen   torch from 2.10           window (from 2.12)
    bucketed       none, see its module      everything, on any device and in any dtype

Shape letters: T tokens of all sequences, K heads, D head dimension, S sequences.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import distributions
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo.models.bucketed_attention import AttentionOptions, bucketed_attention

Kernel = Callable[..., Any]
BUCKETED = "bucketed"
LARGEST_HEAD = 256  # of flash-attn 2 and of torch
FLASH_ATTN_4_GPUS = (9, 10, 11)  # compute capabilities: Hopper and Blackwell


class Backend(NamedTuple):
    """A package that computes the attention of packed sequences on a GPU, in half precision.

    Attributes:
        kernel: its function; None where the package is not installed.
        arguments: what a layer may want -> the argument of the function that brings it.
        takes_heads: whether it takes heads of this size: of queries and keys, and of values.
        call: (function, queries, keys, values, cu_seqlens, max_seqlen, options) -> result.
    """

    kernel: Callable[[], Kernel | None]
    arguments: Mapping[str, str]
    takes_heads: Callable[[int, int], bool]
    call: Callable[..., Tensor]


def packed_attention(
    q_TKD: Tensor,
    k_TKD: Tensor,
    v_TKD: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    options: AttentionOptions,
) -> Tensor:
    """Causal attention within each packed sequence.

    Args:
        q_TKD, k_TKD, v_TKD: (T, heads, head_dim); keys and values may have fewer heads (GQA). The heads of
            values may have another size.
        cu_seqlens: (S + 1,) int32, where each sequence starts and the last one ends.
        max_seqlen: tokens of the longest sequence.
        options: what else the layer wants. A window that no sequence crosses changes nothing.

    Returns:
        (T, heads, head_dim of the values), in the dtype of the queries.
    """
    device = q_TKD.device.type
    if torch.is_autocast_enabled(device):  # layers such as Qwen3's q_norm hand over float32 beside bfloat16
        q_TKD, k_TKD, v_TKD = (x.to(torch.get_autocast_dtype(device)) for x in (q_TKD, k_TKD, v_TKD))
    if options.window is not None and options.window >= max_seqlen:
        options = options._replace(window=None)
    name = BUCKETED
    if q_TKD.is_cuda and q_TKD.dtype in (torch.float16, torch.bfloat16):
        name = choose_backend(wanted(options), (q_TKD.shape[-1], v_TKD.shape[-1]), installed_kernels())
    if name == BUCKETED:
        return bucketed_attention(q_TKD, k_TKD, v_TKD, cu_seqlens, options)
    kernel = installed_kernels()[name]
    return BACKENDS[name].call(kernel, q_TKD, k_TKD, v_TKD, cu_seqlens, max_seqlen, options)


def wanted(options: AttentionOptions) -> set[str]:
    """Names of the options that a layer makes use of, but for the scale, which every backend takes."""
    return {
        name
        for name, value in options._asdict().items()
        if name != "scale" and value is not None and not (name == "dropout" and value == 0)
    }


def choose_backend(wants: set[str], head_sizes: tuple[int, int], kernels: Mapping[str, Kernel]) -> str:
    """The first backend of the table that takes all that a layer wants.

    Args:
        wants: as `wanted` gives it.
        head_sizes: numbers in a head of queries and keys, and in a head of values.
        kernels: the functions that are installed, by the names of the table.
    """
    for name, backend in BACKENDS.items():
        if name not in kernels or not backend.takes_heads(*head_sizes):
            continue
        # By its signature and not its version: older versions of a package lack some arguments.
        known = inspect.signature(kernels[name]).parameters
        if all(backend.arguments.get(want) in known for want in wants):
            return name
    return BUCKETED


@cache
def installed_kernels() -> dict[str, Kernel]:
    """The functions of the packages that are installed, looked up once."""
    functions = {name: backend.kernel() for name, backend in BACKENDS.items()}
    return {name: function for name, function in functions.items() if function is not None}


def _flash_attn_2_kernel() -> Kernel | None:
    # By its compiled half: flash-attn-4 fills a folder of the same name, `flash_attn`, and is no version 2.
    if find_spec("flash_attn_2_cuda") is None:
        return None
    from flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found]

    return flash_attn_varlen_func


def _flash_attn_4_kernel() -> Kernel | None:
    # By its distribution: flash-attn 2 brings an older `flash_attn.cute` along.
    if not any(distributions(name="flash-attn-4")) or not torch.cuda.is_available():
        return None
    # Other GPUs have no backward pass of sinks and softcap.
    if torch.cuda.get_device_capability()[0] not in FLASH_ATTN_4_GPUS:
        return None
    from flash_attn.cute import flash_attn_varlen_func  # type: ignore[import-not-found]

    return flash_attn_varlen_func


def _torch_varlen_kernel() -> Kernel | None:
    if find_spec("torch.nn.attention.varlen") is None:
        return None
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn


def equal_heads(size: int, value_size: int) -> bool:
    """Whether a kernel takes the heads that wants one size of all."""
    return size == value_size <= LARGEST_HEAD


def flash_attn_4_heads(size: int, value_size: int) -> bool:
    """Whether flash-attn 4 takes the heads on all of its GPUs."""
    is_latent = (size, value_size) == (192, 128)  # DeepSeek
    return is_latent or all(8 <= s <= 128 and s % 8 == 0 for s in (size, value_size))


def call_flash_attn(
    kernel: Kernel,
    q_TKD: Tensor,
    k_TKD: Tensor,
    v_TKD: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    options: AttentionOptions,
) -> Tensor:
    """Calls `flash_attn_varlen_func` of flash-attn 2 or 4; see `packed_attention`."""
    extra: dict[str, object] = {}
    if options.window is not None:
        extra["window_size"] = (options.window - 1, 0)  # keys before the own one, keys after it
    if options.softcap is not None:
        extra["softcap"] = options.softcap
    if options.sinks_K is not None:
        extra["learnable_sink"] = options.sinks_K
    result = kernel(
        q_TKD,
        k_TKD,
        v_TKD,
        cu_seqlens_q=cu_seqlens,
        cu_seqlens_k=cu_seqlens,
        max_seqlen_q=max_seqlen,
        max_seqlen_k=max_seqlen,
        softmax_scale=options.scale,
        causal=True,
        **extra,
    )
    # Version 4 gives the log-sum-exp as well.
    return result[0] if isinstance(result, tuple) else result


def call_torch_varlen(
    kernel: Kernel,
    q_TKD: Tensor,
    k_TKD: Tensor,
    v_TKD: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    options: AttentionOptions,
) -> Tensor:
    """Calls `varlen_attn` of torch, whose arguments changed between 2.10 and 2.12; see `packed_attention`."""
    known = inspect.signature(kernel).parameters
    extra: dict[str, object] = {"is_causal": True}
    if "window_size" in known:
        # Keys before the own one, -1: all of them; keys after it.
        extra = {"window_size": (-1 if options.window is None else options.window - 1, 0)}
    if "scale" in known:
        extra["scale"] = options.scale
    elif options.scale is not None:  # 2.10 always divides by sqrt(head_dim)
        q_TKD = q_TKD * (options.scale * q_TKD.shape[-1] ** 0.5)
    if k_TKD.shape[1] != q_TKD.shape[1]:
        if "enable_gqa" in known:
            extra["enable_gqa"] = True
        else:
            groups = q_TKD.shape[1] // k_TKD.shape[1]
            k_TKD, v_TKD = k_TKD.repeat_interleave(groups, 1), v_TKD.repeat_interleave(groups, 1)
    return kernel(q_TKD, k_TKD, v_TKD, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, **extra)


# In the order in which they are tried.
BACKENDS: dict[str, Backend] = {
    "flash_attn_2": Backend(
        _flash_attn_2_kernel, {"window": "window_size", "softcap": "softcap"}, equal_heads, call_flash_attn
    ),
    "flash_attn_4": Backend(
        _flash_attn_4_kernel,
        {"window": "window_size", "softcap": "softcap", "sinks_K": "learnable_sink"},
        flash_attn_4_heads,
        call_flash_attn,
    ),
    "torch_varlen": Backend(_torch_varlen_kernel, {"window": "window_size"}, equal_heads, call_torch_varlen),
}
