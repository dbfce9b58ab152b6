"""One owner of a folder: a lock that the operating system drops when its process ends, however it ends.

    RUN/run.lock    pid, host and start of the program that writes into RUN; removed at its end

The lock is on the file, not in the text: a killed process leaves the text, and no lock. So a lock file that
lies in a copied folder bars nobody.
"""

import atexit
import errno
import json
import os
import socket
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from dupo.errors import DISK_FULL, StorageError, UserError
from dupo.storage.names import LOCK

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# File systems that were mounted without locks: Lustre without -o flock, old NFS, some FUSE.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
# What this process owns. A lock belongs to the process, as the operating system sees it, so this is global.
_OWNED: dict[Path, "FolderLock"] = {}


class FolderLock:
    """The right to write into one folder; made by `own`.

    Attributes:
        name: the folder as the user named it.
        has_lock: False on a file system that has no locks, where another process would not be noticed.
    """

    def __init__(self, name: Path, handle: int | None, has_lock: bool, new_folders: list[Path]) -> None:
        self.name, self.has_lock = name, has_lock
        # A program may change its working directory while it owns the folder.
        self.folder = _absolute(name)
        self._handle, self._new_folders, self._pid = handle, new_folders, os.getpid()

    def release(self) -> None:
        """Removes the lock file, and the folders that were made for the lock and hold nothing else."""
        if _OWNED.get(self.folder) is not self:
            return
        del _OWNED[self.folder]
        if self._handle is None:
            return
        # A process that was forked off closes its copy of the handle, and must not free its parent's folder.
        is_owner = os.getpid() == self._pid
        # Removed while it is still locked: whoever locks it a moment later finds it removed, and tries again.
        with suppress(OSError):
            if is_owner and sys.platform != "win32":
                (self.folder / LOCK).unlink()
        os.close(self._handle)
        with suppress(OSError):
            if is_owner and sys.platform == "win32":  # Windows removes no open file
                (self.folder / LOCK).unlink()
        if is_owner:
            _remove_empty(self._new_folders)


def own(folder: Path) -> FolderLock:
    """Makes this process the owner of a folder, and the folder if it is missing.

    A process that owns the folder already keeps its lock: a second run in one process follows the first.

    Raises:
        UserError: another process owns the folder, or the folder cannot be written.
        StorageError: the disk is full.
    """
    path = _absolute(folder)
    if path in _OWNED:
        return _OWNED[path]
    new_folders = [missing for missing in (path, *path.parents) if not missing.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle, has_lock = _locked_file(folder, path / LOCK)
    except OSError as problem:
        _remove_empty(new_folders)
        is_full = problem.errno in DISK_FULL
        kind = StorageError if is_full else UserError
        raise kind(f"output_dir {folder} cannot be written: {problem.strerror}") from problem
    lock = _OWNED[path] = FolderLock(folder, handle, has_lock, new_folders)
    return lock


def follow(folder: Path) -> FolderLock:
    """The folder as a process sees it that writes nothing there: another rank of the same run owns it."""
    lock = _OWNED[_absolute(folder)] = FolderLock(folder, None, True, [])
    return lock


def owned() -> list[Path]:
    """The folders that this process owns, as the user named them."""
    return [lock.name for lock in _OWNED.values()]


def release_all() -> None:
    """Gives up every folder that this process owns."""
    for lock in list(_OWNED.values()):
        lock.release()


# A program that is used from Python has no door that would clean up.
atexit.register(release_all)


def _absolute(folder: Path) -> Path:
    return Path(os.path.abspath(folder))


def _remove_empty(folders: list[Path]) -> None:
    """Removes folders that nothing came into; the innermost stands first."""
    for folder in folders:
        with suppress(OSError):  # missing, or not empty
            folder.rmdir()


def _locked_file(folder: Path, file: Path) -> tuple[int, bool]:
    """Opens and locks the lock file; returns its handle, and whether the file system knows locks."""
    while True:
        # Not cut to nothing when it is opened: the text of another owner must stay.
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            has_lock = _try_lock(handle)
            # The owner before may have removed the file between the opening and the locking.
            if not _is_there(file, handle):
                os.close(handle)
                continue
            os.ftruncate(handle, 0)
            start = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "start": start}
            os.write(handle, json.dumps(owner).encode() + b"\n")
            return handle, has_lock
        except BlockingIOError:
            os.close(handle)
            raise UserError(
                f"output_dir {folder} is in use by {_owner(file)}: nothing was changed; "
                "wait until it ends, or give another --output_dir"
            ) from None
        except OSError:
            # A full disk has no room for the name of the owner. The lock is ours, so its file is as well.
            with suppress(OSError):
                file.unlink()
            os.close(handle)
            raise


def _try_lock(handle: int) -> bool:
    """Locks an open file, or raises BlockingIOError; returns False where the file system has no locks."""
    try:
        if sys.platform == "win32":
            # A byte far behind the text, because Windows bars others from reading what is locked.
            os.lseek(handle, 1 << 20, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            # flock and not lockf: a lock of the latter is lost when this process opens the file again.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno in _NO_LOCKS:
            return False
        if problem.errno in (errno.EACCES, errno.EDEADLK):  # how Windows says it
            raise BlockingIOError(*problem.args) from problem
        raise
    return True


def _is_there(file: Path, handle: int) -> bool:
    """Whether the name still leads to the open file."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(handle))
    except FileNotFoundError:
        return False


def _owner(file: Path) -> str:
    """Who holds a lock file, in words."""
    try:
        owner = json.loads(file.read_bytes())
        return f"process {owner['pid']} on {owner['host']}, since {owner['start']}"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return "another process"  # which has locked the file and not yet written its name
