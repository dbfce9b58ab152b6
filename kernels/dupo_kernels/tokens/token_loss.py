"""The loss of a token inside a kernel, for every objective whose derivative depends on that token alone.

    logp, entropy, inputs of the token -> dlogp = d(weight loss) / dlogp, dentropy, report of the token

The formulas are those of surrogates.py and kl.py, used as they are through `device`; policy_terms.py is the
same in torch, and serves every scope. A kernel may hand over one token, as logits/fused_loss.py does, or a
block of tokens, as triton_path.py does. Log-probabilities are in nats. The module does not know the
vocabulary.
"""

from dupo_kernels._triton import device, jit, tl
from dupo_kernels.tokens import kl, surrogates
from dupo_kernels.tokens.token_inputs import advantage_of, place, read, token_of
from dupo_kernels.tokens.token_report import (
    ACTIVE,
    APPROX_KL,
    BOUND,
    DIFFERENCE,
    ENTROPY,
    HIGH,
    KL,
    LOSS,
    LOW,
    MISMATCH,
    RATIO,
    REGION,
    TOP1,
    write,
)

_ratio = device(surrogates.importance_ratio)
_clipped, _soft, _cispo = (
    device(surrogate)
    for surrogate in (surrogates.clipped_surrogate, surrogates.soft_surrogate, surrogates.cispo_factor)
)
_k1, _k2, _k3, _abs, _k3_plus = (
    device(estimator) for estimator in (kl.kl_k1, kl.kl_k2, kl.kl_k3, kl.kl_abs, kl.kl_k3_plus)
)


@jit
def _difference(left, right):
    """infinities.difference: 0 where both are equal, also for two -inf."""
    return tl.where(left == right, 0.0, left - right)


@jit
def _kl(logp, ref_logp, kinds: tl.constexpr):
    if kinds.kl == "k1":
        return _k1(logp, ref_logp)
    elif kinds.kl == "k2":
        return _k2(logp, ref_logp)
    elif kinds.kl == "abs":
        return _abs(logp, ref_logp)
    elif kinds.kl == "k3+":
        return _k3_plus(logp, ref_logp)
    else:
        return _k3(logp, ref_logp)


@jit
def _mismatch_weight(old_logp, token, active, inputs, numbers, kinds: tl.constexpr):
    """(weight of the mismatch between the engines, distance of their log-probabilities); mismatch.py."""
    log_weight = _difference(old_logp, read(inputs.sampling_logprobs, token, active))
    log_weight = tl.where(
        log_weight == log_weight, log_weight, 0.0
    )  # NaN: the engine gave no log-probability
    weight = tl.zeros_like(log_weight) + 1.0
    if kinds.mismatch == "known":
        weight = read(inputs.importance_sampling_ratio, token, active)
    elif kinds.mismatch != "none":
        weight, _ = _ratio(log_weight)
        low, high = numbers.mismatch_min, numbers.mismatch_max
        if kinds.mismatch == "mask":
            weight = tl.where((weight < low) | (weight > high), 0.0, weight)
        else:
            weight = tl.minimum(tl.maximum(weight, low), high)
    return weight, tl.abs(log_weight)


@jit
def token_loss(
    logp, entropy, top, row, within, inputs, numbers, kinds: tl.constexpr, report_ptr, report_stride
):
    """(dlogp, dentropy) of each token, times weight and grad_scale; 0 where it does not count.

    Args:
        logp, entropy: float32, nats; entropy is read where kinds.has_entropy.
        top: log-probability of the likeliest token, or None where it is unknown.
        row: int64, where the report goes, and the token, unless inputs.index names another.
        within: which rows exist.
        report_ptr, report_stride: a report of token_report.py and the distance of its columns.
    """
    token = token_of(row, within, inputs)
    active, sequence, is_readable, is_broken = place(token, within, inputs)
    weight = tl.where(is_broken, float("nan"), read(inputs.weights, token, active))
    advantage = advantage_of(token, sequence, is_readable, inputs, kinds)
    return weighed_loss(
        logp, entropy, top, row, token, within, active, weight, advantage,
        inputs, numbers, kinds, report_ptr, report_stride,
    )  # fmt: skip


@jit
def weighed_loss(
    logp, entropy, top, row, token, within, active, weight, advantage,
    inputs, numbers, kinds: tl.constexpr, report_ptr, report_stride,
):  # fmt: skip
    """`token_loss` of tokens whose place, weight and advantage are known."""
    # Before logp is cleaned: a masked token is nobody's likeliest.
    is_likeliest = active
    if top is not None:
        is_likeliest = active & (logp == top)
    logp = tl.where(active, logp, 0.0)
    old_logp = logp
    if inputs.old_logprobs is not None:
        old_logp = read(inputs.old_logprobs, token, active)
    log_ratio = _difference(logp, old_logp)
    ratio, dratio = _ratio(log_ratio)
    report = report_ptr + row

    # A token acts on its loss through the ratio, and directly: policy_terms.py keeps the two slopes apart,
    # here they are those of one token and simply add up.
    if kinds.surrogate == "sapo":
        loss, dlogp = _soft(log_ratio, advantage, numbers.sapo_temperature_pos, numbers.sapo_temperature_neg)
    elif kinds.surrogate == "cispo":
        dlogp = _cispo(log_ratio, advantage, numbers.epsilon_high)
        loss = tl.where(dlogp == 0, 0.0, dlogp * logp)  # infinities.product
        is_capped = (ratio > numbers.epsilon_high) & (advantage > 0)
        write(report, BOUND, report_stride, is_capped, within)
    else:
        epsilon, epsilon_high = numbers.epsilon, numbers.epsilon_high
        delta, clip_ratio_c = numbers.delta, numbers.clip_ratio_c
        loss, dlogp = _clipped(log_ratio, advantage, epsilon, epsilon_high, delta, clip_ratio_c)
        # TRL counts a token as clipped only on the side where the clip stops its gradient.
        is_low = (ratio < 1.0 - epsilon) & (advantage < 0)
        is_high = (ratio > 1.0 + epsilon_high) & (advantage > 0)
        is_bounded = (ratio > tl.minimum(delta, clip_ratio_c)) & (advantage < 0)
        write(report, LOW, report_stride, is_low, within)
        write(report, HIGH, report_stride, is_high, within)
        write(report, REGION, report_stride, is_low | is_high, within)
        write(report, BOUND, report_stride, is_bounded, within)
    if inputs.sampling_logprobs is not None:
        mismatch, distance = _mismatch_weight(old_logp, token, active, inputs, numbers, kinds)
        write(report, MISMATCH, report_stride, mismatch, within)
        write(report, DIFFERENCE, report_stride, distance, within)
        if kinds.mismatch != "none":
            loss, dlogp = loss * mismatch, dlogp * mismatch
    if inputs.ref_logprobs is not None:
        estimate, destimate = _kl(logp, read(inputs.ref_logprobs, token, active), kinds)
        write(report, KL, report_stride, estimate, within)
        if kinds.has_penalty:
            if kinds.corrects_bias:
                loss += numbers.beta * ratio * estimate
                dlogp += numbers.beta * (ratio * destimate + dratio * estimate)
            else:
                loss += numbers.beta * estimate
                dlogp += numbers.beta * destimate
    dentropy = tl.zeros_like(weight)
    if kinds.has_entropy:
        entropy = tl.where(active, entropy, 0.0)
        write(report, ENTROPY, report_stride, entropy, within)
        if kinds.has_bonus:
            loss -= numbers.entropy_coef * entropy
            dentropy = tl.where(active, -numbers.entropy_coef * weight * numbers.grad_scale, 0.0)
    approx_kl, _ = _k3(log_ratio, tl.zeros_like(log_ratio))
    write(report, LOSS, report_stride, tl.where(active, loss * weight, 0.0), within)
    write(report, RATIO, report_stride, ratio, within)
    write(report, APPROX_KL, report_stride, approx_kl, within)
    write(report, ACTIVE, report_stride, active, within)
    if top is not None:
        write(report, TOP1, report_stride, is_likeliest, within)
    return tl.where(active, dlogp * weight * numbers.grad_scale, 0.0), dentropy
