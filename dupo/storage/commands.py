"""What programs tell a user to type next: a command, or from Python a call."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path

# Of a run that was started from Python: the options that must be given again, as their values are functions.
_repeated: ContextVar[Sequence[str] | None] = ContextVar("repeated", default=None)


def speak_python(repeated: Sequence[str]) -> None:
    """Lets `start_of` and `resume_command` name calls of `dupo.api`, in this context alone.

    Args:
        repeated: options that whoever resumes the run must give again.
    """
    _repeated.set(repeated)


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


def report_command(folder: Path) -> str:
    """The command that writes the page of a folder anew, as a shell reads it."""
    return f"{command('report')} {shlex.quote(str(folder))}"


def start_of(program: str, options: Mapping[str, object] | None = None, *, more: bool = False) -> str:
    """The start of a program with some options: a command as a shell reads it, or from Python a call.

    Args:
        program: train, rerank, audit or select.
        more: the user adds other options.
    """
    options = options or {}
    if _repeated.get() is not None:
        words = [f"{name}={str(value)!r}" for name, value in options.items()] + (["..."] if more else [])
        return f"dupo.api.{program}({', '.join(words)})"
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return " ".join([command(program), *([shlex.join(words)] if words else []), *(["..."] if more else [])])


def resume_command(run: Path, wanted: str | Path = "latest") -> str:
    """The command, or the call, that goes on with a training run.

    Args:
        wanted: `latest`, or the folder of a checkpoint.
    """
    call = start_of("train", {"output_dir": run, "resume_from_checkpoint": wanted})
    again = "".join(f", {name}=..." for name in _repeated.get() or ())
    return f"{call[:-1]}{again})" if again else call


def merge_command(run: Path) -> str:
    """The command, or the call, that writes the merged model of a finished run of adapters."""
    options = {"output_dir": run, "resume_from_checkpoint": "latest", "merge_lora": "true"}
    return start_of("train", options)


def same_start() -> str:
    """How a user names the start of the run that is going on, in words."""
    from_python = _repeated.get() is not None
    return "the same call with this output_dir" if from_python else "the same command with this --output_dir"
