"""Which runs make the evidence: tasks, rewards, learning rates, seeds and variations."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dupo.config.catalogue import TASKS as CATALOGUE

# The built-in tasks: the evidence needs no download and no GPU. On the first two, votes do not help.
TASKS = ("arithmetic", "conlang")
VOTES_TASK = "stories"
CORE_REWARDS = ("dual", "gold", "majority", "random", "shuffled", "format_only")
MORE_REWARDS = ("soft_vote", "self_certainty", "entropy")
CONTROLS = ("random", "shuffled", "format_only")  # rewards without information

# A rate, a third and a tenth of it, under the names that file names and result files use.
RATES = {"": 3e-4, " / 3": 1e-4, " / 10": 3e-5}
# Every task has the same loop: the default run of the first one samples less, to end sooner.
ROLLOUT = 512
# Rollouts between evaluations: a tenth of a run, so that every curve has eleven points.
EVAL_ROLLOUTS = {name: CATALOGUE[name].defaults["dupo"]["max_steps"] // 10 for name in (*TASKS, VOTES_TASK)}

# Variations of the majority reward. TTRL: the settings of its authors (arXiv 2504.16084; aime.sh of their
# code at 3e2cc93, and the defaults of its verl), but for learning rate and adam_beta2, which are those of
# every run of the task. A rollout has 8 problems, and as many samples as that of any other run, and gives 8
# optimizer steps instead of one.
TTRL_STEPS = 8
TTRL: dict[str, Any] = dict(
    num_generations=64,
    num_trained_generations=32,
    train_batch_size=32,
    max_steps=TTRL_STEPS * 10 * EVAL_ROLLOUTS[VOTES_TASK],
    eval_steps=TTRL_STEPS * EVAL_ROLLOUTS[VOTES_TASK],
    lr_scheduler_type="cosine",
    warmup_steps=24,
    weight_decay=0.01,
    beta=0.001,
)
KL = dict(beta=0.04)  # as in GRPO (arXiv 2402.03300)


@dataclass(frozen=True)
class Run:
    """One run of one program.

    Attributes:
        reward: what training rewards; "" for a program that does not train.
        seed: of the run and of the teaching from which the run starts.
        rate: key of `RATES`.
        variation: what the run does otherwise than the reward alone: "policy", "gates off", ...
        options: of the program by flat name, beside the options that `options_of` gives every run.
        program: train, rerank, audit or select.
    """

    task: str
    reward: str
    seed: int
    rate: str = ""
    variation: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    program: str = "train"

    @property
    def label(self) -> str:
        """The run in tables: "gold", "dual, policy"."""
        return f"{self.reward}, {self.variation}" if self.variation else self.reward

    @property
    def name(self) -> str:
        """The run in file names, which no other run has."""
        # Run folders are found by this name again, so the name holds all that tells runs apart.
        words = (self.task, self.program, self.label, self.rate.replace(" / ", "div"), str(self.seed))
        return "-".join(word.replace(", ", "_").replace(" ", "_") for word in words if word)


def teaching_run(task: str, seed: int) -> Run:
    """The run that teaches the model from which all runs of a task and seed start."""
    return Run(task, "dual", seed)


def selecting_run(task: str, seed: int) -> Run:
    """The run that selects the duals of a task."""
    # As many problems as training visits, where there are fewer than the task makes.
    num_problems = 20_000 if task != VOTES_TASK else 3200
    options = (("pool_sizes", "8"), ("num_problems", num_problems))
    return Run(task, "", seed, options=options, program="select")


def teaching_runs(seeds: int) -> list[Run]:
    """The runs that come first, because every other run starts from a model that they teach."""
    return [teaching_run(task, seed) for seed in range(seeds) for task in TASKS]


def reranking_run(task: str, seed: int) -> Run:
    """The run that compares ways to answer without training."""
    # 32 votes cost at least what a dual rerank of 8 costs, so votes of equal cost are among them.
    options = (("vote_samples", 32), ("num_problems", 1000))
    return Run(task, "", seed, options=options, program="rerank")


def grid(full: bool, seeds: int) -> list[Run]:
    """Every run that needs only the taught models, seed by seed: a grid cut short holds whole seeds.

    Args:
        full: all rewards, all rates on both tasks, who answers the duals, and the selection of duals.
    """
    runs = []
    for seed in range(seeds):
        for task in TASKS:
            runs += _rewards_at_rates(task, seed, full)
            runs.append(reranking_run(task, seed))
            runs.append(Run(task, "", seed, options=(("num_problems", 500),), program="audit"))
        # Copies of the source are rewarded without gates: the exploit that the gates prevent.
        runs.append(Run("conlang", "dual", seed, variation="gates off", options=(("gates", "off"),)))
        if full:
            runs += [
                Run(task, "dual", seed, variation=model, options=(("dual_model", model),))
                for task in TASKS
                for model in ("policy", "ema")
            ]
            runs.append(selecting_run("arithmetic", seed))
    return runs


def _rewards_at_rates(task: str, seed: int, full: bool) -> list[Run]:
    rewards = CORE_REWARDS + MORE_REWARDS if full else CORE_REWARDS
    # The second task takes longer; the short grid measures it at the default rate alone.
    rates = RATES if full or task == "arithmetic" else ("",)
    runs = [Run(task, reward, seed, rate) for reward in rewards for rate in rates]
    return [run for run in runs if run != teaching_run(task, seed)]


def runs_on_selected_duals(full: bool, seeds: int) -> list[Run]:
    """The runs that need a run of the grid: training on selected duals."""
    return [Run("arithmetic", "dual", seed, variation="selected") for seed in range(seeds if full else 0)]


def votes_grid(seeds: int) -> list[list[Run]]:
    """The runs of the task on which votes help, in stages: a stage needs the results of the stages before.

    The rivals have all three rates, so that each is shown at its best.
    """
    task, numbers = VOTES_TASK, range(seeds)
    runs, late = [], []
    for seed in numbers:
        runs += [Run(task, reward, seed) for reward in ("gold", "majority", "random")]
        runs += [
            Run(task, "majority", seed, variation="TTRL", options=tuple(TTRL.items())),
            Run(task, "majority", seed, variation="KL", options=tuple(KL.items())),
        ]
        runs += [reranking_run(task, seed), selecting_run(task, seed)]
        late.append(Run(task, "dual", seed, variation="selected"))
    rates = [rate for rate in RATES if rate]
    late += [replace(run, rate=rate) for run in runs if run.reward == "majority" for rate in rates]
    return [[teaching_run(task, seed) for seed in numbers], runs, late]


def options_of(run: Run, folder: Path) -> dict[str, Any]:
    """The options of a run by flat name.

    Args:
        folder: holds the folders of all runs.
    """
    # One thread each: runs go side by side, and the model is too small for a second thread.
    options: dict[str, Any] = {"task": run.task, "seed": run.seed, "num_threads": 1}
    options["output_dir"] = str(folder / run.name)
    if run.program == "train":
        options |= {"reward": run.reward, "learning_rate": RATES[run.rate], "overwrite_output_dir": True}
        # No checkpoint between the first and the last: a run that is killed starts anew.
        options |= {"eval_steps": EVAL_ROLLOUTS[run.task], "save_steps": 1000}
        options["generation_batch_size"] = ROLLOUT
    teacher = teaching_run(run.task, run.seed)
    # By name, as a teacher may have options of its own.
    if run.name != teacher.name:
        options["model_name_or_path"] = str(folder / teacher.name / "checkpoint-0")
    if run.variation == "selected":
        options["selected_duals"] = str(folder / selecting_run(run.task, run.seed).name)
    # The options of the run win.
    return options | dict(run.options)
