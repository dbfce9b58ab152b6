"""What was measured of each run, and the one place that reads it out of result files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from bench.evidence.grid import Run
from dupo.evaluation.intervals import Estimate

# Keys that result files of November 2026 hold under another name.
OLD_KEYS = {"arm": "reward", "took": "seconds", "figures": "metrics", "supervised": "teaching_continued"}


@dataclass(frozen=True)
class TrainingResult:
    """A training run.

    Attributes:
        seconds: the run took; None where other runs disturbed the clock.
        evals: (optimizer step, held-out metrics), the first before training.
        reward_auc: how well the reward tells right from wrong before training.
        last_metrics: of the last optimizer step.
    """

    run: Run
    seconds: float | None
    evals: list[tuple[int, dict[str, float]]]
    reward_auc: float | None
    last_metrics: dict[str, float] = field(default_factory=dict)

    @property
    def curve(self) -> list[tuple[int, float]]:
        """(optimizer step, held-out accuracy)."""
        return [(step, metrics["accuracy"]) for step, metrics in self.evals]

    @property
    def change(self) -> float:
        """Held-out accuracy at the end less that at the start."""
        return self.curve[-1][1] - self.curve[0][1]

    @property
    def peak(self) -> float:
        """The highest held-out accuracy less that at the start."""
        return max(accuracy for _, accuracy in self.curve) - self.curve[0][1]


class AnswerMethod(NamedTuple):
    """One way to answer without training; `score` in [0, 1] with its 95 % interval."""

    key: str
    method: str
    tokens: int
    tokens_per_problem: float
    score: float
    low: float
    high: float


@dataclass(frozen=True)
class RerankResult:
    """A run of dupo.rerank.

    Attributes:
        dual_minus: score of the dual rerank less that of another method, by the name of the method.
    """

    run: Run
    seconds: float | None
    methods: list[AnswerMethod]
    dual_minus: dict[str, Estimate]

    def method(self, key: str) -> AnswerMethod:
        """The way to answer with this key."""
        return next(method for method in self.methods if method.key == key)


@dataclass(frozen=True)
class AuditResult:
    """A run of dupo.audit: its metrics and its verdict."""

    run: Run
    seconds: float | None
    metrics: dict[str, Any]
    verdict: str


@dataclass(frozen=True)
class SelectResult:
    """A run of dupo.select: the number of duals of the first pass, and of the duals that were kept."""

    run: Run
    seconds: float | None
    num_duals: int
    num_kept: int


Result = TrainingResult | RerankResult | AuditResult | SelectResult


@dataclass(frozen=True)
class TeachingContinued:
    """Teaching that went on for as long as DuPO trained: what labels would have bought.

    Attributes:
        curve: (seconds, held-out accuracy).
        labels: labelled examples that teaching had not seen before.
    """

    task: str
    seed: int
    curve: list[tuple[float, float]]
    labels: int

    @property
    def change(self) -> float:
        """Held-out accuracy at the end less that at the start."""
        return self.curve[-1][1] - self.curve[0][1]

    @property
    def peak(self) -> float:
        """The highest held-out accuracy less that at the start."""
        return max(accuracy for _, accuracy in self.curve) - self.curve[0][1]


@dataclass(frozen=True)
class Evidence:
    """All results of one result file.

    Attributes:
        command: made the file.
        git: revision of the source.
    """

    command: str
    git: str
    results: list[Result] = field(default_factory=list)
    teaching_continued: list[TeachingContinued] = field(default_factory=list)

    def training(self, task: str, label: str, rate: str | None = None) -> list[TrainingResult]:
        """Training runs of a task and a label (see `Run.label`), at one rate or at all."""
        return [
            r
            for r in self.results
            if isinstance(r, TrainingResult)
            and (r.run.task, r.run.label) == (task, label)
            and rate in (None, r.run.rate)
        ]

    def labels(self, task: str) -> list[str]:
        """The labels of the training runs of a task, in the order of the file."""
        runs = [r.run for r in self.results if isinstance(r, TrainingResult)]
        return list(dict.fromkeys(run.label for run in runs if run.task == task))

    def reranks(self, task: str) -> list[RerankResult]:
        """Runs of dupo.rerank."""
        return [r for r in self.results if isinstance(r, RerankResult) and r.run.task == task]

    def audits(self, task: str) -> list[AuditResult]:
        """Runs of dupo.audit."""
        return [r for r in self.results if isinstance(r, AuditResult) and r.run.task == task]

    def selections(self) -> list[SelectResult]:
        """Runs of dupo.select."""
        return [r for r in self.results if isinstance(r, SelectResult)]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The evidence that a result file holds."""
        content = _renamed(content)
        # Old files hold command and revision beside the results, new files in the signature.
        made_by = content.get("signature", content)
        # Rows are of four kinds; the program of a row tells which.
        results = [result_from_json(row) for row in content["runs"]]
        continued = [
            TeachingContinued(row["task"], row["seed"], _pairs(row["curve"]), row["labels"])
            for row in content["teaching_continued"]
        ]
        return cls(made_by["command"], made_by["git"], results, continued)


def result_from_json(row: Mapping[str, Any]) -> Result:
    """The record of one run."""
    row = _renamed(row)
    # A result file holds the label: "dual, policy" is the reward dual with the variation policy.
    reward, _, variation = row["reward"].partition(", ")
    run = Run(row["task"], reward, row["seed"], row["rate"], variation, program=row["program"])
    seconds, summary = row["seconds"], _renamed(row.get("summary", {}))
    if run.program == "rerank":
        methods = [AnswerMethod(**method) for method in summary["methods"]]
        dual_minus = {name: Estimate(**gain) for name, gain in summary["dual_minus"].items()}
        return RerankResult(run, seconds, methods, dual_minus)
    if run.program == "audit":
        return AuditResult(run, seconds, summary["metrics"], summary["verdict"])
    if run.program == "select":
        # The first pass sees every dual.
        return SelectResult(run, seconds, summary["passes"][0]["duals"], summary["kept_duals"])
    return TrainingResult(run, seconds, _pairs(row["evals"]), row["reward_auc"], row["last"])


def _renamed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {OLD_KEYS.get(key, key): value for key, value in row.items()}


def _pairs(rows: Sequence[Sequence[Any]]) -> list[tuple[Any, Any]]:
    """JSON has no tuples."""
    return [(first, second) for first, second in rows]
