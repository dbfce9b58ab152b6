"""The commands that programs print for a user to type."""

import shlex
import sys
from pathlib import Path


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


def resume_command(run: Path, wanted: str | Path = "latest") -> str:
    """The command that goes on with a training run, as a shell reads it.

    Args:
        wanted: `latest`, or the folder of a checkpoint.
    """
    options = shlex.join(["--output_dir", str(run), "--resume_from_checkpoint", str(wanted)])
    return f"{command('train')} {options}"
