"""Device functions on a row of logits: every formula of logprobs.py that a kernel needs stands here once.

    u       = tanh(logits / softcap), or the logits where there is no softcap
    z       = scale u        scale = softcap / temperature, or 1 / temperature
    highest = max u          (`peak`: the same of one lane)
    total   = sum exp(z - max z)                     log_sum = log(total)
    moment  = sum exp(z - max z) (u - highest)       entropy = log_sum - scale moment / total
    log_p   = scale (u - highest) - log_sum

Temperature and softcap are factors of differences: so one multiplication by `rate` = scale log2(e) leads to
base 2, which is what the hardware has. Where one logit stands out, its difference is near 0 and exact; a
factor rounded into each logit beforehand would cost |z| units in the last place.

row_memory.py says where the logits of a row lie, row_walks.py walks over them. SOFTCAP and ENTROPY say what a
row needs; LANES, STEPS and VEC are those of row_memory.py.

Shape letters: N rows, V vocabulary.
"""

from dupo_kernels._triton import jit, tl
from dupo_kernels.logits import rows

LOWEST = tl.constexpr(rows.FLOOR)  # finite, and so are its differences and their products with counts
LOG2E = tl.constexpr(rows.LOG2E)
LN2 = tl.constexpr(0.6931471805599453)
TANH_BELOW = tl.constexpr(0.6)  # above, the exponential form is as exact as the polynomial


@jit
def tanh(u):
    """A minimax polynomial near 0, where the exponential form cancels. Within 3e-7, relative."""
    u2 = u * u
    high = -0.053783830 + u2 * (0.020795971 + u2 * -0.0058951583)
    series = -0.33333299 + u2 * (0.13331924 + u2 * high)
    near = u + u * (u2 * series)
    far = 1.0 - 2.0 / (1.0 + tl.exp2(tl.abs(u) * (2.0 * LOG2E)))
    return tl.where(tl.abs(u) < TANH_BELOW, near, tl.where(u < 0, -far, far))


@jit
def squash_unfloored(logits, softcap, SOFTCAP: tl.constexpr):
    """u of logits; NaN stays NaN, and without a softcap -inf stays -inf."""
    u = logits.to(tl.float32)
    if SOFTCAP:
        u = tanh(u * (1.0 / softcap))
    return u


@jit
def squash(logits, softcap, SOFTCAP: tl.constexpr):
    """u of logits, with LOWEST for -inf: -inf times a probability of 0 would be NaN."""
    u = squash_unfloored(logits, softcap, SOFTCAP)
    if not SOFTCAP:
        u = tl.maximum(u, LOWEST, propagate_nan=tl.PropagateNan.ALL)
    return u


@jit
def read_scale(inv_temperature_ptr, inv_temperature_of_all, row, stride):
    """1 / temperature of a row: an element of the tensor, or the number of all rows; see `Rows`."""
    if inv_temperature_ptr is not None:
        return tl.load(inv_temperature_ptr + row * stride)
    else:
        return tl.zeros([], tl.float32) + inv_temperature_of_all


@jit
def scales(inv_temperature, softcap, SOFTCAP: tl.constexpr):
    """(scale, rate) of a row: factors of differences of u for base e, and for base 2."""
    scale = inv_temperature
    if SOFTCAP:
        scale = inv_temperature * softcap
    return scale, scale * LOG2E


# --- sums of a row ---------------------------------------------------------------------------------


@jit
def fold(
    u, peak, total, moment, rate,
    ENTROPY: tl.constexpr, LANES: tl.constexpr, STEPS: tl.constexpr, VEC: tl.constexpr,
):  # fmt: skip
    """(peak, total, moment) of each lane, (LANES,), with a tile of u, (STEPS LANES VEC,), folded in.

    The sums are rescaled to the new peak once a tile, not once an element. The maximum drops NaN on a GPU;
    the sums keep it.
    """
    # This is where the logits of a thread lie in a tile, so nothing moves between threads.
    u = tl.reshape(u, [STEPS, LANES, VEC])
    highest = tl.maximum(peak, tl.max(tl.max(u, 0), 1))
    drop = peak - highest
    shrink = tl.exp2(drop * rate)
    gap = u - highest[None, :, None]
    e = tl.exp2(gap * rate)
    if ENTROPY:
        moment = (moment + total * drop) * shrink + tl.sum(tl.sum(e * gap, 0), 1)
    total = total * shrink + tl.sum(tl.sum(e, 0), 1)
    return highest, total, moment


@jit
def combine_lanes(peak, total, moment, ends, rate, ENTROPY: tl.constexpr):
    """(highest, log_sum, entropy, empty) of a row; empty: nothing is above -inf.

    Args:
        peak, total, moment: (LANES,), of each lane over the body.
        ends: (2 VEC,), what `read_ends` returns; None for a row without ends.
    """
    highest = tl.max(peak, 0)
    if ends is not None:
        highest = tl.maximum(highest, tl.max(ends, 0))
    gap = peak - highest
    weight = tl.exp2(gap * rate)
    row_total = tl.sum(total * weight, 0)
    entropy = 0.0
    if ENTROPY:
        entropy = tl.sum((moment + total * gap) * weight, 0)
    if ends is not None:
        end_gap = ends - highest
        end_weight = tl.exp2(end_gap * rate)
        row_total += tl.sum(end_weight, 0)
        if ENTROPY:
            entropy += tl.sum(end_weight * end_gap, 0)
    log_sum, entropy, empty = log_sum_of(highest, row_total, entropy, rate * LN2, ENTROPY)
    return highest, log_sum, entropy, empty


@jit
def log_sum_of(highest, total, moment, scale, ENTROPY: tl.constexpr):
    """(log_sum, entropy, empty) of a row from its sums; see `combine_lanes`."""
    log_sum = tl.log2(total) * LN2
    # NaN is above no peak, so a row of NaN and -inf has the peak of an empty one. But its sum is NaN.
    empty = (highest <= LOWEST) & (total > 0.0)
    entropy = 0.0
    if ENTROPY:
        entropy = tl.where(empty, 0.0, log_sum - moment / total * scale)
    return log_sum, entropy, empty


@jit
def read_target(row_ptr, target, V, softcap, SOFTCAP: tl.constexpr):
    """(u of the target, not floored; the target as int32, or -1 where the target is outside [0, V))."""
    valid = (target >= 0) & (target < V)
    u = squash_unfloored(tl.load(row_ptr + target, mask=valid, other=0.0), softcap, SOFTCAP)
    return u, tl.where(valid, target, -1).to(tl.int32)


@jit
def target_logp(u, target, highest, log_sum, empty, scale):
    """The log-probability of the target; NaN where the target is -1, which is no token."""
    # -inf minus the sum, not -inf itself: NaN in the row must reach a target at -inf.
    logp = (tl.where(empty, -float("inf"), u) - highest) * scale - log_sum
    return tl.where(target >= 0, logp, float("nan"))


@jit
def normalizers(highest, log_sum, empty, scale):
    """(lse, log-probability of the likeliest token) of a row."""
    return tl.where(empty, -float("inf"), highest * scale + log_sum), tl.where(empty, 0.0, -log_sum)


# --- the gradient of a row -------------------------------------------------------------------------


@jit
def slope(
    u, log_p, is_target, entropy, dlogp, dentropy, inv_temperature,
    SOFTCAP: tl.constexpr, BONUS: tl.constexpr,
):  # fmt: skip
    """dlogits = (dlogp (1[v = target] - p) - dentropy p (log_p + entropy)) / temperature (1 - u^2).

    The last factor is that of a softcap. BONUS: there is a dentropy, else the second term is left out.
    """
    p = tl.exp2(log_p * LOG2E)
    dz = -dlogp * p
    if BONUS:
        dz = -p * (dentropy * log_p + (dentropy * entropy + dlogp))
    dz = tl.where(is_target, dz + dlogp, dz) * inv_temperature
    if SOFTCAP:
        dz *= 1.0 - u * u
    return dz
