"""`dupo doctor`: what this machine has, what is slow and why, and what to type.

Reads the machine and changes nothing. Takes as long as torch and transformers take to import.
"""

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
from dupo.storage.commands import command
from dupo.views.plain import PlainOutput, error
from dupo.views.streams import LogStream


def parser() -> OneLineParser:
    """The options of the program."""
    options = OneLineParser(prog=command("doctor"), description=__doc__)
    options.add_argument("--json", action="store_true", help="one JSON object: facts, advice, can_train")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 training can run, 1 training cannot run, 2 unusable options."""
    try:
        values = parser().parse_args(sys.argv[1:] if argv is None else argv)
    except UserError as problem:
        error(str(problem))
        return problem.exit_code
    output = PlainOutput(LogStream(sys.stdout), time.monotonic)
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
    return 0 if can_train(advice) else 1


if __name__ == "__main__":
    sys.exit(main())
