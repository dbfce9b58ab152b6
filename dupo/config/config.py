"""`Config`: every option of one run, in groups, and the rules across groups."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field
from datetime import date
from typing import Any, Self

from dupo.config.catalogue import METHODS, TASKS
from dupo.config.engine_options import BUILTIN, SERVER, VLLM, EngineOptions, is_address
from dupo.config.lora_options import LoraOptions
from dupo.config.model_options import BUILT_IN_MODEL, ModelOptions
from dupo.config.options import (
    DUAL_MODELS,
    DualOptions,
    OptimizerOptions,
    RerankOptions,
    RewardOptions,
    RunOptions,
    SelectOptions,
)
from dupo.config.preference_options import ComparisonOptions, LabelOptions, ScoreOptions
from dupo.config.rank_options import RankOptions
from dupo.config.rollout_options import RolloutOptions
from dupo.config.selection_options import LabellingOptions, PairingOptions, RejectionOptions
from dupo.config.task_options import TaskOptions
from dupo.config.trl import about_unknown
from dupo.config.values import check, json_text, option, show
from dupo.config.vllm_options import LEAST_TEMPERATURE, VllmOptions
from dupo.errors import UserError, cut, quoted
from dupo_kernels.tokens.policy_options import PolicyOptions

# 12 GB of ids and log-probs in the engine, and 100 GB in a rollout.
MOST_TOKENS_AT_ONCE, MOST_TOKENS_OF_ROLLOUT = 2**30, 2**33
# Of methods that learn from a file of answers alone.
_COLUMNS = {
    "dpo": "prompt, chosen and rejected",
    "kto": "prompt, completion and label",
    "reward_model": "prompt, chosen and rejected, or prompt and completions, the best first",
}
PROGRAMS = ("train", "select", "rerank", "audit")  # the doors that read these options


@dataclass(frozen=True)
class Config:
    """Every option of one run of one program, in groups. `Config.of` builds it from flat names.

    Attributes:
        program: the door that was opened: train, select, rerank or audit. Not an option.

    Raises:
        UserError: options that do not go together.
    """

    program: str = "train"
    method: str = option("dupo", "how the model is trained", "|".join(METHODS))
    model: ModelOptions = field(default_factory=ModelOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)
    vllm: VllmOptions = field(default_factory=VllmOptions)
    task: TaskOptions = field(default_factory=TaskOptions)
    reward: RewardOptions = field(default_factory=RewardOptions)
    duals: DualOptions = field(default_factory=DualOptions)
    rollout: RolloutOptions = field(default_factory=RolloutOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    loss: PolicyOptions = field(default_factory=PolicyOptions)
    comparison: ComparisonOptions = field(default_factory=ComparisonOptions)
    labels: LabelOptions = field(default_factory=LabelOptions)
    scores: ScoreOptions = field(default_factory=ScoreOptions)
    labelling: LabellingOptions = field(default_factory=LabellingOptions)
    pairing: PairingOptions = field(default_factory=PairingOptions)
    rejection: RejectionOptions = field(default_factory=RejectionOptions)
    ranks: RankOptions = field(default_factory=RankOptions)
    run: RunOptions = field(default_factory=RunOptions)
    selection: SelectOptions = field(default_factory=SelectOptions)
    rerank: RerankOptions = field(default_factory=RerankOptions)

    def __post_init__(self) -> None:
        if self.program not in PROGRAMS:
            raise UserError(f"program: expected one of {', '.join(PROGRAMS)}, got {quoted(self.program)}")
        check(OPTIONS["method"], self.method)
        for name, group in GROUPS.items():
            if not isinstance(getattr(self, name), group):
                raise UserError(f"{name}: expected {group.__name__}, got {quoted(getattr(self, name))}")
        for broken, name, expected in self._rules():
            if broken:
                raise UserError(f"{name}: expected {expected}, got {show(self.flat()[name])}")

    @property
    def holds_no_model(self) -> bool:
        """Whether the model of the run is at a server alone; in training the learner is here as well."""
        return self.engine.is_server and self.program != "train"

    @property
    def samples(self) -> bool:
        """Whether the method samples what it learns from."""
        return "rollout" in METHODS[self.method].groups

    @property
    def group_size(self) -> int:
        """Sequences that a micro-batch must hold together: a loss of pairs looks at both."""
        return 2 if {"comparison", "scores"} & {*METHODS[self.method].groups} else 1

    @property
    def learns_scores(self) -> bool:
        """Whether a reward model is trained: one score in the place of words."""
        return "scores" in METHODS[self.method].groups

    @property
    def needs_reference(self) -> bool:
        """Whether the loss reads what the policy before training says."""
        groups = METHODS[self.method].groups
        # Groups that the method does not read have their defaults.
        if "comparison" in groups:
            return self.comparison.for_loss().needs_reference
        return "labels" in groups or ("loss" in groups and self.loss.beta != 0)

    @property
    def sends_adapters(self) -> bool:
        """Whether the adapters alone go to the vLLM of this process, and not whole weights."""
        return self.engine.engine == VLLM and self.lora.use_peft and not self.vllm.vllm_merge_adapters

    def _rules(self) -> Iterator[tuple[bool, str, str]]:
        """(whether it is broken, option, what was expected) of every rule across groups."""
        yield from self._memory_rules()
        yield from self._engine_rules()
        yield from self._lora_rules()
        longest = self.rollout.max_completion_length
        shorter = f"at most max_completion_length, {longest}"
        yield (self.reward.soft_punish_cache or 0) > longest, "soft_punish_cache", shorter
        # A score may be below 0, where more votes would make an answer worse.
        duals = "dual with another reward than dual, which alone has a share to multiply"
        is_other = self.program == "rerank" and self.reward.reward != "dual"
        yield is_other and self.rerank.rank_by != "dual", "rank_by", duals
        is_taught = self.model.model_name_or_path == BUILT_IN_MODEL and TASKS[self.task.task].built_in
        is_taught = is_taught and not self.holds_no_model
        lessons = f"no --teach, as only --model_name_or_path {BUILT_IN_MODEL} is taught, on a built-in task"
        yield self.model.teach and not is_taught, "teach", lessons
        # The loss itself knows negative values; as options they are slips: a run that is rewarded for being
        # sure of itself, or one that leaves out sequences whose probability has risen.
        for name in ("entropy_coef", "off_policy_mask_threshold"):
            yield (getattr(self.loss, name) or 0) < 0, name, "at least 0"
        task, entry = self.task.task, TASKS[self.task.task]
        if self.program == "train" and self.samples:
            # Other programs sample problem by problem, so only training needs whole groups and steps.
            group_size, rollout_size = self.rollout.num_generations, self.rollout.generation_batch_size
            multiple = f"a multiple of num_generations, {group_size}"
            yield rollout_size % group_size != 0, "generation_batch_size", multiple
            most = f"at most num_generations, {group_size}"
            yield self.rollout.trained_of_group > group_size, "num_trained_generations", most
            trained = self.rollout.trained_of_rollout
            divisor = f"a divisor of the completions of a rollout that are trained on, {trained}"
            # Other methods learn from as many completions as they find.
            is_cut = self.method == "dupo" and trained % (self.optimizer.train_batch_size or 1) != 0
            yield is_cut, "train_batch_size", divisor
            # How far the policy has moved is measured on answers to other prompts.
            is_alone = self.method == "online_kto" and rollout_size < 2 * group_size
            yield is_alone, "generation_batch_size", f"at least two prompts, {2 * group_size} completions"
            yield from self._skip_rules()
        if self.program == "train" and self.method in _COLUMNS:
            columns = f"--dataset FILE with columns {_COLUMNS[self.method]}"
            yield self.task.dataset is None, "dataset", columns
            return  # a file of answers needs no task
        if self.program == "train" and self.method == "sft":
            pairs = f"--dataset FILE with columns prompt and completion, as --task {task} brings no lessons"
            yield not entry.built_in and self.task.dataset is None, "dataset", pairs
            alone = self.task.dataset is None and self.task.eval_dataset is not None
            yield alone, "eval_dataset", "none without --dataset"
            whole = f"drop or error with --task {task}, whose problems are never cut"
            is_cut = self.task.overlong == "truncate_left"
            yield is_cut and self.task.dataset is None, "overlong", whole
            return  # a file of completions needs no task
        yield from self._overlong_rules()
        # A data set beside a built-in task would be ignored without a word.
        needed = f"--dataset PATH, which --task {task} needs"
        yield not entry.built_in and self.task.dataset is None, "dataset", needed
        none = f"none with --task {task}, which makes its own problems (--task word_problems reads files)"
        for name in ("dataset", "eval_dataset"):
            yield entry.built_in and getattr(self.task, name) is not None, name, none

    def _skip_rules(self) -> Iterator[tuple[bool, str, str]]:
        """Rules about duals that are not asked: nobody may read what they would have said."""
        skips, names = self.rollout.skip_equal_answers, [name for name, _ in self.reward.terms]
        alone = "false without the reward dual, and with shuffled, which gives its values to other problems"
        yield skips and ("dual" not in names or "shuffled" in names), "skip_equal_answers", alone
        of_batch = "false with --scale_rewards batch, which reads the rewards of all groups"
        yield skips and self.reward.scale_rewards == "batch", "skip_equal_answers", of_batch

    def _engine_rules(self) -> Iterator[tuple[bool, str, str]]:
        """Rules about what a server can do: it gives texts."""
        is_server, is_named = self.engine.is_server, is_address(self.model.model_name_or_path)
        here = "--engine server --base_url URL for the address, and here the name of the model at the server"
        yield is_named, "model_name_or_path", here
        trains = self.program == "train"
        none = "none without --engine server in training, where weights are sent"
        yield self.engine.weight_folder is not None and not (is_server and trains), "weight_folder", none
        ids = "auto in training, where token ids are sent"
        yield is_server and trains and self.engine.server_route != "auto", "server_route", ids
        is_framed_twice = self.engine.server_route != "auto" and self.model.tokenizer_name is not None
        framed = "auto beside --tokenizer_name, which frames the prompts here"
        yield is_server and is_framed_twice, "server_route", framed
        yield from self._thinking_rules()
        engine, judge = self.engine.engine, self.duals.dual_model
        # A judge in this process is a second vLLM, and the memory of one alone can be given up.
        has_two = self.reward.needs("duals") and judge != "policy" and not is_address(judge)
        # Judges that share the weights beneath the adapters share the vLLM of the policy.
        has_two = has_two and not (self.sends_adapters and judge in DUAL_MODELS)
        single = "false beside a second vLLM, the judge: --dual_model policy or a judge at a server"
        sleeps = engine == VLLM and self.vllm.vllm_enable_sleep_mode
        yield sleeps and has_two, "vllm_enable_sleep_mode", single
        adapters = "false without --engine vllm --use_peft, as no adapters go to vLLM"
        merges = self.vllm.vllm_merge_adapters
        yield merges and not (engine == VLLM and self.lora.use_peft), "vllm_merge_adapters", adapters
        # vLLM takes what is lower for the least, without a word.
        for name in ("temperature", "dual_temperature"):
            is_clamped = 0 < float(self.flat()[name]) < LEAST_TEMPERATURE and engine in (VLLM, SERVER)
            yield is_clamped, name, f"0 or at least {LEAST_TEMPERATURE} with --engine {engine}"
        # Entropy and self-certainty are of the whole distribution.
        texts = f"rewards that read texts alone with --engine {engine}, which gives no distributions"
        reads_more = self.program != "select" and self.reward.needs("distributions")
        yield engine != BUILTIN and reads_more, "reward", texts

    def _thinking_rules(self) -> Iterator[tuple[bool, str, str]]:
        """Rules about the budget of thoughts: who goes on behind the end of one must take token ids."""
        has_budget, name = self.rollout.thinking_token_budget is not None, "thinking_token_budget"
        texts = f"none with --engine server in dupo.{self.program}: texts come back, and ids close a thought"
        yield has_budget and self.holds_no_model, name, texts
        pools = (model for _, model in self.selection.pools)
        is_pool = self.program == "select" and any(map(is_address, pools))
        yield (
            has_budget and is_pool,
            name,
            "none with pools at servers, which give texts, as ids close a thought",
        )

    def _overlong_rules(self) -> Iterator[tuple[bool, str, str]]:
        """Rules about problems that are cut: nothing may read what belongs to the whole problem."""
        is_cut, whole = self.task.overlong == "truncate_left", "drop or error with"
        others = f"drop or error in dupo.{self.program}, whose results are those of whole problems"
        yield is_cut and self.program != "train", "overlong", others
        task = self.task.task
        own = f"{whole} --task {task}, whose problems are never cut"
        yield is_cut and TASKS[task].built_in, "overlong", own
        gold = f"{whole} the reward gold, as right answers are those of whole problems"
        yield is_cut and self.reward.needs("gold"), "overlong", gold

    def _lora_rules(self) -> Iterator[tuple[bool, str, str]]:
        """Rules about adapters."""
        # Sampling has no dropout: the learner would be another policy than the one that sampled.
        none = f"0 with --method {self.method}, as completions are sampled without dropout"
        yield self.samples and self.lora.lora_dropout > 0, "lora_dropout", none
        # What a frozen base never learned, no adapter of a small rank makes up for.
        is_taught = self.samples and TASKS[self.task.task].built_in
        is_random = self.model.model_name_or_path == BUILT_IN_MODEL and not is_taught
        trained = (
            f"false with --model_name_or_path {BUILT_IN_MODEL}, whose random weights nothing teaches here"
        )
        yield self.program == "train" and self.lora.use_peft and is_random, "use_peft", trained
        # Other engines take the weights themselves, and codes of 4 bits are none.
        codes = self.lora.load_in_4bit
        own = f"{BUILTIN} beside --load_in_4bit, as other engines take weights and not codes of 4 bits"
        yield codes and self.engine.engine != BUILTIN, "engine", own
        read = f"a model that is read beside --load_in_4bit, as {BUILT_IN_MODEL} is taught as a whole"
        yield codes and self.model.model_name_or_path == BUILT_IN_MODEL, "model_name_or_path", read
        # An adapter whose base is a folder of this machine would be of no use to others.
        whole = "--merge_lora beside --use_peft, as what is uploaded is a whole model"
        is_part = self.lora.use_peft and not self.lora.merge_lora
        yield self.run.push_to_hub and is_part, "push_to_hub", whole

    def _memory_rules(self) -> Iterator[tuple[bool, str, str]]:
        """Rules about sizes that no memory holds, whatever the model is."""
        # The engine fills a table of ids and log-probs, 12 bytes a token, before it samples.
        longest = max(self.rollout.max_completion_length, self.duals.dual_max_completion_length or 0)
        most = MOST_TOKENS_AT_ONCE // longest
        fitting = f"at most {most:,} with completions of {longest:,} tokens, as more would fill the memory"
        yield self.rollout.max_concurrent_sequences > most, "max_concurrent_sequences", fitting
        most = MOST_TOKENS_OF_ROLLOUT // self.rollout.max_completion_length
        length = f"{self.rollout.max_completion_length:,}"
        fitting = f"at most {most:,} with completions of {length} tokens, as more would fill the memory"
        yield self.rollout.generation_batch_size > most, "generation_batch_size", fitting

    @classmethod
    def of(cls, program: str = "train", **flat: Any) -> Self:
        """Builds the groups from options by their flat names; the others have their own defaults.

        Where no date is given, the date of chat templates is that of today.

        Raises:
            UserError: an unknown option, or a value that it cannot have.
        """
        # Known from the start and kept in config.yaml: a run that goes on another day has the same prompts.
        if flat.get("chat_template_date") is None:
            flat["chat_template_date"] = date.today().isoformat()
        # The defaults are valid together, so an error here is always one of the values.
        return cls(program=program)._with(flat)

    def changed(self, **flat: Any) -> Self:
        """A copy with other values of some options, by their flat names."""
        return self._with(flat)

    def _with(self, flat: Mapping[str, Any]) -> Self:
        method = flat.get("method", self.method)
        groups: dict[str, dict[str, Any]] = {}
        for name, value in flat.items():
            if name not in OPTIONS:
                raise UserError(f"unknown option {cut(name)}{about_unknown(name, OPTIONS)}")
            spec = option_of(name, method)
            # A mapping is how Python and YAML write what the command line writes as JSON.
            if spec.metadata.get("is_json") and isinstance(value, Mapping):
                value = json_text(spec, value)
            check(spec, value)
            groups.setdefault(group_of(name, method), {})[name] = value
        # `method` stands in no group.
        own = groups.pop("", {})
        try:
            changed = {
                group: dataclasses.replace(getattr(self, group), **new) for group, new in groups.items()
            }
            return dataclasses.replace(self, **own, **changed)
        except ValueError as error:  # of the loss options, which know no UserError
            raise UserError(str(error)) from None

    def flat(self) -> dict[str, Any]:
        """The value of every option by its flat name; of several of one name, that which the method reads."""
        values = dict[str, Any]()
        for name in OPTIONS:
            group = group_of(name, self.method)
            values[name] = getattr(getattr(self, group) if group else self, name)
        return values


GROUPS: dict[str, type] = {
    # Every field of Config that is itself a dataclass is a group of options.
    spec.name: spec.type
    for spec in dataclasses.fields(Config)
    if dataclasses.is_dataclass(spec.type)
}  # type: ignore[misc]
_METHOD: Field[Any] = next(spec for spec in dataclasses.fields(Config) if spec.name == "method")
# Flat name -> the attributes of Config that have such an option, "" for Config itself.
_HOLDERS: dict[str, list[str]] = {"method": [""]}
for _group, _options in GROUPS.items():
    for _spec in dataclasses.fields(_options):
        _HOLDERS.setdefault(_spec.name, []).append(_group)


def group_of(name: str, method: Any = Config.method) -> str:
    """The attribute of Config that holds an option, "" for Config itself.

    `loss_type` and `beta` are names of three groups, of which a method reads one.
    """
    read = METHODS[method].groups if isinstance(method, str) and method in METHODS else ()
    return next((group for group in _HOLDERS[name] if group in read), _HOLDERS[name][0])


def option_of(name: str, method: Any = Config.method) -> Field[Any]:
    """The field that declares an option, as a method reads it."""
    group = group_of(name, method)
    return _METHOD if not group else GROUPS[group].__dataclass_fields__[name]


# Flat name -> the field that declares the option, as the first method reads it.
OPTIONS: dict[str, Field[Any]] = {name: option_of(name) for name in _HOLDERS}
