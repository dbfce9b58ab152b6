"""The output folder of one run, as plain files whose names stand in `storage/names.py`.

No clock reading goes into metrics.jsonl or samples.jsonl. So two runs with equal settings, on one machine,
write the same bytes.
"""

import shutil
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dupo.errors import UserError
from dupo.storage.files import append, encoded, write_atomic
from dupo.storage.names import (
    CONFIG,
    GIVEN,
    INPUTS,
    LOCK,
    METRICS,
    SAMPLES,
    SUMMARY,
    TIMINGS,
    WRITTEN_BY,
    first_line,
    program_of,
)

# What a start leaves that was killed, or failed, before it had done any work.
_FIRST_FILES = {CONFIG, INPUTS, f"{CONFIG}.tmp", f"{INPUTS}.tmp"}


class RunFolder:
    """The output folder of one run. Use `create` or `open`, not the constructor."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def check(path: Path, overwrite: bool, program: str = "train") -> None:
        """Raises UserError where `create` would, and touches nothing."""
        try:
            if path.exists() and not path.is_dir():
                raise UserError(f"output_dir {path}: expected a folder, got a file")
            # The lock and the inputs that a call brought are no content: this start has just made them, or a
            # killed one has left them.
            names = {file.name for file in path.iterdir()} - {LOCK, GIVEN} if path.is_dir() else set()
            if not names:
                return
            owner = program_of(path)
            # Settings alone are left by a start that failed before anything else was written.
            if (owner == program and names <= _FIRST_FILES) or names == {f"{CONFIG}.tmp"}:
                return
        except OSError as problem:
            raise UserError(f"output_dir {path} cannot be read: {problem.strerror}") from problem
        # What another program wrote, or nobody's run, is never this program's to remove.
        if owner != program:
            content = f"work of dupo.{owner}" if owner else f"no run (no {CONFIG})"
            raise UserError(
                f"output_dir {path} is not empty and holds {content}: it is never overwritten, "
                "give another folder"
            )
        if not overwrite:
            resume = ", --resume_from_checkpoint latest continues it" if program == "train" else ""
            raise UserError(
                f"output_dir {path} already holds a run: --overwrite_output_dir replaces it{resume}"
            )

    @classmethod
    def create(cls, path: Path, config_yaml: str, overwrite: bool, program: str = "train") -> "RunFolder":
        """Makes a fresh run folder that holds config.yaml.

        Args:
            path: the folder; parents are made as needed.
            config_yaml: the settings of the run.
            overwrite: remove the files of an earlier run of this program. Other files in the folder stay.
            program: the program whose run this is.

        Raises:
            UserError: the folder holds a run of this program and `overwrite` is off; or the folder holds
                other files and no run of this program, whatever `overwrite` says; or writing fails.
        """
        cls.check(path, overwrite, program)
        try:
            path.mkdir(parents=True, exist_ok=True)
            _remove_run(path, program)
            run = cls(path)
            run.settings(config_yaml, program)
        except OSError as problem:
            raise UserError(f"output_dir {path} cannot be written: {problem.strerror}") from problem
        return run

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Opens the folder of a run that continues.

        Raises:
            UserError: the folder holds no run.
        """
        if not (path / CONFIG).is_file():
            raise UserError(f"output_dir {path} holds no run to continue (no {CONFIG})")
        return cls(path)

    def settings(self, config_yaml: str, program: str) -> None:
        """Replaces config.yaml in one step."""
        write_atomic(self.path / CONFIG, (first_line(program) + config_yaml).encode())

    def metrics(self, row: dict[str, Any]) -> None:
        """Appends the metrics of one optimizer step to metrics.jsonl; `row` holds no reading of a clock.

        Floats read back bit for bit. The operating system has the row when this method returns, so a
        killed process loses nothing.

        Raises:
            KeyError: the row has no `step`.
            ValueError: a number is not finite; nothing is written.
            StorageError: the disk is full, or the file cannot be written; nothing is written.
        """
        self._append(METRICS, [row])

    def samples(self, rows: list[dict[str, Any]]) -> None:
        """Appends sampled exchanges to samples.jsonl, each with its `step`; raises as `metrics` does."""
        self._append(SAMPLES, rows)

    def timings(self, row: dict[str, Any]) -> None:
        """Appends the seconds and rates of one step to timings.jsonl; raises as `metrics` does."""
        self._append(TIMINGS, [row])

    def summary(self, metrics: Mapping[str, Any], name: str = SUMMARY) -> None:
        """Replaces summary.json, or the .json file that `name` says, in one step.

        Raises:
            ValueError: a number is not finite; write None for a metric that could not be measured.
        """
        write_atomic(self.path / name, encoded(dict(metrics), name, indent=2))

    def _append(self, name: str, rows: list[dict[str, Any]]) -> None:
        # No rows, no file: a reader takes an empty file for a run that sampled nothing.
        if not rows:
            return
        # Encode first: a number that is not finite then leaves the file as it was.
        append(self.path / name, b"".join(encoded(row, f"{name} at step {row['step']}") for row in rows))


class NoFolder(RunFolder):
    """The folder of a run as a rank sees it that writes nothing: the first rank writes what all know."""

    def settings(self, config_yaml: str, program: str) -> None:
        """Writes nothing."""

    def summary(self, metrics: Mapping[str, Any], name: str = SUMMARY) -> None:
        """Writes nothing."""

    def _append(self, name: str, rows: list[dict[str, Any]]) -> None:
        pass


def _remove_run(folder: Path, program: str) -> None:
    """Removes what an earlier run of the program wrote, with the temporary files of a killed write."""
    names = WRITTEN_BY[program]
    # config.yaml last: a removal that is cut short leaves a folder that still counts as a run.
    for pattern in (*names, *(f"{name}.tmp" for name in (*names, CONFIG)), CONFIG):
        for entry in [entry for entry in folder.iterdir() if fnmatchcase(entry.name, pattern)]:
            # A link is removed, never followed: its target lies outside of the run.
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
