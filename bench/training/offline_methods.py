"""dpo, kto, reward_model and sft beside the trainers of TRL: time and memory of five steps, on a CPU.

    .ci/peers DIRECTORY trl datasets && . DIRECTORY/variables
    export PYTHONPATH=$PYTHONPATH:$DUPO_PEER_TRL:$DUPO_PEER_DATASETS
    python -m bench.training.offline_methods                 measures, and writes a file of bench/results
    python -m bench.training.offline_methods --rehearsal     one method, small, once; writes nothing
    python -m bench.training.offline_methods --write         publishes the newest file in docs/trl.md

Float32, the same weights and the same 24 rows in every step, a Qwen3 of two layers, 128 wide, with a
vocabulary of 8,192. Rows are of one length, or two thirds of TRL's batch are padding. Every run is a process
of its own, TRL's and ours in turn, on one thread. Time is CPU time of the steps, with the log-probs of the
reference; memory is what the steps add at their peak. Needs Linux.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from bench.loss_head.results import instructions, table
from bench.peak_memory import added_bytes
from bench.result_files import RESULTS, ROOT, between_markers, newest, result_path, signature, write
from bench.training.trl_runs import Size, logged, make_model, saved_model, scored_model, tokenizer
from bench.training.trl_trainers import ratios
from dupo.config.catalogue import METHODS, load
from dupo.config.command_line import parse

THEME, PAGE = "offline_methods", ROOT / "docs/trl.md"
MARKERS = ("<!-- offline methods: made by bench -->", "<!-- end of offline methods -->")
TRAINERS = {"dpo": "DPO", "kto": "KTO", "reward_model": "Reward", "sft": "SFT"}
ROWS, STEPS, RATE, REPEATS = 24, 5, 2e-5, 3
SIZE, LONGEST = Size(vocabulary=8_192, hidden=128), 120
SMALL, SHORT = Size(vocabulary=512), 60
PADDED = {"one length": 0.0, "two thirds padding": 2 / 3}
APART = 1e-5
COLUMNS = ("method", "rows", "MiB, TRL", "MiB, dupo", "memory / TRL", "CPU seconds, TRL", "time / TRL")


class Cell(NamedTuple):
    """One run: whose, of which method, on which rows."""

    kind: str
    rows: str
    size: Size
    longest: int
    is_ours: bool


def texts(longest: int, padding: float) -> list[dict[str, Any]]:
    """A prompt with two answers and a label; of 24 rows two are longest, and the mean makes the padding."""
    rows = []
    for i in range(ROWS):
        is_long = padding == 0 or i % 12 == 0
        length = longest if is_long else round((ROWS * longest * (1 - padding) - 2 * longest) / (ROWS - 2))
        prompt = f"{i:02d}+{i * 3:02d}="
        good, bad = (text * longest for text in (f"{i * 4} ", f"{i * 5 + 1}; "))
        answers = {"chosen": good[: length - len(prompt)], "rejected": bad[: length - len(prompt)]}
        rows.append({"prompt": prompt, **answers, "label": i % 2 == 0})
    return rows


def rows_of(cell: Cell) -> list[dict[str, Any]]:
    """The rows as a method reads them."""
    rows = texts(cell.longest, PADDED[cell.rows])
    if cell.kind in ("dpo", "reward_model"):
        return [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in rows]
    answers = [row["chosen" if row["label"] else "rejected"] for row in rows]
    named = [{"prompt": row["prompt"], "completion": text} for row, text in zip(rows, answers, strict=True)]
    if cell.kind == "sft":
        return named
    return [answer | {"label": row["label"]} for answer, row in zip(named, rows, strict=True)]


def measure_cell(cell: Cell) -> dict[str, Any]:
    """Seconds, bytes, losses and norms of one run."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = saved_model(make_model(cell.size), folder)
        if cell.kind == "reward_model":
            scored_model(model)
        steps = (_ours if cell.is_ours else _theirs)(cell, model, Path(folder))
        metrics: list[dict[str, Any]] = []
        started = time.process_time()
        peak = added_bytes(lambda: metrics.extend(steps()))
        seconds = time.process_time() - started
    told = [[float(row[name]) for name in ("loss", "grad_norm")] for row in metrics]
    return {"seconds": seconds, "peak_bytes": peak, "metrics": told}


def _ours(cell: Cell, model: str, folder: Path) -> Any:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(cell)), encoding="utf-8")
    words = ["--method", cell.kind, "--dataset", str(path), "--model_name_or_path", model, "--eval_size", "0"]
    words += ["--max_steps", str(STEPS), "--train_batch_size", str(ROWS), "--learning_rate", str(RATE)]
    method = load(METHODS[cell.kind].path)(parse([*words, "--num_threads", "1"]))
    method.load()
    method.start()
    return lambda: [method.update(method.next_batch(step), step) for step in range(STEPS)]


def _theirs(cell: Cell, model: str, folder: Path) -> Any:
    trl, datasets = importlib.import_module("trl"), importlib.import_module("datasets")
    settings = getattr(trl, f"{TRAINERS[cell.kind]}Config")(
        output_dir=str(folder / "theirs"), use_cpu=True, max_steps=STEPS, logging_steps=1, report_to="none",
        save_strategy="no", learning_rate=RATE, per_device_train_batch_size=ROWS, bf16=False,
        disable_tqdm=True, gradient_checkpointing=False, lr_scheduler_type="constant",
    )  # fmt: skip
    trainer = getattr(trl, f"{TRAINERS[cell.kind]}Trainer")(
        model=model,
        args=settings,
        train_dataset=datasets.Dataset.from_list(rows_of(cell)),
        processing_class=tokenizer(),
    )

    def steps() -> list[dict[str, Any]]:
        trainer.train()
        return logged(trainer)

    return steps


def measured(cell: Cell) -> dict[str, Any]:
    """A run in a process of its own."""
    command = [sys.executable, "-m", "bench.training.offline_methods", "--cell", json.dumps(cell)]
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    # Memory that was freed goes back at once, so that the peak is that of what lives together.
    environment = os.environ | quiet | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{cell}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(kind: str, rows: str, size: Size, longest: int, repeats: int) -> dict[str, Any]:
    """TRL's and ours in turn.

    Raises:
        SystemExit: losses or norms of the gradient are further apart than `APART`.
    """
    runs: dict[str, list[dict[str, Any]]] = {"theirs": [], "ours": []}
    for _ in range(repeats):
        for name, those in runs.items():
            those.append(measured(Cell(kind, rows, size, longest, name == "ours")))
    for step, pair in enumerate(zip(*(runs[name][0]["metrics"] for name in runs), strict=True), start=1):
        for name, a, b in zip(("loss", "grad_norm"), *pair, strict=True):
            # Asked this way round, NaN is no agreement.
            if not abs(a - b) <= APART * max(abs(a), abs(b), 0.1):
                raise SystemExit(f"{kind}, {rows}, step {step}: expected {name} {a}, got {b}")
    return {"kind": kind, "rows": rows, **runs}


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """The table: medians, with the least and the most of the ratios."""
    lines = []
    for result in results:
        both = ("theirs", "ours")
        memory = {name: [row["peak_bytes"] for row in result[name]] for name in both}
        seconds = {name: [row["seconds"] for row in result[name]] for name in both}
        cells = [result["kind"], result["rows"], *(f"{median(memory[n]) / 2**20:,.0f}" for n in both)]
        lines.append(
            [
                *cells,
                ratios(memory["theirs"], memory["ours"]),
                f"{median(seconds['theirs']):.2f}",
                ratios(seconds["theirs"], seconds["ours"]),
            ]
        )
    return table(COLUMNS, lines)


def section(path: Path | None) -> str:
    """What stands between the markers."""
    if path is None:
        return "Not measured yet."
    result = json.loads(path.read_text(encoding="utf-8"))
    made_by = result["signature"]
    machine = f"{made_by['device']}, one thread, {made_by['instructions']}; torch {made_by['torch']}"
    link = f"[bench/results/{path.name}](../bench/results/{path.name})"
    source = f"Made by `{made_by['command']}` at {made_by['git']} ({machine}, TRL {made_by['trl']}): {link}."
    return f"{markdown(result['methods'])}\n\n{source}"


def publish(page: str, path: Path | None) -> str:
    """The page with the table between the markers."""
    return between_markers(page, MARKERS, section(path))


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and writes, or publishes."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--rehearsal", action="store_true", help="measure little, and write nothing")
    parser.add_argument("--write", action="store_true", help="publish the newest result")
    parser.add_argument("--cell", help="one run, for a fresh process")
    options = parser.parse_args(argv)
    if options.cell:
        kind, rows, size, longest, is_ours = json.loads(options.cell)
        print(json.dumps(measure_cell(Cell(kind, rows, Size(*size), longest, is_ours))))
        return
    if options.write:
        PAGE.write_text(publish(PAGE.read_text(encoding="utf-8"), newest(THEME)), encoding="utf-8")
        return
    made_by = signature("python -m bench.training.offline_methods", "torch", "transformers")
    made_by |= {"trl": importlib.import_module("trl").__version__, "instructions": instructions()}
    plan = (["dpo"], SMALL, SHORT, 1) if options.rehearsal else (list(TRAINERS), SIZE, LONGEST, REPEATS)
    kinds, size, longest, repeats = plan
    results = []
    for kind in kinds:
        for rows in PADDED:
            results.append(compare(kind, rows, size, longest, repeats))
            print(markdown(results[-1:]), flush=True)
    if not options.rehearsal:
        write(result_path(THEME, made_by, RESULTS), {"signature": made_by, "methods": results})


if __name__ == "__main__":
    main()
