"""What `linear_token_logprobs` can return of each token, by name."""

from typing import Any, NamedTuple

from torch import Tensor

from dupo_kernels._messages import refused
from dupo_kernels.logits.row_outputs import Wanted


class HeadOutputs(NamedTuple):
    """The results of each token; None for what was not asked for.

    Attributes:
        logprobs: tokens, or (*tokens, K) for K targets of each token; nats, differentiable.
        entropy: tokens; of the distribution, nats, differentiable.
        top1: tokens, bool: whether the target is the likeliest token. Among equal logits that is the first,
            as in torch.argmax. Of K targets the first is meant. False where logprobs is NaN.
        mean_logits: tokens; the mean over the vocabulary of the logits after logit_scale, softcap and
            temperature, as in TRL. No gradient.
        log_sum_sq: tokens; log of the sum of the squared probabilities, after temperature. No gradient.
        likeliest: tokens, int64: the likeliest token itself, the first of equals. -100, which is no target,
            where the logits have NaN or infinity, or nothing but -inf.
    """

    logprobs: Tensor | None = None
    entropy: Tensor | None = None
    top1: Tensor | None = None
    mean_logits: Tensor | None = None
    log_sum_sq: Tensor | None = None
    likeliest: Tensor | None = None


def wanted_outputs(outputs: Any, entropy: bool) -> Wanted:
    """What is asked for, by `outputs` or, where that is None, by `entropy`.

    Raises:
        ValueError: unknown or repeated names, none at all, or both arguments.
    """
    if outputs is None:
        return Wanted(bool(entropy))
    known = ", ".join(HeadOutputs._fields)
    if not isinstance(outputs, tuple | list) or not outputs:
        raise refused("outputs", f"names of {known}", outputs)
    for name in outputs:
        if name not in HeadOutputs._fields:
            raise refused("outputs", f"names of {known}", name)
    if len(set(outputs)) < len(outputs):
        raise refused("outputs", "names without repeats", tuple(outputs))
    if entropy:
        raise ValueError("entropy and outputs: expected at most one of them, got both")
    return Wanted(*(name in outputs for name in HeadOutputs._fields[1:]))
