"""Kahneman-Tversky optimization (`--method kto`; arXiv 2402.01306): single answers that are good or bad.

    data      x, y, good or bad
    score     s(y) = beta log(pi(y | x) / pi_ref(y | x))
    zero      z = max(0, beta mean over the step of log(pi(y' | x) / pi_ref(y' | x)))    y' answers another x
    loss      L = mean over answers of  w sigmoid(z - s(y))  if y is good,  w sigmoid(s(y) - z)  if y is bad

w is `desirable_weight` or `undesirable_weight`. `--loss_type apo_zero_unpaired` has z = 0.
"""

from collections.abc import Sequence

from torch import Tensor

from dupo.config.config import Config
from dupo.config.preference_options import LabelOptions
from dupo.data.examples import Example, Examples
from dupo.data.labels import Labelled
from dupo.distributed.ranks import ALONE, Ranks
from dupo.errors import UserError
from dupo.methods.compared import Compared, ComparingMethod
from dupo.methods.data import read_labels
from dupo.models.load import Model
from dupo.records import Trajectory


class KTO(ComparingMethod):
    """Learns from good answers and bad ones; see `dupo.methods.base.Method`.

    A group is an answer, and for z the answer to another prompt behind the same prompt. The advantage of an
    answer is its label: 1 where the answer is good, -1 where it is bad.

    Attributes:
        singles: the answers to train on, by themselves.
    """

    what, measured, headline = "answers", "loss", "loss"

    def __init__(self, config: Config, data: Examples[Labelled] | None = None, ranks: Ranks = ALONE) -> None:
        self.singles: list[Trajectory] = []
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
        fitting = self.fitting([(item.example,) for item in items], what)
        # By place: files of one name in two folders have the same ids.
        labels = [items[place].desirable for place in fitting.places]
        answers = [
            answer._replace(advantage=1.0 if label else -1.0)
            for (answer,), label in zip(fitting.encoded, labels, strict=True)
        ]
        notes = fitting.notes
        # Held-out answers may all be to one prompt, so others come from those to train on.
        if not self.singles:
            self.singles, notes = answers, [*notes, self._balance(labels)]
        groups: list[tuple[Trajectory, ...]] = [(answer,) for answer in answers]
        if self.config.labels.loss_type == "kto":
            groups = [(answer, self._mismatched(answer, place)) for place, answer in enumerate(answers)]
        # A label that has changed is another data set.
        examples = [
            example._replace(id=f"{example.id} {label}")
            for (example,), label in zip(fitting.groups, labels, strict=True)
        ]
        return examples, groups, notes

    def _balance(self, labels: Sequence[bool]) -> str:
        """How many answers to train on are good, and which weight would even both labels out."""
        num_good, options = sum(labels), self.config.labels
        num_bad = len(labels) - num_good
        # The reader has looked at all rows, some of which may be too long.
        if not num_good or not num_bad:
            label = str(bool(num_good)).lower()
            raise UserError(f"dataset: expected answers of both labels, got {label} alone that fit")
        told = f"{num_good:,} labelled true, {num_bad:,} false"
        good, bad = options.desirable_weight * num_good, options.undesirable_weight * num_bad
        # Where one label weighs twice as much, all answers may become less likely, or all of them likelier.
        if bad > 2 * good > 0:
            told += f" (--undesirable_weight {options.undesirable_weight * good / bad:.2g} evens them out)"
        if good > 2 * bad > 0:
            told += f" (--desirable_weight {options.desirable_weight * bad / good:.2g} evens them out)"
        return told

    def _mismatched(self, answer: Trajectory, place: int) -> Trajectory:
        """The prompt of an answer with the answer before it in the file that is one to another prompt."""
        room = self.limit_of(1).tokens - len(answer.prompt_ids)
        for step in range(1, len(self.singles) + 1):
            # As TRL's collator, which takes the one before, be it to the same prompt.
            other = self.singles[(place - step) % len(self.singles)]
            if other.prompt_ids != answer.prompt_ids:
                ids, logprobs = other.completion_ids[:room], other.logprobs[:room]
                return answer._replace(completion_ids=ids, logprobs=logprobs)
        raise UserError("dataset: expected answers to several prompts, got answers to one")

    def compare(self, model: Model, compared: Compared, *, learns: bool) -> tuple[Tensor, dict[str, float]]:
        """The loss of answers and what it reports; `learns`: the gradient is added to `.grad`."""
        # The advantage is the label, see above.
        labels = [group[0].advantage > 0 for group in compared.groups]
        return self.loss.compare_labelled(model, compared.groups, compared.references, labels, learns=learns)
