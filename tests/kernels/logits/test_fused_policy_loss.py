"""fused_policy_loss against its definition: token_logprobs_ref and policy_loss_ref, with autograd in float64.

In process on the torch path (on a GPU: the kernel), and by test_interpreted.py on the Triton path.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import fused_policy_loss, policy_loss, token_logprobs_ref, token_weights
from dupo_kernels._triton import INTERPRET
from tests.helpers.numerics import DEVICE
from tests.helpers.policy_cases import (
    CASES,
    MASK,
    MAX_LENGTH,
    B,
    T,
    batch,
    options_of,
)

V = 19
NAN, INF = math.nan, math.inf
PER_TOKEN = ("old_logprobs", "ref_logprobs", "sampling_logprobs")
PER_SEQUENCE = torch.tensor([1.3, -0.7, 0.4, 0.9, 0.0, -1.1, -2.1], dtype=torch.float64, device=DEVICE)
# With the kernels a case takes a tenth of a second: every option once, and every loss type.
SAMPLE = [(kind, name) for kind, name in CASES if kind == "dapo" or name in ("plain", "kl-k3", "entropy")]
SAMPLE += [("sapo", "temperatures"), ("vespo", "gamma"), ("cispo", "token_truncate")]
every_case = pytest.mark.parametrize(("loss_type", "name"), SAMPLE if INTERPRET else CASES)
on_device = MASK.to(DEVICE)


def case(
    loss_type: str, name: str, dtype: torch.dtype = torch.float32
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(tensors, options): logits (B, T, V), and per-token inputs near their log-probabilities."""
    tokens, generator = batch(name), torch.Generator().manual_seed(5)
    logits = (2 * torch.randn(B, T, V, generator=generator)).to(dtype)
    targets = torch.randint(V, (B, T), generator=generator)
    logp, _ = token_logprobs_ref(logits.double(), targets, temperature=0.8)
    tensors: dict[str, Any] = {
        "logits": logits,
        "targets": targets,
        "advantages": tokens["advantages"].float(),
    }
    for key in PER_TOKEN:
        if key in tokens:
            tensors[key] = (logp + tokens[key] - tokens["logprobs"]).float()
    options = options_of(loss_type, name)
    tensors["weights"] = token_weights(
        loss_type, MASK, max_completion_length=options.pop("max_completion_length")
    )
    return {key: x.to(DEVICE) for key, x in tensors.items()}, options | {"temperature": 0.8}


def two_steps(tensors: dict[str, Any], options: dict[str, Any], layout: dict[str, Any]) -> list[Any]:
    """[loss, dlogits, statistics] of token_logprobs and policy_loss, in float64."""
    t = {key: x.double() if x.is_floating_point() else x for key, x in tensors.items()}
    logits = t.pop("logits").requires_grad_()
    targets, weights = t.pop("targets"), t.pop("weights")
    options = dict(options)
    scaling = {key: options.pop(key) for key in ("temperature", "softcap") if key in options}
    logp, entropy = token_logprobs_ref(logits, targets, **scaling, entropy=True)
    # The weights are those of the loss type, and policy_loss makes its own: their quotient is 1 or so.
    loss, stats = policy_loss(logp, t.pop("advantages"), entropy=entropy, **t, **layout, **options,
                              max_completion_length=MAX_LENGTH)  # fmt: skip
    del weights
    stats = stats | {"top1_agreement": agreement(logits, targets, layout)}
    return [loss.detach(), torch.autograd.grad(loss, logits)[0], stats]


def agreement(logits: Tensor, targets: Tensor, layout: dict[str, Any]) -> Tensor:
    hits = (logits.argmax(-1) == targets).double()
    return hits[layout["mask"] != 0].mean() if "mask" in layout else hits.mean()


def fused(tensors: dict[str, Any], scale: float = 1.0, **options: Any) -> list[Any]:
    logits = tensors["logits"].clone().requires_grad_()
    # The logits of a model are no leaf, and may be written to.
    loss, stats = fused_policy_loss(**tensors | {"logits": logits * 1}, **options)
    (dlogits,) = torch.autograd.grad(loss * scale, logits)
    return [loss.detach(), dlogits, stats]


def assert_same(found: list[Any], truth: list[Any], rtol: float = 2e-5, atol: float = 3e-6) -> None:
    torch.testing.assert_close(found[0].double(), truth[0], rtol=rtol, atol=atol)
    torch.testing.assert_close(found[1].double(), truth[1], rtol=rtol, atol=atol)
    assert found[2].keys() == truth[2].keys()
    for key, value in truth[2].items():
        torch.testing.assert_close(found[2][key].double(), value, rtol=rtol, atol=atol, msg=key)


@every_case
def test_is_both_steps_in_one(loss_type: str, name: str) -> None:
    tensors, options = case(loss_type, name)
    truth = two_steps(tensors, options, {"mask": on_device})
    found = fused(tensors, mask=on_device, **options)
    assert_same(found, truth)
    assert not found[1][~on_device].any()
