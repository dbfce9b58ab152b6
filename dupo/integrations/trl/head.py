"""The head of TRL's trainers, computed by `linear_token_logprobs`.

    apply(hidden (N, H), weight (V, H), bias (V,) or None, targets (N,), temperature, ...)
        -> logp, entropy, log_sum_sq_probs, mean_logits, is_top1      (N,) each, None where not asked for

TRL calls `apply` of an autograd function, `_ChunkedLogProbFunction`. It has had three sets of arguments:
`FORMS` has every form, and `head_for` refuses what is no form. The module does not know who calls.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from dupo.errors import UserError
from dupo_kernels import linear_token_logprobs

# TRL's name of an output -> ours. The order is that of TRL's results, behind the log-probability.
OUTPUTS = {
    "entropy": "entropy",
    "log_sum_sq_probs": "log_sum_sq",
    "mean_logits": "mean_logits",
    "is_top1": "top1",
}
_SCALING = ("temperature", "chunk_size", "final_logit_softcapping", "logit_scale")
# Arguments of `forward` behind ctx, of TRL 1.9 to 1.12, 1.13 and 1.14, 1.15 and 1.16.
FORMS: tuple[tuple[str, ...], ...] = (
    ("last_hidden", "weight", "targets", *_SCALING),
    ("last_hidden", "weight", "bias", "targets", *_SCALING),
    ("hidden", "weight", "bias", "targets", *_SCALING, "outputs"),
)
# Set by `counting` while a trainer's forward pass runs: whether a row counts, of the rows of that pass.
_counted: list[Tensor] = []
Results = tuple[Tensor | None, ...]
# Set by `instead`: what computes the results of a call in the place of the head.
_substitutes: list[Callable[..., Results]] = []


@contextmanager
def counting(mask: Tensor) -> Iterator[None]:
    """Rows that do not count reach no product: their log-probabilities are 0. mean_logits has all rows.

    Args:
        mask: the rows of every call within, in their order, bool.
    """
    _counted.append(mask.reshape(-1))
    try:
        yield
    finally:
        _counted.pop()


@contextmanager
def instead(compute: Callable[..., Results]) -> Iterator[None]:
    """Every call within is answered by `compute`.

    Args:
        compute: takes what `_head` takes, and returns what TRL's function of 1.16 returns.
    """
    _substitutes.append(compute)
    try:
        yield
    finally:
        _substitutes.pop()


def head_for(stock: Any, version: str) -> Any:
    """A class whose `apply` takes the arguments of TRL's function and returns the same results.

    Args:
        stock: TRL's autograd function.

    Raises:
        UserError: the function takes other arguments than every form that is known.
    """
    forward = getattr(stock, "forward", None)
    names = tuple(inspect.signature(forward).parameters)[1:] if callable(forward) else ()
    if names not in FORMS:
        known = " or ".join(f"({', '.join(form)})" for form in FORMS)
        raise UserError(f"trl {version}: expected a fused head of {known}, got ({', '.join(names)})")

    class Head:
        """Stands in the place of TRL's autograd function."""

        @staticmethod
        def apply(*values: Any) -> Results:
            """The results of TRL's function."""
            arguments = dict(zip(names, values, strict=False))
            # The first two forms have no outputs: they always return the entropy, and nothing behind it.
            compute = _substitutes[-1] if _substitutes else _head
            results = compute(outputs=arguments.pop("outputs", ("entropy",)), **_renamed(arguments))
            return results if "outputs" in names else results[:2]

    return Head


def _renamed(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments by one set of names; the size of TRL's chunks is left out, as ours have their own."""
    hidden = arguments.get("hidden", arguments.get("last_hidden"))
    others = {name: arguments[name] for name in ("weight", "targets", "temperature")}
    return others | {
        "hidden": hidden,
        "bias": arguments.get("bias"),
        "softcap": arguments.get("final_logit_softcapping"),
        "logit_scale": arguments.get("logit_scale", 1.0),
    }


def _head(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None,
    temperature: float,
    softcap: float | None,
    logit_scale: float,
    outputs: Sequence[str],
) -> Results:
    refuse_zero3()
    weight, bias = like(hidden, weight, bias)
    asked = [OUTPUTS[name] for name in OUTPUTS if name in outputs]
    mask = _counted[-1] if _counted else None
    # The mean over the vocabulary of a linear map is one row of the map; a softcap makes the map crooked.
    by_mean = "mean_logits" in asked and mask is not None and softcap is None
    if by_mean:
        asked.remove("mean_logits")
    results = linear_token_logprobs(
        hidden,
        weight,
        targets,
        bias=bias,
        temperature=temperature,
        logit_scale=logit_scale,
        softcap=softcap,
        mask=None if "mean_logits" in asked else mask,
        outputs=["logprobs", *asked],
    )._asdict()
    if by_mean:
        results["mean_logits"] = _mean_logits(hidden, weight, bias) * (logit_scale / temperature)
    elif "mean_logits" in asked and mask is not None:
        results["logprobs"] = results["logprobs"].masked_fill(~mask, 0.0)
    return (results["logprobs"], *(results[ours] for ours in OUTPUTS.values()))


def like(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias in the type of the hidden states, unless autocast gives all of them one."""
    if torch.is_autocast_enabled(hidden.device.type):
        return weight, bias
    # cast_lm_head_to_fp32 of TRL casts the hidden states alone.
    return weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)


@torch.no_grad()
def _mean_logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The mean of the logits of each row, (N,) fp32, before scaling."""
    offset = 0.0 if bias is None else bias.mean(dtype=torch.float32)
    # Autocast would round the mean to half precision, which a sum over the vocabulary does not do.
    with torch.autocast(hidden.device.type, enabled=False):
        return hidden.float() @ weight.mean(0, dtype=torch.float32) + offset


def refuse_zero3() -> None:
    """Refuses DeepSpeed's ZeRO-3.

    Raises:
        UserError: ZeRO-3 is on.
    """
    is_on: Callable[[], bool] = import_module(
        "transformers.integrations.deepspeed"
    ).is_deepspeed_zero3_enabled
    # TRL's head gathers the weight again in its backward pass; ours would read what ZeRO-3 has taken away.
    if is_on():
        raise UserError(
            "dupo.integrations.trl: expected a weight that stays whole until the backward pass, got "
            "DeepSpeed's ZeRO-3; ZeRO-2 or FSDP2 works, and uninstall() brings TRL's own head back"
        )
