"""Rollouts on disk from when they are sampled until a checkpoint holds what came of them.

    RUN/rollouts/N/rollout.pt    what the method remembers after the rollout that optimizer step N begins with
    RUN/rollouts/N/SHA256SUMS
    RUN/rollouts/N.jsonl         while it is sampled: its groups so far, see `storage/kept_groups.py`

A run that is killed in an update goes on from its last checkpoint: it makes the steps since then again, each
on the rollout that is here, and samples none. A rollout is taken only where sampling again would give the
same: in a run of equal inputs, settings and versions whose metrics up to that step are equal byte for byte.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dupo.storage.checksums import broken_sums, write_sums
from dupo.storage.files import check_disk_space, whole_folder, writing
from dupo.storage.kept_groups import KeptGroups
from dupo.storage.names import FORMAT, ROLLOUTS
from dupo.storage.tensors import num_bytes, save_tensors

_FILE = "rollout.pt"


class SavedRollouts:
    """The rollouts of one run since its last checkpoint.

    Args:
        run: the folder of the run.
        seconds: a rollout that took less is not saved.
        origin: everything that decides what a rollout at this moment is, as plain values.
        tell: gets a line for the user.
    """

    def __init__(
        self,
        run: Path,
        seconds: float,
        origin: Callable[[], Mapping[str, Any]],
        tell: Callable[[str], None],
    ) -> None:
        self.folder, self.seconds = run / ROLLOUTS, seconds
        self._origin, self._tell = origin, tell

    def groups(self, step: int) -> KeptGroups:
        """Where groups are kept while the rollout is sampled; it holds those of a run that was killed."""
        groups = KeptGroups(self._groups_file(step), self.seconds, self._origin())
        if groups.num_kept:
            self._tell(f"the rollout of step {step + 1} goes on from {groups.file}")
        return groups

    def _groups_file(self, step: int) -> Path:
        return self.folder / f"{step}.jsonl"

    def save(self, step: int, seconds: float, state: Callable[[], dict[str, Any]]) -> None:
        """Writes a rollout, whole or not at all; does nothing for one that was sampled in a moment.

        Args:
            step: optimizer steps done.
            seconds: that the rollout took.
            state: gives what the method remembers, as tensors and plain values.

        Raises:
            StorageError: the disk is full, or the folder cannot be written.
        """
        # To sample again costs less than it costs to save each time.
        if seconds >= self.seconds:
            self._write(step, state)
        if self._groups_file(step).is_file():
            self._groups_file(step).unlink()

    def _write(self, step: int, state: Callable[[], dict[str, Any]]) -> None:
        saved = {"format": FORMAT, "origin": dict(self._origin()), "state": state()}
        folder = self.folder / str(step)
        with writing(folder):
            self.folder.mkdir(exist_ok=True)
        check_disk_space(folder, num_bytes(saved))
        with whole_folder(folder) as temporary:
            save_tensors(saved, temporary / _FILE)
            write_sums(temporary)

    def load(self, step: int) -> dict[str, Any] | None:
        """What `save` wrote; None where nothing was, or where sampling again may give something else."""
        folder = self.folder / str(step)
        if not folder.is_dir():
            return None
        saved, complaint = _read(folder)
        if not complaint and saved["origin"] != dict(self._origin()):
            complaint = "it is of other settings, versions or steps before"
        if complaint:
            self._tell(f"{folder} is not used ({complaint}): sampling again")
            return None
        self._tell(f"step {step + 1} learns from the saved rollout in {folder}: nothing is sampled again")
        return saved["state"]

    def drop(self, step: int) -> None:
        """Removes the rollouts before a step: a checkpoint after that step holds all that is left of them."""
        if not self.folder.is_dir():
            return
        for entry in self.folder.iterdir():
            # What a kill left half written has another name than a number.
            number = entry.name.removesuffix(".jsonl")
            # An error may have ended the rollout of this very step, whose groups are not asked again.
            if number.isdecimal() and int(number) >= step:
                continue
            if entry.is_file():
                entry.unlink()
            else:
                shutil.rmtree(entry, ignore_errors=True)
        # An empty folder would tell a reader that something was left over.
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


def _read(folder: Path) -> tuple[dict[str, Any], str]:
    """What a folder holds and "", or an empty mapping and what is wrong."""
    if complaint := broken_sums(folder, _FILE):
        return {}, complaint
    try:
        saved = torch.load(folder / _FILE, map_location="cpu", weights_only=True)
    except Exception as problem:  # torch raises ten kinds for a broken file, most of them undocumented
        return {}, f"{_FILE} cannot be read ({type(problem).__name__})"
    is_ours = isinstance(saved, dict) and saved.get("format") == FORMAT and "origin" in saved
    return (saved, "") if is_ours else ({}, "it was written by another dupo")
