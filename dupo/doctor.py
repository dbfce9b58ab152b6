"""`dupo doctor`: what this machine has, what is slow and why, and what to type. Changes nothing."""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.doctor")

import time
from collections.abc import Sequence

from dupo.config.parsers import OneLineParser
from dupo.errors import UserError
from dupo.machine.advice import advise, can_train
from dupo.machine.description import as_json, describe
from dupo.machine.facts import collect
from dupo.process import run_process
from dupo.storage.commands import command
from dupo.views.plain import PlainOutput, error
from dupo.views.streams import LogStream


def parser() -> OneLineParser:
    """The options of the program."""
    options = OneLineParser(prog=command("doctor"), description=__doc__)
    options.add_argument("--json", action="store_true", help="one JSON object: facts, advice, can_train")
    return options


def show_machine(argv: Sequence[str]) -> bool:
    """Prints what the machine has and what to do; whether training can run. Raises OSError as of stdout."""
    values = parser().parse_args(argv)
    stream = LogStream(sys.stdout)
    output = PlainOutput(stream, time.monotonic)
    if not values.json:
        output.note("looking at the machine, and trying torch and transformers ...")
    facts = collect()
    advice = advise(facts)
    if values.json:
        output.note(as_json(facts, advice))
    else:
        output.pairs("this machine", describe(facts), "")
        rows = [(line.kind, f"{line.what}\n-> {line.mend}") for line in advice]
        output.pairs("what to do", rows or [("nothing", "all that dupo can use is there")], "")
        output.note(f"\ntraining {'can' if can_train(advice) else 'cannot'} run")
    stream.check_written()
    return can_train(advice)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 training can run, 1 it cannot or stdout cannot be written, 2 unusable options."""
    try:
        return 0 if show_machine(sys.argv[1:] if argv is None else argv) else 1
    except (UserError, OSError) as problem:  # OSError: stdout is full
        error(str(problem))
        return 2 if isinstance(problem, UserError) else 1


if __name__ == "__main__":
    run_process(main)
