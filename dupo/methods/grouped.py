"""What methods share that learn from given answers, several together: pairs, labelled answers, rankings."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from torch import Tensor

from dupo.config.config import Config
from dupo.data.examples import Example, Examples
from dupo.data.fingerprints import examples_fingerprint
from dupo.distributed.ranks import ALONE, Ranks
from dupo.learning.order import EpochOrder
from dupo.learning.preference_loss import PreferenceLoss
from dupo.learning.scores import RankingLoss
from dupo.learning.step import optimizer_step
from dupo.methods.offline import OfflineMethod
from dupo.models.fingerprints import model_fingerprints
from dupo.models.load import Model
from dupo.records import StepBatch, Trajectory

Group = TypeVar("Group")  # answers that the loss looks at together


class GroupedMethod(OfflineMethod, Generic[Group]):
    """Learns from groups of answers of a file; see `dupo.methods.base.Method`.

    Attributes:
        what: what the groups are called. measured: what evaluation tells of them.
        train, held_out: the groups.
        loss: made by the constructor of the method.
    """

    what: str
    measured: str
    loss: PreferenceLoss | RankingLoss

    def __init__(self, config: Config, data: Examples[Any] | None = None, ranks: Ranks = ALONE) -> None:
        super().__init__(config, ranks)
        data = data or self.read(config)
        self.name = self.name_of(self.what)
        self.load_tokenizer(None)
        read, self.train, notes = self.encoded(data.train, self.what)
        read_held_out, self.held_out, notes_held_out = self.encoded(data.held_out, f"held-out {self.what}")
        numbers = f"{len(self.train):,} {self.what} to train on, {len(self.held_out):,} held out"
        self.notes = [numbers, *data.notes, *notes, *notes_held_out]
        self.data_inputs = {
            "the data set": examples_fingerprint(read),
            f"the held-out {self.what}": examples_fingerprint(read_held_out),
        }
        self.num_held_out = len(self.held_out)
        # Groups, not answers, are visited once an epoch: the loss needs all answers of one.
        self.order = EpochOrder(self.seed, len(self.train))

    @abstractmethod
    def read(self, config: Config) -> Examples[Any]:
        """Reads the data of the run."""

    @abstractmethod
    def encoded(self, items: Sequence[Any], what: str) -> tuple[list[Example], list[Group], list[str]]:
        """The examples that fit, the groups that they make, and what was left out, in words."""

    @abstractmethod
    def answers(self, group: Group) -> Sequence[Trajectory]:
        """The answers of a group."""

    @abstractmethod
    def learn(self, model: Model, places: Sequence[int]) -> tuple[Tensor, dict[str, float]]:
        """Adds the gradient of the groups to train on at some places to `.grad`; loss and metrics."""

    @abstractmethod
    def measure(self) -> tuple[Tensor, dict[str, float]]:
        """Loss and metrics of the held-out groups."""

    @abstractmethod
    def loss_row(self) -> str:
        """What the start-up table says of the loss."""

    def describe(self) -> list[tuple[str, str]]:
        """Rows of the start-up table."""
        optimizer = self.config.optimizer
        steps = f"{optimizer.max_steps} optimizer steps of {self.batch_size} {self.what}"
        return [
            *self.model_rows(),
            ("data", "; ".join(self.notes)),
            ("loss", self.loss_row()),
            ("steps", f"{steps}, learning rate {optimizer.learning_rate:g}"),
            self.evaluation_row(f"{self.measured} on {self.num_held_out:,} held-out {self.what}"),
        ]

    def inputs(self) -> Mapping[str, str]:
        """Fingerprints of data and model."""
        model = model_fingerprints("model", self.config.model, self.tokenizer, self.shape)
        return {**self.data_inputs, **model}

    def start(self) -> None:
        """Makes adapters and optimizer, and tells the loss how the ranks share passes."""
        self.start_learner(needs_twin=False)
        self.loss.compute = self.compute

    def next_batch(self, step: int) -> StepBatch:
        """The answers of the groups of one step, group by group."""
        # A batch is a flat list, which a failed step can be saved from.
        groups = [self.train[place] for place in self.places(step)]
        return StepBatch([answer for group in groups for answer in self.answers(group)], {}, [])

    def update(self, batch: StepBatch, step: int) -> dict[str, float]:
        """One optimizer step on the groups of the batch."""
        # The groups follow from the step, and the batch is what a failed step would save.
        learn = partial(self.learn, places=self.places(step))
        options, seed = self.config.optimizer, self.seed
        # As in TRL, dropout is off: the reference has none, and a score must not be random.
        return optimizer_step(self.model, self.optimizer, learn, options, step, seed, dropout=False)

    def places(self, step: int) -> list[int]:
        """Which groups a step learns from; they follow from the step, so a resumed run needs no state."""
        return self.order.take(range(len(self.train)), step * self.batch_size, self.batch_size)

    def current_batch(self, step: int) -> StepBatch:
        """The answers of the step that failed."""
        return self.next_batch(step)

    def evaluate(self) -> dict[str, float]:
        """Loss and metrics of the held-out groups."""
        if not self.num_held_out:
            return {}
        loss, metrics = self.measure()
        metrics = {"loss": loss.item()} | metrics
        # First what the progress line shows.
        return {self.headline: metrics.pop(self.headline)} | metrics
