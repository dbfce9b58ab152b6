"""Teaching the built-in model: the method `sft` on the lessons of a built-in task, until about half is right,
or the share that the task names.

The built-in model starts from random weights, and a policy that never answers right has nothing to learn
from. So the model is shown labelled examples of primal and dual prompts first. These examples come from
problems that neither the method nor the evaluation ever sees, and their number is reported. The result is a
moving average of the weights.
"""

import math
from dataclasses import replace
from typing import Any

from dupo.config.catalogue import TEACHING
from dupo.config.config import Config
from dupo.config.engine_options import EngineOptions
from dupo.config.lora_options import LoraOptions
from dupo.config.model_options import BUILT_IN_MODEL
from dupo.config.options import OptimizerOptions
from dupo.config.vllm_options import VllmOptions
from dupo.duality.judge import Judge
from dupo.duality.reconstruct import reconstruct
from dupo.engines.base import Sampling
from dupo.engines.load import make_engine
from dupo.evaluation.held_out import held_out_metrics
from dupo.methods.base import Stage
from dupo.methods.sft import SFT
from dupo.methods.taught_start import TaughtStart, comes_taught
from dupo.models.load import Model
from dupo.models.weights import copy_weights, frozen_copy, update_average
from dupo.tasks.base import Task

# Goals of the trial that worked on every seed (dev/LOG.md).
PRIMAL_GOAL, DUAL_GOAL, MAX_STEPS = 0.45, 0.75, 3000
CHECK_EVERY = 25  # steps
EMA_DECAY = 0.98

TEACHING_NOTE = (
    f"supervised, and the only use of labels: {TEACHING['train_batch_size']} labelled examples a step until "
    "the goals of the task are met (as a rule half of the answers right); it stands in for pre-training"
)


class Teaching:
    """The stage before a method that starts from the built-in model; see `dupo.methods.base.Stage`.

    Args:
        task: the task of the run, which brings the lessons.
        target: the model that gets the result.
    """

    name = "teaching"

    def __init__(self, config: Config, task: Task, target: Model) -> None:
        assert task.lessons is not None
        # The options of the user are those of the method; the lessons have their own, which suit every seed.
        options = OptimizerOptions(**TEACHING, max_steps=MAX_STEPS)
        # The whole model is taught, before there are adapters, or an engine beside it.
        plain = dict(lora=LoraOptions(), engine=EngineOptions(), vllm=VllmOptions())
        own = replace(config, method="sft", optimizer=options, **plain)
        self.sft = SFT(own, task)
        self.sft.load()
        self.sft.start()
        self.task, self.target, self.dev = task, target, task.lessons.dev()
        self.primal_goal, self.dual_goal = task.lessons.goals or (PRIMAL_GOAL, DUAL_GOAL)
        # Judged and handed on: the average moves slowly and answers steadily.
        self.average = frozen_copy(self.sft.model)
        self.engine = make_engine(own, self.average, self.sft.tokenizer)
        self.greedy = Sampling(0.0, config.rollout.max_completion_length)
        self.num_duals = sum(len(task.duals(problem)) for problem in self.dev)
        self.steps, self.most_steps, self._goals_met = 0, MAX_STEPS, False

    @property
    def labels(self) -> int:
        """Labelled examples seen so far."""
        return self.steps * TEACHING["train_batch_size"]

    def step(self) -> str | None:
        """One supervised step; every `CHECK_EVERY` steps what is right, and what of it ends the teaching."""
        self.sft.update(self.sft.next_batch(self.steps), self.steps)
        update_average(self.average, self.sft.model, EMA_DECAY)
        self.steps += 1
        if self.steps % CHECK_EVERY != 0:  # checks cost as much as many steps
            return None
        primal = self.primal_accuracy()
        if primal < self.primal_goal:
            return _in_words(primal, self.primal_goal, len(self.dev), "answers")
        # Duals take several times as long as primals, so they are asked only where their answer matters.
        dual = self.dual_accuracy()
        self._goals_met = dual >= self.dual_goal
        return _in_words(dual, self.dual_goal, self.num_duals, "duals")

    def finished(self) -> bool:
        """Whether both goals are met, or `most_steps` are done."""
        return self._goals_met or self.steps >= self.most_steps

    def finish(self) -> str:
        """Copies the moving average into the model of the method."""
        # The average answers better than the last weights, which jump from step to step.
        copy_weights(self.average, self.target)
        return f"teaching was supervised: {self.steps} steps on {self.labels:,} labelled examples"

    def facts(self) -> dict[str, Any]:
        """Steps, labelled examples, and the labelled problems that told when to stop."""
        return {
            "teaching_labels": self.labels,
            "teaching_steps": self.steps,
            "teaching_dev_labels": len(self.dev),
        }

    def primal_accuracy(self) -> float:
        """Share of the dev problems that the moving average answers right."""
        return held_out_metrics(self.engine, self.task, self.dev, self.greedy.max_tokens)["accuracy"]

    def dual_accuracy(self) -> float:
        """Share of the duals of the dev problems that are recovered exactly, given the right answers."""
        # Right answers only: a wrong answer has no right reconstruction.
        golds = [[problem.gold] for problem in self.dev]
        greedy_answers = Judge(self.engine, 1, self.greedy).asking(seed=0)
        reconstructions = reconstruct(self.task, self.dev, golds, greedy_answers)
        distances = [
            d for by_answer in reconstructions for rs in by_answer.values() for r in rs for d in r.distances
        ]
        return distances.count(0.0) / len(distances)

    def state(self) -> dict[str, Any]:
        """Weights, average, optimizer and number of steps."""
        return {
            "steps": self.steps,
            "model": self.sft.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.sft.optimizer.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continues from `state`, as if never stopped."""
        self.steps = state["steps"]
        self.sft.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.sft.optimizer.load_state_dict(state["optimizer"])

    @staticmethod
    def is_needed(config: Config, task: Task) -> bool:
        """Whether the model has random weights and the task brings lessons."""
        return config.model.model_name_or_path == BUILT_IN_MODEL and task.lessons is not None


def _in_words(share: float, goal: float, count: int, what: str) -> str:
    """What is right, with the number that ends the teaching."""
    return f"{round(share * count):,} of {count:,} {what} right, goal {math.ceil(goal * count):,}"


def teaching_stage(config: Config, task: Task, target: Model) -> Stage | None:
    """The teaching that a run needs; None where the model brings weights, or the task no lessons."""
    if not Teaching.is_needed(config, task):
        return None
    return TaughtStart(config.task.task, target) if comes_taught(config) else Teaching(config, task, target)
