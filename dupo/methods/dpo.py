"""Direct preference optimization and its family (`--method dpo`; arXiv 2305.18290).

data      x, y_w, y_l                      a prompt, a better and a worse answer
score     s(y) = beta log(pi(y | x) / pi_ref(y | x))
loss      L = mean over pairs of -log sigmoid(s(y_w) - s(y_l))       `--loss_type` names the others
"""

from collections.abc import Sequence

from torch import Tensor

from dupo.config.config import Config
from dupo.data.examples import Example, Examples
from dupo.data.preferences import Pair
from dupo.methods.compared import Compared, ComparingMethod
from dupo.methods.data import read_preferences
from dupo.models.load import Model
from dupo.records import Trajectory


class DPO(ComparingMethod):
    """Learns from pairs of answers; `ComparingMethod` does all else; see `dupo.methods.base.Method`."""

    what, measured, headline = "pairs", "loss and accuracy", "rewards/accuracies"

    def read(self, config: Config) -> Examples[Pair]:
        """The pairs of `dataset`."""
        return read_preferences(config)

    def encoded(
        self, items: Sequence[Pair], what: str
    ) -> tuple[list[Example], list[tuple[Trajectory, ...]], list[str]]:
        """The answers that fit, their pairs, the better one first, and what was left out, in words."""
        fitting = self.fitting(items, what)
        return [example for pair in fitting.groups for example in pair], fitting.encoded, fitting.notes

    def compare(self, model: Model, compared: Compared, *, learns: bool) -> tuple[Tensor, dict[str, float]]:
        """The loss of pairs and what it reports; `learns`: the gradient is added to `.grad`."""
        run = self.loss.accumulate_gradient if learns else self.loss.measure
        references = compared.references if self.loss.objective.needs_reference else None
        return run(model, compared.groups, references)
