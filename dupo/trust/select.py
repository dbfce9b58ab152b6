"""`python -m dupo.select`: which duals of a data set can be trusted, by the model's own answers; no label.

pass-1.jsonl   every problem of the first pass: its pool of answers, and how each dual fared
pass-2.jsonl   the same for what the first pass kept, with a new pool (perhaps of another model)
kept.jsonl     the duals that all passes kept, for `python -m dupo.train --selected_duals FOLDER`
summary.json   how many were dropped, and why
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

from dupo.config.config import Config
from dupo.duality.early import sample_with_duals
from dupo.duality.votes import votes
from dupo.engines.load import load_engine
from dupo.methods.teaching import teaching_stage
from dupo.records import Dual, Problem
from dupo.run.problems import RunProblems
from dupo.run.rows import LoadEngine, RowsRun, Teach
from dupo.storage.commands import start_of
from dupo.storage.files import encoded, write_atomic
from dupo.tasks import with_duals
from dupo.tasks.base import Task
from dupo.tasks.selected_duals import KEPT_FILE
from dupo.trust.dual_filter import OUTCOMES, LeakRates, TrialQuestions, leak_rates, try_duals
from dupo.trust.rows import PassRow, TrialRow
from dupo.views.terminal import Display


class Pass(NamedTuple):
    """One pass of a selection.

    Attributes:
        number: 1 for the first pass.
        pool_size: answers sampled for each problem.
        model: name of the model that answers.
        task: brings the duals that are still to be tried.
    """

    number: int
    pool_size: int
    model: str
    task: Task


@dataclass(frozen=True, slots=True)
class PassMetrics:
    """Counts of one pass.

    Attributes:
        problems: number of problems that were tried.
        duals: number of duals that were tried.
        outcomes: outcome of `dual_filter.OUTCOMES` -> number of duals.
        leaks: shares of duals that a control solves.
    """

    pool_size: int
    model: str
    problems: int
    duals: int
    outcomes: Mapping[str, int]
    leaks: LeakRates

    def to_json(self) -> dict[str, Any]:
        """The pass as summary.json holds it."""
        return {
            "pool_size": self.pool_size,
            "model": self.model,
            "problems": self.problems,
            "duals": self.duals,
            "outcomes": dict(self.outcomes),
            **self.leaks.to_json(),
        }


@dataclass(frozen=True, slots=True)
class SelectMetrics:
    """How many problems and duals are left after all passes."""

    problems: int
    kept_problems: int
    kept_duals: int
    passes: Sequence[PassMetrics]

    def to_json(self) -> dict[str, Any]:
        """The metrics as summary.json holds them."""
        return {
            "problems": self.problems,
            "kept_problems": self.kept_problems,
            "kept_duals": self.kept_duals,
            "passes": [metrics.to_json() for metrics in self.passes],
        }


def select(
    config: Config,
    data: RunProblems | None = None,
    *,
    load: LoadEngine = load_engine,
    teach: Teach = teaching_stage,
) -> dict[str, Any]:
    """Runs all passes, and continues where an earlier run stopped.

    Args:
        data: what `read_run_problems` gave for the config; None: read here.
        load: makes the engine of a model.
        teach: makes the stage that teaches the built-in model.

    Returns:
        What summary.json holds.

    Raises:
        UserError: the options, the data or a model cannot be used.
    """
    run = RowsRun(config, teach, load, data)
    # A text that comes again has the same duals, which would be kept twice.
    problems, task = without_repeats(run.problems), run.task
    passes, trusted = list[PassMetrics](), dict[str, list[Dual]]()
    for number, (pool_size, model) in enumerate(config.selection.pools, start=1):
        name = model or config.model.model_name_or_path
        this_pass = Pass(number, pool_size, name, task)
        rows = run_pass(run, this_pass, problems)
        passes.append(pass_metrics(rows, this_pass, config.selection.solve_threshold))
        # The next pass sees what this pass trusts, and no other dual of the same problem.
        trusted = trusted_duals(rows)
        problems = [problem for problem in problems if problem.text in trusted]
        task = with_duals(run.task, trusted)
    lines = [{"text": problem.text, **asdict(dual)} for problem in problems for dual in trusted[problem.text]]
    # Written after all passes: training accepts the folder of a finished selection only.
    write_atomic(run.path / KEPT_FILE, b"".join(encoded(line, KEPT_FILE) for line in lines))
    metrics = SelectMetrics(len(run.problems), len(problems), len(lines), passes)
    summary = run.write_summary(metrics.to_json())
    show(run.display, metrics)
    if lines:
        run.display.note(f"use them: {start_of('train', {'selected_duals': run.path}, more=True)}")
    run.close()
    return summary


def without_repeats(problems: Sequence[Problem]) -> list[Problem]:
    """The problems with every text once: the first problem of a text, in the place of the last."""
    by_text: dict[str, Problem] = {}
    for problem in problems:
        # Finished selections have this order; another order would draw other samples.
        by_text[problem.text] = by_text.pop(problem.text, problem)
    return list(by_text.values())


def run_pass(run: RowsRun, this_pass: Pass, problems: Sequence[Problem]) -> list[PassRow]:
    """Samples a pool of answers for each problem and tries the duals on the pool; one row a problem."""
    size = this_pass.pool_size
    run.engine(this_pass.model)  # loaded, or taught, before the clock of the progress starts
    run.display.note(f"pass {this_pass.number}: pools of {size} answers, by {this_pass.model}")
    # Decoys come from the other problems of a batch, so a batch has several.
    batch_size = max(4, run.config.rollout.generation_batch_size // size)
    name = f"pass-{this_pass.number}.jsonl"
    return run.batches(name, PassRow, problems, batch_size, partial(select_batch, run, this_pass))


def select_batch(run: RowsRun, this_pass: Pass, index: int, problems: list[Problem]) -> list[PassRow]:
    """Samples and tries one batch of problems.

    Args:
        index: number of the batch.
    """
    task, number, options = this_pass.task, this_pass.number, run.config.selection
    # Purposes hold the number of the pass, so a second pass of the same model draws another pool.
    engine, seed = run.engine(this_pass.model), run.seed_for(f"pool {number}", index)
    ask, questions = run.ask(engine, f"dual {number}", index), TrialQuestions(task, problems, options, seed)
    rollout, ask = sample_with_duals(
        engine, task, problems, this_pass.pool_size, run.sampling, seed, ask, questions=questions
    )
    trials = try_duals(task, rollout, ask, options, seed)
    rows = []
    for problem, answers, problem_trials in zip(problems, rollout.answers, trials, strict=True):
        duals = [
            TrialRow(trial.outcome(options.solve_threshold, task.one_answer, options.keep_vacuous), trial)
            for trial in problem_trials
        ]
        rows.append(PassRow(problem.id, problem.text, votes(answers), duals))
    return rows


def trusted_duals(rows: Sequence[PassRow]) -> dict[str, list[Dual]]:
    """Text of a problem -> its duals that a pass kept; problems without one are left out."""
    trusted: dict[str, list[Dual]] = {}
    for row in rows:
        for dual in row.duals:
            if dual.is_trusted:
                trusted.setdefault(row.text, []).append(dual.trial.dual)
    return trusted


def pass_metrics(rows: Sequence[PassRow], this_pass: Pass, threshold: float) -> PassMetrics:
    """Counts the outcomes of a pass.

    Args:
        threshold: least similarity at which an answer solves a dual.
    """
    duals = [dual for row in rows for dual in row.duals]
    return PassMetrics(
        this_pass.pool_size,
        this_pass.model,
        problems=len(rows),
        duals=len(duals),
        outcomes=dict(Counter(dual.outcome for dual in duals)),
        leaks=leak_rates([dual.trial for dual in duals], threshold),
    )


def show(display: Display, metrics: SelectMetrics) -> None:
    """Shows what was kept and dropped, one column for each pass."""
    passes = metrics.passes
    header = ["duals", *(f"pass {k}: pool of {p.pool_size}" for k, p in enumerate(passes, start=1))]
    rows = [["tried", *(f"{p.duals:,}" for p in passes)]]
    # Outcomes that never happened would only lengthen the table.
    for outcome in OUTCOMES:
        counts = [p.outcomes.get(outcome, 0) for p in passes]
        if any(counts):
            # A pass with no problem left has no dual to take a share of.
            cells = [
                f"{count:,} ({count / p.duals:.1%})" if p.duals else "none"
                for count, p in zip(counts, passes, strict=True)
            ]
            rows.append([outcome, *cells])
    leaks = [p.leaks for p in passes]
    rows.append(["leak rate, no answer", *(_percent(rates.no_answer, rates.duals) for rates in leaks)])
    rows.append(["leak rate, decoys", *(_percent(rates.decoy, rates.with_decoy) for rates in leaks)])
    display.table(f"{metrics.problems:,} problems, no label read", header, rows)
    display.note(f"kept: {metrics.kept_duals:,} duals of {metrics.kept_problems:,} problems")
    # An empty selection is a result, not an error: the model may be too weak for the data.
    if not metrics.kept_duals:
        display.note(f"nothing can be trusted: is the model able to answer? `{start_of('audit')}` says more")


def _percent(share: float | None, count: int) -> str:
    return "none" if share is None else f"{share:.1%} of {count:,}"
