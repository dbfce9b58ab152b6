"""Device functions on a row of logits: every formula of logprobs.py that a kernel needs stands here once.

    u     = tanh(logits / softcap), or the logits where there is no softcap
    z     = scale u        scale = softcap / temperature, or 1 / temperature
    sums  = exp(z - max z), and its product with u - max u, over the vocabulary
    log_p = scale (u - max u) - log_sum

Temperature and softcap are factors of differences: so one multiplication by `rate` = scale log2(e) leads to
base 2, which is what the hardware has. Where one logit stands out, its difference is near 0 and exact; a
factor rounded into each logit beforehand would cost |z| units in the last place.

A row has a body of whole 16-byte words, and two ends of fewer than VEC logits. The body is walked in tiles of
STEPS x LANES x VEC logits; a lane is a thread, which loads STEPS words of VEC logits.

Shape letters: N rows, V vocabulary.
"""

from dupo_kernels._triton import jit, tl
from dupo_kernels.logits.rows import FLOOR

LOWEST = tl.constexpr(FLOOR)  # differences of it, and their products with counts, stay finite
LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
TANH_BELOW = tl.constexpr(0.6)  # from there on the exponential form loses no more than it has


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
def unfloored_unit(logits, softcap, SOFTCAP: tl.constexpr):
    """u of logits; NaN stays NaN, and without a softcap -inf stays -inf."""
    u = logits.to(tl.float32)
    if SOFTCAP:
        u = tanh(u * (1.0 / softcap))
    return u


@jit
def unit(logits, softcap, SOFTCAP: tl.constexpr):
    """u of logits, with LOWEST for -inf: -inf times a probability of 0 would be NaN."""
    u = unfloored_unit(logits, softcap, SOFTCAP)
    if not SOFTCAP:
        u = tl.maximum(u, LOWEST, propagate_nan=tl.PropagateNan.ALL)
    return u


@jit
def read_scale(inv_temperature_ptr, inv_temperature_of_all, row, stride):
    """1 / temperature of a row; see `Rows`."""
    if inv_temperature_ptr is not None:
        return tl.load(inv_temperature_ptr + row * stride)
    else:
        return tl.zeros([], tl.float32) + inv_temperature_of_all


@jit
def scales(inv_temperature, softcap, SOFTCAP: tl.constexpr):
    """(scale, rate) of a row."""
    scale = inv_temperature
    if SOFTCAP:
        scale = inv_temperature * softcap
    return scale, scale * LOG2E


# --- where the logits of a row lie -----------------------------------------------------------------


@jit
def start_of_body(row, stride, SHIFTED: tl.constexpr, VEC: tl.constexpr):
    """The first element of the row in memory that starts a word of VEC; row is int64."""
    if SHIFTED:
        # The compiler sees that a product with VEC is divisible by VEC, so words are accessed whole.
        return (row * stride + (VEC - 1)) // VEC * VEC
    else:
        return tl.multiple_of(row * stride, VEC)


@jit
def body_of(row, stride, V, SHIFTED: tl.constexpr, VEC: tl.constexpr):
    """(first element of the body in memory, length of the first end, length of the body)."""
    start = start_of_body(row, stride, SHIFTED, VEC)
    first_end = 0
    if SHIFTED:
        # A row that ends before its first whole word has no body.
        first_end = tl.minimum((start - row * stride).to(tl.int32), V)
    return start, first_end, (V - first_end) & -VEC


@jit
def tile_columns(BLOCK: tl.constexpr, VEC: tl.constexpr):
    """(columns of a tile (BLOCK,), the first column of the word of each)."""
    columns = tl.arange(0, BLOCK)
    # The mask of a word is that of all its logits: so its access stays whole.
    return columns, columns // VEC * VEC


@jit
def end_columns(first_end, body, V, VEC: tl.constexpr):
    """(columns of both ends (2 VEC,), which of them exist)."""
    place = tl.arange(0, 2 * VEC)
    column = tl.where(place < VEC, place, first_end + body + place - VEC)
    return column, (column < V) & ((place >= VEC) | (place < first_end))


@jit
def read_ends(row_ptr, first_end, body, V, softcap, SOFTCAP: tl.constexpr, VEC: tl.constexpr):
    """u of both ends (2 VEC,), LOWEST where they do not exist."""
    column, exists = end_columns(first_end, body, V, VEC)
    u = unit(tl.load(row_ptr + column, mask=exists, other=0.0), softcap, SOFTCAP)
    return tl.where(exists, u, LOWEST)


# --- sums of a row ---------------------------------------------------------------------------------


@jit
def fold(
    u, peak, total, moment, rate,
    ENTROPY: tl.constexpr, LANES: tl.constexpr, STEPS: tl.constexpr, VEC: tl.constexpr,
):  # fmt: skip
    """Folds a tile into the sums of each lane (LANES,): rescaled once a tile, not once an element.

    The maximum drops NaN on a GPU; the sums keep it.
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
def fold_body(
    body_ptr, body, softcap, rate,
    SOFTCAP: tl.constexpr, ENTROPY: tl.constexpr, LANES: tl.constexpr, STEPS: tl.constexpr, VEC: tl.constexpr,
):  # fmt: skip
    """(peak, total, moment) of each lane, (LANES,), over the body of a row."""
    BLOCK: tl.constexpr = LANES * STEPS * VEC
    columns, words = tile_columns(BLOCK, VEC)
    whole = body // BLOCK * BLOCK  # tiles without an edge need no mask
    peak = tl.full([LANES], LOWEST, tl.float32)
    total = tl.zeros([LANES], tl.float32)
    moment = tl.zeros([LANES], tl.float32)
    for start in range(0, whole, BLOCK):
        # What was read last is read again first: keep it in L2.
        logits = tl.load(body_ptr + (start + columns), eviction_policy="evict_last")
        u = unit(logits, softcap, SOFTCAP)
        peak, total, moment = fold(u, peak, total, moment, rate, ENTROPY, LANES, STEPS, VEC)
    for start in range(whole, body, BLOCK):
        within = start + words < body
        logits = tl.load(body_ptr + (start + columns), mask=within, other=0.0, eviction_policy="evict_last")
        u = tl.where(within, unit(logits, softcap, SOFTCAP), LOWEST)
        peak, total, moment = fold(u, peak, total, moment, rate, ENTROPY, LANES, STEPS, VEC)
    return peak, total, moment


@jit
def finish(peak, total, moment, ends, rate, ENTROPY: tl.constexpr):
    """(max u, log_sum, entropy, whether nothing is above -inf) of a row.

    Args:
        peak, total, moment: (LANES,), of each lane.
        ends: (2 VEC,) u of the ends with LOWEST for what does not exist, or None.
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
    log_sum, entropy, empty = of_sums(highest, row_total, entropy, rate * LN2, ENTROPY)
    return highest, log_sum, entropy, empty


@jit
def of_sums(highest, total, moment, scale, ENTROPY: tl.constexpr):
    """(log_sum, entropy, whether nothing is above -inf) of a row from its sums."""
    log_sum = tl.log2(total) * LN2
    # NaN is above no peak, so a row of NaN and -inf has the peak of an empty one. But its sum is NaN.
    empty = (highest <= LOWEST) & (total > 0.0)
    entropy = 0.0
    if ENTROPY:
        entropy = tl.where(empty, 0.0, log_sum - moment / total * scale)
    return log_sum, entropy, empty


@jit
def read_target(row_ptr, target, V, softcap, SOFTCAP: tl.constexpr):
    """(u of the target, not floored; the target as int32, or -1 where it is no token)."""
    valid = (target >= 0) & (target < V)
    u = unfloored_unit(tl.load(row_ptr + target, mask=valid, other=0.0), softcap, SOFTCAP)
    return u, tl.where(valid, target, -1).to(tl.int32)


@jit
def target_logp(u, target, highest, log_sum, empty, scale):
    """The log-probability of the target; NaN where it is no token."""
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
    """dlogits; BONUS: dentropy is not 0 everywhere."""
    p = tl.exp2(log_p * LOG2E)
    dz = -dlogp * p
    if BONUS:
        dz = -p * (dentropy * log_p + (dentropy * entropy + dlogp))
    dz = tl.where(is_target, dz + dlogp, dz) * inv_temperature
    if SOFTCAP:
        dz *= 1.0 - u * u
    return dz


@jit
def write_gradient(
    row, logits_ptr, dlogits_ptr, ends, stride_n, stride_dn, V, softcap, target, highest, log_sum, entropy,
    dlogp, dentropy, has_gradient, inv_temperature, scale,
    BONUS: tl.constexpr, SOFTCAP: tl.constexpr, SHIFTED: tl.constexpr, ENDED: tl.constexpr,
    NARROWS: tl.constexpr, LANES: tl.constexpr, STEPS: tl.constexpr, VEC: tl.constexpr,
):  # fmt: skip
    """Writes dlogits of a row, from its last tile to its first; zeros, without a read, where it has none.

    log_p = scale (u - highest) - log_sum. What was read last may still be in L2. Narrow rows lie in the upper
    half of the wide ones, so each tile is written where logits of it or of later columns lay.

    Args:
        ends: u of both ends, read before by all threads.
        target: int32, -1 for none.
    """
    start, first_end, body = body_of(row, stride_n, V, SHIFTED, VEC)
    body_ptr = logits_ptr + start
    out_ptr = dlogits_ptr + start_of_body(row, stride_dn, SHIFTED, VEC)
    dtype = dlogits_ptr.dtype.element_ty
    if ENDED:
        end, end_exists = end_columns(first_end, body, V, VEC)
        end_log_p = (ends - highest) * scale - log_sum
        dend = slope(
            ends, end_log_p, end == target, entropy, dlogp, dentropy, inv_temperature, SOFTCAP, BONUS
        )
        dend = tl.where(has_gradient, dend, 0.0).to(dtype)
        tl.store(dlogits_ptr + row * stride_dn + end, dend, mask=end_exists)
    BLOCK: tl.constexpr = LANES * STEPS * VEC
    columns, words = tile_columns(BLOCK, VEC)
    target = target - first_end  # in the body
    whole = body // BLOCK * BLOCK
    for first in range(whole, body, BLOCK):
        within = first + words < tl.where(has_gradient, body, 0)
        logits = tl.load(body_ptr + (first + columns), mask=within, other=0.0)
        if NARROWS:  # other threads hold what this tile overwrites
            tl.debug_barrier()
        u = unit(logits, softcap, SOFTCAP)
        log_p = (u - highest) * scale - log_sum
        is_target = first + columns == target
        dz = slope(u, log_p, is_target, entropy, dlogp, dentropy, inv_temperature, SOFTCAP, BONUS)
        exists = first + words < body
        tl.store(out_ptr + (first + columns), tl.where(has_gradient, dz, 0.0).to(dtype), mask=exists)
    for back in range(0, tl.where(has_gradient, whole, 0), BLOCK):
        first = whole - BLOCK - back
        logits = tl.load(body_ptr + (first + columns), eviction_policy="evict_first")
        if NARROWS:
            tl.debug_barrier()
        u = unit(logits, softcap, SOFTCAP)
        log_p = (u - highest) * scale - log_sum
        is_target = first + columns == target
        dz = slope(u, log_p, is_target, entropy, dlogp, dentropy, inv_temperature, SOFTCAP, BONUS)
        tl.store(out_ptr + (first + columns), dz.to(dtype))
    for first in range(0, tl.where(has_gradient, 0, whole), BLOCK):
        tl.store(out_ptr + (first + columns), tl.zeros([BLOCK], dtype))
