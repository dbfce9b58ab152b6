"""Checks against verl 0.9: policy losses and KL estimates of core_algos, mismatch weights, and a head.

It has no delta, no vespo, no bias correction of the KL, no off-policy mask as ours, no quantile of entropies;
a dual clip with ratios of tokens only.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from dupo_kernels import kl_estimate
from dupo_kernels.tokens.kl import KL_ESTIMATORS
from tests.helpers.policy_cases import CAP, HIGH, LENGTHS, LOW, MASK, MAX_LENGTH, OPTIONS, B, options_of
from tests.peers.peer_checks import (
    EXACT,
    TEMPERATURE,
    Checks,
    assert_apart,
    assert_close,
    check_head,
    differentiated,
    inputs,
    ours,
    weight_of,
)

CLIPPED = {"dapo": "token-mean", "bnpo": "token-mean", "grpo": "seq-mean-token-mean"}
CLIPPED |= {"dr_grpo": "seq-mean-token-sum-norm", "luspo": "seq-mean-token-sum"}
MEANS = CLIPPED | {"cispo": "token-mean", "sapo": "seq-mean-token-mean"}
MISMATCH = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask", "token-mismatch-unbounded")
BOUNDS = {"clip_ratio_low": LOW, "clip_ratio_high": HIGH, "clip_ratio_c": 1e6}  # no dual clip
CISPO = {"clip_ratio_low": 1.0, "clip_ratio_high": CAP - 1}  # from 0 to CAP: verl counts both from 1


def theirs(
    loss: str,
    mean: str,
    t: dict[str, Tensor],
    o: dict[str, Any],
    sequences: int | None = B,
    **bounds: Any,
) -> list[Tensor]:
    """[loss, dlogprobs, dentropy]. `sequences`: ours count the empty one too; None: as verl counts them."""
    from verl.trainer.ppo.core_algos import agg_loss, get_policy_loss_fn, kl_penalty
    from verl.workers.config import ActorConfig

    taus = {"tau_pos": o.get("sapo_temperature_pos", 1.0), "tau_neg": o.get("sapo_temperature_neg", 1.05)}
    config = ActorConfig(
        strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, **(BOUNDS | taus | bounds)
    )
    size = {"dp_size": 1, "global_batch_size": sequences, "batch_num_tokens": int(LENGTHS.sum())}
    config.global_batch_info.update(size | {"loss_scale_factor": MAX_LENGTH})
    logp, entropy = t["logprobs"].detach().requires_grad_(), t["entropy"].detach().requires_grad_()
    found, _ = get_policy_loss_fn(loss)(
        old_log_prob=t["old_logprobs"],
        log_prob=logp,
        advantages=t["advantages"],
        response_mask=MASK.double(),
        loss_agg_mode=mean,
        config=config,
        rollout_is_weights=weight_of(t, o),
    )
    for coefficient, values in (  # put together as in verl's ppo_loss
        (o.get("beta", 0.0), kl_penalty(logp, t["ref_logprobs"], o.get("kl", "k3"))),
        (-o.get("entropy_coef", 0.0), entropy),
    ):
        found = found + coefficient * agg_loss(values, MASK.double(), mean, **config.global_batch_info)
    return differentiated(found, logp, entropy)


def tolerance(mean: str) -> float:
    return 1e-7 if mean == "seq-mean-token-mean" else EXACT  # verl divides by lengths + 1e-8


# --- losses ----------------------------------------------------------------------------------------


def check_losses(loss_type: str) -> None:
    """Mismatch weights, KL without bias correction, entropy bonus, and what the loss type has of its own."""
    mean = MEANS[loss_type]
    loss, own = {"cispo": ("cispo", ()), "sapo": ("sapo", ("temperatures",))}.get(
        loss_type, ("vanilla", ("dual-clip",))
    )
    for name in ("plain", *own, *MISMATCH, "no-correction", "entropy", *(f"kl-{kl}" for kl in KL_ESTIMATORS)):
        t, o = inputs(name), OPTIONS[name]
        bounds = CISPO if loss == "cispo" else {"clip_ratio_c": o.get("clip_ratio_c", 1e6)}
        found = theirs(loss, mean, t, o, **bounds)
        mine = ours(t, **options_of(loss_type, name) | {"use_bias_correction_kl": False})
        assert_close(mine, found, tolerance(mean), name)


def check_sequence_level() -> None:
    """GSPO, with one advantage and one mismatch weight for each sequence."""
    for loss_type, mean in CLIPPED.items():
        for name in ("plain", "sequence_truncate", "sequence_mask", "entropy", "kl-k3-plain"):
            t = inputs(name, per_sequence=True)
            options = options_of(loss_type, name) | {"importance_sampling_level": "sequence"}
            found = theirs("gspo", mean, t, OPTIONS[name])
            assert_close(ours(t, **options), found, tolerance(mean), (loss_type, name))


def check_sequence_level_of_tokens() -> None:
    """An advantage or a weight for each token: verl has GSPO-token, where each moves its own token; the value
    is ours. Ours and TRL's differentiate the ratio of the sequence. Both are right: two objectives."""
    for name in ("plain", "token_truncate"):
        t = inputs(name, per_sequence=name != "plain")
        options = options_of("dapo", name) | {"importance_sampling_level": "sequence"}
        mine, found = ours(t, **options), theirs("gspo", "token-mean", t, OPTIONS[name])
        assert_close(mine[:1], found[:1], EXACT, name)
        assert_apart(mine[1:2], found[1:2], 0.05, name)


def check_empty_sequences() -> None:
    """Left alone, verl divides by the sequences that have tokens; ours and TRL's divide by all."""
    t, options = inputs("plain"), options_of("luspo", "plain")
    found = theirs("vanilla", MEANS["luspo"], t, {}, sequences=None)
    assert_apart(ours(t, **options), found, 0.05, "with the empty one")
    assert_close(ours(t, **options, num_items=int((LENGTHS > 0).sum())), found, EXACT, "without")


def check_extremes() -> None:
    """Ratios are held at e^20 by both; k3 at 10 by verl, later by ours."""
    from verl.trainer.ppo.core_algos import kl_penalty

    t = inputs("plain")
    t["old_logprobs"][0, 0] = t["logprobs"][0, 0] - 25
    t["advantages"][0, 0] = -1.0
    found = theirs("vanilla", "token-mean", t, {}, clip_ratio_c=1e30)
    assert_close(ours(t, **options_of("dapo", "plain")), found, EXACT, "ratio")
    logp = torch.tensor([-3.0], dtype=torch.float64)
    assert kl_penalty(logp, 0 * logp, "k3").item() == 10.0
    assert_close([kl_estimate(logp, 0 * logp, "k3")], [(-logp).exp() + logp - 1], EXACT, "k3")


# --- mismatch weights, the head ----------------------------------------------------------------------


def check_mismatch_weights() -> None:
    from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_weights

    for name in ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"):
        t = inputs(name)
        log_ratio = (t["old_logprobs"] - t["sampling_logprobs"]).nan_to_num(0.0)  # verl's are all scored
        options = options_of("dapo", name)
        bounds: Any = "0.8_1.3"
        if "truncate" in name:  # verl has no lower bound there
            options["vllm_importance_sampling_clip_min"], bounds = None, 1.3
        weights, _ = compute_rollout_correction_weights(log_ratio, MASK.double(), name.split("_")[0], bounds)
        assert len(weights.unique()) > 2
        t["logprobs"] = t["old_logprobs"]  # on-policy: the gradient of a token is its weight
        t["advantages"] = torch.ones_like(log_ratio)
        gradient = ours(t, **options)[1] * -LENGTHS.sum()
        assert_close([gradient], [weights], EXACT, name)


def check_head_of_ppo() -> None:
    from verl.utils.experimental.torch_functional import FusedLinearForPPOFunction

    def head(h: Tensor, W: Tensor, ids: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        return FusedLinearForPPOFunction.apply(h, W, ids, TEMPERATURE, 16)

    check_head(head, [(None, 1.0)])  # it has no softcap, no scale


CHECKS: Checks = {f"loss-{name}": partial(check_losses, name) for name in MEANS}
CHECKS |= {
    "gspo": check_sequence_level,
    "gspo-token": check_sequence_level_of_tokens,
    "empty-sequences": check_empty_sequences,
    "extremes": check_extremes,
    "mismatch-weights": check_mismatch_weights,
    "head": check_head_of_ppo,
}
