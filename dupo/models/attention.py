"""One attention entry for transformers models, `dupo_varlen`: packed in training, padded in generation.

Transformers isolates packed sequences only under conditions that are easy to miss (no attention mask and
`use_cache=False`) and is silently wrong otherwise. Here the bounds travel with the call:

    packed      `cu_seq_lens_q` is given: the first backend that takes all that the layer wants, see
                `dupo.models.attention_backends`
    generation  no bounds: the mask and KV cache of the model, as in transformers; SDPA, or the scores written
                out where the layer wants a softcap or sinks

What a model hands over is used, known to change nothing (`HARMLESS`), or refused by its name.

Shape letters: B sequences, K heads, T tokens, D head dimension.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from dupo.models.attention_backends import packed_attention
from dupo.models.bucketed_attention import AttentionOptions, scored_attention

NAME = "dupo_varlen"
# What layers hand over that changes no result here. Bounds and windows are read below.
HARMLESS = {"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "sliding_window"}
HARMLESS |= {"position_ids", "cache_position", "use_cache", "cache", "past_key_values", "return_dict"}
HARMLESS |= {"output_attentions", "output_hidden_states", "output_router_logits", "logits_to_keep"}
HARMLESS |= {"num_items_in_batch", "deterministic"}
READ = {"dropout", "softcap", "s_aux"}  # on both ways


def attention_forward(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What a transformers layer calls: (B, heads, T, head_dim) in, (B, T, heads, head_dim) out.

    Raises:
        ValueError: the layer hands over something that neither path supports.
    """
    cu_seqlens, window = kwargs.get("cu_seq_lens_q"), kwargs.get("sliding_window")
    if window is not None and not (isinstance(window, int) and window > 0):
        raise ValueError(f"attention does not support sliding_window {window!r}")
    options = AttentionOptions(
        scale=scaling,
        softcap=kwargs.get("softcap"),
        sinks_K=kwargs.get("s_aux"),
        dropout=float(kwargs.get("dropout") or 0.0),
    )
    if cu_seqlens is not None:
        _refuse_unknown(kwargs, READ)
        options = options._replace(
            window=window, mask_KTT=None if attention_mask is None else attention_mask[0]
        )
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        longest = int(kwargs["max_length_q"])
        return packed_attention(q, k, v, cu_seqlens, longest, options)[None], None
    # The mask of the model brings the window, or no key may lie beyond it.
    if window is not None and attention_mask is None and window < key.shape[2]:
        raise ValueError(f"attention without a mask has no sliding window of {window} tokens")
    if options.needs_scores:
        _refuse_unknown(kwargs, READ)
        is_causal = attention_mask is None and query.shape[2] > 1
        out = scored_attention(query, key, value, attention_mask, options, is_causal=is_causal)
        return out.transpose(1, 2).contiguous(), None
    _refuse_unknown(kwargs, READ | {"is_causal", "position_bias"})
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)


def _refuse_unknown(kwargs: dict[str, Any], used: set[str]) -> None:
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
