"""One optimizer step of our learner beside TRL's GRPOTrainer: time, memory and gradients on the same rows.

    .ci/peers DIRECTORY trl && . DIRECTORY/variables
    python -m bench.step VOCABULARY             measures at 2000 or 151936, and writes a file of bench/results
    python -m bench.step 2000 --rehearsal       one step of each, which writes nothing
    python -m bench.step 151936 --only "TRL, 4 rows"       ours and this one alone
    python -m bench.step --write                publishes the newest files in docs/trl.md

On a CPU, one thread. Time is CPU time of one process in which all trainers make their steps in turn, so that
other work on the machine meets all of them. Memory is that of the first step in a fresh process: resident
bytes at the peak, above those that were resident before the step. Needs Linux, which tells both.
"""

import json
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from bench.loss_head import peers
from bench.loss_head.results import table
from bench.peak_memory import added_bytes, in_fresh_process
from bench.result_files import RESULTS, ROOT, between_markers, newest, result_path, signature, write
from bench.training.trainers import Gradients, Row, Variant, make_rows, make_trainer


class Size(NamedTuple):
    """What is measured at one vocabulary.

    Attributes:
        rows: of a step.
        repeats: steps that are timed.
        processes: for the memory of a variant.
        variants: ours first.
    """

    vocabulary: int
    rows: int
    repeats: int
    processes: int
    variants: tuple[Variant, ...]


OURS = Variant("ours")
GOAL = Variant("TRL, 4 rows", 4)  # what the bounds are about
VARIANTS = (
    OURS,
    Variant("TRL, 1 row", 1),
    Variant("TRL, 2 rows", 2),
    GOAL,
    Variant("TRL, 8 rows", 8),
    Variant("TRL, 4 rows, activations recomputed", 4, recomputed=True),
    Variant("TRL, 4 rows, padded as by TRL", 4, padded_whole=True),
    Variant("ours, activations recomputed", recomputed=True),
)
# A step of TRL takes a minute at the large vocabulary.
SIZES = {
    size.vocabulary: size for size in (Size(2_000, 16, 5, 1, VARIANTS), Size(151_936, 8, 2, 1, VARIANTS[:6]))
}
LEAST_TIME, LEAST_MEMORY, MOST_DIFFERENCE = 2.5, 3.0, 1e-5  # TRL over ours; relative, of a gradient
MARKERS = ("<!-- step: made by bench.step -->", "<!-- end of step -->")
PAGE = Path("docs/trl.md")
COLUMNS = (
    "trainer",
    "tokens passed",
    "CPU seconds",
    "time / ours",
    "MiB",
    "memory / ours",
    "gradient",
)


class Measured(NamedTuple):
    """What a variant takes.

    Attributes:
        tokens: that go through the model, padding included.
        difference: of the gradient of a weight from ours, norm over norm, at the worst weight.
        cpu_seconds: of each step.
        peak_bytes: of the first step of each process, above what was resident before.
    """

    name: str
    tokens: int
    loss: float
    difference: float
    cpu_seconds: list[float]
    peak_bytes: list[int]


def difference(ours: Gradients, theirs: Gradients) -> float:
    """The largest |ours - theirs| / |ours| of a weight.

    Raises:
        ValueError: the trainers have other weights, or a gradient is 0.
    """
    if ours.keys() != theirs.keys() or any(not gradient.norm() > 0 for gradient in ours.values()):
        raise ValueError("gradients: expected one for each weight, none of them 0")
    return max(((mine - theirs[name]).norm() / mine.norm()).item() for name, mine in ours.items())


def measure_time(
    variants: Sequence[Variant], rows: Sequence[Row], vocabulary: int, repeats: int
) -> dict[str, Measured]:
    """Measures all but memory; the first variant is ours.

    Raises:
        ValueError: a step held a ratio at the clip, so that our loss left its row out.
    """
    trainers = {variant.name: make_trainer(variant, rows, vocabulary) for variant in variants}
    gradients = {name: trainer.gradients() for name, trainer in trainers.items()}
    _, ours = gradients[variants[0].name]
    measured = {
        name: Measured(name, trainer.num_passed, loss, difference(ours, own), [], [])
        for (name, trainer), (loss, own) in zip(trainers.items(), gradients.values(), strict=True)
    }
    # In turn, and warm: the gradients above took the same way.
    for _ in range(repeats):
        for name, trainer in trainers.items():
            started = time.process_time()
            metrics = trainer.step()
            measured[name].cpu_seconds.append(time.process_time() - started)
            if metrics.get("clip_ratio/region_mean", 0.0):
                raise ValueError(f"{name}: expected no ratio at the clip, as TRL's are all 1")
    return measured


def measure_memory(variant: Variant, vocabulary: int, count: int) -> int:
    """Bytes at the peak of the first step above those resident before, in this process."""
    trainer = make_trainer(variant, make_rows(count, vocabulary), vocabulary)
    return added_bytes(trainer.step)


def measure(size: Size) -> dict[str, Any]:
    """Time and memory of all variants of a size, as the result file holds them."""
    vocabulary, rows = size.vocabulary, make_rows(size.rows, size.vocabulary)
    measured = measure_time(size.variants, rows, vocabulary, size.repeats)
    for variant in size.variants * size.processes:
        peak = in_fresh_process("bench.step", [variant, vocabulary, size.rows])
        measured[variant.name].peak_bytes.append(peak)
        print(vocabulary, measured[variant.name], flush=True)
    return {
        "vocabulary": vocabulary,
        "rows": size.rows,
        "tokens": measured[OURS.name].tokens,
        "sampled": sum(len(row.completion) for row in rows),
        "variants": [of_variant._asdict() for of_variant in measured.values()],
    }


def ratios(batch: dict[str, Any], name: str) -> tuple[list[float], float]:
    """Of a variant over ours: time of each repeat, and memory in the median."""
    by_name = {row["name"]: row for row in batch["variants"]}
    own, other = by_name[OURS.name], by_name[name]
    times = [b / a for a, b in zip(own["cpu_seconds"], other["cpu_seconds"], strict=True)]
    return times, median(other["peak_bytes"]) / median(own["peak_bytes"])


def goals(batch: dict[str, Any]) -> list[tuple[str, bool]]:
    """What is asked of our step, with what was measured, and whether it is reached."""
    times, memory = ratios(batch, GOAL.name)
    worst = max(row["difference"] for row in batch["variants"])
    return [
        (f"{GOAL.name} take {LEAST_TIME} x the time: {median(times):.2f}", median(times) >= LEAST_TIME),
        (f"{GOAL.name} take {LEAST_MEMORY:g} x the memory: {memory:.2f}", memory >= LEAST_MEMORY),
        (f"gradients differ by {MOST_DIFFERENCE:g} at most: {worst:.1e}", worst <= MOST_DIFFERENCE),
    ]


def markdown(batch: dict[str, Any], file: str) -> str:
    """The table of a result file, and the file."""
    lines = []
    for row in batch["variants"]:
        times, memory = ratios(batch, row["name"])
        seconds = row["cpu_seconds"]
        is_ours = row["name"] == OURS.name
        lines.append(
            [
                f"**{row['name']}**" if is_ours else row["name"],
                f"{row['tokens']:,}",
                f"{median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f})",
                "1" if is_ours else f"{median(times):.1f} ({min(times):.1f}-{max(times):.1f})",
                f"{median(row['peak_bytes']) / 2**20:,.0f}",
                "1" if is_ours else f"{memory:.1f}",
                "" if is_ours else f"{row['difference']:.0e}",
            ]
        )
    made_by = batch["signature"]
    where = f"TRL {made_by['trl']}, {made_by['device']}, one thread"
    title = f"**Vocabulary {batch['vocabulary']:,}, {batch['rows']} rows, {batch['tokens']:,} tokens**"
    source = (
        f"Made by `{made_by['command']}` at {made_by['git']} ({where}): "
        f"[bench/results/{file}](../bench/results/{file})."
    )
    return "\n\n".join([title, table(COLUMNS, lines), source])


def newest_results(folder: Path = RESULTS) -> list[Path]:
    """The newest result file of each vocabulary, where there is one."""
    files = (newest(theme_of(vocabulary), folder) for vocabulary in SIZES)
    return [file for file in files if file is not None]


def theme_of(vocabulary: int) -> str:
    """The theme of the result file."""
    return f"step_{vocabulary}"


def publish(page: str, results: Sequence[Path]) -> str:
    """The page with the tables of result files between the markers."""
    tables = [markdown(json.loads(file.read_text()), file.name) for file in results]
    return between_markers(page, MARKERS, *tables)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and writes, or publishes."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("vocabulary", type=int, nargs="?", choices=SIZES)
    parser.add_argument("--only", action="append", metavar="NAME", help="measure ours and the variants named")
    parser.add_argument("--rehearsal", action="store_true", help="measure little, and write nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder (default bench/results)")
    parser.add_argument("--write", action="store_true", help="publish the newest results")
    parser.add_argument("--cell", help="one cell of memory, for a fresh process")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    if options.cell:
        variant, vocabulary, count = json.loads(options.cell)
        print(measure_memory(Variant(*variant), vocabulary, count))
    elif options.write:
        page = ROOT / PAGE
        page.write_text(publish(page.read_text(), newest_results()))
    elif options.vocabulary is None:
        parser.error("expected a vocabulary, or --write")
    else:
        _measure_and_write(SIZES[options.vocabulary], options.only, options.out, options.rehearsal)


def _measure_and_write(size: Size, only: list[str] | None, folder: Path, is_rehearsal: bool) -> None:
    command = ["python -m bench.step", str(size.vocabulary)]
    if only:
        chosen = [variant for variant in size.variants if variant.name in (OURS.name, *only)]
        size = size._replace(variants=tuple(chosen))
        command += [f'--only "{name}"' for name in only]
    if is_rehearsal:
        size = size._replace(repeats=1, processes=1)
    made_by = signature(" ".join(command), "torch", "transformers", "accelerate")
    made_by["trl"] = peers.versions()["trl"]
    result = {"signature": made_by} | measure(size)
    path = result_path(theme_of(size.vocabulary), made_by, folder)
    if not is_rehearsal:
        write(path, result)
    print(markdown(result, path.name))
    for words, is_reached in goals(result):
        print("reached" if is_reached else "MISSED", words)


if __name__ == "__main__":
    main()
