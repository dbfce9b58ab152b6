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
        groups, left = list[Two](), [group for group in completions if group]
        for place, group in enumerate(left):
            others = self._others(left, place)
            # All have one prompt: there is nothing to compare with.
            for number, answer in enumerate(group if others else []):
                other = others[number % len(others)]
                groups.append((answer, other._replace(prompt_ids=answer.prompt_ids)))
        good = sum(self._is_good(answer) for answer, _ in groups)
        return groups, {"labels/count": float(len(groups)), "labels/good": good / max(len(groups), 1)}

    def _others(self, left: Sequence[Sequence[Trajectory]], place: int) -> Sequence[Trajectory]:
        """The completions of the nearest problem before that has another prompt; none where all have one."""
        if self.config.labels.loss_type != "kto":
            return left[place]  # no loss reads them
        # The problem before the first one is the last one; a data set may ask one problem again.
        before = [left[place - k] for k in range(1, len(left))]
        return next((group for group in before if group[0].prompt_ids != left[place][0].prompt_ids), [])

    def _is_good(self, answer: Trajectory) -> bool:
        return answer.advantage > self.config.labelling.label_threshold

    def compare(
        self, model: Model, groups: Sequence[Two], references: Tensor | None
    ) -> tuple[Tensor, dict[str, float]]:
        """Adds the gradient of the loss of completions to `.grad`."""
        labels = [self._is_good(answer) for answer, _ in groups]
        assert references is not None, "both losses of single answers read a reference"
        return self.loss.compare_labelled(model, groups, references, labels, learns=True)
