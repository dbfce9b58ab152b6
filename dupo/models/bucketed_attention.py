"""Attention of packed sequences without a kernel for them: one call for each bucket of similar lengths.

Scaled dot-product attention of torch knows neither softcap nor sinks. Where a layer wants one of the two, the
scores are written out, a block of queries at a time.

Shape letters: T tokens of all sequences, K heads, D head dimension, B sequences of a bucket, S sequences,
Q queries of a block, J keys that a block sees.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

BUCKET_SLACK = 1.25  # longest over shortest sequence of a bucket: bounds the padding
QUERIES_AT_ONCE = 512  # whose scores are in memory together


class AttentionOptions(NamedTuple):
    """What a layer wants beside queries, keys and values. The attention is causal whatever else it is.

    Attributes:
        scale: of the scores; None: 1 / sqrt(head_dim).
        window: how many keys a token sees, its own among them; None: all before it, and its own.
        softcap: scores are softcap * tanh(scores / softcap); None: as they are (Gemma 2, arXiv 2408.00118).
        sinks_K: (K,) a score for each head that takes its share of the softmax and has no value (gpt-oss).
        mask_KTT: (K or 1, T, T) of the model's own making, bool (true: is seen) or added to the scores; what
            it says of tokens of two sequences is not read.
        dropout: probability at which a weight of attention is dropped.
    """

    scale: float | None = None
    window: int | None = None
    softcap: float | None = None
    sinks_K: Tensor | None = None
    mask_KTT: Tensor | None = None
    dropout: float = 0.0

    @property
    def needs_scores(self) -> bool:
        """Whether torch has no attention that does all of this."""
        return self.softcap is not None or self.sinks_K is not None


def bucketed_attention(
    q_TKD: Tensor, k_TKD: Tensor, v_TKD: Tensor, cu_seqlens: Tensor, options: AttentionOptions
) -> Tensor:
    """One causal call for each bucket of sequences; see `dupo.models.attention_backends.packed_attention`.

    Sequences are padded on the right: a causal row never sees what stands after it, so causality is all the
    mask that padding needs.
    """
    starts, lengths = cu_seqlens[:-1].long(), cu_seqlens.diff().long()
    host_lengths = lengths.tolist()
    rows: list[Tensor] = []
    mixed: list[Tensor] = []
    # A batch of one bucket is padded to its longest sequence, at most a quarter more.
    for bucket in buckets(host_lengths):
        chosen = torch.tensor(bucket, device=q_TKD.device)
        offsets = torch.arange(host_lengths[bucket[-1]], device=q_TKD.device)
        valid_BT = offsets < lengths[chosen, None]
        index_BT = starts[chosen, None] + offsets * valid_BT
        # index_select and not advanced indexing, whose backward is a serial accumulate on the CPU.
        q, k, v = (
            x.index_select(0, index_BT.flatten()).unflatten(0, index_BT.shape).transpose(1, 2)
            for x in (q_TKD, k_TKD, v_TKD)
        )
        mask = None if options.mask_KTT is None else _mask_of_bucket(options.mask_KTT, index_BT, q.dtype)
        out = (scored_attention if options.needs_scores else _sdpa)(q, k, v, mask, options)
        keep = valid_BT.flatten().nonzero()[:, 0]
        rows.append(index_BT.flatten()[keep])
        mixed.append(out.transpose(1, 2).flatten(0, 1).index_select(0, keep))
    # The heads of values give the shape: those of queries are longer in latent attention (DeepSeek).
    out_TKD = q_TKD.new_empty(*q_TKD.shape[:-1], v_TKD.shape[-1])
    return out_TKD.index_copy(0, torch.cat(rows), torch.cat(mixed))


def _sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, options: AttentionOptions) -> Tensor:
    """The attention of torch over one bucket: (B, heads, T, head_dim) in and out."""
    num_tokens = q.shape[2]
    # Without a window that a sequence crosses, there is no mask: torch then takes its fastest kernel.
    if options.window is not None and options.window < num_tokens:
        positions = torch.arange(num_tokens, device=q.device)
        mask = _within(mask, _is_seen(positions[:, None], positions, options.window))
    return F.scaled_dot_product_attention(
        q,
        k,
        v,
        mask,
        options.dropout,
        is_causal=mask is None,
        scale=options.scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )


def scored_attention(
    q_BKTD: Tensor,
    k_BKTD: Tensor,
    v_BKTD: Tensor,
    mask: Tensor | None,
    options: AttentionOptions,
    *,
    is_causal: bool = True,
) -> Tensor:
    """Attention with its scores written out; the softmax is in fp32 at least.

    Memory: B x K x `QUERIES_AT_ONCE` x J numbers in fp32 at a time, and up to four copies of them. J is the
    number of keys up to the block; with a window it is at most `QUERIES_AT_ONCE` + window. One block keeps
    that for the backward pass. Several blocks keep none of it: their backward pass computes the scores again.

    Args:
        k_BKTD, v_BKTD: may have fewer heads (GQA).
        mask: (B or 1, heads or 1, T, keys), bool or added; None: every key is seen that causality shows.
        options: `mask_KTT` is not read, for `mask` stands in its place.
        is_causal: row r sees the keys up to r, within the window; else the mask says what a row sees.

    Returns:
        (B, heads, T, head_dim of the values), in the dtype of the queries.
    """
    num_queries, num_keys = q_BKTD.shape[2], k_BKTD.shape[2]
    blocks = []
    for start in range(0, num_queries, QUERIES_AT_ONCE):
        stop = min(start + QUERIES_AT_ONCE, num_queries)
        first, last = 0, num_keys
        if is_causal:
            first, last = max(0, start + 1 - (options.window or num_keys)), stop
        block_mask = None if mask is None else mask[..., start:stop, first:last]
        if is_causal:
            rows = torch.arange(start, stop, device=q_BKTD.device)[:, None]
            keys = torch.arange(first, last, device=q_BKTD.device)
            block_mask = _within(block_mask, _is_seen(rows, keys, options.window))
        inputs = (q_BKTD[:, :, start:stop], k_BKTD[:, :, first:last], v_BKTD[:, :, first:last], block_mask)
        if num_queries > QUERIES_AT_ONCE and torch.is_grad_enabled():
            keep_draws = options.dropout > 0
            blocks.append(
                checkpoint(_block, *inputs, options, use_reentrant=False, preserve_rng_state=keep_draws)
            )
        else:
            blocks.append(_block(*inputs, options))
    return torch.cat(blocks, 2) if len(blocks) > 1 else blocks[0]


def _block(
    q_BKQD: Tensor, k_BKJD: Tensor, v_BKJD: Tensor, mask: Tensor | None, options: AttentionOptions
) -> Tensor:
    """The attention of some queries over the keys that they may see."""
    groups = q_BKQD.shape[1] // k_BKJD.shape[1]
    k_BKJD, v_BKJD = (x.repeat_interleave(groups, 1) if groups > 1 else x for x in (k_BKJD, v_BKJD))
    scale = q_BKQD.shape[-1] ** -0.5 if options.scale is None else options.scale
    scores_BKQJ = (q_BKQD @ k_BKJD.transpose(2, 3)) * scale
    scores_BKQJ = scores_BKQJ.to(torch.promote_types(scores_BKQJ.dtype, torch.float32))
    if options.softcap is not None:
        scores_BKQJ = options.softcap * torch.tanh(scores_BKQJ / options.softcap)
    if mask is not None:
        # Not -inf: a row of padding may see nothing, and would be NaN.
        lowest = torch.finfo(scores_BKQJ.dtype).min
        is_bool = mask.dtype == torch.bool
        scores_BKQJ = scores_BKQJ.masked_fill(~mask, lowest) if is_bool else scores_BKQJ + mask
    if options.sinks_K is None:
        weights_BKQJ = scores_BKQJ.softmax(-1)
    else:
        sinks = options.sinks_K.to(scores_BKQJ.dtype)[:, None, None].expand(*scores_BKQJ.shape[:-1], 1)
        weights_BKQJ = torch.cat([scores_BKQJ, sinks], -1).softmax(-1)[..., :-1]
    weights_BKQJ = F.dropout(weights_BKQJ, options.dropout)
    return (weights_BKQJ.to(v_BKJD.dtype) @ v_BKJD).to(q_BKQD.dtype)


def _is_seen(rows: Tensor, keys: Tensor, window: int | None) -> Tensor:
    """Which keys a row sees, bool: those up to its own, and of them the last `window`."""
    is_seen = keys <= rows
    return is_seen if window is None else is_seen & (keys > rows - window)


def _within(mask: Tensor | None, is_seen: Tensor) -> Tensor:
    """A mask, bool or added, that shows no more than `is_seen`."""
    if mask is None:
        return is_seen
    return mask & is_seen if mask.dtype == torch.bool else mask.masked_fill(~is_seen, -torch.inf)


def _mask_of_bucket(mask_KTT: Tensor, index_BT: Tensor, dtype: torch.dtype) -> Tensor:
    """The blocks (B, heads or 1, T, T) of a mask that belong to the sequences of a bucket, made causal."""
    blocks = mask_KTT[:, index_BT[:, :, None], index_BT[:, None, :]].transpose(0, 1)
    positions = torch.arange(index_BT.shape[1], device=blocks.device)
    return _within(
        blocks if blocks.dtype == torch.bool else blocks.to(dtype),
        _is_seen(positions[:, None], positions, None),
    )


def buckets(lengths: list[int]) -> list[list[int]]:
    """Indices grouped by length, ascending, the longest at most `BUCKET_SLACK` times the shortest."""
    grouped: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if grouped and lengths[index] <= BUCKET_SLACK * lengths[grouped[-1][0]]:
            grouped[-1].append(index)
        else:
            grouped.append([index])
    return grouped
