"""`python -m dupo.select`: which duals of a data set can be trusted, by the model's own answers; no label.

pass-1.jsonl   every problem of the first pass: its pool of answers, and how each dual fared
pass-2.jsonl   the same for what the first pass kept, with a pool drawn anew (perhaps by another model)
kept.jsonl     the duals that all passes kept, for `python -m dupo.train --selected_duals FOLDER`
summary.json   how many were dropped, and why
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dupo.config.options import Config, listed
from dupo.engines.builtin import sample_answers
from dupo.records import Dual, Problem
from dupo.rewards.base import votes
from dupo.run.rows import Work
from dupo.tasks import Task, with_duals
from dupo.tasks.selected_duals import KEPT_FILE
from dupo.trust.dual_filter import KEPT, OUTCOMES, VACUOUS, leak_rates, try_duals
from dupo.views.terminal import Display


def select(config: Config) -> dict[str, Any]:
    """Runs all passes, going on where an earlier run stopped. Returns what summary.json holds.

    Raises:
        UserError: the settings, the data or a model cannot be used.
    """
    work = Work(replace(config, eval_dataset=None), "select", with_duals=True)  # what will be trained on
    sizes = [int(size) for size in listed(config.pool_sizes)]
    models = listed(config.pool_models) if config.pool_models else [config.model_name_or_path] * len(sizes)
    task, problems, passes, kept = work.task, work.problems, list[dict[str, Any]](), dict[str, list[Dual]]()
    problems = list({p.text: p for p in reversed(problems)}.values())[::-1]  # a text that comes again, once
    for number, (size, model) in enumerate(zip(sizes, models, strict=True), start=1):
        rows = one_pass(work, task, problems, number, size, model)
        passes.append({"pool_size": size, "model": model, **figures(rows, config.solve_threshold)})
        trusted = [(row["text"], d) for row in rows for d in row["duals"] if d["outcome"] in (KEPT, VACUOUS)]
        kept = {}
        for text, d in trusted:
            kept.setdefault(text, []).append(Dual(d["known"], d["unknown"], d["variable"]))
        problems = [p for p in problems if p.text in kept]
        task = with_duals(work.task, kept)
    lines = [{"text": p.text, "known": d.known, "unknown": d.unknown, "variable": d.variable}
             for p in problems for d in kept[p.text]]  # fmt: skip
    work.write(KEPT_FILE, lines)
    counts = {"problems": len(work.problems), "kept_problems": len(problems), "kept_duals": len(lines)}
    summary = work.summary({**counts, "passes": passes})
    show(work.display, summary)
    if lines:
        work.display.note(f"use them: python -m dupo.train --selected_duals {work.path} ...")
    return summary


def one_pass(
    work: "Work", task: "Task", problems: Sequence["Problem"], number: int, size: int, model: str
) -> list[dict[str, Any]]:
    """Samples a pool of `size` answers for each problem and tries its duals on it: a row per problem."""
    config, sampler = work.config, work.sampler(model)
    rules = (config.solve_threshold, task.one_answer, config.keep_vacuous)

    def tried(index: int, batch: list["Problem"]) -> list[dict[str, Any]]:
        seed = work.draw(f"pool {number}", index)
        rollout = sample_answers(sampler, task, batch, size, config.temperature, seed)
        trials = try_duals(task, rollout, work.ask(sampler, f"dual {number}", index), config, seed)
        return [
            {
                "problem": problem.id,
                "text": problem.text,
                "answers": votes(answers),
                "duals": [{"outcome": t.outcome(*rules), **t.row()} for t in of_one],
            }
            for problem, answers, of_one in zip(batch, rollout.answers, trials, strict=True)
        ]

    work.display.note(f"pass {number}: pools of {size} answers, by {model}")
    each = max(4, config.generation_batch_size // size)  # decoys come from the other problems of a batch
    return work.each_batch(f"pass-{number}.jsonl", problems, each, tried)


def figures(rows: Sequence[dict[str, Any]], threshold: float) -> dict[str, Any]:
    """Counts of a pass: problems, duals, each outcome; and the leaks."""
    duals = [dual for row in rows for dual in row["duals"]]
    return {
        "problems": len(rows),
        "duals": len(duals),
        "outcomes": dict(Counter(dual["outcome"] for dual in duals)),
        **leak_rates(duals, threshold),
    }


def show(display: Display, summary: dict[str, Any]) -> None:
    """The table of what was kept and dropped, a column per pass."""
    passes = summary["passes"]
    header = ["duals", *(f"pass {k}: pool of {p['pool_size']}" for k, p in enumerate(passes, start=1))]
    rows = [["tried", *(f"{p['duals']:,}" for p in passes)]]
    for outcome in OUTCOMES:
        counts = [p["outcomes"].get(outcome, 0) for p in passes]
        if any(counts):
            shares = zip(counts, passes, strict=True)
            rows.append([outcome, *(f"{n:,} ({n / max(1, p['duals']):.1%})" for n, p in shares)])
    for name, what in (("leak/no_answer", "leak rate, no answer"), ("leak/decoy", "leak rate, decoys")):
        rows.append([what, *("-" if p[name] is None else f"{p[name]:.1%}" for p in passes)])
    display.table(f"{summary['problems']:,} problems, no label read", header, rows)
    kept, duals = summary["kept_problems"], summary["kept_duals"]
    display.note(f"kept: {duals:,} duals of {kept:,} problems")
    if not duals:
        display.note("nothing can be trusted: is the model able to answer? `python -m dupo.audit` says more")
