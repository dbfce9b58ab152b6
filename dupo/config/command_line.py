"""The command lines of all programs: which options each has, and its help."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dupo.config.catalogue import METHODS, TASKS
from dupo.config.config import OPTIONS, Config, group_of, option_of
from dupo.config.layers import METHOD_DEFAULTS, ONE_START, PROGRAM_DEFAULTS, assemble
from dupo.config.parsers import Parser
from dupo.config.trl import ALIASES, about_unknown, own_names
from dupo.config.values import check, coerce, option_type, show, underscored
from dupo.config.yaml_files import config_file, method_of, read_yaml
from dupo.errors import UserError, cut, nearest, quoted
from dupo.storage.commands import command
from dupo.storage.names import CONFIG, program_of
from dupo.user_files import is_file

_METAVAR = {int: "INT", float: "NUMBER", bool: "true|false", str: "TEXT"}
_SPELLING = "`--no_NAME` turns a true|false option off. Names may be written with dashes."
_TITLES = {
    "": "method",
    "lora": "adapters (LoRA)",
    "loss": "loss (DuPO)",
    "comparison": "loss (DPO)",
    "labels": "loss (KTO)",
    "scores": "loss (reward model)",
    "pairing": "pairs of completions",
    "labelling": "good completions",
    "rejection": "completions that are learned",
    "selection": "trying duals",
    "rerank": "choosing an answer",
}


@dataclass(frozen=True)
class Program:
    """What `python -m dupo.NAME` says of itself.

    Attributes:
        groups: the groups of options that the program reads, all of each.
        options: single options of other groups that the program reads.
        examples: command lines, without `python -m dupo.NAME`.
        unread: single options of its groups that the program does not read.
        method: whose options are meant, where groups share a name.
    """

    description: str
    groups: tuple[str, ...]
    options: tuple[str, ...]
    examples: tuple[str, ...]
    unread: tuple[str, ...] = (
        "gradient_checkpointing",
        "eval_size",
        "ema_decay",
        "mask_truncated_completions",
        "num_trained_generations",
        "dynamic_sampling",
        "max_num_gen_batches",
        "skip_equal_answers",
    )
    method: str = Config.method

    @property
    def names(self) -> list[str]:
        """The flat names of the options that the program reads, in the order of the groups."""
        read = [n for n in OPTIONS if group_of(n, self.method) in self.groups or n in self.options]
        return [name for name in read if name not in self.unread]


_SAMPLING = ("model", "engine", "vllm", "task", "duals", "rollout")
_FOLDER = ("output_dir", "overwrite_output_dir", "seed", "num_threads", "log_level", "quiet")
PROGRAMS = {
    "select": Program(
        "Which duals can be trusted? Keeps those that exactly one of the sampled answers solves, and that "
        "cannot be solved without the answer. Reads no label.",
        (*_SAMPLING, "selection"),
        _FOLDER,
        ("", "--config configs/gsm8k.yaml --num_problems 1000 --output_dir runs/gsm8k-duals"),
    ),
    "rerank": Program(
        "Better answers without training: samples several, and keeps the one from which the question is best "
        "recovered.",
        (*_SAMPLING, "rerank"),
        (*_FOLDER, "num_problems", "reward", "reward_weights", "reward_timeout"),
        ("", "--task word_problems --dataset questions.jsonl --model_name_or_path Qwen/Qwen3-0.6B"),
    ),
    "audit": Program(
        "Is the reward of this model on this data one to train on? Measures, and gives one verdict.",
        (*_SAMPLING, "reward"),
        (*_FOLDER, "num_problems", "solve_threshold", "num_decoys"),
        ("", "--config configs/gsm8k.yaml --eval_dataset some_with_answers.jsonl"),
    ),
}
_TRAIN_EXAMPLES = {
    "dupo": ("", "--config configs/gsm8k.yaml --model_name_or_path Qwen/Qwen3-1.7B"),
    "sft": ("--method sft --dataset pairs.jsonl --model_name_or_path Qwen/Qwen3-0.6B",),
    "dpo": ("--method dpo --dataset preferences.jsonl --model_name_or_path Qwen/Qwen3-0.6B",),
    "kto": ("--method kto --dataset labels.jsonl --model_name_or_path Qwen/Qwen3-0.6B",),
    "reward_model": (
        "--method reward_model --dataset preferences.jsonl --model_name_or_path Qwen/Qwen3-0.6B",
    ),
    "online_dpo": ("--method online_dpo", "--method online_dpo --config configs/gsm8k.yaml --pairs all"),
    "online_kto": ("--method online_kto", "--method online_kto --config configs/gsm8k.yaml"),
    "rft": ("--method rft", "--method rft --config configs/gsm8k.yaml --kept_per_prompt 2"),
}


def program_named(program: str, method: str) -> Program:
    """The program of a door; that of `train` depends on the method."""
    # Programs that do not train have the same options whatever the method is.
    if program != "train":
        return PROGRAMS[program]
    entry = METHODS[method]
    examples = _TRAIN_EXAMPLES.get(method, ())
    options = ("method", *entry.options)
    return Program(entry.description, entry.groups, options, examples, entry.unread, method)


def parse(argv: Sequence[str], program: str = "train") -> Config:
    """Reads the options of a program from its command line, without the name of the program.

    Prints the help and exits with 0 where argv asks for help.

    Raises:
        UserError: anything wrong with the options.
    """
    values = _command_line(underscored(argv), program)
    # The command line wins over its --config, and both over the options of the run that goes on.
    return assemble(_saved_options(values, program) | values, program)


def configure(values: Mapping[str, Any], program: str = "train") -> Config:
    """Reads the options of a program from Python.

    Args:
        values: by flat name, ours or TRL's; `config` is the path of a YAML file, as on the command line.

    Raises:
        UserError: as `parse`, with the same words.
    """
    typed = own_names(values)
    file = read_yaml(config_file(typed.pop("config")), typed.get("method")) if "config" in typed else {}
    options = file | typed
    options = _saved_options(options, program) | options
    method = options.get("method", Config.method)
    check(OPTIONS["method"], method)
    names = program_named(program, method).names
    if unknown := [name for name in typed if name not in names]:
        raise _unknown(f"--{unknown[0]}", names, program, method)
    return assemble(options, program)


def _saved_options(values: Mapping[str, Any], program: str) -> dict[str, Any]:
    """What the run that a command goes on with keeps where the command says nothing; empty for a new run."""
    if program == "train":
        run = _resumed_run(values)
        if run is None:
            return {}
        saved = read_yaml(run / CONFIG)
        return {name: saved[name] for name in saved if name not in ONE_START} | {"output_dir": str(run)}
    folder = values.get("output_dir")
    if folder is None or values.get("overwrite_output_dir") or program_of(Path(folder)) != program:
        return {}
    # Another program is given its other options again; the day of its first start cannot be.
    saved = read_yaml(Path(folder) / CONFIG)
    return {name: saved[name] for name in saved if name == "chat_template_date"}


def _resumed_run(values: Mapping[str, Any]) -> Path | None:
    """The folder of the run to continue, if the options name one."""
    checkpoint, folder = values.get("resume_from_checkpoint"), values.get("output_dir")
    if not checkpoint:
        return None
    if checkpoint == "latest" and folder is None:
        raise UserError("resume_from_checkpoint: expected --output_dir RUN beside `latest`, got none")
    run = Path(str(folder)) if checkpoint == "latest" else Path(checkpoint).parent
    if not is_file(run / CONFIG) and checkpoint != "latest" and run == Path():
        raise UserError(
            f"resume_from_checkpoint: expected latest, or RUN/checkpoint-N, got {quoted(checkpoint)}"
        )
    if not is_file(run / CONFIG):
        raise UserError(f"resume_from_checkpoint: expected a run to go on with, got no {CONFIG} in {run}")
    if (owner := program_of(run)) != "train":
        raise UserError(
            f"resume_from_checkpoint: expected a run of dupo.train, got one of dupo.{owner} in {run}"
        )
    if folder is not None and Path(folder).resolve() != run.resolve():
        raise UserError(f"output_dir: expected {run}, the run that is resumed, got {folder}")
    if values.get("overwrite_output_dir"):
        raise UserError("overwrite_output_dir: expected false while a run is resumed, got true")
    return run


def _command_line(argv: Sequence[str], program: str) -> dict[str, Any]:
    """The options given on the command line, on top of those of its --config."""
    method = _method_in(argv)
    names = program_named(program, method).names
    try:
        parsed, rest = _parser(program, method).parse_known_args(argv)
    except argparse.ArgumentError as error:
        # argparse knows two faults here: a value that is missing, and one that is too many.
        expected = "a value" if error.message.startswith("expected") else "no value"
        raise UserError(f"{error.argument_name}: expected {expected}") from None
    # The first unknown word is the one to mend; those behind it may be its values.
    if rest and not rest[0].startswith("-"):
        hint = _list_hint(argv, rest[0])
        raise UserError(f"expected options that start with --, got {quoted(rest[0])}{hint}")
    if rest:
        raise _unknown(rest[0].partition("=")[0], names, program, method)
    texts = own_names(vars(parsed))
    file = read_yaml(config_file(texts.pop("config")), method) if "config" in texts else {}
    return file | {name: coerce(option_of(name, method), text) for name, text in texts.items()}


def _list_hint(argv: Sequence[str], word: str) -> str:
    """Ends the message about a word too many, where the option before it takes a list."""
    before = [text.removeprefix("--") for text in argv[: argv.index(word)] if text.startswith("--")]
    spec = OPTIONS.get(before[-1]) if before else None
    return ": lists are written 1,0.2" if spec and "comma" in spec.metadata["help"] else ""


def _method_in(argv: Sequence[str]) -> str:
    """The method that the command line, or else its --config, names: its options depend on it."""
    # The method decides which options there are, so it is read before the other options.
    scout = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    scout.add_argument("--method")
    scout.add_argument("--config")
    scout.add_argument("--resume_from_checkpoint")
    scout.add_argument("--output_dir")
    try:
        known, _ = scout.parse_known_args(argv)
    except argparse.ArgumentError:
        return Config.method  # the parser proper says what is wrong
    files = [config_file(known.config)] if known.config else []
    # A resumed run has the method that it was started with.
    if known.resume_from_checkpoint:
        is_latest = known.resume_from_checkpoint == "latest"
        run = Path(known.output_dir or ".") if is_latest else Path(known.resume_from_checkpoint).parent
        files += [run / CONFIG] if is_file(run / CONFIG) and program_of(run) == "train" else []
    in_files = [method for file in files if (method := method_of(file))]
    method = known.method or (in_files[0] if in_files else Config.method)
    if method not in METHODS:
        raise UserError(
            f"method: expected one of {', '.join(METHODS)}, got {quoted(method)}{nearest(method, METHODS)}"
        )
    return method


def _unknown(flag: str, names: Sequence[str], program: str, method: str) -> UserError:
    """What to say of an option that this program, or this method, does not have."""
    name = ALIASES.get(flag.removeprefix("--"), flag.removeprefix("--"))
    here = f"dupo.{program}" + (
        f" --method {method}" if program == "train" and method != Config.method else ""
    )
    if name in OPTIONS:
        others = [f"dupo.{other}" for other in PROGRAMS if name in PROGRAMS[other].names]
        others += [
            "dupo.train" + (f" --method {other}" if other != Config.method else "")
            for other in METHODS
            if name in program_named("train", other).names
        ]
        return UserError(f"unknown option {flag}: {here} does not have it, only {', '.join(others)}")
    return UserError(
        f"unknown option {cut(flag)}{about_unknown(flag.lstrip('-'), ['config', *names], here, '--')}"
    )


def _parser(program: str, method: str) -> argparse.ArgumentParser:
    about = program_named(program, method)
    examples = "".join(f"\n  {command(program)} {words}".rstrip() for words in about.examples)
    parser = Parser(
        usage=f"{command(program)} [--config FILE.yaml] [--option value ...]",
        description=about.description,
        epilog=f"{_SPELLING}\n\nexamples:{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument(
        "--config", metavar="FILE.yaml", help="YAML file of options; the command line overrides it"
    )
    # `--no_x` stands beside every `--x` but would double the help.
    off: dict[str, Any] = {"action": "store_const", "const": "false", "help": argparse.SUPPRESS}
    groups: dict[str, Any] = {}
    for name in about.names:
        group, spec = group_of(name, method), option_of(name, method)
        if group not in groups:
            groups[group] = parser.add_argument_group(_TITLES.get(group, group))
        # Values stay texts here; `coerce` checks them with the words of a YAML file.
        kind, _ = option_type(spec)
        metavar = "|".join(spec.metadata["choices"]) or _METAVAR[kind]
        metavar = "JSON" if spec.metadata.get("is_json") else metavar
        flag: dict[str, Any] = {"nargs": "?", "const": "true"} if kind is bool else {}
        groups[group].add_argument(f"--{name}", metavar=metavar, help=_help(name, program, method), **flag)
        # An alias keeps a name of its own, so that one given beside the option is seen.
        for alias in _aliases(name):
            groups[group].add_argument(f"--{alias}", help=argparse.SUPPRESS, **flag)
        if kind is bool:
            for dest in (name, *_aliases(name)):
                groups[group].add_argument(f"--no_{dest}", dest=dest, **off)
    return parser


def _aliases(name: str) -> list[str]:
    return [alias for alias, option in ALIASES.items() if option == name]


def shown_default(name: str, program: str = "train", method: str = Config.method) -> str:
    """The default of an option as the help of a program shows it, with those of tasks that have their own."""
    spec, changed = option_of(name, method), PROGRAM_DEFAULTS.get(program, {})
    # What a program changes is shown alone: the default of training would mislead.
    if name in changed:
        return show(changed[name])
    layers = METHOD_DEFAULTS.get(method, {}) if program == "train" else {}
    by_task = [
        f"; {task}: {show(entry.defaults[method][name])}"
        for task, entry in TASKS.items()
        if name in entry.defaults.get(method, {})
    ]
    return f"{show(layers.get(name, spec.default))}{''.join(by_task)}"


def _help(name: str, program: str, method: str) -> str:
    also = f" Or --{', --'.join(_aliases(name))}, as in TRL." if _aliases(name) else ""
    about = option_of(name, method).metadata["help"]
    text = f"{about} (default: {shown_default(name, program, method)}){also}"
    return text.replace("%", "%%")
