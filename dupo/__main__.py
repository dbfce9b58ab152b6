"""`dupo NAME`, or `python -m dupo NAME`: every program of dupo under one name."""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo")

from collections.abc import Sequence
from importlib import import_module

from dupo.config.doors import DOORS
from dupo.config.parsers import print_whole
from dupo.errors import cut, nearest
from dupo.process import run_process
from dupo.views.plain import error

USAGE = "usage: dupo PROGRAM [--option value ...]"
# Optional packages are no part of the line: `dupo doctor` lists those.
VERSIONS = ("torch", "triton", "transformers")


def help_text() -> str:
    """What `dupo --help` prints."""
    rows = "".join(f"  {name:<12}{line}\n" for name, line in DOORS.items())
    last = "`dupo PROGRAM --help` lists the options of a program, `dupo --version` the versions."
    return f"{USAGE}\n\nTrains language models without labels.\n\nprograms:\n{rows}\n{last}"


def version_text() -> str:
    """What `dupo --version` prints."""
    # Help does not wait for the records of installed packages.
    import dupo_kernels
    from dupo import __version__
    from dupo.storage.signature import package_versions

    parts = {"dupo_kernels": dupo_kernels.__version__, **package_versions(*VERSIONS)}
    return f"dupo {__version__} ({', '.join(f'{name} {version}' for name, version in parts.items())})"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: those of the program; 0 after the help or the versions, 2 for a name of no program."""
    name, *options = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in DOORS:
        return import_module(f"dupo.{name}").main(options)
    if name in ("-h", "--help", "--version"):
        print_whole(f"{version_text() if name == '--version' else help_text()}\n", sys.stdout)
        return 0
    error(f"expected one of {', '.join(DOORS)}, got {cut(name)}{nearest(name, DOORS)}")
    return 2


def run() -> None:
    """The `dupo` command, in a process of its own."""
    run_process(main)


if __name__ == "__main__":
    run()
