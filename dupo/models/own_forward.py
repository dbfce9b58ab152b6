"""What a model says by itself: one sequence, no padding, no cache, the attention of transformers.

The truth that packing and sampling are checked against. So nothing here is shared with either: no batch, no
mask, no attention entry and no head of ours.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from dupo.models.devices import autocast, float64
from dupo.models.load import Model

EAGER, SDPA = "eager", "sdpa"  # attention of transformers, by its names


@torch.no_grad()
def own_logprobs(model: Model, sequences: Sequence[list[int]], dtype: str, attention: str = EAGER) -> Tensor:
    """Log-probs of every token but the first of each sequence, end to end, fp64 nats on the CPU.

    Args:
        dtype: `--compute_dtype`, as for `dupo.models.devices.autocast`.
        attention: a name of transformers; the model has its own back afterwards.
    """
    logprobs = []
    with _attention(model, attention):
        for ids in sequences:
            ids_T = torch.tensor(ids, device=model.device)
            # A mask of ones and not none: models make their windows from the mask.
            mask_BT = torch.ones_like(ids_T)[None]
            with autocast(model.device, dtype):
                logits_TV = model(input_ids=ids_T[None], attention_mask=mask_BT, use_cache=False).logits[0]
            all_TV = float64(logits_TV[:-1]).log_softmax(-1)
            logprobs.append(all_TV.gather(-1, ids_T[1:, None].to(all_TV.device))[:, 0].cpu())
    return torch.cat(logprobs)


def own_noise(model: Model, sequences: Sequence[list[int]], dtype: str) -> tuple[Tensor, float | None]:
    """The log-probs of `own_logprobs`, and by how much the model differs from itself in its precision.

    Returns:
        fp64 nats, in float32 arithmetic wherever the weights are float32; and the root mean square difference
        of the same in the arithmetic of the run, nats: None where that is float32 as well.
    """
    with autocast(model.device, dtype):
        is_mixed = torch.is_autocast_enabled(model.device.type)
    if model.dtype == torch.float32:
        truth = own_logprobs(model, sequences, "float32")
        if not is_mixed:
            return truth, None
        again = own_logprobs(model, sequences, dtype)
    else:
        # Rounded weights have no exact result: two orders of summation tell how far off each may be.
        truth = own_logprobs(model, sequences, dtype)
        again = own_logprobs(model, sequences, dtype, SDPA)
    return truth, (truth - again).square().mean().sqrt().item()


@contextmanager
def _attention(model: Model, name: str) -> Iterator[None]:
    """The model with another attention for a while."""
    before = str(model.config._attn_implementation)
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
