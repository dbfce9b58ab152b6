"""The supervised warm-up of a built-in task: it stands in for pre-training.

The tiny model starts from random weights, and a policy that never answers right has nothing to learn from.
So it is first shown labelled examples of both formats until about half of its answers are right. These
labels come from problems that neither RL nor the evaluation ever sees, and their number is reported.
Everything after this is without labels.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch

from dupo.config.options import Config
from dupo.engines.builtin import Sampler
from dupo.evaluation.held_out import accuracy
from dupo.learning.batches import make_batch
from dupo.learning.step import batch_logprobs
from dupo.models.load import Model, blend, frozen_copy
from dupo.records import Problem, Trajectory
from dupo.storage.files import write_atomic
from dupo.tasks import LESSONS, Task
from dupo.text.tokenizer import PromptTokenizer

# Settings of the trial that worked on every seed (dev/LOG.md). The dual gets most of the examples: it must be
# better than the primal when RL starts, or its verdicts are noise.
LEARNING_RATE, BETAS, RISE, BATCH, DUAL_SHARE, EMA = 1e-3, (0.9, 0.98), 50, 64, 0.9, 0.98
CHECK_EVERY, NOTE_EVERY, PRIMAL_GOAL, DUAL_GOAL, MAX_STEPS = 25, 100, 0.45, 0.75, 3000


@dataclass
class WarmUp:
    """Supervised training that can be continued; its result is `average`, a moving average of the weights."""

    model: Model
    tokenizer: PromptTokenizer
    config: Config
    task: Task
    labels: int = 0
    steps: int = 0
    average: Model = field(init=False)

    def __post_init__(self) -> None:
        self.average = frozen_copy(self.model)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), LEARNING_RATE, betas=BETAS, weight_decay=0.0
        )
        lessons = LESSONS[self.config.task]
        self.examples: Iterator[tuple[str, str]] = lessons.examples(self.config.seed, DUAL_SHARE)
        self.dev = lessons.dev()

    def step(self) -> None:
        """One optimizer step on one labelled batch."""
        pairs = list(islice(self.examples, BATCH))
        prompts = self.tokenizer.encode([p for p, _ in pairs])
        targets = self.tokenizer.encode([c for _, c in pairs])
        end = min(self.tokenizer.eos_ids)
        rows = [
            Trajectory(p, [*c, end], [0.0] * (len(c) + 1), 0.0) for p, c in zip(prompts, targets, strict=True)
        ]
        logprobs, _ = batch_logprobs(self.model, make_batch(rows, self.model.device), self.config)
        self.optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, (self.steps + 1) / RISE)
        self.optimizer.zero_grad(set_to_none=True)
        (-logprobs.mean()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        blend(self.average, self.model, EMA)
        self.steps += 1
        self.labels += BATCH

    def primal(self) -> float:
        """Greedy accuracy of the average on the dev set."""
        sampler = Sampler(self.average, self.tokenizer, self.config)
        return accuracy(sampler, self.task, self.dev)["accuracy"]

    def dual(self) -> float:
        """The same of its duals, given the right answers: takes longer, as a problem has several."""
        sampler, task = Sampler(self.average, self.tokenizer, self.config), self.task
        asked = [(p, d) for p in self.dev for d in task.duals(p)]
        replies = sampler([task.dual_prompt(p, d, gold(p)) for p, d in asked], 1, 0.0, seed=0)
        rows = [(d, gold(p), c[0].text) for (p, d), c in zip(asked, replies, strict=True)]
        distances = task.distances(*(list(column) for column in zip(*rows, strict=True)))
        return distances.count(0.0) / len(asked)

    def run(self, note: Callable[[str], None], stopped: Callable[[], bool]) -> bool:
        """Trains until both goals are met, or `MAX_STEPS`; False if `stopped` said so first. `note` is told
        both accuracies now and then."""
        while self.steps < MAX_STEPS:
            if stopped():
                return False
            self.step()
            if self.steps % CHECK_EVERY == 0:
                primal, noted = self.primal(), self.steps % NOTE_EVERY == 0
                dual = self.dual() if noted or primal >= PRIMAL_GOAL else 0.0
                if noted:
                    note(f"warm-up step {self.steps}: primal {primal:.2f}, dual {dual:.2f} right")
                if primal >= PRIMAL_GOAL and dual >= DUAL_GOAL:
                    break
        return True

    def save(self, file: Path) -> None:
        """Everything that the next step depends on."""
        states = [part.state_dict() for part in (self.model, self.average, self.optimizer)]
        buffer = io.BytesIO()
        torch.save([self.steps, self.labels, *states], buffer)
        write_atomic(file, buffer.getvalue())

    def load(self, file: Path) -> None:
        """Goes on from `save`, as if never stopped."""
        self.steps, self.labels, *states = torch.load(file, map_location="cpu", weights_only=True)
        for part, state in zip((self.model, self.average, self.optimizer), states, strict=True):
            part.load_state_dict(state)
        self.examples = islice(self.examples, self.labels, None)


def gold(problem: Problem) -> str:
    assert problem.gold is not None
    return problem.gold
