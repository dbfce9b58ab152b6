"""The groups of options, but for those of model and task. `config.py` puts all groups together.

Many names are TRL's; docs/trl.md holds meanings and defaults beside TRL's. A function gets the group that it
reads. On the command line and in YAML files every option stands by its flat name. The help texts are the
documentation.
"""

import math
import re
from dataclasses import dataclass

from dupo.config.catalogue import REWARDS
from dupo.config.engine_options import ServerAddress, is_address
from dupo.config.reward_names import MODEL, is_function, is_model, short_name
from dupo.config.rollout_options import (
    HIGHEST_TEMPERATURE,
    LONGEST_COMPLETION,
    LOWEST_TEMPERATURE,
    MOST_SAMPLES,
    MOST_SEQUENCES,
)
from dupo.config.saving_options import SavingOptions
from dupo.config.values import Options, listed, option, show
from dupo.errors import UserError, nearest, quoted
from dupo.user_files import NOTHING, path_kind

DUAL_MODELS = ("frozen", "policy", "ema")  # or the folder or Hub name of another model
ADAMW_8BIT = "adamw_torch_8bit"
LOG_LEVELS = ("passive", "debug", "info", "warning", "error")
TRACKERS = ("tensorboard", "wandb", "trackio")
LARGEST_REWARD = 1e15  # its square, summed over a rollout, stays within float32


@dataclass(frozen=True)
class RewardOptions(Options):
    """What is rewarded, and how rewards become advantages."""

    reward: str = option(
        "dual",
        "one or several of: dual (recovery of the hidden part), gold (the right answer; reads labels), "
        "majority (the most common answer), soft_vote (share of the same answer), self_certainty, entropy "
        "(low entropy), format_only (any readable answer), random, shuffled (dual rewards of other "
        "completions), soft_overlong_punishment (0 to -1 for length, DAPO), model:FOLDER (the score of a "
        "reward model), or your package.module.function, as TRL's reward functions",
    )
    reward_weights: str | None = option(None, "weight of each reward, comma-separated; none: 1")
    reward_shape: str = option(
        "linear", "linear: 1 - distance; exp: exp(-reward_lambda x distance)", "linear|exp"
    )
    reward_lambda: float = option(1.0, "lambda of the exp shape", above=0)
    soft_punish_cache: int | None = option(
        None,
        "last tokens before max_completion_length, in which soft_overlong_punishment falls from 0 to -1; "
        "none: a fifth of max_completion_length",
        at_least=1,
        at_most=LONGEST_COMPLETION,
    )
    reward_timeout: float | None = option(
        3600.0,
        "most seconds that a reward function of yours may take for one rollout, after which the run is saved "
        "and ends; none: no limit",
        above=0,
        at_most=1e6,
    )
    scale_rewards: str = option(
        "group",
        "divide advantages by the standard deviation of the rewards of the group, of the batch, or not",
        "group|batch|none",
    )

    @property
    def terms(self) -> list[tuple[str, float]]:
        """(name or dotted path, weight) of every reward."""
        # Names may be written with dashes, as options may; paths are left as they are.
        names = [
            name if is_function(name) or is_model(name) else name.replace("-", "_")
            for name in listed(self.reward)
        ]
        weights = listed(self.reward_weights) if self.reward_weights is not None else ["1"] * len(names)
        try:
            return list(zip(names, map(float, weights), strict=True))
        except ValueError:
            expected = f"{len(names)} numbers, comma-separated, as reward names {len(names)}"
            actual = quoted(self.reward_weights)
            raise UserError(f"reward_weights: expected {expected}, got {actual}") from None

    def needs(self, what: str) -> bool:
        """Whether any reward needs "duals", "distributions" or "gold" (see `catalogue.RewardEntry`)."""
        return any(name in REWARDS and REWARDS[name].needs == what for name, _ in self.terms)

    @property
    def labels_read(self) -> str:
        """Which labels training reads for the rewards, in words that stand behind "training read"."""
        if self.has_user_function:
            return "what your reward function reads of the data"
        if self.needs("gold"):
            return "the labels of its problems"
        return "the scores of a reward model" if self.has_model else "no label"

    @property
    def has_user_function(self) -> bool:
        """Whether any of the rewards is a function of the user."""
        return any(is_function(name) for name, _ in self.terms)

    @property
    def has_model(self) -> bool:
        """Whether any of the rewards is the score of a reward model."""
        return any(is_model(name) for name, _ in self.terms)

    @property
    def shown(self) -> str:
        """The rewards without the places of their models, for names and titles."""
        return ",".join(
            f"{MODEL}{short_name(name)}" if is_model(name) else name for name in listed(self.reward)
        )

    def check_together(self) -> None:
        """Checks names and weights."""
        # Rewards are logged by short names: two of one name would overwrite each other.
        logged_names = [short_name(name) for name, _ in self.terms]
        if len(set(logged_names)) < len(logged_names):
            raise UserError(f"reward: expected different names, got {quoted(self.reward)}")
        actual = quoted(self.reward_weights)
        for name, weight in self.terms:
            if not math.isfinite(weight):
                raise UserError(f"reward_weights: expected finite numbers, got {actual}")
            # The standard deviation squares rewards, and float32 ends at 3.4e38.
            if weight and not 1 / LARGEST_REWARD <= abs(weight) <= LARGEST_REWARD:
                expected = f"0 or sizes from {1 / LARGEST_REWARD:g} to {LARGEST_REWARD:g}"
                raise UserError(f"reward_weights: expected {expected}, got {actual}")
            if name == MODEL or not (is_function(name) or is_model(name) or name in REWARDS):
                names = f"{', '.join(REWARDS)}, model:FOLDER or package.module.function"
                hint = nearest(name, REWARDS)
                raise UserError(f"reward: expected any of {names}, got {quoted(name)}{hint}")


@dataclass(frozen=True)
class DualOptions(Options):
    """Which model answers the duals, and how it samples."""

    dual_model: str = option(
        "frozen",
        "model that answers the duals: the policy before training (frozen; where nothing is trained, the "
        "model itself), the policy as it is (policy), the moving average of the policy (ema), the folder or "
        "Hub name of another model, or the address of a server that holds one, http://host:8000/v1#NAME",
        is_path=True,
    )
    ema_decay: float = option(
        0.99, "decay of the moving average of the weights, per optimizer step", at_least=0, below=1
    )
    dual_samples: int = option(
        1, "samples of each dual prompt; their rewards are averaged", at_least=1, at_most=MOST_SAMPLES
    )
    dual_temperature: float = option(
        0.0,
        "sampling temperature of the duals, 0.001 to 100; 0: greedy",
        at_least=0,
        at_most=HIGHEST_TEMPERATURE,
    )
    dual_max_completion_length: int | None = option(
        None,
        "most tokens of the answer to a dual; none: max_completion_length",
        at_least=1,
        at_most=LONGEST_COMPLETION,
    )

    def check_together(self) -> None:
        """Checks the number of samples, and a misspelt `dual_model`."""
        if self.dual_temperature == 0 and self.dual_samples > 1:
            raise UserError(
                f"dual_samples: expected 1, as dual_temperature 0 makes all alike, got {self.dual_samples}"
            )
        if 0 < self.dual_temperature < LOWEST_TEMPERATURE:
            expected = f"0 or at least {LOWEST_TEMPERATURE:g}"
            raise UserError(f"dual_temperature: expected {expected}, got {show(self.dual_temperature)}")
        if is_address(self.dual_model):
            ServerAddress.of("dual_model", self.dual_model)
        # A Hub name can be anything, so only what looks like a misspelt word is refused.
        hint = nearest(self.dual_model, DUAL_MODELS)
        if hint and self.dual_model not in DUAL_MODELS and path_kind(self.dual_model) == NOTHING:
            expected = f"{', '.join(DUAL_MODELS)}, a folder or a Hub name ({hint.removeprefix(', ')})"
            raise UserError(f"dual_model: expected {expected}, got {self.dual_model}")


@dataclass(frozen=True)
class OptimizerOptions(Options):
    """How many steps, of which size, at which rate."""

    max_steps: int = option(200, "optimizer steps of the whole run", at_least=1)
    optim: str = option(
        "adamw_torch",
        f"optimizer; {ADAMW_8BIT}: moments of 2 bytes a weight, not 8; needs torchao",
        f"adamw_torch|{ADAMW_8BIT}",
    )
    learning_rate: float = option(1e-6, "highest learning rate of AdamW", at_least=0, at_most=1)
    lr_scheduler_type: str = option(
        "constant",
        "learning rate after the warm-up steps: constant, or falling to 0",
        "constant|linear|cosine",
    )
    warmup_steps: int = option(0, "optimizer steps in which the learning rate rises from 0", at_least=0)
    weight_decay: float = option(
        0.0, "weight decay of AdamW, of all weights but norms and biases", at_least=0
    )
    adam_beta1: float = option(0.9, "decay of the mean gradient of AdamW", at_least=0, below=1)
    adam_beta2: float = option(0.999, "decay of the mean squared gradient of AdamW", at_least=0, below=1)
    # The square of a gradient below 1e-23 is 0 in float32. With a smaller term in the denominator, such a
    # gradient would make a step of any size.
    adam_epsilon: float = option(1e-8, "term added to the denominator of AdamW", at_least=1e-16, at_most=1)
    max_grad_norm: float = option(
        1.0, "largest norm of the gradient; a longer gradient is scaled down", above=0
    )
    router_aux_loss_coef: float | None = option(
        None,
        "weight in the loss of the loss that balances the experts of a mixture (MoE); none: the weight that "
        "the config of the model names; 0: no such loss",
        at_least=0,
        at_most=1e3,
    )
    train_batch_size: int | None = option(
        None,
        "completions of each optimizer step, of dpo and online_dpo pairs, of reward_model rankings; none: "
        "all of the rollout, 8 of a file (sft, dpo, kto, reward_model)",
        at_least=1,
        at_most=MOST_SEQUENCES,
    )
    num_iterations: int = option(1, "times that every rollout is trained on", at_least=1, at_most=1000)
    # Packed sequences are found by offsets of 32 bits.
    token_budget: int = option(
        16384, "most tokens of a micro-batch; less needs less memory", at_least=1, at_most=2**31 - 1
    )

    def check_together(self) -> None:
        """Checks that weight decay shrinks the weights, and does not turn them over."""
        # AdamW multiplies the weights by 1 - learning_rate x weight_decay at every step.
        if self.learning_rate * self.weight_decay >= 1:
            expected = f"less than 1 / learning_rate, {1 / self.learning_rate:g}"
            raise UserError(f"weight_decay: expected {expected}, got {show(self.weight_decay)}")


@dataclass(frozen=True)
class RunOptions(SavingOptions):
    """Where a run writes, what it saves, and its seed."""

    output_dir: str | None = option(
        None, "folder of the run; none: runs/<date>-<time>-<what is done>", is_path=True
    )
    overwrite_output_dir: bool = option(False, "replace the run that the folder holds")
    resume_from_checkpoint: str | None = option(
        None, "folder of a checkpoint, or `latest` in output_dir", is_path=True
    )
    seed: int = option(0, "seed of weights, problems and samples", at_least=0, at_most=10**18 - 1)
    eval_steps: int = option(10, "optimizer steps between evaluations", at_least=1)
    save_steps: int = option(50, "optimizer steps between checkpoints", at_least=1)
    save_total_limit: int = option(2, "number of checkpoints that are kept, the newest ones", at_least=1)
    num_exchanges_to_log: int = option(4, "exchanges of each rollout that go into samples.jsonl", at_least=0)
    # Of a number that the system cannot start, OpenMP ends the process with a segmentation fault.
    num_threads: int = option(0, "CPU threads; 0: torch decides", at_least=0, at_most=1024)
    strict: bool = option(
        False,
        "stop instead of warning: if the first step of a rollout is off policy, or if a resumed run has "
        "other versions or another device",
    )
    report_to: str | None = option(
        None,
        "trackers that get every row of metrics.jsonl: any of tensorboard, wandb, trackio, comma-separated",
    )
    run_name: str | None = option(
        None, "name of the run in trackers, which a resumed run keeps; none: that of the folder"
    )

    push_to_hub: bool = option(
        False,
        "upload the model to the Hub at the end of the run, with a model card; log in before, by `hf auth "
        "login` or HF_TOKEN",
    )
    hub_model_id: str | None = option(
        None, "name of the model on the Hub, OWNER/NAME or NAME; none: the name of the folder of the run"
    )
    hub_private_repo: bool | None = option(
        None, "whether only its owner sees the model on the Hub; none: as the Hub does for the owner"
    )
    log_level: str = option(
        "passive",
        "least level of messages on stderr: of the log of transformers, and at `error` no warning of dupo "
        "either; passive: the level that transformers has, which is warning",
        "|".join(LOG_LEVELS),
    )
    quiet: bool = option(False, "print nothing on stdout; warnings and errors still go to stderr")

    @property
    def trackers(self) -> list[str]:
        """The names of the trackers that get the metrics."""
        names = [name.lower() for name in listed(self.report_to or "none")]
        return [] if names == ["none"] else names

    def check_together(self) -> None:
        """Checks the names of trackers."""
        names = self.trackers
        for name in names:
            if name not in TRACKERS:
                expected = f"none, or any of {', '.join(TRACKERS)}"
                raise UserError(
                    f"report_to: expected {expected}, got {quoted(name)}{nearest(name, TRACKERS)}"
                )
        if len(set(names)) < len(names):
            raise UserError(f"report_to: expected different names, got {quoted(self.report_to)}")


@dataclass(frozen=True)
class SelectOptions(Options):
    """How duals are tried before they are trusted."""

    num_problems: int = option(
        0, "number of problems that are looked at, the first of the data; 0: all", at_least=0
    )
    pool_sizes: str = option(
        "32,8", "answers sampled for each problem in each pass; a pass sees what the last one kept"
    )
    pool_models: str | None = option(
        None,
        "model of each pass, comma-separated: folders, Hub names, or addresses of servers, "
        "http://host:8000/v1#NAME; none: the model in all passes",
    )
    solve_threshold: float = option(
        0.5, "least mean of 1 - distance at which an answer solves a dual", at_least=0, at_most=1
    )
    num_decoys: int = option(
        2, "wrong answers that each dual is tried with, beside no answer", at_least=0, at_most=1000
    )
    keep_vacuous: bool = option(True, "keep duals whose pool holds one answer, where the rule says little")

    @property
    def pools(self) -> list[tuple[int, str | None]]:
        """(answers for each problem, name of the model or None) of each pass."""
        sizes = listed(self.pool_sizes)
        models = listed(self.pool_models) if self.pool_models is not None else [None] * len(sizes)
        return [(int(size), model) for size, model in zip(sizes, models, strict=True)]

    def check_together(self) -> None:
        """Checks the sizes of the pools and the number of their models."""
        sizes = listed(self.pool_sizes)
        # A pool of one answer cannot tell whether a dual has several solutions.
        if not all(re.fullmatch("[0-9]{1,9}", size) and 2 <= int(size) <= MOST_SAMPLES for size in sizes):
            expected = f"integers of at least 2 and at most {MOST_SAMPLES}, comma-separated"
            raise UserError(f"pool_sizes: expected {expected}, got {show(self.pool_sizes)}")
        if self.pool_models is not None and len(listed(self.pool_models)) != len(sizes):
            expected = f"{len(sizes)} names, comma-separated, one for each of pool_sizes"
            raise UserError(f"pool_models: expected {expected}, got {show(self.pool_models)}")
        for name in listed(self.pool_models or ""):
            if is_address(name):
                ServerAddress.of("pool_models", name)


@dataclass(frozen=True)
class RerankOptions(Options):
    """How an answer is chosen from several samples."""

    rank_by: str = option("dual", "dual: recovery; product: recovery x share of the votes", "dual|product")
    vote_samples: int = option(
        0,
        "samples of a majority vote to compare with, at its own cost; 0: only num_generations",
        at_least=0,
        at_most=MOST_SAMPLES,
    )
