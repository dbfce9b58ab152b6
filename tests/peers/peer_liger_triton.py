"""Checks against Liger-Kernel's Triton loss of logits, in float32; runs under TRITON_INTERPRET.

It has what the chunked loss has, see peer_liger.py.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from dupo_kernels import fused_policy_loss, linear_divergence, policy_loss, token_logprobs, token_weights
from tests.helpers.policy_cases import CAP, LOW, MASK, OPTIONS, B, T, options_of
from tests.peers.peer_checks import (
    PER_SEQUENCE,
    SINGLE,
    TEMPERATURE,
    Checks,
    assert_apart,
    assert_close,
    differentiated,
    names_of,
    weight_of,
)
from tests.peers.peer_liger import AGREE, SHARED, on_logits, single, their_options
from tests.peers.peer_liger_divergence import IGNORED
from tests.peers.peer_trl_divergence import BETAS, heads


def both(loss_type: str, name: str) -> tuple[list[Tensor], list[Tensor]]:
    """[loss, dlogits], ours in float64 and theirs in float32."""
    from liger_kernel.transformers.grpo_loss import triton_grpo_loss

    t, (h, W, ids) = on_logits(name)
    z = (h @ W.t()).detach().requires_grad_()
    t["logprobs"] = token_logprobs(z, ids, temperature=TEMPERATURE)[0].view(B, T)
    mine = differentiated(policy_loss(**t, mask=MASK, **options_of(loss_type, name))[0], z)
    options: dict[str, Any] = their_options(loss_type, OPTIONS[name])
    logits = z.detach().float().view(B, T, -1)
    logits = torch.cat([logits, logits[:, :1]], dim=1).requires_grad_()  # one more row, that it does not read
    loss, _ = triton_grpo_loss(
        logits,
        single(t["old_logprobs"]),
        single(t["ref_logprobs"]),
        ids.view(B, T),
        PER_SEQUENCE.float(),
        MASK.float(),
        temperature=TEMPERATURE,
        eps_low=options.pop("epsilon_low"),
        eps_high=options.pop("epsilon_high"),
        vllm_is_ratio=single(weight_of(t, OPTIONS[name])),
        inplace=False,
        reduce=True,
        **options,
    )
    theirs = differentiated(loss, logits)
    return mine, [theirs[0], theirs[1][:, :T].reshape(B * T, -1)]


def fused(loss_type: str, name: str) -> list[Tensor]:
    """[loss, dlogits] of our one kernel, in float32."""
    t, (h, W, ids) = on_logits(name)
    options = options_of(loss_type, name)
    weights = token_weights(loss_type, MASK, max_completion_length=options.pop("max_completion_length"))
    z = (h @ W.t()).detach().float().requires_grad_()
    del t["logprobs"], t["entropy"]
    loss, _ = fused_policy_loss(
        z.view(B, T, -1),
        ids.view(B, T),
        mask=MASK,
        weights=weights,
        temperature=TEMPERATURE,
        **{key: x.float() for key, x in t.items()} | options,
    )
    return differentiated(loss, z)


def check_fused(loss_type: str) -> None:
    """A few options, as each takes seconds: both kernels, from the same logits."""
    for name in {"sapo": ("temperatures",), "dapo": ("kl-k3", "token_truncate")}.get(loss_type, ("plain",)):
        _, theirs = both(loss_type, name)
        assert_close(fused(loss_type, name), theirs, SINGLE, name)


def check_losses(loss_type: str) -> None:
    """Every option with dapo; with the others those that meet their own formula (the interpreter is slow)."""
    own = {"plain", "sequence", "kl-k3", "kl-k3-plain", "token_truncate", "temperatures", "gamma"}
    names = [name for name in names_of(loss_type, SHARED) if loss_type == "dapo" or name in own]
    assert len(names) >= 4
    for name in names:
        if name != "delta-inside":
            assert_close(*both(loss_type, name), SINGLE, name)


def check_luspo() -> None:
    """At both levels; it is wrong, the chunked loss only at the level of tokens.

    At the level of tokens its kernel reads the gradient of B sequences as one of B T tokens, beyond its end:
    Liger's gradient is made of what stands there, at times NaN.
    """
    for name in ("plain", "sequence"):
        mine, theirs = both("luspo", name)
        assert_apart(mine[:1], theirs[:1], 0.05, name)
        assert_apart(mine[1:], theirs[1:], 0.05, name)


def check_delta_inside_the_clip() -> None:
    """delta < 1 + epsilon_high: where A < 0 and the ratio is between, Liger has the loss, but loses the
    gradient: it is wrong."""
    mine, theirs = both("dapo", "delta-inside")
    assert_close(mine[:1], theirs[:1], SINGLE, "loss")
    assert_apart(mine[1:], theirs[1:], 0.05, "gradient")


def check_impossible_logits() -> None:
    """A first block (2048) of logits of -inf makes Liger's loss and gradient NaN: it is wrong. Ours are those
    of a vocabulary without them."""
    from liger_kernel.transformers.grpo_loss import triton_grpo_loss

    z = torch.randn(1, 2100, generator=torch.Generator().manual_seed(5))
    z[:, :2048] = -torch.inf
    z, ids, ones = z.requires_grad_(), torch.tensor([[2060]]), torch.ones(1, 1)
    options = {"beta": 0.0, "eps_low": LOW, "eps_high": CAP, "loss_type": "cispo", "temperature": 1.0}
    loss, _ = triton_grpo_loss(
        torch.stack([z, z], 1), None, None, ids, ones[0], ones, inplace=False, reduce=True, **options
    )
    assert all(x.isnan().any() for x in differentiated(loss, z))
    few = z[:, 2048:].detach().requires_grad_()
    mine = differentiated(token_logprobs(z, ids[0])[0].sum(), z)
    fewer = differentiated(token_logprobs(few, ids[0] - 2048)[0].sum(), few)
    assert_close([fewer[0], fewer[1]], [mine[0], mine[1][:, 2048:]], SINGLE, "ours")
    assert not mine[1][:, :2048].any()


def check_divergence() -> None:
    """Its kernel for the divergence of two heads without biases: value and both gradients."""
    from liger_kernel.transformers.fused_linear_jsd import LigerFusedLinearJSD

    names = "hidden", "weight", "teacher_hidden", "teacher_weight"
    for beta in BETAS:
        for temperature in (1.0, 2.0):
            given = heads(torch.float32)
            theirs = LigerFusedLinearJSD(beta, temperature=temperature)(*(given[n] for n in names), IGNORED)
            expected = differentiated(theirs, given["hidden"], given["weight"])
            given = {n: x for n, x in heads(torch.float64).items() if n in names}
            loss, _ = linear_divergence(**given, beta=beta, temperature=temperature, mask=IGNORED >= 0)
            mine = differentiated(loss, given["hidden"], given["weight"])
            assert_close(mine, expected, SINGLE, (beta, temperature))


CHECKS: Checks = {f"loss-{name}": partial(check_losses, name) for name in AGREE}
CHECKS |= {f"fused-{name}": partial(check_fused, name) for name in AGREE}
CHECKS |= {"luspo": check_luspo, "delta-inside-the-clip": check_delta_inside_the_clip}
CHECKS |= {"impossible-logits": check_impossible_logits}
CHECKS |= {"divergence": check_divergence}
