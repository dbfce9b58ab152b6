"""What `--method`, `--task` and `--reward` can name: one list of each.

An entry says where the code stands, as `module.name`, so that the names are known before torch is imported.
To add a method, a task or a reward: write the file, then add a line here.
"""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from dupo.process import quick_imports

# The model of random weights is taught with these options, on every seed (trials in dev/LOG.md).
TEACHING: dict[str, Any] = dict(learning_rate=1e-3, adam_beta2=0.98, warmup_steps=50, train_batch_size=64)

# The built-in tasks are trained from that model; these options suit it.
_BUILT_IN: dict[str, Any] = dict(
    num_generations=4,
    generation_batch_size=512,
    learning_rate=3e-4,
    lr_scheduler_type="linear",
    adam_beta2=0.95,
    max_steps=150,
    eval_steps=20,  # 2,000 problems take as long as two steps
    num_problems=1000,
    num_threads=1,  # two gain a third on idle cores, and take three times as long on busy ones
)


class MethodEntry(NamedTuple):
    """One way to train.

    Attributes:
        path: the class, a `dupo.methods.base.Method`.
        data: the function that reads and checks the data, without torch; its result is handed to the class.
        description: first lines of `python -m dupo.train --method NAME --help`.
        groups: the groups of options that the method reads, all of each.
        options: single options of other groups that the method reads.
        unread: single options of its groups that the method does not read.
    """

    path: str
    data: str
    description: str
    groups: tuple[str, ...]
    options: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


class TaskEntry(NamedTuple):
    """One thing to train for.

    Attributes:
        path: the class, a `dupo.tasks.base.Task`.
        built_in: the task makes its own problems and brings lessons for the built-in model.
        defaults: method -> options whose default the task replaces.
    """

    path: str
    built_in: bool
    defaults: Mapping[str, Mapping[str, Any]]


class RewardEntry(NamedTuple):
    """One way to reward completions.

    Attributes:
        path: the function, a `dupo.rewards.base.Reward`.
        needs: what the reward reads beside the answers: "duals" (a model answers duals), "distributions"
            (entropy and self-certainty are measured while sampling), "gold" (the right answers).
    """

    path: str
    needs: str = ""


# Groups of what samples and judges, and options that some ways to learn from a rollout do not read.
_OF_ROLLOUTS = ("model", "lora", "engine", "vllm", "task", "reward", "duals", "rollout")
_OF_ADVANTAGES = ("scale_rewards", "num_trained_generations")
# What learns from a file of answers samples nothing, learns from each batch once, and has no dropout.
_OF_FILES = ("teach", "lora_dropout", "num_iterations", "num_exchanges_to_log", "strict")
_OF_SPREAD = ("dynamic_sampling", "max_num_gen_batches", "skip_equal_answers")

# The order is that of the help.
METHODS: dict[str, MethodEntry] = {
    "dupo": MethodEntry(
        "dupo.methods.dupo.DuPO",
        "dupo.methods.data.read_task",
        "Trains a language model with DuPO: on its own consistency, without labels.",
        (*_OF_ROLLOUTS, "optimizer", "loss", "ranks", "run"),
    ),
    "sft": MethodEntry(
        "dupo.methods.sft.SFT",
        "dupo.methods.data.read_pairs",
        "Trains a language model on given completions: supervised fine-tuning on prompt/completion pairs.",
        ("model", "lora", "optimizer", "ranks", "run"),
        (
            "task",
            "dataset",
            "eval_dataset",
            "eval_size",
            "overlong",
            "gates",
            "max_completion_length",
            "max_concurrent_sequences",
        ),
        ("teach", "num_iterations", "num_exchanges_to_log", "strict"),
    ),
    "dpo": MethodEntry(
        "dupo.methods.dpo.DPO",
        "dupo.methods.data.read_preferences",
        "Trains a language model on pairs of a better and a worse answer: DPO, its family, SimPO and ORPO.",
        ("model", "lora", "optimizer", "comparison", "ranks", "run"),
        ("dataset", "eval_dataset", "eval_size", "overlong"),
        _OF_FILES,
    ),
    "kto": MethodEntry(
        "dupo.methods.kto.KTO",
        "dupo.methods.data.read_labels",
        "Trains a language model on answers that are good or bad, each by itself: KTO.",
        ("model", "lora", "optimizer", "labels", "ranks", "run"),
        ("dataset", "eval_dataset", "eval_size", "overlong"),
        _OF_FILES,
    ),
    "reward_model": MethodEntry(
        "dupo.methods.reward_model.RewardModel",
        "dupo.methods.data.read_ranked",
        "Trains a reward model on pairs of answers or longer rankings; its folder is a reward of other runs.",
        ("model", "lora", "optimizer", "scores", "ranks", "run"),
        ("dataset", "eval_dataset", "eval_size", "overlong"),
        (
            *_OF_FILES,
            "load_in_4bit",
            "bnb_4bit_quant_type",
            "use_bnb_nested_quant",
            "router_aux_loss_coef",
        ),
    ),
    "online_dpo": MethodEntry(
        "dupo.methods.online_dpo.OnlineDPO",
        "dupo.methods.data.read_task",
        "Trains a language model on pairs of its own completions, the better ones by any reward: online DPO.",
        (*_OF_ROLLOUTS, "pairing", "comparison", "optimizer", "ranks", "run"),
        unread=(*_OF_ADVANTAGES, "strict"),
    ),
    "online_kto": MethodEntry(
        "dupo.methods.online_kto.OnlineKTO",
        "dupo.methods.data.read_task",
        "Trains a language model on its own completions, good or bad by any reward: online KTO.",
        (*_OF_ROLLOUTS, "labelling", "labels", "optimizer", "ranks", "run"),
        unread=(*_OF_ADVANTAGES, *_OF_SPREAD, "strict"),
    ),
    "rft": MethodEntry(
        "dupo.methods.rft.RFT",
        "dupo.methods.data.read_task",
        "Trains a language model on its own best completions by any reward: rejection sampling fine-tuning.",
        (*_OF_ROLLOUTS, "rejection", "optimizer", "ranks", "run"),
        unread=(*_OF_ADVANTAGES, *_OF_SPREAD, "strict"),
    ),
}

# Six tokens hold an answer and its end; so short a completion keeps a run at minutes.
_ARITHMETIC: dict[str, Any] = dict(max_completion_length=6, eval_size=2000, duals_per_prompt=0)
# The default run: 512 completions at 3e-4 teach three points more, in half as much time again (dev/LOG.md).
_FIRST_RUN: dict[str, Any] = dict(generation_batch_size=320, learning_rate=4e-4)
# Four completions make few pairs: all of them teach four points more in 60 steps (dev/LOG.md).
_ALL_PAIRS: dict[str, Any] = dict(pairs="all")
# One of two duals may come back by chance, or of an answer that is wrong in the other half.
_MORE_THAN_HALF: dict[str, Any] = dict(min_reward=0.6)
_CONLANG: dict[str, Any] = dict(max_completion_length=10, eval_size=1000)
# Sixteen completions of a problem are enough for a vote.
_STORIES: dict[str, Any] = dict(
    num_generations=16, max_completion_length=24, eval_size=1000, duals_per_prompt=0, max_steps=100
)


def _of_methods(task: dict[str, Any], rollouts: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Defaults of a built-in task for each method that trains on one."""
    sampling = _BUILT_IN | task | dict(rollouts)
    return {
        "dupo": sampling,
        "online_dpo": sampling | _ALL_PAIRS,
        "online_kto": sampling | dict(label_threshold=0.6),
        "rft": sampling | _MORE_THAN_HALF,
        "sft": _BUILT_IN | TEACHING | task,
    }


TASKS: dict[str, TaskEntry] = {
    "arithmetic": TaskEntry(
        "dupo.tasks.arithmetic.Arithmetic",
        True,
        _of_methods(_ARITHMETIC, _FIRST_RUN),
    ),
    "conlang": TaskEntry(
        "dupo.tasks.conlang.Conlang",
        True,
        _of_methods(_CONLANG),
    ),
    "stories": TaskEntry(
        "dupo.tasks.stories.Stories",
        True,
        _of_methods(_STORIES),
    ),
    "word_problems": TaskEntry("dupo.tasks.word_problems.WordProblems", False, {}),
    "translation": TaskEntry("dupo.tasks.translation.Translation", False, {}),
}

REWARDS: dict[str, RewardEntry] = {
    "dual": RewardEntry("dupo.rewards.dual.dual", "duals"),
    "gold": RewardEntry("dupo.rewards.baselines.gold", "gold"),
    "majority": RewardEntry("dupo.rewards.baselines.majority"),
    "soft_vote": RewardEntry("dupo.rewards.baselines.soft_vote"),
    "self_certainty": RewardEntry("dupo.rewards.baselines.self_certainty", "distributions"),
    "entropy": RewardEntry("dupo.rewards.baselines.entropy", "distributions"),
    # `random` would shadow the module of that name inside baselines.py
    "random": RewardEntry("dupo.rewards.baselines.coin"),
    "shuffled": RewardEntry("dupo.rewards.baselines.shuffled", "duals"),
    "format_only": RewardEntry("dupo.rewards.baselines.format_only"),
    "soft_overlong_punishment": RewardEntry("dupo.rewards.overlong.soft_overlong_punishment"),
}


def load(path: str) -> Any:
    """The class or function at `module.name`, a path of this catalogue."""
    # Imported here and not above: the modules pull torch in, and help must not wait for torch.
    module, _, name = path.rpartition(".")
    with quick_imports():
        return getattr(importlib.import_module(module), name)
