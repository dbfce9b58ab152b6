"""Kills a program at its n-th change of a folder, as the system would: SIGKILL, in a forked process.

Python tells of every file that is opened, renamed or removed (PEP 578). What is written between two of these
places is whole or in a temporary file.
"""

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Program = Callable[[], int]
_CHANGES = {
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "shutil.rmtree",
    "shutil.copyfile",
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def in_child(program: Program) -> int:
    """Runs the program in a forked process, which has torch loaded already; returns the wait status."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1), os.dup2(silent, 2)
            status = program()
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def places(program: Program, folder: Path, log: Path) -> list[str]:
    """Every place at which the program changes the folder, by name; the program runs to its end.

    Args:
        log: a file for the names, outside of the folder.
    """

    def watched() -> int:
        with log.open("w", buffering=1) as out:
            watch_changes(folder, lambda name: out.write(f"{name}\n"))
            return program()

    assert os.waitstatus_to_exitcode(in_child(watched)) in (0, 130)
    return log.read_text().splitlines()


def kill_at(number: int, program: Program, folder: Path) -> None:
    """Runs the program until just before its change `number` of the folder, counted from 0."""

    def watched() -> int:
        watch_changes(folder, in_call(number, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        return program()

    assert os.waitstatus_to_exitcode(in_child(watched)) == -signal.SIGKILL


def in_call(number: int, act: Callable[[], object]) -> Callable[..., None]:
    """A function that acts in its call `number`, counted from 0, whatever it is called with."""
    left = [number]

    def count(*_: object) -> None:
        if left[0] == 0:
            act()
        left[0] -= 1

    return count


def distinct(named: list[str]) -> list[int]:
    """The last place of each name: later checkpoints replace and remove, which the first ones do not. The
    files of a temporary folder count as one place: nobody reads the folder before its rename."""
    short = [re.sub(r"[0-9]+", "N", re.sub(r"(\.tmp|\.gone)/.*", r"\1/*", name)) for name in named]
    return sorted({name: number for number, name in enumerate(short)}.values())


def _folder_of(event: str, arguments: tuple[Any, ...]) -> str:
    """The folder that a path is relative to: rmtree names files by the handle of their folder."""
    handle = arguments[-1] if event in ("os.remove", "os.rmdir") else -1
    return os.readlink(f"/proc/self/fd/{handle}") if isinstance(handle, int) and handle >= 0 else ""


def watch_changes(folder: Path, tell: Callable[[str], object]) -> None:
    """Calls `tell` before every change of the folder, from now to the end of the process."""
    inside = str(folder.resolve())

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        is_change = event in _CHANGES or (event == "open" and int(arguments[2] or 0) & _WRITES)
        # Handles are numbers; a hook that fails would look like a failure of the program.
        if not is_change or not isinstance(arguments[0], str | os.PathLike):
            return
        path = os.path.abspath(os.path.join(_folder_of(event, arguments), os.fspath(arguments[0])))
        if path.startswith(inside) and not path.endswith("run.lock"):
            tell(f"{event} {os.path.relpath(path, inside)}")

    sys.addaudithook(hook)
