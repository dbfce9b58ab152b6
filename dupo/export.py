"""`python -m dupo.export RUN --output_dir FOLDER`: writes a checkpoint as a model folder of transformers."""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.export")

from collections.abc import Sequence
from pathlib import Path

from dupo.config.parsers import OneLineParser, path_text
from dupo.config.values import underscored
from dupo.errors import UserError
from dupo.process import quick_imports, run_process
from dupo.storage.commands import command
from dupo.views.plain import error, print_line
from dupo.views.streams import LogStream


def parser() -> OneLineParser:
    """The options of the program."""
    about = (
        "Writes a checkpoint of a run as a model folder of transformers, with tokenizer and checksums; of "
        "adapters the adapter folder, or with --merge_lora the whole model. The run stays as it is."
    )
    options = OneLineParser(prog=command("export"), description=about)
    options.add_argument("run", type=path_text, metavar="RUN_FOLDER", help="the --output_dir of dupo.train")
    options.add_argument("--output_dir", type=path_text, required=True, help="the new folder to write")
    options.add_argument("--checkpoint", type=int, metavar="N", help="of which step (default: the newest)")
    options.add_argument("--merge_lora", action="store_true", help="merge the adapter into the whole model")
    kind = "of the weights (default: float32, as they were saved)"
    options.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help=kind)
    size = "of a file of weights, such as 500MB (default: 5GB)"
    options.add_argument("--max_shard_size", default="5GB", metavar="SIZE", help=size)
    return options


def export_run(argv: Sequence[str]) -> str:
    """Reads the options and exports; returns the folder that was written."""
    values = parser().parse_args(underscored(argv))
    # Weights are read by torch: help does not wait for it.
    with quick_imports():
        from dupo.run.export import Form, export

    form = Form(values.merge_lora, values.dtype, values.max_shard_size)
    return str(export(Path(values.run), values.checkpoint, Path(values.output_dir), form))


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 the folder cannot be written, 2 an unusable option or run."""
    try:
        print_line(LogStream(sys.stdout), export_run(sys.argv[1:] if argv is None else argv))
    except UserError as problem:
        error(str(problem))
        return problem.exit_code
    return 0


if __name__ == "__main__":
    run_process(main)
