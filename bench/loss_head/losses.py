"""Whole losses from hidden states beside TRL's and Liger's heads: time, memory and gradients, on a CPU.

    .ci/peers DIRECTORY trl liger && . DIRECTORY/variables
    python -m bench.loss_head.losses                 measures, and writes a file of bench/results
    python -m bench.loss_head.losses --rehearsal     a tiny size, once; writes nothing
    python -m bench.loss_head.losses --write         publishes the newest file in docs/loss_head.md

One thread, float32, forward and backward. Time is CPU time of one process in which all variants run in turn,
after a run of each that is not timed. Memory is that of the first run in a fresh process: resident bytes at
the peak, above those that were resident before. What is compiled has run once before. Needs Linux.
"""

import json
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.loss_head import distillation, dpo, peers
from bench.loss_head.dpo import DpoInputs
from bench.loss_head.results import instructions, table
from bench.peak_memory import added_bytes, in_fresh_process
from bench.result_files import RESULTS, ROOT, between_markers, newest, result_path, signature, write

THEME = "losses"
REPEATS = 5
OURS = "ours"
MOST_ERROR = 1e-5  # of a gradient of ours, relative to its norm
MOST_ERROR_OF_PEERS = 1e-4  # whoever is further off computes another loss
MARKERS = ("<!-- losses: made by bench.loss_head.losses -->", "<!-- end of losses -->")
PAGE = Path("docs/loss_head.md")
COLUMNS = ("", "CPU seconds", "time / ours", "MiB", "memory / ours", "error of gradient")
# Two at a time: memory does not depend on what runs beside.
PROCESSES = 2


class Variant(NamedTuple):
    """A way to compute a loss.

    Attributes:
        make: inputs -> loss, a scalar.
        compiles: on its first run.
    """

    make: Callable[[DpoInputs], Callable[[], Tensor]]
    compiles: bool = False


class Case(NamedTuple):
    """A loss, and who computes it.

    Attributes:
        title: of its tables.
        truth: inputs -> loss, the definition on whole logits.
        variants: by name, ours first.
    """

    title: str
    truth: Callable[[DpoInputs], Callable[[], Tensor]]
    variants: Mapping[str, Variant]


class Size(NamedTuple):
    """S sequences, T tokens of each with padding, V vocabulary, H hidden size."""

    S: int
    T: int
    V: int
    H: int


CASES = {
    "dpo": Case(
        "DPO (sigmoid), policy and reference",
        dpo.eager,
        {
            OURS: Variant(dpo.ours),
            "ours, a pair at a time": Variant(lambda inputs: dpo.ours(inputs, by_pair=True)),
            "TRL, as its trainer on a CPU": Variant(lambda inputs: dpo.trl(inputs, whole=True)),
            "TRL, tokens that count": Variant(lambda inputs: dpo.trl(inputs, whole=False)),
            "Liger": Variant(lambda inputs: dpo.liger(inputs, compiled=False)),
            "Liger, compiled": Variant(lambda inputs: dpo.liger(inputs, compiled=True), compiles=True),
            "eager torch, whole logits": Variant(dpo.eager),
        },
    ),
    "distillation": Case(
        "Distillation (reverse KL), student and teacher",
        distillation.eager,
        {
            OURS: Variant(distillation.ours),
            "ours, 128 tokens at a time": Variant(lambda inputs: distillation.ours(inputs, chunk=128)),
            "TRL, tokens that count": Variant(distillation.trl),
            "Liger": Variant(lambda inputs: distillation.liger(inputs, compiled=False)),
            "Liger, compiled": Variant(
                lambda inputs: distillation.liger(inputs, compiled=True), compiles=True
            ),
            "eager torch, whole logits": Variant(distillation.eager),
        },
    ),
}
# At the large vocabulary fewer tokens, so that all of it takes ten minutes.
SIZES = (Size(8, 128, 32_000, 1024), Size(4, 96, 151_936, 1024))
REHEARSAL = (Size(4, 16, 600, 32),)


class Cell(NamedTuple):
    """One variant of a case at a size, by name."""

    case: str
    size: Size
    variant: str


class Measured(NamedTuple):
    """What a variant takes.

    Attributes:
        error: of a gradient from the definition in float64, norm over norm, at the worst leaf.
        cpu_seconds: of each run.
        peak_bytes: of a run in each of several processes, above what was resident before.
    """

    name: str
    loss: float
    error: float
    cpu_seconds: list[float]
    peak_bytes: list[int]


# --- measuring -------------------------------------------------------------------------------------


def gradients(loss: Callable[[], Tensor], leaves: Mapping[str, Tensor]) -> tuple[float, list[Tensor]]:
    """The loss and its gradients: what is measured."""
    value = loss()
    return value.item(), list(torch.autograd.grad(value, tuple(leaves.values())))


def error_of(computed: Sequence[Tensor], true: Sequence[Tensor]) -> float:
    """The largest |computed - true| / |true| of a leaf.

    Raises:
        ValueError: a true gradient is 0 or not finite.
    """
    norms = [gradient.norm().item() for gradient in true]
    if not all(0 < norm < float("inf") for norm in norms):
        raise ValueError(f"gradients: expected norms above 0, got {norms}")
    pairs = zip(computed, true, norms, strict=True)
    return max((gradient - truth).norm().item() / norm for gradient, truth, norm in pairs)


def measure_time(case: Case, size: Size, repeats: int) -> tuple[dict[str, int], dict[str, Measured]]:
    """How many tokens there are, and all but the memory of the variants."""
    inputs = dpo.make_inputs(*size)
    losses = {name: variant.make(inputs) for name, variant in case.variants.items()}
    exact = inputs.double()
    _, true = gradients(case.truth(exact), exact.leaves)
    del exact
    measured = {}
    for name, loss in losses.items():
        value, computed = gradients(loss, inputs.leaves)
        measured[name] = Measured(name, value, error_of(computed, true), [], [])
        del computed
    del true
    # In turn, and warm: the gradients above took the same way.
    for _ in range(repeats):
        for name, loss in losses.items():
            started = time.process_time()
            gradients(loss, inputs.leaves)
            measured[name].cpu_seconds.append(time.process_time() - started)
    return {"tokens": inputs.mask.numel(), "counted": int(inputs.mask.sum())}, measured


def measure_memory(cell: Cell) -> int:
    """Bytes at the peak of a run above those resident before, in this process."""
    case = CASES[cell.case]
    inputs = dpo.make_inputs(*cell.size)
    variant = case.variants[cell.variant]
    loss = variant.make(inputs)
    if variant.compiles:
        gradients(loss, inputs.leaves)
    return added_bytes(lambda: gradients(loss, inputs.leaves))


def measure(name: str, size: Size, repeats: int) -> dict[str, Any]:
    """Memory and time of all variants of a case, as the result file holds them."""
    case = CASES[name]
    cells = [Cell(name, size, variant) for _ in range(repeats) for variant in case.variants]
    with ThreadPoolExecutor(PROCESSES) as pool:
        # Memory that was freed goes back at once, so that a run before hides nothing.
        measure_cell = partial(in_fresh_process, "bench.loss_head.losses", MALLOC_MMAP_THRESHOLD_="65536")
        peaks = list(pool.map(measure_cell, cells))
    tokens, measured = measure_time(case, size, repeats)
    for cell, peak in zip(cells, peaks, strict=True):
        measured[cell.variant].peak_bytes.append(peak)
    return {"case": name, **size._asdict(), **tokens, "variants": [m._asdict() for m in measured.values()]}


def wrong_gradients(batches: Sequence[Mapping[str, Any]]) -> list[str]:
    """The variants whose gradients are too far from the definition, each with its error and its limit."""
    wrong = []
    for row in (row for batch in batches for row in batch["variants"]):
        limit = MOST_ERROR if row["name"].startswith(OURS) else MOST_ERROR_OF_PEERS
        # Asked this way round, NaN is no agreement.
        if not row["error"] <= limit:
            wrong.append(f"{row['name']} {row['error']:.1e} (at most {limit:g})")
    return wrong


# --- telling ---------------------------------------------------------------------------------------


def markdown(batch: Mapping[str, Any]) -> str:
    """The table of a case at a size."""
    own = next(row for row in batch["variants"] if row["name"] == OURS)
    lines = []
    for row in batch["variants"]:
        is_ours = row is own
        seconds = row["cpu_seconds"]
        times = [b / a for a, b in zip(own["cpu_seconds"], seconds, strict=True)]
        peaks = [peak / 2**20 for peak in row["peak_bytes"]]
        memory = median(row["peak_bytes"]) / median(own["peak_bytes"])
        lines.append(
            [
                f"**{row['name']}**" if is_ours else row["name"],
                f"{median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f})",
                "1" if is_ours else f"{median(times):.2f} ({min(times):.2f}-{max(times):.2f})",
                f"{median(peaks):,.0f} ({min(peaks):,.0f}-{max(peaks):,.0f})",
                "1" if is_ours else f"{memory:.2f}",
                f"{row['error']:.0e}",
            ]
        )
    size = f"V = {batch['V']:,}, H = {batch['H']:,}, {batch['S']} sequences, {batch['tokens']:,} tokens"
    title = f"**{CASES[batch['case']].title}: {size}, of which {batch['counted']:,} count**"
    return f"{title}\n\n{table(COLUMNS, lines)}"


def section(path: Path | None) -> str:
    """What stands between the markers: the tables of a result file, and what made it."""
    if path is None:
        return "Not measured yet."
    result = json.loads(path.read_text(encoding="utf-8"))
    made_by = result["signature"]
    versions = ", ".join(f"{name} {made_by['peers'][name]}" for name in ("trl", "liger_kernel"))
    source = (
        f"Made by `{made_by['command']}` at {made_by['git']} ({made_by['device']}, one thread, "
        f"{made_by['instructions']}; torch {made_by['torch']}, {versions}): "
        f"[bench/results/{path.name}](../bench/results/{path.name})."
    )
    return "\n\n".join([*map(markdown, result["batches"]), source])


def publish(page: str, path: Path | None) -> str:
    """The page with the tables between the markers."""
    return between_markers(page, MARKERS, section(path))


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and writes, or publishes."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--rehearsal", action="store_true", help="measure little, and write nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder (default bench/results)")
    parser.add_argument("--write", action="store_true", help="publish the newest result")
    parser.add_argument("--cell", help="one cell of memory, for a fresh process")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    if options.cell:
        case, size, variant = json.loads(options.cell)
        print(measure_memory(Cell(case, Size(*size), variant)))
    elif options.write:
        page = ROOT / PAGE
        page.write_text(publish(page.read_text(encoding="utf-8"), newest(THEME)), encoding="utf-8")
    else:
        _measure_and_write(options.out, options.rehearsal)


def _measure_and_write(folder: Path, is_rehearsal: bool) -> None:
    made_by = signature("python -m bench.loss_head.losses", "torch")
    made_by |= {"peers": peers.versions(), "instructions": instructions()}
    sizes, repeats = (REHEARSAL, 1) if is_rehearsal else (SIZES, REPEATS)
    batches = []
    for name in CASES:
        for size in sizes:
            batches.append(measure(name, size, repeats))
            print(markdown(batches[-1]), flush=True)
    if wrong := wrong_gradients(batches):
        raise SystemExit(f"gradients: expected those of the definition, got errors of {', '.join(wrong)}")
    if not is_rehearsal:
        write(result_path(THEME, made_by, folder), {"signature": made_by, "batches": batches})


if __name__ == "__main__":
    main()
