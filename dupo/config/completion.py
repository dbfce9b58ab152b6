"""What a shell can complete after `dupo`: programs, options and choices, as parsers of argparse.

The parsers of `dupo/config/command_line.py` know no choices: they read every value as a text and leave the
checks to the options. The parsers here know the choices, and parse nothing.
"""

import argparse
from collections.abc import Mapping
from importlib.util import find_spec

from dupo.config.catalogue import METHODS
from dupo.config.command_line import program_named
from dupo.config.config import OPTIONS
from dupo.config.doors import DOORS
from dupo.config.parsers import path_text
from dupo.config.values import option_type
from dupo.errors import UserError

SHELLS = ("bash", "zsh", "fish")
TRUTH = ("true", "false")


def completion_script(shell: str, others: Mapping[str, argparse.ArgumentParser]) -> str:
    """The script by which a shell completes the command.

    Args:
        shell: one of `SHELLS`.
        others: the parsers of the programs that have no options of `Config`, by name.

    Raises:
        UserError: the package shtab, which writes the script, is not installed.
    """
    if find_spec("shtab") is None:
        raise UserError("completion: expected the package shtab, got none: pip install shtab")
    import shtab

    parsers = {name: others[name] if name in others else option_parser(name) for name in DOORS}
    return shtab.complete(command_tree(parsers, shtab.FILE), shell)


def command_tree(parsers: Mapping[str, argparse.ArgumentParser], any_path: object) -> argparse.ArgumentParser:
    """The command `dupo` with its programs.

    Args:
        parsers: the parser of each program by its name, in the order of the help.
        any_path: what the library of completion calls a file or folder.
    """
    tree = argparse.ArgumentParser(prog="dupo")
    tree.add_argument("--version", action="store_true", help="versions of dupo and of what it stands on")
    programs = tree.add_subparsers()
    for name, parser in parsers.items():
        program = programs.add_parser(name, parents=[parser], add_help=False, help=DOORS[name])
        for action in program._actions:  # argparse has no public way to list them
            if action.type is path_text:
                action.complete = any_path  # type: ignore[attr-defined]
    return tree


def option_parser(program: str) -> argparse.ArgumentParser:
    """The options of a program that `Config` declares, those of every method together, with their choices."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=path_text, help="YAML file of options")
    # Which options there are depends on the method. A script that is written once cannot ask for the method.
    names = dict.fromkeys(name for method in METHODS for name in program_named(program, method).names)
    for name in names:
        about = OPTIONS[name].metadata
        text = about["help"].replace("%", "%%")
        if option_type(OPTIONS[name])[0] is bool:
            parser.add_argument(f"--{name}", choices=TRUTH, help=text)
            parser.add_argument(f"--no_{name}", action="store_true", help=f"turns --{name} off")
            continue
        kind = path_text if about.get("is_path") else str
        parser.add_argument(f"--{name}", type=kind, choices=about["choices"] or None, help=text)
    return parser
