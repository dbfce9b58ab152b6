"""What the functions of `dupo.api` return: records of what a folder holds, with a look for notebooks."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dupo.config.catalogue import load
from dupo.config.layers import read_config
from dupo.errors import UserError
from dupo.storage.files import read_rows
from dupo.storage.names import CONFIG, METRICS
from dupo.views.escaping import safe

_SHOWN_ANSWERS = 5  # a cell of a notebook is for a glance; the folder has a page for all
_LEFT = ' style="text-align: left"'


@dataclass(frozen=True, repr=False)
class Result:
    """Base of the results.

    Attributes:
        folder: of the run; every file of it is described in README.md.
        summary: what the program measured, as its .json file holds it.
    """

    folder: Path
    summary: dict[str, Any]

    def facts(self) -> Iterator[tuple[str, str]]:
        """(name, value) of what a person wants to see first."""
        yield "folder", str(self.folder)

    def __repr__(self) -> str:
        return "\n".join([type(self).__name__, *(f"  {name}: {value}" for name, value in self.facts())])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th{_LEFT}>{safe(name)}</th><td{_LEFT}>{safe(value)}</td></tr>"
            for name, value in self.facts()
        )
        return f"<table>{cells}</table>"


@dataclass(frozen=True, repr=False)
class TrainingResult(Result):
    """What `train` returns; `summary` is empty if the run was stopped.

    Attributes:
        metrics: the rows of metrics.jsonl, one for each optimizer step.
        checkpoint: folder of the newest checkpoint, which transformers loads; None if none was written.
        stopped: the run ended before its last step, by Ctrl-C or a callback; it can be resumed.
    """

    metrics: list[dict[str, Any]]
    checkpoint: Path | None
    stopped: bool

    @classmethod
    def of(cls, folder: Path, summary: dict[str, Any], *, stopped: bool) -> "TrainingResult":
        """Reads what the folder of a run holds."""
        checkpoint = load("dupo.storage.checkpoint.latest")(folder)
        return cls(folder, summary, read_rows(folder / METRICS), checkpoint, stopped)

    @cached_property
    def model(self) -> Any:
        """The trained model, as transformers loads it (eval mode, CPU); read when first asked for."""
        return self._loaded("dupo.models.objects.model_of")

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the trained model, as transformers loads it."""
        return self._loaded("dupo.models.objects.tokenizer_of")

    def _loaded(self, loader: str) -> Any:
        if self.checkpoint is None:
            raise UserError(f"{self.folder}: expected a checkpoint, got none: the run was stopped too soon")
        own_code = read_config(self.folder / CONFIG).model.trust_remote_code
        return load(loader)(self.checkpoint, trust_remote_code=own_code)

    def facts(self) -> Iterator[tuple[str, str]]:
        """The end of the run, held-out metrics before and after, and where everything is."""
        step = self.metrics[-1]["step"] if self.metrics else 0
        yield (
            "training",
            f"stopped after step {step}, can be resumed" if self.stopped else f"{step} steps, done",
        )
        for name in self.summary.get("evals", [[0, {}]])[0][1]:
            before, after = (self.summary[f"eval/{name}_{when}"] for when in ("before", "after"))
            problems = f"{self.summary['eval/problems']:,} held-out problems"
            yield name, f"{before:.3f} before, {after:.3f} after, on {problems}"
        yield "checkpoint", str(self.checkpoint or "none")
        yield from super().facts()


@dataclass(frozen=True, repr=False)
class RerankResult(Result):
    """What `rerank` returns.

    Attributes:
        answers: the rows of answers.jsonl: `question`, `answer`, `score`, `votes`, `candidates`, ...
    """

    answers: list[dict[str, Any]]

    def facts(self) -> Iterator[tuple[str, str]]:
        """The first answers, the score of each way to answer, and the folder."""
        for row in self.answers[:_SHOWN_ANSWERS]:
            score = "no dual" if row["score"] is None else f"score {row['score']:.2f}"
            is_read = row["answer"] is not None
            yield row["question"], f"{row['answer']} ({score})" if is_read else "no answer could be read"
        if len(self.answers) > _SHOWN_ANSWERS:
            yield "...", f"{len(self.answers):,} answers"
        for method in self.summary["methods"]:
            if method["score"] is not None:
                yield (
                    f"score of {method['method']}",
                    f"{method['score']:.3f} on {self.summary['with_gold']:,} problems",
                )
        yield from super().facts()


@dataclass(frozen=True, repr=False)
class AuditResult(Result):
    """What `audit` returns; `summary` is what audit.json holds.

    Attributes:
        verdict: train, or what to put right first, in words.
        checks: what training needs, measured: `name`, `measured`, `needed`, `passed`, ...
        rows: the rows of audit.jsonl, one for each problem.
    """

    verdict: str
    checks: list[dict[str, Any]]
    rows: list[dict[str, Any]]

    def facts(self) -> Iterator[tuple[str, str]]:
        """The verdict, every check, and the folder."""
        yield "verdict", self.verdict
        words = {True: "ok", False: "NO", None: "not measured"}
        for check in self.checks:
            yield check["name"], f"{check['measured']} of {check['of']} ({words[check['passed']]})"
        yield from super().facts()


@dataclass(frozen=True, repr=False)
class SelectResult(Result):
    """What `select` returns.

    Attributes:
        duals: the rows of kept.jsonl: the duals that can be trusted.
    """

    duals: list[dict[str, Any]]

    def facts(self) -> Iterator[tuple[str, str]]:
        """What was kept, and the folder, which `selected_duals` takes."""
        yield "kept", f"{self.summary['kept_duals']:,} duals of {self.summary['kept_problems']:,} problems"
        yield from super().facts()
