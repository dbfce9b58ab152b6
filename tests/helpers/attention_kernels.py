"""Stand-ins for the attention kernels of other packages: their signatures, and what their arguments mean.

The signatures were read from the packages' own sources:

    flash_attn_2    flash-attn 2.8.3.post2, flash_attn/flash_attn_interface.py
    flash_attn_4    flash-attn-4 4.0.0b36, flash_attn/cute/interface.py
    torch_varlen    torch 2.13.0, torch/nn/attention/varlen.py

A stand-in refuses what its package refuses, and computes on the CPU.
"""

from typing import Any

import torch
from torch import Tensor

from tests.helpers.naive_attention import naive_attention


def computed(
    qkv: tuple[Tensor, Tensor, Tensor],
    bounds: tuple[Tensor, Tensor],
    longest: tuple[int, int],
    scale: float | None,
    before: int | None,
    **options: Any,
) -> Tensor:
    """What every kernel computes.

    Args:
        before: how many keys before its own a token sees; None: all.
    """
    assert torch.equal(*bounds) and bounds[0].dtype == torch.int32
    lengths = bounds[0].diff().tolist()
    assert longest == (max(lengths), max(lengths))
    scale = qkv[0].shape[-1] ** -0.5 if scale is None else scale
    window = None if before is None else before + 1
    return naive_attention(*qkv, lengths, scale, window, **options).to(qkv[0].dtype)


def flash_attn_2(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
    block_table=None,
):
    left, right = window_size
    assert causal and right in (-1, 0) and q.shape[-1] == v.shape[-1] <= 256
    return computed(
        (q, k, v),
        (cu_seqlens_q, cu_seqlens_k),
        (max_seqlen_q, max_seqlen_k),
        softmax_scale,
        None if left < 0 else left,
        softcap=softcap or None,
    )


def flash_attn_4(
    q,
    k,
    v,
    qv=None,
    cu_seqlens_q=None,
    cu_seqlens_k=None,
    max_seqlen_q=None,
    max_seqlen_k=None,
    min_seqlen_k=None,
    seqused_q=None,
    seqused_k=None,
    gather_kv_indices=None,
    page_table=None,
    softmax_scale=None,
    causal=False,
    window_size=(None, None),
    learnable_sink=None,
    softcap=0.0,
    num_splits=1,
    pack_gqa=None,
    deterministic=False,
    score_mod=None,
    score_mod_bwd=None,
    mask_mod=None,
    block_sparse_tensors=None,
    aux_tensors=None,
    aux_scalars=None,
    return_lse=False,
    scheduler_metadata=None,
    seqlen_k_per_split=None,
    disable_scheduler_metadata=False,
    gather_bwd_recompute_p=False,
    gather_bwd_token_chunk=None,
):
    left, right = window_size
    assert causal and right in (None, 0)
    assert learnable_sink is None or learnable_sink.shape == q.shape[1:2]
    out = computed(
        (q, k, v),
        (cu_seqlens_q, cu_seqlens_k),
        (max_seqlen_q, max_seqlen_k),
        softmax_scale,
        left,
        softcap=softcap or None,
        sinks_K=learnable_sink,
    )
    return out, None


def torch_varlen(
    query,
    key,
    value,
    cu_seq_q,
    cu_seq_k,
    max_q,
    max_k,
    *,
    return_aux=None,
    scale=None,
    window_size=(-1, -1),
    enable_gqa=False,
    seqused_k=None,
    block_table=None,
    num_splits=None,
):
    left, right = window_size
    assert right == 0 and query.shape[-1] == value.shape[-1]
    assert enable_gqa or query.shape[1] == key.shape[1]
    before = None if left < 0 else left
    return computed((query, key, value), (cu_seq_q, cu_seq_k), (max_q, max_k), scale, before)


def torch_varlen_2_10(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None):
    """As torch 2.10 had it: no scale, no window, no groups of heads."""
    assert is_causal and query.shape == key.shape == value.shape
    return computed((query, key, value), (cu_seq_q, cu_seq_k), (max_q, max_k), None, None)


STAND_INS = {"flash_attn_2": flash_attn_2, "flash_attn_4": flash_attn_4, "torch_varlen": torch_varlen}
