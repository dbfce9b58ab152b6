"""What a model says by itself: one sequence, no padding, no cache, the attention of transformers.

The truth that packing and sampling are checked against. So nothing here is shared with either: no batch, no
mask, no attention entry and no head of ours.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from dupo.models.devices import autocast, float64
from dupo.models.load import Model
from dupo.models.score_heads import score_head
from dupo.models.sharding import computes_in_half

EAGER, SDPA = "eager", "sdpa"  # attention of transformers, by its names
FLOAT32 = "dupo_own_float32"  # the eager attention of a class, with float32 inside


@torch.no_grad()
def own_logprobs(model: Model, sequences: Sequence[list[int]], dtype: str, attention: str = EAGER) -> Tensor:
    """Log-probs of every token but the first of each sequence, end to end, fp64 nats on the CPU.

    Args:
        dtype: `--compute_dtype`, as for `dupo.models.devices.autocast`.
        attention: a name of transformers; the model has its own back afterwards.
    """
    logprobs = []
    with other_attention(model, attention):
        for ids in sequences:
            ids_T = torch.tensor(ids, device=model.device)
            # A mask of ones and not none: models make their windows from the mask.
            mask_BT = torch.ones_like(ids_T)[None]
            with autocast(model.device, dtype):
                logits_TV = model(input_ids=ids_T[None], attention_mask=mask_BT, use_cache=False).logits[0]
            all_TV = float64(logits_TV[:-1]).log_softmax(-1)
            logprobs.append(all_TV.gather(-1, ids_T[1:, None].to(all_TV.device))[:, 0].cpu())
    return torch.cat(logprobs)


@torch.no_grad()
def own_scores(model: Model, sequences: Sequence[list[int]], dtype: str, attention: str = EAGER) -> Tensor:
    """The score of each sequence under a reward model, fp64 on the CPU; arguments as of `own_logprobs`."""
    scores = []
    with other_attention(model, attention):
        for ids in sequences:
            ids_BT = torch.tensor(ids, device=model.device)[None]
            with autocast(model.device, dtype):
                logits_B1 = model(
                    input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), use_cache=False
                ).logits
            scores.append(float64(logits_B1)[0].cpu())
    return torch.cat(scores)


def own_noise(model: Model, sequences: Sequence[list[int]], dtype: str) -> tuple[Tensor, float | None]:
    """What the model says of sequences, and by how much the model differs from itself in its precision.

    Returns:
        The log-probs of `own_logprobs`, of a reward model its scores, fp64, in float32 arithmetic wherever
        the weights are float32; and the root mean square difference of the same in the arithmetic of the
        run: None where that is float32 as well.
    """
    own_values = own_logprobs if score_head(model) is None else own_scores
    with autocast(model.device, dtype):
        is_mixed = torch.is_autocast_enabled(model.device.type)
    weights = [weight for weight in model.parameters() if weight.is_floating_point()]
    if all(weight.dtype == torch.float32 for weight in weights) and not computes_in_half(model):
        truth = own_values(model, sequences, "float32")
        if not is_mixed:
            return truth, None
        again = own_values(model, sequences, dtype)
    else:
        # Rounded weights have no exact result: two orders of summation tell how far off each may be.
        truth = own_values(model, sequences, dtype)
        again = own_values(model, sequences, dtype, SDPA if has_plain_attention(model) else FLOAT32)
    return truth, (truth - again).square().mean().sqrt().item()


def has_plain_attention(model: Model) -> bool:
    """Whether SDPA computes what the eager attention of a model does; SDPA drops softcap and sinks."""
    softcap = getattr(model.config.get_text_config(), "attn_logit_softcapping", None)
    return model._supports_sdpa and softcap is None


def _own_float32(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any
) -> tuple[Tensor, Any]:
    """The eager attention that stands beside the class of a layer, with float32 inside."""
    eager: Any = sys.modules[type(module).__module__].eager_attention_forward  # type: ignore[attr-defined]
    out, weights = eager(module, query.float(), key.float(), value.float(), *rest, **options)
    return out.to(query.dtype), weights


@contextmanager
def other_attention(model: Model, name: str) -> Iterator[None]:
    """The model with another attention for a while."""
    AttentionInterface.register(FLOAT32, _own_float32)  # type: ignore[arg-type]
    AttentionMaskInterface.register(FLOAT32, eager_mask)  # type: ignore[arg-type]
    before = str(model.config._attn_implementation)
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
