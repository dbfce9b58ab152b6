"""What a training run measures over its whole length: summary.json, and the before/after table."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dupo.config.catalogue import METHODS, TASKS
from dupo.config.config import Config
from dupo.storage.commands import start_of
from dupo.storage.signature import signature_line
from dupo.views.references import OF_ONE_SEED, references
from dupo.views.terminal import Display

LOWER_IS_BETTER = {"loss", "calibration_error"}
# The rewards of the references in words, around how they were measured.
IN_WORDS = {"gold": "right answers as rewards ({how})", "random": "random rewards (coins; {how})"}
# Options of an audit of data of the user, as an example.
AUDIT = dict(task="word_problems", dataset="questions.jsonl", model_name_or_path="Qwen/Qwen3-0.6B")


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
        # The best evaluation; of a loss or an error that is the lowest.
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


def show_result(display: Display, summary: Mapping[str, Any], config: Config) -> None:
    """Shows the before/after table, what happened in words, the quality of the reward, and labels used."""
    # One row for each held-out metric.
    rows = []
    for name in summary["evals"][0][1]:
        before, after, peak = (summary[f"eval/{name}_{when}"] for when in ("before", "after", "peak"))
        rows.append([name, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}", f"{peak:.3f}"])
    if rows:
        title = f"{summary['eval/problems']:,} held-out problems, {summary['seconds']:.0f} s in all"
        display.table(title, ["", "before", "after", "change", "peak"], rows)
    for line in result_in_words(summary, config):
        display.note(line)
    # Small runs have no two answers of different quality.
    if summary.get("reward_auc_pairs"):
        answers = _auc(summary, "readable_", "pairs of readable answers")
        samples = _auc(summary, "", "pairs of all samples")
        display.note(f"how well the reward told right from wrong before training: AUC {answers}; {samples}")
    if summary.get("teaching_labels"):
        lessons, dev = summary["teaching_labels"], summary["teaching_dev_labels"]
        display.note(f"the teaching before it read {lessons:,} labelled examples, and {dev} to know its end")


def result_in_words(summary: Mapping[str, Any], config: Config) -> Iterator[str]:
    """What happened, what other rewards give in the same loop, and what to type next."""
    if "eval/accuracy_before" not in summary:
        return
    before, after = (summary[f"eval/accuracy_{when}"] for when in ("before", "after"))
    way = "rose" if after > before else "fell"
    change = f"{way} from {before:.1%} to {after:.1%} ({100 * (after - before):+.1f} points)"
    went = change if after != before else f"stayed at {after:.1%}"
    if config.learns_scores:
        yield f"Training compared answers; the share of unseen pairs that its scores put in order {went}."
        return
    yield f"{_training(config)}; right answers to problems that it never saw {went}."
    # The reward of this run has its own curve.
    others = [row for row in references(config) if row.reward != config.reward.reward]
    if others:
        gains = [
            f"{100 * row.change:+.1f} points with "
            + IN_WORDS[row.reward].format(how=f"--reward {row.reward}, mean of {row.seeds} seeds")
            for row in others
        ]
        # The figure of one run beside means of several: gold is a ceiling in the mean alone.
        yield f"The same loop at the same learning rate gives {' and '.join(gains)}. {OF_ONE_SEED}"
    if "reward" in METHODS[config.method].groups and config.reward.reward == "dual":
        yield _next_question(config)


def _next_question(config: Config) -> str:
    """What to measure next of the dual reward: on the data of the run, or on some of the user."""
    if TASKS[config.task.task].built_in:
        return f"Next, can such a reward be trusted on your data? {start_of('audit', AUDIT)}"
    names = ("task", "dataset", "question_column", "answer_column")
    options = {name: value for name in names if (value := getattr(config.task, name)) is not None}
    options["model_name_or_path"] = config.model.model_name_or_path
    return f"Next, can this reward be trusted on these data? {start_of('audit', options)}"


def _training(config: Config) -> str:
    """What training was, as the beginning of a sentence."""
    if "reward" not in METHODS[config.method].groups:
        return "Training was supervised"
    return f"Training read {config.reward.labels_read}"


def _auc(summary: Mapping[str, Any], prefix: str, pairs: str) -> str:
    """A figure with the number of its pairs; "none" where no two samples differ in quality."""
    auc = summary[f"{prefix}reward_auc"]
    return f"{'none' if auc is None else f'{auc:.3f}'} of {summary[f'{prefix}reward_auc_pairs']:,} {pairs}"
