"""Online DPO (`--method online_dpo`; arXiv 2402.04792): pairs of its own completions, judged by any reward.

rollout     y_1 ... y_G ~ pi(. | x)             the policy answers, as in `dupo`
pairs       (y_w, y_l) with r(y_w) > r(y_l)     the best and the worst of each x; more by `--pairs`
loss        that of `dpo`, on the pairs
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

from torch import Tensor

from dupo.config.config import Config
from dupo.config.preference_options import ComparisonOptions
from dupo.config.selection_options import BEST_WORST
from dupo.methods.online import OnlineMethod, Two
from dupo.models.load import Model
from dupo.records import Trajectory


class OnlineDPO(OnlineMethod):
    """Learns from pairs of its own completions; `OnlineMethod` does all else."""

    def options(self, config: Config) -> ComparisonOptions:
        """The options of the loss."""
        return config.comparison

    def learning(self) -> str:
        """What a step learns from, for the start-up table."""
        size = self.config.optimizer.train_batch_size or "all"
        return f"{size} pairs ({self.config.pairing.pairs}) of a rollout; {self.loss_in_words()}"

    def choose(self, completions: Sequence[Sequence[Trajectory]]) -> tuple[list[Two], Mapping[str, float]]:
        """The pairs of a better and a worse completion, and how far their rewards are apart."""
        options, pairs = self.config.pairing, list[Two]()
        for group in completions:
            # Of equal rewards, the completion that was sampled first.
            ranked = sorted(group, key=lambda t: -t.advantage)
            if options.pairs == BEST_WORST:  # none of a group of one
                ranked = ranked[:1] + ranked[1:][-1:]
            # The better one comes first.
            pairs += [
                two
                for two in combinations(ranked, 2)
                if two[0].advantage > two[1].advantage
                and two[0].advantage - two[1].advantage >= (options.pair_margin or 0)
            ]
        metrics = {"pairs/count": float(len(pairs))}
        if pairs:
            apart = sum(better.advantage - worse.advantage for better, worse in pairs)
            metrics["pairs/reward_difference"] = apart / len(pairs)
        return pairs, metrics

    def compare(
        self, model: Model, groups: Sequence[Two], references: Tensor | None
    ) -> tuple[Tensor, dict[str, float]]:
        """Adds the gradient of the loss of pairs to `.grad`."""
        return self.loss.accumulate_gradient(model, groups, references)
