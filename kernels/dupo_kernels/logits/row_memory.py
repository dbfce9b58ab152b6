"""Device functions on the memory of a row of logits: which logits a thread loads, and in how many bytes.

A row is a body of whole 16-byte words of VEC logits, between two ends of fewer than VEC logits each. Only the
ends are accessed logit by logit, whatever V is and wherever the row starts. The body is walked in tiles of
STEPS x LANES x VEC logits: a lane is a thread, which loads STEPS words of a tile. launch_table.tiles chooses
SHIFTED (rows may start within a word), LANES, STEPS and VEC.

Shape letters: N rows, V vocabulary.
"""

from dupo_kernels._triton import jit, tl
from dupo_kernels.logits.row_maths import LOWEST, squash


@jit
def start_of_body(row, stride, SHIFTED: tl.constexpr, VEC: tl.constexpr):
    """The first element, counted from the first row, that starts a word of this row; row is int64."""
    if SHIFTED:
        # The compiler sees that a product with VEC is divisible by VEC, so words are accessed whole.
        return (row * stride + (VEC - 1)) // VEC * VEC
    else:
        return tl.multiple_of(row * stride, VEC)


@jit
def body_of(row, stride, V, SHIFTED: tl.constexpr, VEC: tl.constexpr):
    """(first element of the body, as `start_of_body`; length of the first end; length of the body)."""
    start = start_of_body(row, stride, SHIFTED, VEC)
    first_end = 0
    if SHIFTED:
        # A row that ends before its first whole word has no body.
        first_end = tl.minimum((start - row * stride).to(tl.int32), V)
    return start, first_end, (V - first_end) & -VEC


@jit
def tile_columns(BLOCK: tl.constexpr, VEC: tl.constexpr):
    """(columns of a tile, (BLOCK,); the column at which the word of each starts, (BLOCK,))."""
    columns = tl.arange(0, BLOCK)
    # Masks compare the start of a word: all logits of a word share one mask, so the access stays whole.
    return columns, columns // VEC * VEC


@jit
def end_columns(first_end, body, V, VEC: tl.constexpr):
    """(columns of both ends, (2 VEC,); whether each exists: an end is shorter than a word)."""
    place = tl.arange(0, 2 * VEC)
    column = tl.where(place < VEC, place, first_end + body + place - VEC)
    return column, (column < V) & ((place >= VEC) | (place < first_end))


@jit
def read_ends(row_ptr, first_end, body, V, softcap, SOFTCAP: tl.constexpr, VEC: tl.constexpr):
    """u of both ends, (2 VEC,); LOWEST where a column does not exist."""
    column, exists = end_columns(first_end, body, V, VEC)
    u = squash(tl.load(row_ptr + column, mask=exists, other=0.0), softcap, SOFTCAP)
    return tl.where(exists, u, LOWEST)
