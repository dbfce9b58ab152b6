"""What produced a result: versions, revision, device, threads and settings, as fields or as one line."""

import importlib.metadata
import platform
import shutil
import subprocess
from pathlib import Path

from dupo import __version__


def signature(config_hash: str, device: str, threads: int, *packages: str) -> dict[str, str]:
    """Returns the fields that stand beside the results of a run, in the order of `signature_line`.

    Args:
        packages: that the run reads beside those that every run reads.

    `git` is the revision of the checkout that tracks this file, see `git_revision`.
    """
    return {
        "dupo": __version__,
        "git": git_revision(Path(__file__)),
        **package_versions("torch", "triton", "transformers", *packages),
        "python": platform.python_version(),
        "device": device,
        "threads": str(threads),
        "config": config_hash,
    }


def signature_line(fields: dict[str, str]) -> str:
    """Joins a signature into one line, in sacrebleu's style: "dupo:0.1.0|git:abc1234|torch:2.13.0|..."."""
    return "|".join(f"{name}:{value}" for name, value in fields.items())


def package_versions(*packages: str) -> dict[str, str]:
    """Returns the installed version of each package; "none" for a package that is not installed."""
    # Asked of the installer's records: importing torch for its version would cost seconds.
    return {package: installed_version(package) or "none" for package in packages}


def installed_version(package: str) -> str | None:
    """The version of an installed package; None for one that is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_revision(file: Path) -> str:
    """Returns the short revision of the checkout that tracks `file`, or "none".

    "+dirty" is added if a tracked file of the checkout differs from the revision.
    """
    # Only a tracked file counts: a package installed somewhere below another project has no revision.
    if _git(file, "ls-files", "--error-unmatch", "--", file.name) is None:
        return "none"
    revision = _git(file, "rev-parse", "--short", "HEAD")
    if not revision:
        return "none"
    return revision + ("+dirty" if _git(file, "status", "--porcelain", "--untracked-files=no") else "")


def _git(file: Path, *arguments: str) -> str | None:
    """Runs git in the folder of `file` and returns its output; None if git is absent or fails."""
    program = shutil.which("git")
    if program is None:
        return None
    # Without optional locks, `status` in one run never disturbs a commit that is being made meanwhile.
    command = [program, "--no-optional-locks", "-C", str(file.parent), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
