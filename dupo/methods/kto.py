"""Kahneman-Tversky optimization (`--method kto`; arXiv 2402.01306): single answers that are good or bad.

    data      x, y, good or bad
    score     s(y) = beta log(pi(y | x) / pi_ref(y | x))
    zero      z = max(0, beta mean over the step of log(pi(y' | x) / pi_ref(y' | x)))    y' answers another x
    loss      L = mean over answers of  w sigmoid(z - s(y))  if y is good,  w sigmoid(s(y) - z)  if y is bad

w is `desirable_weight` or `undesirable_weight`. `--loss_type apo_zero_unpaired` has z = 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dupo.config.config import Config
from dupo.config.preference_options import LabelOptions
from dupo.data.examples import Example, Examples
from dupo.data.labels import Labelled
from dupo.distributed.ranks import ALONE, Ranks
from dupo.errors import UserError
from dupo.learning.preference_loss import Singles, answer_logprobs
from dupo.methods.compared import Compared, ComparingMethod
from dupo.methods.data import read_labels
from dupo.models.load import Model
from dupo.records import Trajectory


class KTO(ComparingMethod):
    """Learns from good answers and bad ones; see `dupo.methods.base.Method`.

    A group is an answer and, for z, the answer to another prompt behind the same prompt.

    Attributes:
        labels: of each answer, by its id.
        answers: those to train on, by themselves.
    """

    what, measured, headline = "answers", "loss", "loss"

    def __init__(self, config: Config, data: Examples[Labelled] | None = None, ranks: Ranks = ALONE) -> None:
        self.labels: dict[str, bool] = {}
        self.answers: list[Trajectory] = []
        super().__init__(config, data, ranks)

    def options(self, config: Config) -> LabelOptions:
        """The options of the loss."""
        return config.labels

    def read(self, config: Config) -> Examples[Labelled]:
        """The labelled answers of `dataset`."""
        return read_labels(config)

    def encoded(
        self, items: Sequence[Labelled], what: str
    ) -> tuple[list[Example], list[tuple[Trajectory, ...]], list[str]]:
        """The answers that fit, each with that to another prompt, and what was left out, in words."""
        self.labels |= {item.example.id: item.desirable for item in items}
        fitting = self.fitting([(item.example,) for item in items], what)
        examples = [example for (example,) in fitting.groups]
        answers = [answer for (answer,) in fitting.encoded]
        # Held-out answers may all be to one prompt, so others come from those to train on.
        self.answers = self.answers or answers
        groups = [(answer, self._mismatched(answer, place)) for place, answer in enumerate(answers)]
        # A label that has changed is another data set.
        told = [e._replace(id=f"{e.id} {self.labels[e.id]}") for e in examples]
        return told, groups, fitting.notes

    def _mismatched(self, answer: Trajectory, place: int) -> Trajectory:
        """The prompt of an answer with the answer before it in the file that is one to another prompt."""
        room = self.limit_of(1).tokens - len(answer.prompt_ids)
        for step in range(1, len(self.answers) + 1):
            other = self.answers[(place - step) % len(self.answers)]
            if other.prompt_ids != answer.prompt_ids:
                ids, logprobs = other.completion_ids[:room], other.logprobs[:room]
                return answer._replace(completion_ids=ids, logprobs=logprobs)
        raise UserError("dataset: expected answers to several prompts, got answers to one")

    def compare(self, model: Model, compared: Compared, *, learns: bool) -> tuple[Tensor, dict[str, float]]:
        """The loss of answers and what it reports; `learns`: the gradient is added to `.grad`."""
        references, kl = compared.references, None
        if "kto" in self.loss.objective.loss_type:
            # One number for the step, and no gradient: where good and bad part.
            others = answer_logprobs(model, [(other,) for _, other in compared.groups], self.compute)
            kl = (others[:, 0] - references[:, 1]).mean().clamp(min=0)
        desirable = torch.tensor([self.labels[answer.problem] for answer, _ in compared.groups])
        run = self.loss.accumulate_gradient if learns else self.loss.measure
        answers = [(answer,) for answer, _ in compared.groups]
        loss, metrics = run(model, answers, references[:, :1], Singles(desirable, kl))
        if kl is not None:
            metrics["kl"] = kl.item()
        # A step may have answers of one label alone.
        if {"rewards/chosen", "rewards/rejected"} <= metrics.keys():
            metrics["rewards/margins"] = metrics["rewards/chosen"] - metrics["rewards/rejected"]
        return loss, metrics
