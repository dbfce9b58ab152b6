"""Reward models (`--method reward_model`; arXiv 2203.02155): a score that is higher for the better answer.

data      x, y_1, ..., y_K                 a prompt and answers to it, the best first; most data have pairs
score     s(x, y)                          one number, on top of the last token; the head of words is gone
loss      L = mean over groups of the mean over i < j of -log sigmoid(s(x, y_i) - s(x, y_j) - margin)
                                           a margin is of pairs alone; `--loss_type plackett_luce` looks at
                                           the whole order
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dupo.config.config import Config
from dupo.data.examples import Example, Examples
from dupo.data.rankings import Ranking
from dupo.distributed.ranks import ALONE, Ranks
from dupo.errors import UserError
from dupo.learning.scores import Ranked, RankingLoss
from dupo.methods.data import read_ranked
from dupo.methods.grouped import GroupedMethod
from dupo.models.load import Model, load_model, scorer_config
from dupo.records import Trajectory


class RewardModel(GroupedMethod[Ranked]):
    """Learns which answers are better; see `dupo.methods.base.Method`."""

    loss: RankingLoss
    what, measured, headline = "rankings", "loss, accuracy and calibration", "accuracy"

    def __init__(self, config: Config, data: Examples[Ranking] | None = None, ranks: Ranks = ALONE) -> None:
        super().__init__(config, data, ranks)
        self.loss = RankingLoss(config.scores, self.compute)
        kind, with_margin = config.scores.loss_type, sum(group.margin > 0 for group in self.train)
        # An order has no place for a margin, and nobody would see that it was not read.
        if with_margin and kind != "bradley_terry":
            raise UserError(f"loss_type: expected bradley_terry for {with_margin:,} margins, got {kind}")

    def read(self, config: Config) -> Examples[Ranking]:
        """The pairs or rankings of `dataset`."""
        return read_ranked(config)

    def read_shape(self) -> Any:
        """The config of a model with a score."""
        return scorer_config(self.config.model, self.tokenizer)

    def encoded(self, items: Sequence[Ranking], what: str) -> tuple[list[Example], list[Ranked], list[str]]:
        """The answers that fit, their rankings, and what was left out, in words."""
        # A reward model reads the chat with what closes it; see `PromptTokenizer.encode_answers`.
        fitting = self.fitting([item.answers for item in items], what, in_chats=True)
        margins = [items[place].margin for place in fitting.places]
        groups = [Ranked(answers, margin) for answers, margin in zip(fitting.encoded, margins, strict=True)]
        # The margin stands in the id, so that a resume with other margins is refused.
        examples = [
            example._replace(id=f"{example.id} {margin}") if margin else example
            for group, margin in zip(fitting.groups, margins, strict=True)
            for example in group
        ]
        return examples, groups, fitting.notes

    def answers(self, group: Ranked) -> Sequence[Trajectory]:
        """The answers of a ranking."""
        return group.answers

    def read_model(self) -> Model:
        """The model with a score in the place of its head."""
        config = self.config
        return load_model(config.model, self.shape, self.device, self.seed, lora=config.lora, scores=True)

    def learn(self, model: Model, places: Sequence[int]) -> tuple[Tensor, dict[str, float]]:
        """The loss of rankings to train on, whose gradient is added to `.grad`, and its metrics."""
        return self.loss.accumulate_gradient(model, [self.train[place] for place in places])

    def measure(self) -> tuple[Tensor, dict[str, float]]:
        """Loss and metrics of the held-out rankings."""
        return self.loss.measure(self.model, self.held_out)

    def loss_row(self) -> str:
        """What the start-up table says of the loss."""
        # Margins are told, as a column of that name may stand in a file for something else.
        options, margins = self.config.scores, sum(group.margin > 0 for group in self.train)
        told = [options.loss_type]
        if margins and options.loss_type == "bradley_terry":
            told.append(f"{margins:,} with a margin")
        if options.center_rewards_coefficient:
            told.append(f"scores held near 0 by {options.center_rewards_coefficient:g}")
        return "; ".join(told)
