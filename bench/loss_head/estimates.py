"""What the head should take on an H200, by arithmetic: estimates, never measurements.

    python -m bench.loss_head.estimates             prints the table
    python -m bench.loss_head.estimates --write     and puts it into docs/loss_head.md

    time = 6NVH flop / products + bytes of logits / copy + launches x launch

The rates are those of one H200 as others measured them (a copy of 4.3 TB/s, products of bf16 at 790 TFLOP/s) and
a launch is taken as 2.5 us of the device. A table of `bench/gpu_run.sh` replaces this one.

Shape letters: N tokens, V vocabulary, H hidden.
"""

import argparse
from typing import NamedTuple

from bench.loss_head.results import table
from bench.result_files import ROOT

MARKERS = ("<!-- estimates: made by bench.loss_head.estimates -->", "<!-- end of estimates -->")
FLOP_PER_SECOND, BYTES_PER_SECOND, SECONDS_PER_LAUNCH = 790e12, 4.3e12, 2.5e-6
SHAPES = [(8192, 151_936, 4096), (16_384, 248_320, 2048), (8192, 151_936, 1024), (4096, 32_000, 2048)]


class Path(NamedTuple):
    """One way through a chunk of float32 logits with bf16 gradients.

    Attributes:
        bytes_per_logit: read and written, of a logit and its gradient.
        launches: beside the three products.
    """

    name: str
    bytes_per_logit: int
    launches: int


def paths(small_launches: int) -> list[Path]:
    """Two kernels with small ones between, as for a function of the user; one launch; the row held on the chip.

    Args:
        small_launches: between the two kernels, counted by tests/kernels/test_launches.py.
    """
    return [
        Path("two kernels", 4 + 4 + 2, small_launches + 2),
        Path("one launch, two reads", 4 + 4 + 2, 1),
        Path("one launch, one read", 4 + 2, 1),
    ]


def seconds(N: int, V: int, H: int, path: Path) -> tuple[float, float]:
    """(of the three products, of the whole head)."""
    products = 6 * N * V * H / FLOP_PER_SECOND
    passes = path.bytes_per_logit * N * V / BYTES_PER_SECOND
    return products, products + passes + path.launches * SECONDS_PER_LAUNCH


def markdown(small_launches: int) -> str:
    """The table."""
    lines = []
    for N, V, H in SHAPES:
        cells = []
        for path in paths(small_launches):
            products, total = seconds(N, V, H, path)
            cells.append(f"{1e3 * total:.2f} ({total / products:.2f})")
        lines.append([f"{N:,} x {V:,} x {H:,}", f"{1e3 * products:.2f}", *cells])
    columns = ["N x V x H", "three products", *(path.name for path in paths(small_launches))]
    return table(columns, lines)
