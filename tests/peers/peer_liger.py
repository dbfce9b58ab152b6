"""Checks against Liger-Kernel's chunked loss and head, in plain PyTorch; its kernel: peer_liger_triton.py.

It has one advantage for each sequence, k3 only, no ratio of sequences for cispo, sapo and vespo, and none of
MISSING.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from dupo_kernels import linear_objective, policy_objective, token_weights
from tests.helpers.policy_cases import (
    CAP,
    CASES,
    CLIPPED,
    HIGH,
    LOSS_TYPES,
    LOW,
    MASK,
    MAX_LENGTH,
    OPTIONS,
    B,
    T,
    options_of,
)
from tests.peers.peer_checks import (
    EXACT,
    PER_SEQUENCE,
    SINGLE,
    TEMPERATURE,
    Checks,
    assert_apart,
    assert_close,
    check_head,
    differentiated,
    head_inputs,
    inputs,
    names_of,
    our_head,
    ours,
    weight_of,
)

MISSING = {"clip_ratio_c", "entropy_coef", "off_policy_mask_threshold", "top_entropy_quantile"}


def shares(loss_type: str, name: str) -> bool:
    o = OPTIONS[name]
    sequence = o.get("importance_sampling_level") == "sequence"
    if MISSING & o.keys() or o.get("kl", "k3") != "k3" or (sequence and loss_type not in CLIPPED):
        return False
    of_tokens = not sequence or "beta" in o or any(key.startswith("vllm") for key in o)
    return loss_type != "luspo" or not of_tokens  # check_luspo_of_tokens


SHARED = [case for case in CASES if shares(*case)]
AGREE = [loss_type for loss_type in LOSS_TYPES if loss_type != "luspo"]


def their_options(loss_type: str, o: dict[str, Any]) -> dict[str, Any]:
    same = ("beta", "use_bias", "delta", "importance", "sapo", "vespo")
    found = {"beta": 0.0, "use_bias_correction_kl": True, "max_completion_length": MAX_LENGTH}
    found |= {key: value for key, value in o.items() if key.startswith(same)}
    high = CAP if loss_type == "cispo" else HIGH
    return found | {"loss_type": loss_type, "epsilon_low": LOW, "epsilon_high": high}


# --- the loss as a function of log-probabilities, which keeps to float64 -----------------------------


def both(loss_type: str, name: str) -> tuple[list[Tensor], list[Tensor]]:
    """[loss, dlogprobs], ours and theirs."""
    from liger_kernel.chunked_loss.grpo_loss import LigerFusedLinearGRPOFunction

    t, o = inputs(name, per_sequence=True), OPTIONS[name]
    logp, mask = t["logprobs"].detach().requires_grad_(), MASK.double()
    loss, _ = LigerFusedLinearGRPOFunction.ppo_loss_fn(
        logp,
        mask,
        PER_SEQUENCE,
        mask,
        ref_per_token_logps=t["ref_logprobs"],
        old_per_token_logps=t["old_logprobs"],
        vllm_is_ratio=weight_of(t, o),
        **their_options(loss_type, o),
    )
    return ours(t, **options_of(loss_type, name))[:2], differentiated(loss, logp)


def check_losses(loss_type: str) -> None:
    names = names_of(loss_type, SHARED)
    assert len(names) >= (2 if loss_type == "luspo" else 7)
    for name in names:
        assert_close(*both(loss_type, name), EXACT, name)


def check_luspo_of_tokens() -> None:
    """Liger averages over all tokens of the padded batch, masked ones too: it is wrong. TRL 1.16 and verl
    sum those that count."""
    mine, theirs = both("luspo", "plain")
    assert_apart(mine[:1], theirs[:1], 0.05, "loss")
    assert_apart(mine[1:], theirs[1:], 0.05, "gradient")
    assert theirs[1][~MASK].any()  # masked tokens have a gradient there


# --- from hidden states to the gradients of both factors: theirs in float32, ours in float64 ----------


def on_logits(name: str) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """The batch of a case, moved to the log-probabilities of a head; and (hidden, head, ids), float64."""
    t, head = inputs(name, per_sequence=True), head_inputs(torch.float64)
    move = our_head(*head, None, 1.0)[0].detach().view(B, T) - t["logprobs"]
    return t | {key: t[key] + move for key in t if key.endswith("logprobs")}, head


def single(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().float()


def check_linear(loss_type: str) -> None:
    from liger_kernel.chunked_loss.grpo_loss import LigerFusedLinearGRPOLoss

    for name in names_of(loss_type, SHARED):
        t, (h, W, ids) = on_logits(name)
        del t["logprobs"]
        weight, with_ref = weight_of(t, OPTIONS[name]), "beta" in OPTIONS[name]
        module = LigerFusedLinearGRPOLoss(
            compiled=False,
            temperature=TEMPERATURE,
            use_ref_model=with_ref,
            **their_options(loss_type, OPTIONS[name]),
        )
        leaves = h.detach().float().requires_grad_(), W.detach().float().requires_grad_()
        loss, _ = module(
            leaves[0].view(B, T, -1),
            leaves[1],
            ids.view(B, T),
            MASK.float(),
            PER_SEQUENCE.float(),
            ref_per_token_logps=single(t["ref_logprobs"]) if with_ref else None,
            old_per_token_logps=single(t["old_logprobs"]),
            vllm_is_ratio=single(weight),
        )
        theirs = differentiated(loss, *leaves)
        options = options_of(loss_type, name)
        length = options.pop("max_completion_length")
        t["advantages"], _ = PER_SEQUENCE, t.pop("entropy")
        loss, _ = linear_objective(
            h.view(B, T, -1),
            W,
            ids.view(B, T),
            policy_objective(**options),
            t,
            weights=token_weights(loss_type, MASK, max_completion_length=length, dtype=torch.float64),
            mask=MASK,
            temperature=TEMPERATURE,
        )
        # vespo has the ratio of a whole sequence, to the power of k: 1.5e-6 was seen
        tolerance = 2 * SINGLE if loss_type == "vespo" else SINGLE
        assert_close(differentiated(loss, h, W), theirs, tolerance, name)


def check_head_of_cross_entropy() -> None:
    from liger_kernel.ops.fused_linear_scaled_cross_entropy import LigerFusedLinearScaledCrossEntropyFunction

    def head(h: Tensor, W: Tensor, ids: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        loss, entropy = LigerFusedLinearScaledCrossEntropyFunction.apply(
            h, W, ids, TEMPERATURE, -100, 1, True
        )
        return -loss, entropy

    check_head(head, [(None, 1.0)])  # it has no softcap, no scale


CHECKS: Checks = {f"loss-{name}": partial(check_losses, name) for name in LOSS_TYPES}
CHECKS |= {f"linear-{name}": partial(check_linear, name) for name in LOSS_TYPES}
CHECKS |= {"luspo-of-tokens": check_luspo_of_tokens, "head": check_head_of_cross_entropy}
