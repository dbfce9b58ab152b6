"""`dupo completion SHELL`: the script by which a shell completes programs, options and choices with Tab.

    bash   dupo completion bash > ~/.local/share/bash-completion/completions/dupo
    zsh    dupo completion zsh > FOLDER/_dupo              FOLDER: one of $fpath, such as ~/.zfunc
    fish   dupo completion fish > ~/.config/fish/completions/dupo.fish

Open a new shell then. Write the script again after an update of dupo.
"""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.completion")

import argparse
from collections.abc import Sequence
from importlib import import_module

from dupo.config.completion import SHELLS, completion_script
from dupo.config.config import PROGRAMS
from dupo.config.doors import DOORS
from dupo.config.parsers import OneLineParser
from dupo.errors import UserError
from dupo.process import run_process
from dupo.storage.commands import command
from dupo.views.plain import error


def parser() -> OneLineParser:
    """The options of the program."""
    layout = argparse.RawDescriptionHelpFormatter
    options = OneLineParser(prog=command("completion"), description=__doc__, formatter_class=layout)
    options.add_argument("shell", choices=SHELLS, metavar="SHELL", help=" or ".join(SHELLS))
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 stdout cannot be written, 2 no such shell or no shtab."""
    try:
        values = parser().parse_args(sys.argv[1:] if argv is None else argv)
        # Programs without options of `Config` have a parser of their own.
        others = {name: import_module(f"dupo.{name}").parser() for name in DOORS if name not in PROGRAMS}
        sys.stdout.write(completion_script(values.shell, others) + "\n")
        sys.stdout.flush()
    except (UserError, OSError) as problem:  # OSError: half a script is worse than none
        error(str(problem))
        return 2 if isinstance(problem, UserError) else 1
    return 0


if __name__ == "__main__":
    run_process(main)
