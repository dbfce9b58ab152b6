"""The command lines of all programs: which options each has, and its help.

Layers, a later one wins: the defaults of `Config` < those of the task < those of the program < config.yaml of
the run that is resumed < `--config FILE.yaml` < the command line.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dupo.config.options import (
    BY_GROUP,
    FIELDS,
    ONE_START,
    PROGRAM_DEFAULTS,
    TASK_DEFAULTS,
    Config,
    assemble,
    read_yaml,
)
from dupo.config.values import coerce, kind_of, show, underscored
from dupo.errors import UserError, did_you_mean
from dupo.storage.names import owner_of

_METAVAR = {int: "INT", float: "NUMBER", bool: "true|false", str: "TEXT"}
_SPELLING = "`--no_NAME` turns a true|false option off. Names may be written with dashes."
_TRAINING = ("gradient_checkpointing", "eval_size", "ema_decay")  # of other groups, read in training only
_RUN = ("output_dir", "overwrite_output_dir", "seed", "num_threads")


@dataclass(frozen=True)
class Program:
    """`python -m dupo.NAME`. `options`: groups of options and single ones; the others it does not read."""

    description: str
    options: tuple[str, ...]
    examples: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        found = [n for group in BY_GROUP for n in BY_GROUP[group] if {group, n} & set(self.options)]
        return [name for name in found if "optimisation" in self.options or name not in _TRAINING]


_SAMPLING = ("model", "task", "duals", "rollout")
PROGRAMS = {
    "train": Program(
        "Train a language model with DuPO: on its own consistency, without labels.",
        (*_SAMPLING, "reward", "optimisation", "loss", "run"),
        ("", "--config configs/gsm8k.yaml --model_name_or_path Qwen/Qwen3-1.7B"),
    ),
    "select": Program(
        "Which duals can be trusted? Keeps those that exactly one of the sampled answers solves, and that "
        "cannot be solved without the answer. Reads no label.",
        (*_SAMPLING, *_RUN, "choice"),
        ("", "--config configs/gsm8k.yaml --num_problems 1000 --output_dir runs/gsm8k-duals"),
    ),
    "rerank": Program(
        "Better answers without training: samples several, and keeps the one from which the question is best "
        "recovered.",
        (*_SAMPLING, *_RUN, "num_problems", "rerank"),
        ("", "--task word_problems --dataset questions.jsonl --model_name_or_path Qwen/Qwen3-0.6B"),
    ),
    "audit": Program(
        "Is the reward of this model on this data one to train on? Measures, and gives one verdict.",
        (*_SAMPLING, *_RUN, "reward", "num_problems", "solve_threshold", "num_decoys", "scale_rewards"),
        ("", "--config configs/gsm8k.yaml --eval_dataset some_with_answers.jsonl"),
    ),
}


def parse(argv: Sequence[str], program: str = "train") -> Config:
    """The options of a program from its command line, without the program's name.

    Prints the help and exits with 0 where argv asks for it. Raises UserError for anything wrong.
    """
    given = _command_line(argv, program)
    if program == "train" and (run := _resumed_run(given)):
        saved = read_yaml(run / "config.yaml")
        given = {k: v for k, v in saved.items() if k not in ONE_START} | given | {"output_dir": str(run)}
    return assemble(given, program)


def _resumed_run(given: Mapping[str, Any]) -> Path | None:
    """The folder of the run to go on with."""
    checkpoint, folder = given.get("resume_from_checkpoint"), given.get("output_dir")
    if not checkpoint:
        return None
    if checkpoint == "latest" and folder is None:
        raise UserError("resume_from_checkpoint: expected --output_dir RUN beside `latest`, got none")
    run = Path(str(folder)) if checkpoint == "latest" else Path(checkpoint).parent
    if not (run / "config.yaml").is_file():
        raise UserError(f"resume_from_checkpoint: expected a run to go on with, got no config.yaml in {run}")
    if (owner := owner_of(run)) != "train":
        raise UserError(
            f"resume_from_checkpoint: expected a run of dupo.train, got one of dupo.{owner} in {run}"
        )
    if folder is not None and Path(folder).resolve() != run.resolve():
        raise UserError(f"output_dir: expected {run}, the run that is resumed, got {folder}")
    if given.get("overwrite_output_dir"):
        raise UserError("overwrite_output_dir: expected false while a run is resumed, got true")
    return run


def _command_line(argv: Sequence[str], program: str) -> dict[str, Any]:
    """The options given on the command line, on top of those of its --config."""
    try:
        known, rest = _parser(program).parse_known_args(underscored(argv))
    except argparse.ArgumentError as error:
        expected = "a value" if error.message.startswith("expected") else "no value"
        raise UserError(f"{error.argument_name}: expected {expected}") from None
    if rest and not rest[0].startswith("-"):
        raise UserError(f"expected options that start with --, got {rest[0]!r}")
    if rest:
        name = rest[0].partition("=")[0]
        if name.removeprefix("--") in set(FIELDS) - set(PROGRAMS[program].names):
            others = ", ".join(f"dupo.{p}" for p, about in PROGRAMS.items() if name[2:] in about.names)
            raise UserError(f"unknown option {name}: dupo.{program} does not have it, only {others}")
        hint = did_you_mean(name.lstrip("-"), ["config", *PROGRAMS[program].names], "--")
        raise UserError(f"unknown option {name}{hint}")
    texts = vars(known)
    file = read_yaml(texts.pop("config")) if "config" in texts else {}
    return file | {name: coerce(FIELDS[name], text) for name, text in texts.items()}


def _parser(program: str) -> argparse.ArgumentParser:
    about = PROGRAMS[program]
    examples = "".join(f"\n  python -m dupo.{program} {words}".rstrip() for words in about.examples)
    parser = argparse.ArgumentParser(
        usage=f"python -m dupo.{program} [--config FILE.yaml] [--option value ...]",
        description=about.description,
        epilog=f"{_SPELLING}\n\nexamples:{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--config", metavar="FILE.yaml", help="lines `option: value`; options here win")
    off: dict[str, Any] = {"action": "store_const", "const": "false", "help": argparse.SUPPRESS}
    for title, names in BY_GROUP.items():
        names = [name for name in names if name in about.names]
        group = parser.add_argument_group(title)
        for name in names:
            kind, _ = kind_of(FIELDS[name])
            metavar = "|".join(FIELDS[name].metadata["choices"]) or _METAVAR[kind]
            flag: dict[str, Any] = {"nargs": "?", "const": "true"} if kind is bool else {}
            group.add_argument(f"--{name}", metavar=metavar, help=_help(name, program), **flag)
            if kind is bool:
                group.add_argument(f"--no_{name}", dest=name, **off)
    return parser


def _help(name: str, program: str) -> str:
    spec, own = FIELDS[name], PROGRAM_DEFAULTS.get(program, {})
    by_task = [f"; {task}: {show(new[name])}" for task, new in TASK_DEFAULTS.items() if name in new]
    default = show(own[name]) if name in own else f"{show(spec.default)}{''.join(by_task)}"
    return f"{spec.metadata['help']} (default: {default})"
