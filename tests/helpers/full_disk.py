"""Programs on a real disk of a few megabytes that is full from a named point on; see tests/reliability.

`python -m tests.helpers.full_disk DISK MODEL NEVER` prints one line of JSON for every point. It fills the
disk when a program opens, or makes, the file of the point; takes the ballast away when the program has ended;
and starts the program again. Runs that were never stopped go to the folder NEVER.
"""

import contextlib
import errno
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dupo import audit, rerank, select, train

SMALL = ["--num_threads", "1", "--generation_batch_size", "16"]
TRAIN = ["--max_steps", "4", "--save_steps", "2", "--eval_steps", "2", "--eval_size", "8"]
TRAIN += ["--reward", "random", "--dual_model", "ema", *SMALL]
ROWS = ["--num_problems", "6", "--num_generations", "4", *SMALL]
NOT_FINITE = [*TRAIN, "--learning_rate", "1", "--beta", "1e38", "--max_steps", "50", "--dual_model", "frozen"]
# What two runs must have in common, as far as the program writes it.
COMPARED = ("metrics.jsonl", "samples.jsonl", "checkpoint-4/model.safetensors")
COMPARED += ("checkpoint-4/ema.safetensors", "answers.jsonl", "audit.jsonl", "pass-1.jsonl", "kept.jsonl")
WEIGHTS = 1_330_000  # bytes of one copy of the model


@dataclass(frozen=True)
class Point:
    """Where the disk is full.

    Attributes:
        file: the end of the path that is opened or made.
        count: the disk is full at the n-th of these.
        leave: bytes of room that are left.
    """

    program: str
    file: str
    count: int = 1
    leave: int = 0


POINTS = {
    "start": Point("train", "run.lock"),
    "settings": Point("train", "config.yaml.tmp"),
    "metrics": Point("train", "metrics.jsonl"),
    "samples": Point("train", "samples.jsonl"),
    "timings": Point("train", "timings.jsonl"),
    "first checkpoint, no room": Point("train", "timings.jsonl", 2, WEIGHTS),
    "first checkpoint, weights": Point("train", "checkpoint-2.tmp", leave=20_000),
    "first checkpoint, average": Point("train", "checkpoint-2.tmp", leave=WEIGHTS + 20_000),
    "second checkpoint, no room": Point("train", "timings.jsonl", 4, WEIGHTS),
    "second checkpoint, state": Point("train", "checkpoint-4.tmp", leave=2 * WEIGHTS + 30_000),
    "latest": Point("train", "latest.tmp"),
    "summary": Point("train", "summary.json.tmp"),
    "report": Point("train", "report.html.tmp"),
    "failure": Point("not finite", "nonfinite-"),
    "answers": Point("rerank", "answers.jsonl", 2),
    "answers, summary": Point("rerank", "summary.json.tmp"),
    "pass": Point("select", "pass-1.jsonl", 2),
    "kept duals": Point("select", "kept.jsonl.tmp"),
    "audit rows": Point("audit", "audit.jsonl", 2),
    "audit result": Point("audit", "audit.json.tmp"),
    "audit page": Point("audit", "audit.html.tmp"),
}
PROGRAMS: dict[str, tuple[Callable[[Sequence[str]], int], list[str]]] = {
    "train": (train.main, TRAIN),
    "not finite": (train.main, NOT_FINITE),
    "rerank": (rerank.main, ROWS),
    "select": (select.main, [*ROWS, "--pool_sizes", "4"]),
    "audit": (audit.main, ROWS),
}


class Disk:
    """A folder on a small disk of its own, that `armed` fills at a point."""

    def __init__(self, path: Path) -> None:
        self.path, self.ballast = path, path / "ballast"
        self.point: Point | None = None
        self.seen = 0
        # Called before the file is opened; an audit hook stays until the process ends.
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[object, ...]) -> None:
        point = self.point
        if point is None or event not in ("open", "os.mkdir"):
            return
        path, mode = str(args[0]), args[1] if event == "open" else "w"
        is_write = not isinstance(mode, str) or mode[0] in "wa"
        if is_write and point.file in Path(path).name:
            self.seen += 1
            if self.seen == point.count:
                self.point = None
                self._fill(point.leave)

    def _fill(self, leave: int) -> None:
        with self.ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass
        with self.ballast.open("r+b", buffering=0) as file, contextlib.suppress(OSError):
            file.seek(0, io.SEEK_END)
            while file.write(bytes(1 << 12)):
                pass
        os.truncate(self.ballast, self.ballast.stat().st_size - leave)
        free = os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_frsize
        assert abs(free - leave) <= 1 << 13, (errno.errorcode[errno.ENOSPC], free, leave)


def call(program: str, *options: str) -> tuple[int, str]:
    """Exit code of a program, and its stderr without warnings of libraries."""
    main, fixed = PROGRAMS[program]
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        code = main([*fixed, *options])
    return code, err.getvalue()


def trial(name: str, disk: Disk, model: str, never: Path) -> dict[str, object]:
    """What a program says at a full disk, what it leaves, and whether it then goes on to the same bytes."""
    point, run = POINTS[name], disk.path / "run"
    options = ["--model_name_or_path", model, "--output_dir"]
    if not never.exists():
        call(point.program, *options, str(never))
    disk.point, disk.seen = point, 0
    code, err = call(point.program, *options, str(run))
    was_full = disk.ballast.exists()
    disk.point = None
    disk.ballast.unlink(missing_ok=True)
    left = sorted(file.name for file in run.rglob("*.tmp")) if run.is_dir() else []
    saved = (run / "latest").read_text() if (run / "latest").is_file() else ""
    goes_on = ["--resume_from_checkpoint", "latest"] if point.program == "train" and run.is_dir() else []
    again, told = 0, ""
    if point.program != "not finite":  # which ends on its own
        again, told = call(point.program, *options, str(run), *goes_on)
    files = [file for file in COMPARED if (never / file).is_file()]
    there = [file for file in files if (run / file).is_file()]
    same = [file for file in there if (run / file).read_bytes() == (never / file).read_bytes()]
    shutil.rmtree(run, ignore_errors=True)
    return {"name": name, "was_full": was_full, "code": code, "err": err, "left": left, "saved": saved,
            "again": again, "told": told, "other": sorted(set(files) - set(same))}  # fmt: skip


if __name__ == "__main__":
    disk, never = Disk(Path(sys.argv[1])), Path(sys.argv[3])
    for name in sys.argv[4:] or POINTS:
        print(json.dumps(trial(name, disk, sys.argv[2], never / POINTS[name].program)), flush=True)
