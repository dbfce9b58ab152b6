"""What a policy objective says of the tokens of a batch: losses and derivatives, in closed form.

The maths of surrogates and KL stand in objective.py, elementwise; here they meet sequences, masks, weights.
What reaches a kernel is only dloss / dlogp and dloss / dH of each token. `o` are the options, a
`PolicyObjective`. Nothing here waits for the device.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from dupo_kernels.tokens import surrogates as maths
from dupo_kernels.tokens.surrogates import KL_ESTIMATORS, importance_ratio, kl_k3
from dupo_kernels.tokens.weights import Layout

if TYPE_CHECKING:
    from dupo_kernels.tokens.policy_objective import PolicyObjective

INFINITY = float("inf")


class Terms(NamedTuple):
    """Of one batch; each tensor has the shape of the tokens.

    Attributes:
        loss: of each token, without its weight; 0 where it does not count.
        dlogp, dentropy: derivatives of sum(weights * loss); dentropy is None without entropy.
        stats: what can be reported of each token; names ending in /max and /min are for those.
    """

    loss: Tensor
    dlogp: Tensor
    dentropy: Tensor | None
    stats: dict[str, Tensor]


def terms(
    o: "PolicyObjective",
    logprobs: Tensor,
    entropy: Tensor | None,
    weights: Tensor | float,
    layout: Layout,
    *,
    advantages: Tensor,
    old_logprobs: Tensor | None = None,
    ref_logprobs: Tensor | None = None,
    sampling_logprobs: Tensor | None = None,
    importance_sampling_ratio: Tensor | None = None,
) -> Terms:
    """Losses and derivatives in closed form; tokens (B, T) or (N,), see `policy_loss`. No autograd."""
    dtype = torch.promote_types(logprobs.dtype, torch.float32)

    def known(values: Tensor) -> Tensor:
        return values.detach().to(dtype).where(layout.active, 0.0)

    logp, A = known(logprobs), known(advantages)
    old = logp if old_logprobs is None else known(old_logprobs)
    sampling = None if sampling_logprobs is None else known(sampling_logprobs)
    H = None if entropy is None else known(entropy)
    log_ratio = _difference(logp, old)
    mismatch, stats = mismatch_weights(o, old, sampling, layout, importance_sampling_ratio)
    if o.importance_sampling_level == "sequence":
        level = layout.mean(log_ratio).expand(logp.shape)
    else:
        level = log_ratio
    value, through, direct, figures = _surrogate(o, level, log_ratio, logp, A, mismatch, layout)
    keep, kept = _kept(o, logp, sampling, old, A, H, layout)
    factor = keep if mismatch is None or o.loss_type == "vespo" else mismatch * keep
    value, through, direct = value * factor, through * factor, direct * factor
    stats |= figures | kept | {"approx_kl": kl_k3(log_ratio, torch.zeros_like(log_ratio))[0]}
    if ref_logprobs is not None:
        stats["kl"], dkl = KL_ESTIMATORS[o.kl](logp, known(ref_logprobs))
        if o.beta:
            ratio, dratio = importance_ratio(level) if o.use_bias_correction_kl else (1.0, 0.0)
            value = value + o.beta * ratio * stats["kl"]
            direct = direct + o.beta * ratio * dkl
            through = through + o.beta * dratio * stats["kl"]
    dentropy = None
    if H is not None:
        stats["entropy"] = H
        chosen = kept.get("frac_high_entropy", 1.0)
        value = value - o.entropy_coef * H * chosen if o.entropy_coef else value
        dentropy = (-o.entropy_coef * chosen * weights) * torch.ones_like(H)
    through = through * weights
    if o.importance_sampling_level == "sequence":
        through = layout.mean(through)  # each token moves the ratio of its sequence by 1 / length
    dlogp = (direct * weights + through).where(layout.active, 0.0)
    return Terms(value.where(layout.active, 0.0), dlogp, dentropy, stats)


def _surrogate(
    o: "PolicyObjective",
    level: Tensor,
    log_ratio: Tensor,
    logp: Tensor,
    A: Tensor,
    mismatch: Tensor | None,
    layout: Layout,
) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """(value, derivative through the log-ratio, derivative with respect to logp ito, figures)."""
    ratio, _ = importance_ratio(level)
    stats = {"ratio/mean": ratio, "ratio/max": ratio}
    none = torch.zeros_like(logp)
    if o.loss_type == "sapo":
        temperatures = o.sapo_temperature_pos, o.sapo_temperature_neg
        return *maths.soft_surrogate(level, A, *temperatures), none, stats
    if o.loss_type == "cispo":
        assert o.epsilon_high is not None
        factor = maths.cispo_factor(level, A, o.epsilon_high)
        stats["cispo_clip_ratio"] = (ratio > o.epsilon_high) & (A > 0)
        return _product(factor, logp), none, factor, stats
    if o.loss_type == "vespo":
        bound = maths.MAX_LOG_RATIO
        log_weight = layout.sum(log_ratio.clamp(-bound, bound))
        if mismatch is not None:
            log_weight = log_weight + layout.sum(mismatch.log().clamp(maths.MIN_LOG_WEIGHT, bound))
        shape = o.vespo_k_pos, o.vespo_lambda_pos, o.vespo_k_neg, o.vespo_lambda_neg
        factor = maths.vespo_factor(log_weight, A, *shape)
        side = torch.where(A >= 0, 1.0, -1.0).to(A.dtype)
        stats["vespo/phi_seq_mean"] = -side * maths.vespo_factor(log_weight, side, *shape)
        return _product(factor, logp), none, factor, stats
    high = o.epsilon if o.epsilon_high is None else o.epsilon_high
    bounds = (INFINITY if x is None else x for x in (o.delta, o.clip_ratio_c))
    value, through = maths.clipped_surrogate(level, A, o.epsilon, high, *bounds)
    low_clipped = (ratio < 1 - o.epsilon) & (A < 0)
    high_clipped = (ratio > 1 + high) & (A > 0)
    stats |= {"clip_ratio/low": low_clipped, "clip_ratio/high": high_clipped}
    stats["clip_ratio/region"] = low_clipped | high_clipped
    most = o.delta if o.delta is not None else o.clip_ratio_c
    if most is not None:
        stats["clip_ratio/bound"] = (ratio > most) & (A < 0)
    return value, through, none, stats


def mismatch_weights(
    o: "PolicyObjective", old: Tensor, sampling: Tensor | None, layout: Layout, weight: Tensor | None = None
) -> tuple[Tensor | None, dict[str, Tensor]]:
    if sampling is None:
        return None, {}
    # TRL: a token that the sampling engine could not score (NaN) has weight 1
    log_weight = _difference(old, sampling).nan_to_num(nan=0.0, posinf=INFINITY, neginf=-INFINITY)
    difference = log_weight.abs()
    name = "sampling/sampling_logp_difference"
    stats = {f"{name}/mean": difference, f"{name}/max": difference}
    if not o.vllm_importance_sampling_correction:
        return None, stats
    if weight is None:
        weight = _bounded(o, log_weight, layout)
    name = "sampling/importance_sampling_ratio"
    return weight, stats | {f"{name}/{kind}": weight for kind in ("min", "mean", "max")}


def _bounded(o: "PolicyObjective", log_weight: Tensor, layout: Layout) -> Tensor:
    """The mismatch weights of tokens or their sequences, as the mode says."""
    level, _, rule = o.vllm_importance_sampling_mode.partition("_")
    if level == "sequence":
        log_weight = layout.sum(log_weight).expand(log_weight.shape)
    weight, _ = importance_ratio(log_weight)
    low, high = o.vllm_importance_sampling_clip_min, o.vllm_importance_sampling_clip_max
    low, high = -INFINITY if low is None else low, INFINITY if high is None else high
    if rule == "mask":
        return weight.masked_fill((weight < low) | (weight > high), 0.0)
    return weight.clamp(low, high)


def _kept(
    o: "PolicyObjective",
    logp: Tensor,
    sampling: Tensor | None,
    old: Tensor,
    A: Tensor,
    H: Tensor | None,
    layout: Layout,
) -> tuple[Tensor, dict[str, Tensor]]:
    """(1 where a token has a loss, else 0; what was kept by which rule)."""
    keep, stats = torch.ones_like(logp), {}
    if o.off_policy_mask_threshold is not None:
        drift = _difference(old if sampling is None else sampling, logp).nan_to_num(nan=0.0)
        dropped = (A < 0) & (layout.mean(drift) > o.off_policy_mask_threshold)
        stats["frac_off_policy_masked"] = dropped.to(keep.dtype)
        keep = keep.masked_fill(dropped, 0.0)
    if o.top_entropy_quantile < 1:
        assert H is not None
        least = _quantile(H, layout.active, 1 - o.top_entropy_quantile)
        stats["frac_high_entropy"] = (least <= H).to(keep.dtype)
        keep = keep * stats["frac_high_entropy"]
    return keep, stats


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """one - other; 0 where they are equal, also for two -inf."""
    equal = one == other
    return one.masked_fill(equal, 0.0) - other.masked_fill(equal, 0.0)


def _product(factor: Tensor, logp: Tensor) -> Tensor:
    """0 where the factor is 0, also for logp = -inf."""
    return factor * logp.masked_fill(factor == 0, 0.0)


def _quantile(values: Tensor, active: Tensor, share: float) -> Tensor:
    """torch.quantile of the active values, on the device; infinity if there are none."""
    ordered = values.masked_fill(~active, INFINITY).flatten().sort().values
    if ordered.numel() == 0:
        return values.new_full((), INFINITY)
    place = (active.sum() - 1).clamp(min=0).to(torch.float64) * share
    below, above = ordered.gather(0, torch.stack([place.floor(), place.ceil()]).long())  # [i] would wait
    return torch.where(above == below, below, torch.lerp(below, above, place.frac().to(values.dtype)))


def reduce_stats(stats: Mapping[str, Tensor], active: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """Scalars of what each token had: extremes for names in /max and /min, else means over active tokens; 0
    where there are none."""
    tokens = active.sum().to(dtype)
    found = {"tokens": tokens}
    for name, values in stats.items():
        values = values.to(dtype).expand(active.shape)
        if name.endswith(("/max", "/min")):
            most = values if name.endswith("/max") else -values
            largest = torch.cat(
                [most.masked_fill(~active, -INFINITY).flatten(), most.new_full((1,), -INFINITY)]
            ).amax()
            largest = largest.masked_fill(tokens == 0, 0.0)
            found[name] = largest if name.endswith("/max") else -largest
        else:
            found[name] = values.where(active, 0).sum() / tokens.clamp(min=1)
    return found
