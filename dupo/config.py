"""Every option of a run: one flat frozen dataclass, read from YAML files and the command line.

Layers, a later one wins: the defaults below < `TASK_DEFAULTS` < config.yaml of the run that is resumed
< `--config FILE.yaml` < the command line. Names, meanings and defaults are TRL's where TRL has the option.
Nothing here imports torch or transformers: help and errors come at once.
"""

import argparse
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from dupo.options import UserError, check, coerce, compose, did_you_mean, kind_of, show, underscored


def _option(group: str, default: Any, help: str, choices: str = "", *, least: int = 1) -> Any:
    """A field. `least`: the smallest integer allowed; the smallest float is 0."""
    names = tuple(choices.split("|")) if choices else ()
    return field(default=default, metadata={"group": group, "help": help, "choices": names, "least": least})


_GROUPS = ("model", "task", "reward", "rollout", "optimisation", "loss", "run")
_model, _task, _reward, _rollout, _optim, _loss, _run = (partial(_option, group) for group in _GROUPS)


@dataclass(frozen=True)
class Config:
    """The options of one run. The help texts below are the documentation; `--help` prints them."""

    model_name_or_path: str = _model(
        "tiny", "folder or Hub name of a transformers causal LM; `tiny`: small, Qwen3-shaped, random weights"
    )
    tokenizer_name: str | None = _model(None, "folder or Hub name of the tokenizer; none: the model's own")
    pad_token: str | None = _model(None, "padding token; none: the tokenizer's own")
    eos_token: str | None = _model(None, "token that ends a completion; none: the tokenizer's own")
    dtype: str = _model(
        "auto", "of weights; auto: float32, computing in bfloat16 on GPUs with it", "auto|float32|bfloat16"
    )
    device: str = _model("auto", "auto: the GPU if there is one, else the CPU", "auto|cpu|cuda")
    gradient_checkpointing: bool = _model(False, "less memory and more time in the backward pass")
    trust_remote_code: bool = _model(False, "run Python code that comes with the model")

    task: str = _task("arithmetic", "what the model is trained to do", "arithmetic|word_problems|translation")
    dataset: str | None = _task(
        None, "training problems: a JSON lines file, for translation also a folder of line-parallel files"
    )
    eval_dataset: str | None = _task(None, "held-out problems; none: eval_size problems of dataset")
    question_column: str | None = _task(None, "column of the question; none: found by the usual names")
    answer_column: str | None = _task(None, "column of the right answer, for evaluation; none: as above")
    src: str = _task("en", "code of the language translated from")
    tgt: str = _task("de", "code of the language translated into")
    eval_size: int = _task(64, "held-out problems, never trained on (0: no evaluation)", least=0)
    translation_metric: str = _task("bleu", "compares back-translation and source", "bleu|chrf|mean")

    reward: str = _reward(
        "dual",
        "what is rewarded: recovery of the hidden part (dual), the right answer (gold; needs labels), the "
        "most common answer (majority), chance (random), dual rewards given to other completions (shuffled)",
        "dual|gold|majority|random|shuffled",
    )
    reward_shape: str = _reward("linear", "1 - distance, or exp(-reward_lambda distance)", "linear|exp")
    reward_lambda: float = _reward(1.0, "lambda of the exp shape")
    dual_model: str = _reward(
        "frozen", "answers the dual: the model as it is, as it started, or its average", "policy|frozen|ema"
    )
    ema_decay: float = _reward(0.99, "decay of that average per optimizer step, from 0 to below 1")
    duals_per_prompt: int = _reward(3, "most hidden parts asked for per problem (0: all)", least=0)
    dual_samples: int = _reward(1, "samples per dual prompt; their rewards are averaged")
    dual_temperature: float = _reward(0.0, "sampling temperature of the dual (0: greedy)")
    dual_max_completion_length: int | None = _reward(None, "its most tokens; none: max_completion_length")

    num_generations: int = _rollout(8, "completions per prompt, compared with one another", least=2)
    generation_batch_size: int = _rollout(64, "completions per rollout: prompts x num_generations")
    max_completion_length: int = _rollout(256, "most tokens of a completion")
    temperature: float = _rollout(1.0, "sampling temperature")
    max_concurrent_sequences: int = _rollout(1024, "sequences generated at once")

    max_steps: int = _optim(200, "optimizer steps of the whole run")
    learning_rate: float = _optim(1e-6, "highest learning rate of AdamW")
    lr_scheduler_type: str = _optim("constant", "the rate after warm-up", "constant|linear|cosine")
    warmup_steps: int = _optim(0, "optimizer steps in which the rate rises from 0", least=0)
    weight_decay: float = _optim(0.0, "weight decay of AdamW")
    adam_beta1: float = _optim(0.9, "decay of AdamW's mean gradient")
    adam_beta2: float = _optim(0.999, "decay of AdamW's mean squared gradient")
    adam_epsilon: float = _optim(1e-8, "added to AdamW's denominator")
    max_grad_norm: float = _optim(1.0, "longer gradients are scaled down to this norm")
    train_batch_size: int | None = _optim(None, "completions per step; none: generation_batch_size")
    num_iterations: int = _optim(1, "times that every rollout is trained on")
    token_budget: int = _optim(16384, "tokens per micro-batch; less needs less memory")

    loss_type: str = _loss(
        "dapo",
        "mean over each completion, then over completions (grpo); mean over all tokens (dapo); sum over all "
        "tokens divided by completions x max_completion_length (dr_grpo); sum over each completion, then "
        "mean (luspo); soft gates instead of clips (sapo like grpo, vespo like dapo); cispo like dapo, caps "
        "the ratio at epsilon_high",
        "grpo|bnpo|dr_grpo|dapo|cispo|sapo|luspo|vespo",
    )
    importance_sampling_level: str = _loss(
        "token", "probability ratios of tokens, or of whole completions (GSPO)", "token|sequence"
    )
    epsilon: float = _loss(0.2, "probability ratios below 1 - epsilon or above 1 + epsilon_high are clipped")
    epsilon_high: float | None = _loss(None, "the upper bound of that range; none: epsilon")
    delta: float | None = _loss(None, "upper bound of the ratio also where it is not clipped; none: no bound")
    clip_ratio_c: float | None = _loss(None, "bound of the loss of a bad token (dual clip); none: no bound")
    entropy_coef: float = _loss(0.0, "weight of the entropy bonus")
    off_policy_mask_threshold: float | None = _loss(
        None, "bad completions whose mean log-ratio fell by more are left out; none: kept"
    )
    beta: float = _loss(0.0, "weight of the KL term to the starting model (0: no KL)")
    kl: str = _loss("k3", "estimator of the KL term", "k1|k2|k3|abs|k3+")
    use_bias_correction_kl: bool = _loss(True, "weight the KL term by the probability ratio")
    scale_rewards: str = _loss("group", "advantages are divided by its std", "group|batch|none")
    mask_truncated_completions: bool = _loss(False, "leave completions without an end token out of the loss")

    output_dir: str | None = _run(None, "folder of the run; none: runs/<date>-<time>-<task>-<reward>")
    overwrite_output_dir: bool = _run(False, "replace what the folder of the run holds")
    resume_from_checkpoint: str | None = _run(None, "folder of a checkpoint, or `latest` in output_dir")
    seed: int = _run(0, "seed of weights, problems and samples", least=0)
    eval_steps: int = _run(10, "optimizer steps between evaluations")
    save_steps: int = _run(50, "optimizer steps between checkpoints")
    save_total_limit: int = _run(2, "checkpoints that are kept, the newest ones")
    num_completions_to_print: int = _run(4, "primal and dual exchanges per step in samples.jsonl", least=0)
    num_threads: int = _run(0, "CPU threads (0: torch decides)", least=0)


# What replaces the defaults above while a task runs.
TASK_DEFAULTS: dict[str, dict[str, Any]] = {
    "arithmetic": dict(
        num_generations=4,
        generation_batch_size=512,
        max_completion_length=6,
        learning_rate=3e-4,
        lr_scheduler_type="linear",
        adam_beta2=0.95,
        max_steps=150,
        eval_size=2000,
        duals_per_prompt=0,
        num_threads=1,  # the model is so small that a second thread only waits for the first
    )
}

_ONE_START = {"output_dir", "overwrite_output_dir", "resume_from_checkpoint"}
_NO_EFFECT = _ONE_START | {"num_completions_to_print", "save_steps", "save_total_limit"}
_FREE_ON_RESUME = _NO_EFFECT | {"max_steps"}
_METAVAR = {int: "INT", float: "NUMBER", bool: "true|false", str: "TEXT"}
_FIELDS: dict[str, Field[Any]] = {spec.name: spec for spec in fields(Config)}
_BY_GROUP = {group: [n for n in _FIELDS if _FIELDS[n].metadata["group"] == group] for group in _GROUPS}
_EPILOG = """\
`--no_NAME` turns a true|false option off. Names may be written with dashes.

examples:
  python -m dupo.train
  python -m dupo.train --config configs/gsm8k.yaml --model_name_or_path Qwen/Qwen3-1.7B
"""


def parse(argv: Sequence[str]) -> Config:
    """The options of a run from its command line, without the program's name.

    Prints the help and exits with 0 where argv asks for it. Raises UserError for anything wrong.
    """
    given = _command_line(argv)
    if run := _resumed_run(given):
        saved = read_yaml(run / "config.yaml")
        given = {k: v for k, v in saved.items() if k not in _ONE_START} | given | {"output_dir": str(run)}
    return _assemble(given)


def read_config(path: str | Path) -> Config:
    """The options that a YAML file gives, on top of the defaults; resumes nothing. For RUN/config.yaml."""
    return _assemble(read_yaml(path))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The options named in a YAML file, each with the type of its field.

    Scalars are taken as written: `tgt: no` is Norwegian, `1e-6` a number. A quoted "none" is that word.
    """
    root = compose(path)
    values: dict[str, Any] = {}
    for key, node in root.value if root else ():
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
        if name not in _FIELDS:
            raise UserError(f"{path}: unknown key {name}{did_you_mean(name, _FIELDS)}")
        if name in values:
            raise UserError(f"{path}: line {key.start_mark.line + 1}: expected {name} once, got it twice")
        if not isinstance(node, yaml.ScalarNode):
            kind = "list" if isinstance(node, yaml.SequenceNode) else "nested mapping"
            raise UserError(f"{path}: {name}: expected one value, got a {kind}")
        try:
            values[name] = coerce(_FIELDS[name], node.value, quoted=node.style is not None)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    return values


def validate(config: Config) -> None:
    """Raises UserError for values that no run can have, alone or together. Files are left to the tasks."""
    for name, spec in _FIELDS.items():
        if getattr(config, name) is not None:
            check(spec, getattr(config, name))
    size, rollout, train = config.num_generations, config.generation_batch_size, config.train_batch_size
    alike, no_data = config.dual_temperature == 0, config.task != "arithmetic" and config.dataset is None
    same_language = config.task == "translation" and config.src == config.tgt
    rules = (
        (rollout % size, "generation_batch_size", f"a multiple of num_generations, {size}"),
        (rollout % (train or 1), "train_batch_size", f"a divisor of generation_batch_size, {rollout}"),
        (alike and config.dual_samples > 1, "dual_samples", "1, as dual_temperature 0 makes all alike"),
        (no_data, "dataset", f"--dataset PATH, which --task {config.task} needs"),
        (same_language, "tgt", f"another language than src, {config.src}"),
    )
    for broken, name, expected in rules:
        if broken:
            raise UserError(f"{name}: expected {expected}, got {show(getattr(config, name))}")


def to_yaml(config: Config) -> str:
    """Every option as YAML; `read_config` of it gives the same Config, other YAML readers the same values."""
    return "".join(f"# {group}\n{_lines(config, names)}" for group, names in _BY_GROUP.items())


def config_hash(config: Config) -> str:
    """12 hex digits, equal for two configs that ask for the same figures."""
    return hashlib.sha256(_lines(config, sorted(_FIELDS.keys() - _NO_EFFECT)).encode()).hexdigest()[:12]


def resume_differences(old: Config, new: Config) -> list[str]:
    """One line for every option that differs and may not, if `new` is to go on with the run of `old`."""
    return [
        f"{name} is {show(getattr(new, name))}, the run was started with {show(getattr(old, name))}"
        for name in _FIELDS
        if name not in _FREE_ON_RESUME and getattr(new, name) != getattr(old, name)
    ]


def _assemble(given: Mapping[str, Any]) -> Config:
    config = Config(**(TASK_DEFAULTS.get(given.get("task", Config.task), {}) | dict(given)))
    validate(config)
    return config


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
    if folder is not None and Path(folder).resolve() != run.resolve():
        raise UserError(f"output_dir: expected {run}, the run that is resumed, got {folder}")
    if given.get("overwrite_output_dir"):
        raise UserError("overwrite_output_dir: expected false while a run is resumed, got true")
    return run


def _command_line(argv: Sequence[str]) -> dict[str, Any]:
    """The options given on the command line, on top of those of its --config."""
    try:
        known, rest = _parser().parse_known_args(underscored(argv))
    except argparse.ArgumentError as error:
        expected = "a value" if error.message.startswith("expected") else "no value"
        raise UserError(f"{error.argument_name}: expected {expected}") from None
    if rest and not rest[0].startswith("-"):
        raise UserError(f"expected options that start with --, got {rest[0]!r}")
    if rest:
        name = rest[0].partition("=")[0]
        hint = did_you_mean(name.lstrip("-"), ["config", *_FIELDS], "--")
        raise UserError(f"unknown option {name}{hint}")
    texts = vars(known)
    file = read_yaml(texts.pop("config")) if "config" in texts else {}
    return file | {name: coerce(_FIELDS[name], text) for name, text in texts.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        usage="python -m dupo.train [--config FILE.yaml] [--option value ...]",
        description="Train a language model with DuPO: on its own consistency, without labels.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--config", metavar="FILE.yaml", help="lines `option: value`; options here win")
    off: dict[str, Any] = {"action": "store_const", "const": "false", "help": argparse.SUPPRESS}
    for title, names in _BY_GROUP.items():
        group = parser.add_argument_group(title)
        for name in names:
            kind, _ = kind_of(_FIELDS[name])
            metavar = "|".join(_FIELDS[name].metadata["choices"]) or _METAVAR[kind]
            flag: dict[str, Any] = {"nargs": "?", "const": "true"} if kind is bool else {}
            group.add_argument(f"--{name}", metavar=metavar, help=_help(name), **flag)
            if kind is bool:
                group.add_argument(f"--no_{name}", dest=name, **off)
    return parser


def _help(name: str) -> str:
    spec = _FIELDS[name]
    by_task = [f"; {task}: {show(new[name])}" for task, new in TASK_DEFAULTS.items() if name in new]
    return f"{spec.metadata['help']} (default: {show(spec.default)}{''.join(by_task)})"


def _lines(config: Config, names: Iterable[str]) -> str:
    """`name: value` in YAML. Double quotes keep "none" apart from None, and odd line ends as they are."""
    lines: list[str] = []
    for name in names:
        value = getattr(config, name)
        odd = isinstance(value, str) and (value.lower() == "none" or not value.isprintable())
        typed = {name: None if value is None else kind_of(_FIELDS[name])[0](value)}
        lines.append(yaml.safe_dump(typed, default_style='"' * odd, allow_unicode=True, width=math.inf))
    return "".join(lines)
