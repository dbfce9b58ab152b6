"""Online KTO (`--method online_kto`): its own completions, good or bad by any reward.

rollout     y_1 ... y_G ~ pi(. | x)             the policy answers, as in `dupo`
label       good if r(y) > label_threshold
loss        that of `kto`, with the completion of another prompt for y'
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from dupo.config.config import Config
from dupo.config.preference_options import LabelOptions
from dupo.methods.online import OnlineMethod, Two
from dupo.models.load import Model
from dupo.records import Trajectory


class OnlineKTO(OnlineMethod):
    """Learns from its own completions, good or bad; `OnlineMethod` does all else."""

    def options(self, config: Config) -> LabelOptions:
        """The options of the loss."""
        return config.labels

    def learning(self) -> str:
        """What a step learns from, for the start-up table."""
        size, least = self.config.optimizer.train_batch_size or "all", self.config.labelling.label_threshold
        return f"{size} completions of a rollout, good with a reward above {least:g}; {self.loss_in_words()}"

    def choose(self, completions: Sequence[Sequence[Trajectory]]) -> tuple[list[Two], Mapping[str, float]]:
        """Each completion with one of the problem before, behind the same prompt; and how many are good."""
        # Of a problem whose completions are all cut off, none may be left.
        groups, before = list[Two](), [group for group in completions if group]
        for place, group in enumerate(before):
            # The problem before the first one is the last one.
            others = before[place - 1]
            for number, answer in enumerate(group):
                other = others[number % len(others)]
                groups.append((answer, other._replace(prompt_ids=answer.prompt_ids)))
        good = sum(self._is_good(answer) for answer, _ in groups)
        return groups, {"labels/count": float(len(groups)), "labels/good": good / max(len(groups), 1)}

    def _is_good(self, answer: Trajectory) -> bool:
        return answer.advantage > self.config.labelling.label_threshold

    def compare(
        self, model: Model, groups: Sequence[Two], references: Tensor | None
    ) -> tuple[Tensor, dict[str, float]]:
        """Adds the gradient of the loss of completions to `.grad`."""
        labels = [self._is_good(answer) for answer, _ in groups]
        return self.loss.judge(model, groups, references, labels, learns=True)
