"""Device functions that walk over the logits of a row: one walk makes the sums, the other the gradient.

row_maths.py has the formulas, row_memory.py says where the logits lie and what a tile is.

Shape letters: N rows, V vocabulary.
"""

from dupo_kernels._triton import jit, tl
from dupo_kernels.logits.row_maths import LOWEST, fold, slope, squash
from dupo_kernels.logits.row_memory import body_of, end_columns, start_of_body, tile_columns


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
        u = squash(logits, softcap, SOFTCAP)
        peak, total, moment = fold(u, peak, total, moment, rate, ENTROPY, LANES, STEPS, VEC)
    for start in range(whole, body, BLOCK):
        within = start + words < body
        logits = tl.load(body_ptr + (start + columns), mask=within, other=0.0, eviction_policy="evict_last")
        u = tl.where(within, squash(logits, softcap, SOFTCAP), LOWEST)
        peak, total, moment = fold(u, peak, total, moment, rate, ENTROPY, LANES, STEPS, VEC)
    return peak, total, moment


@jit
def write_gradient(
    row, logits_ptr, dlogits_ptr, ends, stride_n, stride_dn, V, softcap, target, highest, log_sum, entropy,
    dlogp, dentropy, has_gradient, inv_temperature, scale,
    BONUS: tl.constexpr, SOFTCAP: tl.constexpr, SHIFTED: tl.constexpr, ENDED: tl.constexpr,
    NARROWS: tl.constexpr, LANES: tl.constexpr, STEPS: tl.constexpr, VEC: tl.constexpr,
):  # fmt: skip
    """Writes dlogits of a row, from its last tile to its first; zeros, without a read, without a gradient.

    Tiles go downwards because what was read last may still be in L2. NARROWS: dlogits are a narrower type in
    the memory of the logits (`narrowed` of rows.py). A narrow row lies in the upper half of its wide row, so
    a tile overwrites logits of the same or later columns alone, which have been read.

    Args:
        ends: (2 VEC,), what `read_ends` returned to all threads before any of them writes; None without ends.
        target: int32, -1 for none.
        highest, log_sum: log_p = scale (u - highest) - log_sum. 0 and lse say the same.
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
        u = squash(logits, softcap, SOFTCAP)
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
        u = squash(logits, softcap, SOFTCAP)
        log_p = (u - highest) * scale - log_sum
        is_target = first + columns == target
        dz = slope(u, log_p, is_target, entropy, dlogp, dentropy, inv_temperature, SOFTCAP, BONUS)
        tl.store(out_ptr + (first + columns), dz.to(dtype))
    for first in range(0, tl.where(has_gradient, 0, whole), BLOCK):
        tl.store(out_ptr + (first + columns), tl.zeros([BLOCK], dtype))
