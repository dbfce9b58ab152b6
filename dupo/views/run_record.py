"""A run as its files tell it, read leniently: a file may be missing, old, or cut short by a kill."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dupo.config.layers import read_config
from dupo.errors import UserError
from dupo.storage.files import read_mapping, read_rows
from dupo.storage.names import CONFIG, METRICS, SAMPLES, SUMMARY, program_of
from dupo.storage.signature import signature_line
from dupo.user_files import check_is_path, is_file, read_file
from dupo.views.exchange import ExchangeRow, read_exchange
from dupo.views.lenient import finite, number_or_none, text_or_none
from dupo.views.references import Reference, references

EVAL = "eval/"  # how the names of held-out metrics begin in metrics.jsonl and summary.json


@dataclass(frozen=True)
class StepRow:
    """One row of metrics.jsonl: the finite metrics of an optimizer step, by name."""

    step: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class HeldOut:
    """The held-out metric that stands for the run.

    Attributes:
        name: "accuracy" for eval/accuracy.
        before: value before the first step.
        after: value after the last step.
        peak: the highest value.
        problems: how many were asked; None: not recorded.
    """

    name: str
    before: float | None
    after: float | None
    peak: float | None
    problems: float | None


@dataclass(frozen=True)
class RunRecord:
    """A run as its page shows it; whatever the files do not say is None or empty.

    Attributes:
        title: task, reward and seed in one line.
        folder: name of the folder.
        model: `model_name_or_path` of the settings.
        planned_steps: `max_steps` of the settings.
        completions: how many a rollout has, `generation_batch_size` of the settings.
        finished: whether there is a summary.
        steps: rows of metrics.jsonl, by ascending step.
        evaluations: held-out metric -> step -> value.
        exchanges: rows of samples.jsonl that have a step.
        reward_auc: how well the reward told right from wrong before training, in [0, 1].
        readable_reward_auc: the same among samples with an answer.
        auc_pairs, readable_auc_pairs: number of pairs behind each of the two; None: not recorded.
        references: other rewards in the same loop, where it is the default one.
        seconds: of the whole run.
        settings: config.yaml as it is.
    """

    title: str
    folder: str
    model: str | None
    planned_steps: str | None
    completions: int | None
    finished: bool
    steps: Sequence[StepRow]
    evaluations: Mapping[str, Mapping[float, float]]
    held_out: HeldOut | None
    exchanges: Sequence[ExchangeRow]
    reward_auc: float | None
    readable_reward_auc: float | None
    auc_pairs: int | None
    readable_auc_pairs: int | None
    references: Sequence[Reference]
    seconds: float | None
    signature: str
    settings: str


def read_run(folder: Path) -> RunRecord:
    """Reads the files of a run.

    Raises:
        UserError: no folder can have that name, or the folder holds neither settings nor metrics, or another
            program wrote them.
    """
    check_is_path(folder)
    config = folder / CONFIG
    if (program := program_of(folder)) not in (None, "train"):
        raise UserError(f"{folder}: expected a training run, got the folder of dupo {program}")
    if not is_file(config) and not is_file(folder / METRICS):
        raise UserError(f"{folder} is no run folder: expected {CONFIG} or {METRICS} in it")
    settings, summary = read_mapping(config), read_mapping(folder / SUMMARY)
    steps = _read_steps(folder)
    if _is_made_longer(settings, summary, steps):
        summary = {}
    evaluations = _evaluations(steps, summary)
    exchanges = (read_exchange(row) for row in read_rows(folder / SAMPLES))
    return RunRecord(
        title=_title({**settings, **summary}),
        folder=folder.resolve().name,
        model=text_or_none(settings.get("model_name_or_path")),
        planned_steps=text_or_none(settings.get("max_steps")),
        completions=_whole(text_or_none(settings.get("generation_batch_size"))),
        finished=bool(summary),
        steps=steps,
        evaluations=evaluations,
        held_out=_held_out(steps, summary, evaluations),
        exchanges=[exchange for exchange in exchanges if exchange.step is not None],
        reward_auc=number_or_none(summary.get("reward_auc")),
        readable_reward_auc=number_or_none(summary.get("readable_reward_auc")),
        auc_pairs=_count(summary.get("reward_auc_pairs")),
        readable_auc_pairs=_count(summary.get("readable_reward_auc_pairs")),
        references=_references(config),
        seconds=number_or_none(summary.get("seconds")),
        signature=_signature(summary.get("signature")),
        settings=settings_text(config),
    )


def _title(values: Mapping[str, Any]) -> str:
    """The summary of a run knows what was run; the settings know what was planned."""
    task = text_or_none(values.get("task")) or "run"
    reward = text_or_none(values.get("reward")) or "unknown"
    return f"{task} · reward {reward} · seed {text_or_none(values.get('seed'))}"


def _is_made_longer(
    settings: Mapping[str, Any], summary: Mapping[str, Any], steps: Sequence[StepRow]
) -> bool:
    """Whether the summary is from before the run went on to a later end, which it has not reached."""
    end, planned = number_or_none(summary.get("steps")), _whole(text_or_none(settings.get("max_steps")))
    # A step behind all that were planned is a damaged row.
    return bool(steps) and end is not None and planned is not None and end < steps[-1].step <= planned


def _read_steps(folder: Path) -> list[StepRow]:
    # A row without a step has no place on the axis.
    rows = [row for row in read_rows(folder / METRICS) if finite(row.get("step"))]
    steps = [
        StepRow(row["step"], {key: value for key, value in row.items() if key != "step" and finite(value)})
        for row in rows
    ]
    return sorted(steps, key=lambda row: row.step)


def _evaluations(steps: Sequence[StepRow], summary: Mapping[str, Any]) -> dict[str, dict[float, float]]:
    """Joins the evaluations of the rows with those of the summary, which alone holds step 0."""
    # A step may be in both: the value of its row then replaces the equal value of the summary.
    tables = [(step, table) for step, table in _pairs(summary.get("evals")) if isinstance(table, dict)]
    tables += [(row.step, _held_out_metrics(row.metrics)) for row in steps]
    evaluations: dict[str, dict[float, float]] = {}
    for step, table in tables:
        for name, value in table.items():
            if finite(value) and finite(step):
                evaluations.setdefault(name, {})[step] = value
    return {name: dict(sorted(values.items())) for name, values in evaluations.items()}


def _pairs(value: object) -> list[list[Any]]:
    return [pair for pair in value if _is_pair(pair)] if isinstance(value, list) else []


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


def _held_out_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix(EVAL): value for name, value in metrics.items() if name.startswith(EVAL)}


def _held_out(
    steps: Sequence[StepRow], summary: Mapping[str, Any], evaluations: Mapping[str, Mapping[float, float]]
) -> HeldOut | None:
    """Takes the values of the summary; a run without one has those of its curve."""
    # An unfinished run has no summary yet, but its evaluated steps name the metrics.
    name = summary.get("headline")
    if not isinstance(name, str):
        name = next((key for row in steps for key in _held_out_metrics(row.metrics)), None)
    if name is None:
        return None
    curve = list(evaluations.get(name, {}).values())
    before, after = (curve[0], curve[-1]) if curve else (None, None)
    return HeldOut(
        name,
        before=number_or_none(summary.get(f"{EVAL}{name}_before", before)),
        after=number_or_none(summary.get(f"{EVAL}{name}_after", after)),
        peak=number_or_none(summary.get(f"{EVAL}{name}_peak", max(curve, default=None))),
        problems=number_or_none(summary.get(f"{EVAL}problems")),
    )


def _count(value: object) -> int | None:
    number = number_or_none(value)
    return None if number is None else int(number)


def _whole(text: str | None) -> int | None:
    """A whole number of the settings, which are read as texts; a default is left out of no config.yaml."""
    return int(text) if text is not None and text.isdecimal() and len(text) < 10 else None


def _references(config: Path) -> list[Reference]:
    """Those of the settings; none for settings that this version cannot read."""
    try:
        return references(read_config(config))
    except UserError:
        return []


def _signature(value: object) -> str:
    if isinstance(value, dict):
        return signature_line({name: str(text_or_none(field)) for name, field in value.items()})
    return text_or_none(value) or "none recorded: the run did not finish"


def settings_text(config: Path) -> str:
    """config.yaml as it is; in its place a sentence where it cannot be read."""
    try:
        # As it is, not as parsed: a damaged file is shown rather than hidden.
        return read_file(config).decode("utf-8", "replace")
    except UserError:
        return f"{CONFIG} is missing or cannot be read"
