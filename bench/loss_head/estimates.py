"""What the head should take on an H200, by arithmetic: estimates, never measurements.

    python -m bench.loss_head.estimates             prints the table
    python -m bench.loss_head.estimates --write     and puts it into docs/loss_head.md

    time = 6NVH flop / products + bytes of logits / copy + launches x launch

The rates are those of one H200 as others published them: a copy of 4.3 TB/s, products of bf16 at 790 TFLOP/s.
A launch is taken as 2.5 us of the device. Reads that L2 serves are not counted. Figures of `bench/gpu_run.sh`
replace this table.

Shape letters: N tokens, V vocabulary, H hidden.
"""

import argparse
from typing import NamedTuple

from bench.loss_head.results import table
from bench.result_files import ROOT, between_markers

MARKERS = ("<!-- estimates: made by bench.loss_head.estimates -->", "<!-- end of estimates -->")
FLOP_PER_SECOND, BYTES_PER_SECOND, SECONDS_PER_LAUNCH = 790e12, 4.3e12, 2.5e-6
# Between the two kernels of a chunk, for dapo, as counted at 665cc26 (dev/LOG.md).
SMALL_LAUNCHES = 101
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


PATHS = [
    Path("two kernels (before)", 4 + 4 + 2, SMALL_LAUNCHES + 2),
    Path("one launch, two reads", 4 + 4 + 2, 1),
    Path("one launch, row held", 4 + 2, 1),
]


def seconds(N: int, V: int, H: int, path: Path) -> tuple[float, float]:
    """(of the three products, of the whole head)."""
    products = 6 * N * V * H / FLOP_PER_SECOND
    passes = path.bytes_per_logit * N * V / BYTES_PER_SECOND
    return products, products + passes + path.launches * SECONDS_PER_LAUNCH


def markdown() -> str:
    """The table: milliseconds, and in brackets as a multiple of the three products."""
    lines = []
    for N, V, H in SHAPES:
        products = seconds(N, V, H, PATHS[0])[0]
        cells = [
            f"{1e3 * total:.2f} ({total / products:.2f})" for _, total in (seconds(N, V, H, p) for p in PATHS)
        ]
        lines.append([f"{N:,} x {V:,} x {H:,}", f"{1e3 * products:.2f}", *cells])
    return table(["N x V x H", "three products", *(path.name for path in PATHS)], lines)


def publish(text: str) -> str:
    """The page with the table of today between its markers."""
    return between_markers(text, MARKERS, markdown())


def main() -> None:
    """Prints the table; `--write` publishes it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write docs/loss_head.md")
    if parser.parse_args().write:
        page = ROOT / "docs/loss_head.md"
        page.write_text(publish(page.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(markdown())


if __name__ == "__main__":
    main()
