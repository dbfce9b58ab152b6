"""Options of `dupo plan` beside those of `dupo train`: the machine, and what nobody knows before a run."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields

from dupo.config.command_line import parse
from dupo.config.config import Config
from dupo.config.parsers import OneLineParser
from dupo.config.values import Options, coerce, option, underscored
from dupo.errors import UserError
from dupo.storage.commands import command

ABOUT = (
    "What a training run needs and takes, before it starts: memory of a GPU, rows at once, seconds, disk. "
    "Reads the config of the model and no weights. Takes every option of dupo train as well: the command "
    "line of a run, with `plan` in the place of `train`, gives the plan of the run."
)
EXAMPLES = (
    "--task word_problems --dataset train.jsonl --model_name_or_path Qwen/Qwen3-4B --gpus 8 --memory 80",
    "--config configs/gsm8k.yaml --gpus 1 --memory 24 --use_peft",
)


@dataclass(frozen=True)
class PlanOptions(Options):
    """The machine that is planned for, and what is assumed of answers."""

    gpus: int | None = option(None, "GPUs of the run; none: one of this machine, or its CPU", at_least=1)
    memory: float | None = option(
        None, "memory of each GPU, GB of 10^9 bytes; none: that of the GPU of this machine", above=0
    )
    gpus_per_node: int = option(8, "GPUs of one machine, among which weights are shared out", at_least=1)
    tflops: float | None = option(
        None,
        "10^12 operations a second of a GPU in bfloat16, as in its data sheet; none: by --memory",
        above=0,
    )
    bandwidth: float | None = option(
        None, "TB a second that a GPU reads from its memory, as in its data sheet; none: by --memory", above=0
    )
    mean_prompt_length: int = option(256, "tokens of a prompt that are assumed", at_least=1)
    mean_completion_length: int | None = option(
        None, "tokens of an answer that are assumed; none: half of max_completion_length", at_least=1
    )
    mean_dual_length: int | None = option(
        None, "tokens of an answer to a dual that are assumed; none: half of their limit", at_least=1
    )
    different_answers: float = option(
        0.5, "share of the answers to a problem that differ, and whose duals are asked", above=0, at_most=1
    )

    def check_together(self) -> None:
        """Checks that GPUs which are not here have a size."""
        if self.gpus is None and self.memory is None and (self.tflops or self.bandwidth):
            raise UserError("memory: expected --memory beside --tflops and --bandwidth, got none")


def own_parser() -> OneLineParser:
    """The options of the program that `dupo train` does not have."""
    layout = argparse.RawDescriptionHelpFormatter
    examples = "".join(f"\n  {command('plan')} {words}" for words in EXAMPLES)
    options = OneLineParser(
        usage=f"{command('plan')} [--gpus N --memory GB] [options of dupo train]",
        description=ABOUT,
        epilog=f"All options of dupo.train, with its --help, as well.\n\nexamples:{examples}",
        formatter_class=layout,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for spec in fields(PlanOptions):
        default = "none" if spec.default is None else f"{spec.default:g}"
        text = f"{spec.metadata['help']} (default: {default})"
        options.add_argument(f"--{spec.name}", metavar="NUMBER", help=text.replace("%", "%%"))
    return options


def parse_plan(argv: Sequence[str]) -> tuple[Config, PlanOptions]:
    """Reads the options of `dupo plan`: its own, and those of the run that is planned.

    Raises:
        UserError: anything wrong with the options.
    """
    # What is no option of a plan is one of training, and refused there if it is none.
    texts, others = own_parser().parse_known_args(underscored(argv))
    specs = {spec.name: spec for spec in fields(PlanOptions)}
    values = {name: coerce(specs[name], text) for name, text in vars(texts).items()}
    return parse(others, "train"), PlanOptions(**values)
