"""Logits of half-precision models in float32, rounded as learning rounds them.

    hidden, weight   bfloat16, as autocast makes them
    logits           their products summed and kept in float32     (`dupo_kernels.linear_token_logprobs`)

A head that rounds its logits to bfloat16 is off by up to 1 / 256 of each. That noise would stand in the ratio
of every token: the policy that samples would not be the one that learns.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dupo.models.load import Model
from dupo_kernels.hidden.gemm import gemm


@contextmanager
def float32_logits(model: Model) -> Iterator[None]:
    """The model with a head that keeps float32, inside the block; float32 arithmetic is left as it is."""
    head, kind = model.get_output_embeddings(), model.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else model.dtype
    # A head of another class (quantized), or one that others have changed, does more than a product.
    if dtype == torch.float32 or type(head) is not nn.Linear or "forward" in vars(head):
        yield
        return
    # Rounded once for all tokens of a call: the weights do not change while the engine samples.
    weight_HV, bias_V = head.weight.to(dtype).t(), None if head.bias is None else head.bias.to(dtype)

    def logits(input: Tensor) -> Tensor:
        rows_NH = input.to(dtype).flatten(0, -2)
        memory_NV = rows_NH.new_empty(len(rows_NH), weight_HV.shape[1], dtype=torch.float32)
        logits_NV = gemm(rows_NH, weight_HV, memory_NV)
        if bias_V is not None:
            logits_NV += bias_V
        return logits_NV.unflatten(0, input.shape[:-1])

    head.forward = logits  # an attribute of this head, which hides the method of its class
    try:
        yield
    finally:
        del head.forward
