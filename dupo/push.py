"""`python -m dupo.push RUN`: uploads the model of a finished run to the Hub, with a model card."""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.push")

from argparse import SUPPRESS
from collections.abc import Sequence
from pathlib import Path

from dupo.config.config import OPTIONS
from dupo.config.layers import read_config
from dupo.config.parsers import OneLineParser, path_text
from dupo.config.values import coerce, underscored
from dupo.errors import UserError
from dupo.process import quick_imports, run_process
from dupo.storage.commands import command
from dupo.storage.names import CONFIG
from dupo.views.plain import error, print_line
from dupo.views.streams import LogStream


def parser() -> OneLineParser:
    """The options of the program."""
    about = "Uploads a finished run with a model card. Log in before, by `hf auth login` or HF_TOKEN."
    options = OneLineParser(prog=command("push"), description=about, argument_default=SUPPRESS)
    options.add_argument("run", type=path_text, metavar="RUN_FOLDER", help="the --output_dir of dupo.train")
    for name in ("hub_model_id", "hub_private_repo"):
        options.add_argument(f"--{name}", help=OPTIONS[name].metadata["help"] + " (default: that of the run)")
    return options


def push_run(argv: Sequence[str]) -> str:
    """Reads the options and pushes; returns the address."""
    values = vars(parser().parse_args(underscored(argv)))
    run = Path(values.pop("run"))
    # The checkpoint is read by torch: help does not wait for it.
    with quick_imports():
        from dupo.run.hub import finished_checkpoint, hub, open_repo, upload

    checkpoint, client = finished_checkpoint(run), hub()
    named = {name: coerce(OPTIONS[name], text) for name, text in values.items()}
    options = read_config(run / CONFIG).changed(**named).run
    return upload(checkpoint, run, open_repo(options, run, client), client)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 the upload failed, 2 an unusable option or run, no login, or a silent Hub."""
    try:
        print_line(LogStream(sys.stdout), push_run(sys.argv[1:] if argv is None else argv))
    except UserError as problem:
        error(str(problem))
        return problem.exit_code
    return 0


if __name__ == "__main__":
    run_process(main)
