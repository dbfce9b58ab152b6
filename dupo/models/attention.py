"""One attention entry for transformers models, `dupo_varlen`: packed in training, padded in generation.

Transformers isolates packed sequences only under conditions that are easy to miss (no attention mask and
`use_cache=False`) and is silently wrong otherwise. Here the bounds travel with the call:

    packed      `cu_seq_lens_q` is given: flash-attn if it is installed, else torch's varlen_attn on CUDA,
                else SDPA over buckets of sequences of similar length; SDPA as well where heads of keys and
                values differ in size, where the model brings a mask of its own, and with dropout
    generation  no bounds: SDPA with the mask and KV cache of the model, as in transformers

What a model hands over is used, known to change nothing (`HARMLESS`), or refused by its name.

Shape letters: T tokens of all sequences, K heads, D head dimension, B sequences of a bucket, S sequences.
"""

import inspect
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "dupo_varlen"
# What layers hand over that changes no result here. Bounds and windows are read below.
HARMLESS = {"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "sliding_window"}
HARMLESS |= {"position_ids", "cache_position", "use_cache", "cache", "past_key_values", "return_dict"}
HARMLESS |= {"output_attentions", "output_hidden_states", "output_router_logits", "logits_to_keep"}
HARMLESS |= {"num_items_in_batch", "deterministic"}
BUCKET_SLACK = 1.25  # longest over shortest sequence of a bucket: bounds the padding of the SDPA path


def packed_attention(
    q_TKD: Tensor,
    k_TKD: Tensor,
    v_TKD: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    scale: float | None,
    mask_KTT: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Causal attention within each packed sequence.

    Args:
        q_TKD, k_TKD, v_TKD: (T, heads, head_dim); keys and values may have fewer heads (GQA). The heads of
            values may have another size.
        cu_seqlens: (S + 1,) int32, where each sequence starts and the last one ends.
        max_seqlen: tokens of the longest sequence.
        scale: of the scores; None: 1 / sqrt(head_dim).
        mask_KTT: (heads or 1, T, T) of the model's own making, bool (true: is seen) or added to the scores;
            what it says of tokens of two sequences is not read.
        dropout: probability at which a weight of attention is dropped.

    Returns:
        (T, heads, head_dim of the values), in the dtype of the queries.
    """
    kind = q_TKD.device.type
    if torch.is_autocast_enabled(kind):  # layers such as Qwen3's q_norm hand over float32 beside bfloat16
        q_TKD, k_TKD, v_TKD = (x.to(torch.get_autocast_dtype(kind)) for x in (q_TKD, k_TKD, v_TKD))
    half = q_TKD.dtype in (torch.float16, torch.bfloat16)
    # The kernels want heads of one size, which latent attention lacks. They know no masks and no dropout.
    plain = mask_KTT is None and dropout == 0 and q_TKD.shape[-1] == v_TKD.shape[-1]
    if q_TKD.is_cuda and half and plain and find_spec("flash_attn"):
        from flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found]

        bounds = (cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)
        return flash_attn_varlen_func(q_TKD, k_TKD, v_TKD, *bounds, softmax_scale=scale, causal=True)
    if q_TKD.is_cuda and half and plain and find_spec("torch.nn.attention.varlen"):
        return torch_varlen(q_TKD, k_TKD, v_TKD, cu_seqlens, max_seqlen, scale)
    return bucketed_sdpa(q_TKD, k_TKD, v_TKD, cu_seqlens, scale, mask_KTT, dropout)


def torch_varlen(
    q_TKD: Tensor, k_TKD: Tensor, v_TKD: Tensor, cu_seqlens: Tensor, max_seqlen: int, scale: float | None
) -> Tensor:
    """The varlen kernel of torch; see `packed_attention`."""
    from torch.nn.attention.varlen import varlen_attn

    # The arguments changed between torch 2.10 and 2.12, so they are looked up.
    arguments = inspect.signature(varlen_attn).parameters
    options: dict[str, object] = {"is_causal": True}
    if "window_size" in arguments:
        options = {"window_size": (-1, 0)}
    if "scale" in arguments:
        options["scale"] = scale
    elif scale is not None:  # 2.10 always divides by sqrt(head_dim)
        q_TKD = q_TKD * (scale * q_TKD.shape[-1] ** 0.5)
    if k_TKD.shape[1] != q_TKD.shape[1]:
        if "enable_gqa" in arguments:
            options["enable_gqa"] = True
        else:
            groups = q_TKD.shape[1] // k_TKD.shape[1]
            k_TKD, v_TKD = k_TKD.repeat_interleave(groups, 1), v_TKD.repeat_interleave(groups, 1)
    varlen: Callable[..., Any] = varlen_attn
    return varlen(q_TKD, k_TKD, v_TKD, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, **options)


def bucketed_sdpa(
    q_TKD: Tensor,
    k_TKD: Tensor,
    v_TKD: Tensor,
    cu_seqlens: Tensor,
    scale: float | None,
    mask_KTT: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """One causal SDPA call for each bucket of sequences of similar length; see `packed_attention`.

    Sequences are padded on the right: a causal row never sees what stands after it, so causality is all the
    mask that padding needs.
    """
    starts, lengths = cu_seqlens[:-1].long(), cu_seqlens.diff().long()
    host_lengths = lengths.tolist()
    gqa = q_TKD.shape[1] != k_TKD.shape[1]
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
        mask = None if mask_KTT is None else _mask_of_bucket(mask_KTT, index_BT, q.dtype)
        out = F.scaled_dot_product_attention(
            q, k, v, mask, dropout, is_causal=mask is None, scale=scale, enable_gqa=gqa
        )
        keep = valid_BT.flatten().nonzero()[:, 0]
        rows.append(index_BT.flatten()[keep])
        mixed.append(out.transpose(1, 2).flatten(0, 1).index_select(0, keep))
    # The heads of values give the shape: those of queries are longer in latent attention (DeepSeek).
    out_TKD = q_TKD.new_empty(*q_TKD.shape[:-1], v_TKD.shape[-1])
    return out_TKD.index_copy(0, torch.cat(rows), torch.cat(mixed))


def _mask_of_bucket(mask_KTT: Tensor, index_BT: Tensor, dtype: torch.dtype) -> Tensor:
    """The blocks (B, heads or 1, T, T) of a mask that belong to the sequences of a bucket, made causal."""
    blocks = mask_KTT[:, index_BT[:, :, None], index_BT[:, None, :]].transpose(0, 1)
    causal_TT = torch.ones(
        index_BT.shape[1], index_BT.shape[1], dtype=torch.bool, device=blocks.device
    ).tril()
    if blocks.dtype == torch.bool:
        return blocks & causal_TT
    return blocks.to(dtype).masked_fill(~causal_TT, -torch.inf)


def buckets(lengths: list[int]) -> list[list[int]]:
    """Indices grouped by length, ascending, the longest at most `BUCKET_SLACK` times the shortest."""
    grouped: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if grouped and lengths[index] <= BUCKET_SLACK * lengths[grouped[-1][0]]:
            grouped[-1].append(index)
        else:
            grouped.append([index])
    return grouped


def attention_forward(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """What a transformers layer calls: (B, heads, T, head_dim) in, (B, T, heads, head_dim) out.

    Raises:
        ValueError: the layer hands over something that neither path supports.
    """
    cu_seqlens, window = kwargs.get("cu_seq_lens_q"), kwargs.get("sliding_window")
    _refuse_unknown(kwargs, {"is_causal", "position_bias", "dropout"} if cu_seqlens is None else {"dropout"})
    if cu_seqlens is None:
        # SDPA has no window: the mask of the model brings the window, or no key may lie beyond it.
        if isinstance(window, int) and attention_mask is None and window < key.shape[2]:
            raise ValueError(f"attention without a mask has no sliding window of {window} tokens")
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)  # type: ignore[arg-type]
    assert isinstance(cu_seqlens, Tensor)
    longest = int(kwargs["max_length_q"])  # type: ignore[call-overload]
    if isinstance(window, int) and window < longest:
        raise ValueError(f"packed attention has no sliding window: window {window}, sequence {longest}")
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    mask_KTT = None if attention_mask is None else attention_mask[0]
    dropout = float(kwargs.get("dropout") or 0.0)  # type: ignore[arg-type]
    return packed_attention(q, k, v, cu_seqlens, longest, scaling, mask_KTT, dropout)[None], None


def _refuse_unknown(kwargs: dict[str, object], used: set[str]) -> None:
    """Refuses what a layer hands over and nothing here reads: dropped in silence, it changes the result."""
    unknown = [name for name, value in kwargs.items() if value is not None and name not in HARMLESS | used]
    # Packed attention is causal whether a layer says so or not.
    unknown = [name for name in unknown if name != "is_causal" or kwargs[name] is not True]
    if unknown:
        kind = "attention" if kwargs.get("cu_seq_lens_q") is None else "packed attention"
        raise ValueError(f"{kind} does not support {', '.join(unknown)}")


def attention_mask(*args: object, **kwargs: object) -> Tensor | None:
    """The mask for generation; packed calls pass no mask and need none."""
    # A cache whose rows have lengths of their own tells all of them in the place of one number.
    if isinstance(positions_B := kwargs.get("q_offset"), Tensor) and positions_B.dim() == 1:
        return _mask_of_rows(positions_B, int(kwargs["kv_length"]), kwargs["mask_function"])  # type: ignore[call-overload, arg-type]
    return None if kwargs.get("attention_mask") is None else sdpa_mask(*args, **kwargs)  # type: ignore[arg-type]


def _mask_of_rows(positions_B: Tensor, columns: int, is_seen: Callable[..., Tensor]) -> Tensor:
    """The mask (B, 1, 1, columns), true: is seen, of one new token in each row.

    Args:
        positions_B: of the new token; the column of a token is its position.
        is_seen: what the model asks for: causal, with a window, in chunks.
    """
    rows, columns_T = (torch.arange(n, device=positions_B.device) for n in (len(positions_B), columns))
    queries = positions_B[:, None, None, None]
    seen = is_seen(rows[:, None, None, None], rows[:1], queries, columns_T[None, None, None])
    return seen.expand(len(positions_B), 1, 1, columns)


def register() -> None:
    """Makes `attn_implementation="dupo_varlen"` known to transformers."""
    AttentionInterface.register(NAME, attention_forward)  # type: ignore[arg-type]
    AttentionMaskInterface.register(NAME, attention_mask)  # type: ignore[arg-type]
