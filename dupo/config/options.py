"""Every option of every program: one flat frozen dataclass, and YAML files of it.

One file serves all programs: `python -m dupo.audit --config configs/gsm8k.yaml` asks about the run that
`python -m dupo.train --config configs/gsm8k.yaml` would make. Names, meanings and defaults are TRL's where
TRL has the option. Nothing here imports torch or transformers: help and errors come at once.
"""

import difflib
import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from dupo.config.values import check, coerce, compose, kind_of, listed, show
from dupo.errors import UserError, did_you_mean, nearest


def _option(group: str, default: Any, help: str, choices: str = "", *, least: int = 1) -> Any:
    """A field. `least`: the smallest integer allowed; the smallest float is 0."""
    names = tuple(choices.split("|")) if choices else ()
    return field(default=default, metadata={"group": group, "help": help, "choices": names, "least": least})


GROUPS = ("model", "task", "reward", "duals", "rollout", "optimisation", "loss", "run", "choice", "rerank")
_model, _task, _reward, _duals, _rollout, _optim, _loss, _run, _choice, _rerank = (
    partial(_option, group) for group in GROUPS
)
BUILT_IN = ("arithmetic", "conlang")  # tasks that need no data, and bring a warm-up (`tasks.LESSONS`)
DUAL_MODELS = ("frozen", "policy", "ema")  # or the path of another model
# What can be rewarded (`dupo.rewards.base`); more come by dotted path.
ARMS = (
    "dual", "gold", "majority", "soft_vote", "self_certainty", "entropy", "random", "shuffled", "format_only"
)  # fmt: skip
ASK_DUALS = {"dual", "shuffled"}  # the arms that need a model to answer duals


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

    task: str = _task(
        "arithmetic", "what the model is trained to do", "arithmetic|conlang|word_problems|translation"
    )
    dataset: str | None = _task(
        None, "training problems: a JSON lines file, for translation also a folder of line-parallel files"
    )
    eval_dataset: str | None = _task(None, "held-out problems; none: eval_size problems of dataset")
    question_column: str | None = _task(None, "column of the question; none: found by the usual names")
    answer_column: str | None = _task(None, "column of the right answer, for evaluation; none: as above")
    src: str = _task("en", "code of the language translated from")
    tgt: str = _task("de", "code of the language translated into")
    eval_size: int = _task(64, "held-out problems, never trained on (0: no evaluation)", least=0)
    translation_metric: str = _task(
        "bleu",
        "compares back-translation and source: bleu, chrf, mean (of both), or a metric of yours as "
        "package.module.function",
    )
    gates: str = _task(
        "language,copy,length,lines",
        "what a translation must pass to be an answer, any of: its language, no copy of the source, "
        "max_length_ratio, one line; `off`: nothing",
    )
    max_length_ratio: float = _task(3.0, "a translation is at most so much longer or shorter than its source")

    reward: str = _reward(
        "dual",
        "what is rewarded, one or several of: recovery of the hidden part (dual); the right answer (gold; "
        "needs labels); the most common answer (majority), or its share (soft_vote); confidence "
        "(self_certainty; entropy, the less the better); any readable answer (format_only); chance (random); "
        "dual rewards given to other completions (shuffled); a function of yours with TRL's signature, as "
        "package.module.function",
    )
    reward_weights: str | None = _reward(None, "weight of each of them, comma-separated; none: 1")
    reward_shape: str = _reward("linear", "1 - distance, or exp(-reward_lambda distance)", "linear|exp")
    reward_lambda: float = _reward(1.0, "lambda of the exp shape")

    dual_model: str = _duals(
        "frozen",
        "answers the duals: the model as it started (frozen), as it is (policy), its average (ema), or "
        "another model: its folder or Hub name",
    )
    ema_decay: float = _duals(0.99, "decay of that average per optimizer step, from 0 to below 1")
    duals_per_prompt: int = _duals(3, "most hidden parts asked for per problem (0: all)", least=0)
    dual_samples: int = _duals(1, "samples per dual prompt; their rewards are averaged")
    dual_temperature: float = _duals(0.0, "sampling temperature of the dual (0: greedy)")
    dual_max_completion_length: int | None = _duals(None, "its most tokens; none: max_completion_length")
    selected_duals: str | None = _duals(
        None, "folder of `dupo.select`: use the duals that it kept, no others"
    )

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

    num_problems: int = _choice(0, "problems that are looked at, the first of the data (0: all)", least=0)
    pool_sizes: str = _choice(
        "32,8", "answers sampled per problem, pass by pass; each pass sees what is left"
    )
    pool_models: str | None = _choice(None, "model of each pass, comma-separated; none: the model in all")
    solve_threshold: float = _choice(
        0.5, "an answer solves a dual if the hidden part comes back at least so well: mean of 1 - distance"
    )
    num_decoys: int = _choice(2, "wrong answers that each dual is tried with, beside none at all", least=0)
    keep_vacuous: bool = _choice(True, "keep duals whose pool holds one answer, where the rule says little")

    rank_by: str = _rerank(
        "dual", "recovery (dual), or recovery times the share of the votes (product)", "dual|product"
    )
    vote_samples: int = _rerank(
        0,
        "completions of a majority vote at its own cost, to compare with (0: only num_generations)",
        least=0,
    )


_TAUGHT: dict[str, Any] = dict(
    num_generations=4,
    generation_batch_size=512,
    learning_rate=3e-4,
    lr_scheduler_type="linear",
    adam_beta2=0.95,
    max_steps=150,
    num_problems=1000,
    num_threads=1,  # the model is so small that a second thread only waits for the first
)
# What replaces the defaults above while a task runs.
TASK_DEFAULTS: dict[str, dict[str, Any]] = {
    "arithmetic": _TAUGHT | dict(max_completion_length=6, eval_size=2000, duals_per_prompt=0),
    "conlang": _TAUGHT | dict(max_completion_length=10, eval_size=1000),
}

# What replaces those in turn in other programs than train.
PROGRAM_DEFAULTS: dict[str, dict[str, Any]] = {
    "rerank": dict(num_generations=8),
    "audit": dict(num_generations=8, num_problems=200),
}

ONE_START = {"output_dir", "overwrite_output_dir", "resume_from_checkpoint"}
_NO_EFFECT = ONE_START | {"num_completions_to_print", "save_steps", "save_total_limit"}
_FREE_ON_RESUME = _NO_EFFECT | {"max_steps"}
FIELDS: dict[str, Field[Any]] = {spec.name: spec for spec in fields(Config)}
BY_GROUP = {group: [n for n in FIELDS if FIELDS[n].metadata["group"] == group] for group in GROUPS}


def reward_terms(config: Config) -> list[tuple[str, float]]:
    """(name of an arm or dotted path, weight) of everything that `reward` names."""
    names = [name.replace("-", "_") if "." not in name else name for name in listed(config.reward)]
    weights = listed(config.reward_weights) if config.reward_weights is not None else ["1"] * len(names)
    try:
        return list(zip(names, map(float, weights), strict=True))
    except ValueError:
        expected = f"{len(names)} numbers, comma-separated, as reward names {len(names)}"
        raise UserError(f"reward_weights: expected {expected}, got {config.reward_weights!r}") from None


def asks_duals(config: Config) -> bool:
    """Whether any reward needs a model to answer duals."""
    return any(name in ASK_DUALS for name, _ in reward_terms(config))


def read_config(path: str | Path, program: str = "train") -> Config:
    """The options that a YAML file gives, on top of the defaults; resumes nothing. For RUN/config.yaml."""
    return assemble(read_yaml(path), program)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The options named in a YAML file, each with the type of its field.

    Scalars are taken as written: `tgt: no` is Norwegian, `1e-6` a number. A quoted "none" is that word.
    """
    root = compose(path)
    values: dict[str, Any] = {}
    for key, node in root.value if root else ():
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
        if name not in FIELDS:
            raise UserError(f"{path}: unknown key {name}{did_you_mean(name, FIELDS)}")
        if name in values:
            raise UserError(f"{path}: line {key.start_mark.line + 1}: expected {name} once, got it twice")
        if not isinstance(node, yaml.ScalarNode):
            kind = "list" if isinstance(node, yaml.SequenceNode) else "nested mapping"
            raise UserError(f"{path}: {name}: expected one value, got a {kind}")
        try:
            values[name] = coerce(FIELDS[name], node.value, quoted=node.style is not None)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    return values


def validate(config: Config, program: str = "train") -> None:
    """Raises UserError for values that no run can have, alone or together. Files are left to the tasks."""
    for name, spec in FIELDS.items():
        if getattr(config, name) is not None:
            check(spec, getattr(config, name))
    size, rollout, train = config.num_generations, config.generation_batch_size, config.train_batch_size
    alike = config.dual_temperature == 0
    built_in = config.task in BUILT_IN
    own = f"none with --task {config.task}, which makes its own problems (--task word_problems reads files)"
    same_language = config.task == "translation" and config.src == config.tgt
    trains, near = program == "train", difflib.get_close_matches(config.dual_model, DUAL_MODELS, n=1)
    typo = config.dual_model not in DUAL_MODELS and near and not Path(config.dual_model).exists()
    pools, metric = listed(config.pool_sizes), config.translation_metric
    no_metric = "." not in metric and metric not in ("bleu", "chrf", "mean")
    whole = all(re.fullmatch("[0-9]{1,9}", pool) and int(pool) > 1 for pool in pools)
    one_model_each = config.pool_models is None or len(listed(config.pool_models)) == len(pools)
    rules = (
        (trains and rollout % size, "generation_batch_size", f"a multiple of num_generations, {size}"),
        (
            trains and rollout % (train or 1),
            "train_batch_size",
            f"a divisor of generation_batch_size, {rollout}",
        ),
        (
            typo,
            "dual_model",
            f"{', '.join(DUAL_MODELS)}, a folder or a Hub name (did you mean {near[0]}?)" if near else "",
        ),
        (not whole, "pool_sizes", "integers of at least 2, comma-separated"),
        (
            not one_model_each,
            "pool_models",
            f"{len(pools)} names, comma-separated, one for each of pool_sizes",
        ),
        (alike and config.dual_samples > 1, "dual_samples", "1, as dual_temperature 0 makes all alike"),
        (
            not built_in and config.dataset is None,
            "dataset",
            f"--dataset PATH, which --task {config.task} needs",
        ),
        (built_in and config.dataset is not None, "dataset", own),
        (built_in and config.eval_dataset is not None, "eval_dataset", own),
        (no_metric, "translation_metric", "bleu, chrf, mean or package.module.function"),
        (same_language, "tgt", f"another language than src, {config.src}"),
    )
    for broken, name, expected in rules:
        if broken:
            raise UserError(f"{name}: expected {expected}, got {show(getattr(config, name))}")
    terms = reward_terms(config)
    short = [name.rpartition(".")[2] for name, _ in terms]  # the name under which it is logged
    if len(set(short)) < len(short):
        raise UserError(f"reward: expected different names, got {config.reward!r}")
    for name, weight in terms:
        if not math.isfinite(weight):
            raise UserError(f"reward_weights: expected finite numbers, got {config.reward_weights!r}")
        if "." not in name and name not in ARMS:
            arms = f"{', '.join(ARMS)} or package.module.function"
            raise UserError(f"reward: any of {arms}; got {name!r}{nearest(name, ARMS)}")


def to_yaml(config: Config) -> str:
    """Every option as YAML; `read_config` of it gives the same Config, other YAML readers the same values."""
    return "".join(f"# {group}\n{_lines(config, names)}" for group, names in BY_GROUP.items())


def config_hash(config: Config) -> str:
    """12 hex digits, equal for two configs that ask for the same figures."""
    return hashlib.sha256(_lines(config, sorted(FIELDS.keys() - _NO_EFFECT)).encode()).hexdigest()[:12]


def resume_differences(old: Config, new: Config) -> list[str]:
    """One line for every option that differs and may not, if `new` is to go on with the run of `old`."""
    return [
        f"{name} is {show(getattr(new, name))}, the run was started with {show(getattr(old, name))}"
        for name in FIELDS
        if name not in _FREE_ON_RESUME and getattr(new, name) != getattr(old, name)
    ]


def assemble(given: Mapping[str, Any], program: str = "train") -> Config:
    """The layers of defaults under what was given."""
    by_task = TASK_DEFAULTS.get(given.get("task", Config.task), {})
    config = Config(**(by_task | PROGRAM_DEFAULTS.get(program, {}) | dict(given)))
    validate(config, program)
    return config


def _lines(config: Config, names: Iterable[str]) -> str:
    """`name: value` in YAML. Double quotes keep "none" apart from None, and odd line ends as they are."""
    lines: list[str] = []
    for name in names:
        value = getattr(config, name)
        odd = isinstance(value, str) and (value.lower() == "none" or not value.isprintable())
        typed = {name: None if value is None else kind_of(FIELDS[name])[0](value)}
        lines.append(yaml.safe_dump(typed, default_style='"' * odd, allow_unicode=True, width=math.inf))
    return "".join(lines)
