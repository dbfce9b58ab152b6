"""Which variant of the kernels serves which rows, in which tiles, and with how many threads.

TABLE is empty: nothing was measured on a GPU yet. Until then the looped kernel serves every row, with what
the compiler says is best (registers, loads in flight). A sweep (bench/loss_head/sweep.py) hands a Config of
its own to a launcher, and prints rows for TABLE.

Shape letters: N rows, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels._triton import VERSION
from dupo_kernels.logits.rows import Rows

WORD = 16  # bytes, the widest access
WHOLE = 16  # Triton specializes sizes and strides that are multiples of 16: their masks keep words whole
# The first Triton known to compile a sum over a cluster of programs. 3.6 fails; 3.7 and 3.8 were not tried.
SUMS_OVER_CLUSTERS = (3, 9)


class Config(NamedTuple):
    """How rows are walked.

    Attributes:
        variant: "looped" (a program a row, two reads), "persistent" (two reads, a program serves many rows),
            or "held" (the row stays in the registers of a cluster, one read).
        warps: warps of a program.
        steps: looped and persistent: 16-byte words that a thread has in flight.
        programs: persistent: programs on each multiprocessor.
        ctas: held: programs of a cluster, 4, 8 or 16; from Hopper on.
        registers: the most registers of a thread; None lets the compiler choose.
    """

    variant: str = "looped"
    warps: int = 8
    steps: int = 4
    programs: int = 1
    ctas: int = 1
    registers: int | None = None

    def options(self) -> dict[str, Any]:
        """The options of Triton's compiler, as arguments of a launch."""
        options: dict[str, Any] = {"num_warps": self.warps, "enable_fp_fusion": True}
        if self.ctas > 1:
            options["num_ctas"] = self.ctas
        if self.registers is not None:
            options["maxnreg"] = self.registers
        return options


class Entry(NamedTuple):
    """A row of the table, for logits of `itemsize` bytes with V >= from_V on an architecture (90: Hopper).

    The last row that fits is taken.
    """

    architecture: int
    itemsize: int
    from_V: int
    config: Config


TABLE: tuple[Entry, ...] = ()


def choose(rows: Rows, dlogits: Tensor | None) -> Config:
    """The configuration of the fused kernel for these rows."""
    logits = rows.logits
    # 64 registers a thread let a multiprocessor hold four programs of 8 warps, 80 let it hold three. The
    # compiler alone would sometimes take more. With more than 16 logits in flight a thread would spill.
    chosen = Config(steps=logits.dtype.itemsize, registers=80 if rows.softcap else 64)
    architecture = 0
    if logits.is_cuda and TABLE:
        major, minor = torch.cuda.get_device_capability(logits.device)
        architecture = 10 * major + minor
    for entry in TABLE:
        fits = (entry.architecture, entry.itemsize) == (architecture, logits.dtype.itemsize)
        if fits and entry.from_V <= logits.shape[1] and can_serve(entry.config, logits, dlogits):
            chosen = entry.config
    return chosen


def can_serve(config: Config, logits: Tensor, dlogits: Tensor | None) -> bool:
    """Whether this Triton compiles the variant, and the variant serves rows that lie in memory like these."""
    if config.variant != "held":
        return True
    if VERSION < SUMS_OVER_CLUSTERS:
        return False
    strides = [tensor.stride(0) for tensor in (logits, dlogits) if tensor is not None]
    return all(length % WHOLE == 0 for length in (logits.shape[1], *strides))


def tiles(logits: Tensor, dlogits: Tensor | None, config: Config) -> dict[str, Any]:
    """How rows (N, V) lie in memory, and the tiles that this allows: arguments of the kernels that loop.

    Returns:
        VEC: logits of a word. STEPS: words of a thread in a tile. LANES: threads of a program. SHIFTED: a row
        may start within a word. ENDED: a row may have logits outside its body (row_memory.py).
    """
    out = logits if dlogits is None else dlogits
    narrows = out.dtype != logits.dtype
    # A word is one of dlogits: a narrower type has more logits in 16 bytes. So a thread has fewer words.
    vec = WORD // out.dtype.itemsize
    steps = max(1, config.steps * out.dtype.itemsize // logits.dtype.itemsize)
    shifted = logits.stride(0) % vec != 0
    # Words of logits and of dlogits must start at the same columns, and narrow rows do not start where wide
    # rows do. Where the words do not meet, every logit is a word.
    if (out.stride(0) - logits.stride(0)) % vec or (shifted and narrows):
        vec, steps, shifted = 1, steps * vec, False
    return {
        "SHIFTED": shifted,
        "ENDED": shifted or logits.shape[1] % vec != 0,
        "LANES": 32 * config.warps,
        "STEPS": steps,
        "VEC": vec,
    }


def held_tiles(logits: Tensor, dlogits: Tensor | None, config: Config) -> dict[str, int]:
    """FIRST, SECOND, THIRD: up to three tiles that hold a row with little waste; powers of 2, or 0."""
    out = logits if dlogits is None else dlogits
    least = 32 * config.warps * config.ctas * WORD // out.dtype.itemsize  # a word a thread
    sizes: list[int] = []
    left = logits.shape[1]
    while left > 0 and len(sizes) < 2:
        size = max(least, 1 << (left.bit_length() - 1))
        sizes.append(size)
        left -= size
    if left > 0:
        sizes.append(max(least, 1 << (left - 1).bit_length()))
    # Two tiles of the same size are one tile of twice the size.
    while len(sizes) > 1 and sizes[-1] == sizes[-2]:
        sizes[-2:] = [2 * sizes[-1]]
    first, second, third = (*sizes, 0, 0)[:3]
    return {"FIRST": first, "SECOND": second, "THIRD": third}


def num_programs(N: int, config: Config, device: torch.device) -> int:
    """The size of the grid for N rows."""
    if config.variant != "persistent":
        return N
    # The interpreter has no multiprocessors; 2 let a program serve several rows there too.
    count = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2
    return min(N, config.programs * count)
