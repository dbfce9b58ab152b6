"""What a run leaves behind: its folder of plain files, and the signature that says what produced them.

    config.yaml      the settings, complete: they reproduce the run
    metrics.jsonl    one row per optimizer step, a pure function of settings, seed and machine
    samples.jsonl    what was asked, answered and reconstructed
    timings.jsonl    everything that comes from a clock
    summary.json     the final figures, with the signature
    warmup.pt        a supervised warm-up that Ctrl-C stopped; gone when it is done

No clock reading goes into metrics.jsonl or samples.jsonl, so those of two equal runs are the same bytes.
"""

import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dupo import __version__
from dupo.errors import UserError

METRICS, SAMPLES, TIMINGS = "metrics.jsonl", "samples.jsonl", "timings.jsonl"
CONFIG, SUMMARY, REPORT, WARMUP = "config.yaml", "summary.json", "report.html", "warmup.pt"
TAUGHT = "taught_model"  # the built-in model after its warm-up, where a program that does not train needed it
# What each program leaves beside config.yaml, and --overwrite_output_dir removes; nothing else ever is.
_LEFT: dict[str, tuple[str, ...]] = {
    "train": (METRICS, SAMPLES, TIMINGS, SUMMARY, REPORT, WARMUP, "latest", "checkpoint-[0-9]*",
              "nonfinite-[0-9]*.json"),
    "select": (SUMMARY, TAUGHT, "pass-[0-9]*.jsonl", "kept.jsonl"),
    "rerank": (SUMMARY, TAUGHT, "answers.jsonl"),
    "audit": (TAUGHT, "audit.jsonl", "audit.json", "audit.html"),
}  # fmt: skip
_OWNER = re.compile(
    r"# python -m dupo\.(\w+)\n"
)  # first line of config.yaml; that of a training run has none


# --- files ---


def write_atomic(path: Path, data: bytes) -> None:
    """Puts `data` into `path`: whoever reads, and whenever we are killed, it is all of it or the old file."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    if os.name == "posix":  # the rename itself must outlive a power cut; Windows cannot open a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl file of a run; [] if there is no such file.

    Lenient, for readers: a line that is no JSON object (the torn end of a killed run) is skipped.
    """
    if not path.is_file():
        return []
    rows = (_parsed(line) for line in path.read_bytes().split(b"\n"))
    return [row for row in rows if row is not None]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _not_finite(value: object, path: str = "") -> str | None:
    """Where in a nested row the first NaN or infinity stands, as "key = nan"."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{path} = {value}"
    items: list[tuple[object, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    found = (_not_finite(inner, f"{path}.{key}" if path else str(key)) for key, inner in items)
    return next((place for place in found if place), None)


def encoded(value: dict[str, Any], what: str, indent: int | None = None) -> bytes:
    """A row of a .jsonl file, or a whole .json file. ValueError, naming `what`, for NaN and infinity."""
    if place := _not_finite(value):
        raise ValueError(f"{what}: every number must be finite, got {place}")
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    # A lone surrogate (legal in JSON input) has no UTF-8 form; backslashreplace writes its JSON escape.
    return text.encode("utf-8", errors="backslashreplace") + b"\n"


# --- the folder ---


def owner_of(path: Path) -> str | None:
    """The program whose run a folder holds; None where it holds none."""
    file = path / CONFIG
    if not file.is_file():
        return None
    found = _OWNER.match(file.read_bytes()[:100].decode("utf-8", "replace"))
    return found[1] if found else "train"


class RunFolder:
    """The output folder of one run. Made by `create` or `open`, never directly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def check(path: Path, overwrite: bool, program: str = "train") -> None:
        """Raises UserError where `create` would, and touches nothing."""
        try:
            if path.exists() and not path.is_dir():
                raise UserError(f"output_dir {path}: expected a folder, got a file")
            if not path.is_dir() or next(path.iterdir(), None) is None:
                return
            owner = owner_of(path)
            if owner == program and [file.name for file in path.iterdir()] == [CONFIG]:
                return  # a start that failed before it wrote anything else
        except OSError as problem:
            raise UserError(f"output_dir {path} cannot be read: {problem.strerror}") from problem
        if owner != program:
            held = f"work of dupo.{owner}" if owner else f"no run (no {CONFIG})"
            raise UserError(
                f"output_dir {path} is not empty and holds {held}: it is never overwritten, "
                "give another folder"
            )
        if not overwrite:
            go_on = ", --resume_from_checkpoint latest continues it" if program == "train" else ""
            raise UserError(f"output_dir {path} holds another run: --overwrite_output_dir replaces it{go_on}")

    @classmethod
    def create(cls, path: Path, config_yaml: str, overwrite: bool, program: str = "train") -> "RunFolder":
        """A fresh run folder with its config.yaml.

        Args:
            overwrite: remove the run that is there. Only what that program writes is removed; the rest stays.
            program: whose run it is.

        Raises:
            UserError: the folder holds a run of this program and `overwrite` is off, is not empty and holds
                none of it (whatever `overwrite` says), or cannot be written.
        """
        cls.check(path, overwrite, program)
        try:
            path.mkdir(parents=True, exist_ok=True)
            # config.yaml last: a removal that is cut short leaves a folder that is still known as a run.
            for pattern in (*_LEFT[program], *(f"{name}.tmp" for name in (*_LEFT[program], CONFIG)), CONFIG):
                for old in [entry for entry in path.iterdir() if fnmatchcase(entry.name, pattern)]:
                    if old.is_dir() and not old.is_symlink():
                        shutil.rmtree(old)
                    else:
                        old.unlink()
            head = "" if program == "train" else f"# python -m dupo.{program}\n"
            write_atomic(path / CONFIG, (head + config_yaml).encode())
        except OSError as problem:
            raise UserError(f"output_dir {path} cannot be written: {problem.strerror}") from problem
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """The folder of a run that is to go on: `cut` it before adding. Raises UserError if it holds none."""
        if not (path / CONFIG).is_file():
            raise UserError(f"output_dir {path} holds no run to continue (no {CONFIG})")
        return cls(path)

    def metrics(self, row: dict[str, Any]) -> None:
        """Appends the figures of one optimizer step, `step` among them; nothing read from a clock.

        Floats are written so that they read back bit for bit. Raises ValueError if one is not finite
        (nothing is written then) and KeyError without `step`. The row is with the operating system when
        this returns: a killed process loses nothing.
        """
        self._append(METRICS, [row])

    def samples(self, rows: list[dict[str, Any]]) -> None:
        """Appends sampled exchanges, each with its `step`; otherwise as `metrics`."""
        self._append(SAMPLES, rows)

    def timings(self, row: dict[str, Any]) -> None:
        """Appends what a clock said about one step (seconds, tokens per second); otherwise as `metrics`."""
        self._append(TIMINGS, [row])

    def summary(self, figures: dict[str, Any]) -> None:
        """Replaces summary.json, atomically. Raises ValueError if a figure is not finite (use None)."""
        write_atomic(self.path / SUMMARY, encoded(figures, SUMMARY, indent=2))

    def cut(self, step: int) -> None:
        """Forgets every row after `step`, and a last line that a kill tore. Rows kept keep their bytes.

        Raises UserError for an unreadable line that is not the last one: the file was damaged by others.
        """
        for name in (METRICS, SAMPLES, TIMINGS):
            path = self.path / name
            if not path.is_file():
                continue
            lines = path.read_bytes().splitlines(keepends=True)
            kept = b"".join(
                line
                for number, line in enumerate(lines, 1)
                if _stays(path, line, number, number == len(lines), step)
            )
            if kept != b"".join(lines):
                write_atomic(path, kept)

    def _append(self, name: str, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        data = b"".join(encoded(row, f"{name} at step {row['step']}") for row in rows)
        with (self.path / name).open("ab") as file:
            file.write(data)


def _stays(path: Path, line: bytes, number: int, last: bool, step: int) -> bool:
    row = _parsed(line)
    if row is not None and isinstance(row.get("step"), int) and line.endswith(b"\n"):
        return row["step"] <= step
    if not last:
        raise UserError(f"{path}:{number}: expected a JSON object with a step, got {line[:40]!r}")
    return False


# --- the signature ---


def signature(config_hash: str, device: str, threads: int) -> dict[str, str]:
    """What produced a figure: versions, revision, device, threads, settings.

    `git` is the revision of the checkout that this file is tracked in, with "+dirty" if tracked files
    differ from it; "none" where the package runs outside a checkout. A package that is not installed has
    version "none".
    """
    packages = {name: _version(name) for name in ("torch", "triton", "transformers")}
    return {
        "dupo": __version__,
        "git": git_revision(Path(__file__)),
        **packages,
        "python": platform.python_version(),
        "device": device,
        "threads": str(threads),
        "config": config_hash,
    }


def signature_line(fields: dict[str, str]) -> str:
    """A signature as one line, in sacrebleu's style: "dupo:0.1.0|git:abc1234|torch:2.13.0|..."."""
    return "|".join(f"{name}:{value}" for name, value in fields.items())


def git_revision(file: Path) -> str:
    """Short revision of the checkout that tracks `file`, "+dirty" if its tracked files differ, or "none".

    The file must be tracked: a package installed somewhere below another project is not of its revision.
    """
    if _git(file, "ls-files", "--error-unmatch", "--", file.name) is None:
        return "none"
    revision = _git(file, "rev-parse", "--short", "HEAD")
    if not revision:
        return "none"
    return revision + ("+dirty" if _git(file, "status", "--porcelain", "--untracked-files=no") else "")


def _git(file: Path, *arguments: str) -> str | None:
    """Standard output of git in the folder of `file`; None if git is absent or fails."""
    program = shutil.which("git")
    if program is None:
        return None
    # Without optional locks, `status` in one run never disturbs a commit that is being made meanwhile.
    command = [program, "--no-optional-locks", "-C", str(file.parent), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
