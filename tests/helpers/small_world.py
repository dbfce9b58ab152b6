"""A folder with everything that a run reads, so small that a start takes a fraction of a second.

    data.jsonl   twelve word problems
    model/       the built-in shape with random weights, one token for each byte
    run/         a training run whose weights moved, stopped after `STEPS` steps

Paths are relative: a copy of the folder is the same world in another place.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dupo.train import main
from tests.helpers.worlds import save_tiny

STEPS, MORE = 4, 6
# Of the clock, or checksums of what is of the clock.
CLOCK = {"timings.jsonl", "summary.json", "report.html", "SHA256SUMS"}
PROBLEMS = [("Tom", 3, 4), ("Ann", 5, 9), ("Sue", 7, 2), ("Jim", 8, 6), ("Eva", 1, 12), ("Max", 4, 11)]
PROBLEMS += [("Leo", 2, 13), ("Ida", 6, 15), ("Kim", 9, 14), ("Ole", 10, 3), ("Pia", 12, 7), ("Uwe", 11, 5)]
TASK = ["--task", "word_problems", "--dataset", "data.jsonl", "--num_threads", "1"]
HELD_OUT = ["--eval_size", "2"]
# Random rewards at a high rate: weights that stay where they are would hide every fault of a resume.
TRAIN = [*TASK, "--model_name_or_path", "./model", "--output_dir", "run", "--reward", "random", *HELD_OUT]
TRAIN += ["--dual_model", "ema", "--learning_rate", "1e-3", "--beta", "0.05", "--num_iterations", "2"]
TRAIN += ["--generation_batch_size", "8", "--num_generations", "4", "--max_completion_length", "6"]
TRAIN += ["--eval_steps", "2", "--save_steps", "2"]
RESUME = ["--output_dir", "run", "--resume_from_checkpoint", "latest", "--max_steps", str(MORE)]


@contextmanager
def inside(folder: Path) -> Iterator[Path]:
    """Makes a folder the working folder for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


def question(name: str, first: int, second: int) -> str:
    return f"{name} has {first} apples and buys {second} more apples. How many apples does {name} have?"


def make_inputs(world: Path, model_seed: int = 0) -> Path:
    """The data and the model."""
    world.mkdir(parents=True)
    lines = [{"question": question(n, a, b), "answer": str(a + b)} for n, a, b in PROBLEMS]
    (world / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with inside(world):
        save_tiny(Path("model"), model_seed, *TASK, *HELD_OUT)
    return world


def make_world(world: Path, *options: str, steps: int = STEPS, model_seed: int = 0) -> Path:
    """The data, the model and a run of `steps` steps."""
    with inside(make_inputs(world, model_seed)):
        assert main([*TRAIN, "--max_steps", str(steps), *options]) == 0
    return world


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its bytes, every folder and link with None; locks are left out."""
    paths = [path for path in sorted(folder.rglob("*")) if path.name != "run.lock"]
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in paths
    }


def result(run: Path) -> dict[str, object]:
    """What must be equal: every file but those of the clock, and what a state holds but the clock."""
    files = contents(run)
    kept = {name: data for name, data in files.items() if name.rpartition("/")[2] not in CLOCK}
    kept = {name: data for name, data in kept.items() if not name.startswith("set-aside")}
    for name in [name for name in kept if name.endswith("state.pt")]:
        state = torch.load(run / name, weights_only=True)
        del state["record"]["seconds"], state["rows"]["timings.jsonl"]
        kept[name] = plain(state)
    return kept


def plain(value: object) -> object:
    """The value with bytes in place of tensors: `==` then compares bit for bit."""
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


@contextmanager
def copy_of(world: Path, place: Path) -> Iterator[Path]:
    """A copy that is removed afterwards; the working folder meanwhile."""
    shutil.copytree(world, place, symlinks=True)
    with inside(place):
        yield place
    shutil.rmtree(place)
