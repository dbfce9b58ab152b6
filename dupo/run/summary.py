"""What a training run measures over its whole length: summary.json, and the before/after table."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dupo.config.config import Config
from dupo.config.options import RewardOptions
from dupo.storage.signature import signature_line
from dupo.views.terminal import Display

LOWER_IS_BETTER = {"loss"}


@dataclass
class TrainingRecord:
    """What a checkpoint must hold so that a resumed run can still write its summary.

    Attributes:
        evals: (step, held-out metrics) of every evaluation.
        facts: what the method measured before the first step.
        seconds: spent before this start of the program.
    """

    evals: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "TrainingRecord":
        """The record of a checkpoint."""
        return cls([(step, metrics) for step, metrics in state["evals"]], state["facts"], state["seconds"])


def summarise(
    config: Config, record: TrainingRecord, step: int, seconds: float, made_by: Mapping[str, str]
) -> dict[str, Any]:
    """What summary.json holds.

    Args:
        step: optimizer steps done.
        seconds: of all starts of the run.
        made_by: the signature.
    """
    metrics: dict[str, Any] = {"eval/problems": record.facts.get("problems", 0)}
    for name in record.evals[0][1]:
        values = [evaluation[name] for _, evaluation in record.evals]
        metrics[f"eval/{name}_before"], metrics[f"eval/{name}_after"] = values[0], values[-1]
        # The best evaluation; for a loss that is the lowest.
        metrics[f"eval/{name}_peak"] = min(values) if name in LOWER_IS_BETTER else max(values)
    # `problems` counts the evaluation and stands with its metrics.
    facts = {name: value for name, value in record.facts.items() if name != "problems"}
    return {
        **metrics,
        **facts,
        "steps": step,
        "seconds": round(seconds, 1),
        "seed": config.run.seed,
        "method": config.method,
        "evals": [[step, evaluation] for step, evaluation in record.evals],
        "signature": signature_line(dict(made_by)),
    }


def show_result(display: Display, summary: Mapping[str, Any], reward: RewardOptions) -> None:
    """Shows the before/after table, the quality of the reward, and where labels were used."""
    # One row for each held-out metric.
    rows = []
    for name in summary["evals"][0][1]:
        before, after, peak = (summary[f"eval/{name}_{when}"] for when in ("before", "after", "peak"))
        rows.append([name, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}", f"{peak:.3f}"])
    if rows:
        title = f"{summary['eval/problems']:,} held-out problems, {summary['seconds']:.0f} s in all"
        display.table(title, ["", "before", "after", "change", "peak"], rows)
    if "readable_reward_auc" in summary:
        answers = _auc(summary, "readable_", "pairs of readable answers")
        samples = _auc(summary, "", "pairs of all samples")
        display.note(f"how well the reward told right from wrong before training: AUC {answers}; {samples}")
    if summary.get("teaching_labels"):
        lessons, dev = summary["teaching_labels"], summary["teaching_dev_labels"]
        teaching = f"{lessons:,} examples in teaching and {dev} to stop it"
        display.note(f"labels used: {teaching}, {labels_in_training(reward)}")


def _auc(summary: Mapping[str, Any], prefix: str, pairs: str) -> str:
    """A figure with the number of its pairs; "none" where no two samples differ in quality."""
    auc = summary[f"{prefix}reward_auc"]
    return f"{'none' if auc is None else f'{auc:.3f}'} of {summary[f'{prefix}reward_auc_pairs']:,} {pairs}"


def labels_in_training(reward: RewardOptions) -> str:
    """Which labels the method read after teaching, in words."""
    if reward.has_user_function:
        return "and in RL whatever your reward function read"
    return "and those of the training problems in RL" if reward.needs("gold") else "none in RL"
