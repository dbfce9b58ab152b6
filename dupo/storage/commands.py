"""What programs tell a user to type next: a command, or from Python a call."""

import shlex
import sys
from contextvars import ContextVar
from pathlib import Path

_from_python: ContextVar[bool] = ContextVar("from_python", default=False)


def speak_python() -> None:
    """Lets `start_of` and `resume_command` name calls of `dupo.api`, in this context alone."""
    _from_python.set(True)


def command(program: str) -> str:
    """How the user starts a program: in the way in which this process was started, as far as can be told.

    Returns:
        `dupo train`, `python -m dupo train`, or in a process that is none of dupo `python -m dupo.train`.
    """
    script = Path(next(iter(sys.argv), ""))
    if script.name in ("dupo", "dupo.exe"):
        return f"dupo {program}"
    if script.parts[-2:] == ("dupo", "__main__.py"):
        return f"python -m dupo {program}"
    return f"python -m dupo.{program}"


def start_of(program: str, *, more: bool = False, **options: object) -> str:
    """The start of a program with some options: a command as a shell reads it, or from Python a call.

    Args:
        program: train, rerank, audit or select.
        more: the user adds other options.
    """
    if _from_python.get():
        words = [f"{name}={str(value)!r}" for name, value in options.items()] + (["..."] if more else [])
        return f"dupo.api.{program}({', '.join(words)})"
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return " ".join([command(program), *([shlex.join(words)] if words else []), *(["..."] if more else [])])


def resume_command(run: Path, wanted: str | Path = "latest") -> str:
    """The command, or the call, that goes on with a training run.

    Args:
        wanted: `latest`, or the folder of a checkpoint.
    """
    return start_of("train", output_dir=run, resume_from_checkpoint=wanted)


def same_start() -> str:
    """How a user names the start of the run that is going on, in words."""
    return "the same call with this output_dir" if _from_python.get() else "the same command with this --output_dir"
