"""`python -m dupo.rerank`: better answers with no training, from any file of prompts.

Every problem is answered once greedily and `num_generations` times by sampling. Each different answer is put
back through the duals of the problem, and the one from which the question is recovered best is given.

    answers.jsonl   one problem a line: the answer, its score, the runner-up, all candidates, what it cost
    summary.json    every way to answer (greedy, mean, majority, dual, any) with its figure and its cost
"""

from collections.abc import Sequence
from typing import Any

from dupo.config.options import Config
from dupo.duality.reconstruct import mean_similarity, reconstruct
from dupo.engines.builtin import sample_answers
from dupo.errors import UserError
from dupo.records import Problem
from dupo.rewards.base import votes, winner
from dupo.run.rows import Work
from dupo.trust.answer_choice import Candidate, differences, enough, method_rows, ranked
from dupo.views.terminal import Display

ANSWERS = "answers.jsonl"


def rerank(config: Config) -> dict[str, Any]:
    """Answers every problem, going on where an earlier run stopped. Returns what summary.json holds.

    Raises:
        UserError: the settings, the data or a model cannot be used.
    """
    n, more = config.num_generations, config.vote_samples
    if 0 < more <= n:
        raise UserError(f"vote_samples: expected 0 or more than num_generations, {n}, got {more}")
    work = Work(config, "rerank")
    work.sampler()  # loaded, or taught, before the clock of the progress starts
    per_problem = max(n, more)
    each = max(1, config.generation_batch_size // per_problem)
    rows = work.each_batch(ANSWERS, work.problems, each, lambda i, batch: answered(work, i, batch))
    with_gold = sum(row["quality"] is not None for row in rows)
    methods = method_rows(rows, n, more)
    summary = work.summary(
        {
            "problems": len(rows),
            "with_gold": with_gold,
            "unanswered": sum(row["answer"] is None for row in rows),
            "without_dual": sum(not row["duals"] for row in rows),
            "other_than_majority": sum(row["answer"] != row["given"]["majority"] for row in rows),
            "methods": methods,
            "dual_minus": differences(rows, methods),
        }
    )
    show(work.display, summary)
    work.display.note(f"{work.path / ANSWERS} holds the answers")
    return summary


def answered(work: "Work", index: int, batch: list["Problem"]) -> list[dict[str, Any]]:
    """One batch of problems: a row of answers.jsonl each."""
    config, task, sampler = work.config, work.task, work.sampler()
    n, extra, hot = config.num_generations, config.vote_samples - config.num_generations, config.temperature
    greedy = sample_answers(sampler, task, batch, 1, 0.0, 0)
    rollout = sample_answers(sampler, task, batch, n, hot, work.draw("answer", index))
    more = sample_answers(sampler, task, batch, extra, hot, work.draw("vote", index)) if extra > 0 else None
    found = reconstruct(task, batch, rollout.answers, work.ask(sampler, "dual", index))
    rows = []
    for p, problem in enumerate(batch):
        rates = {answer: mean_similarity(duals) for answer, duals in found[p].items()}
        candidates = [Candidate(a, v, rates.get(a, 0.0)) for a, v in votes(rollout.answers[p]).items()]
        samples, beyond = rollout.completions[p], more.completions[p] if more else []
        lengths = [len(c.ids) for c in [*samples, *beyond]]
        asked = sum(r.tokens for duals in found[p].values() for r in duals)
        equal = enough(lengths, sum(lengths[:n]) + asked)
        tokens = {
            "n": n,
            "greedy": len(greedy.completions[p][0].ids),
            "samples": sum(lengths[:n]),
            "duals": asked,
            "equal_cost": sum(lengths[:equal]),
            "more_votes": sum(lengths[n:]),
        }
        answers = rollout.answers[p] + (more.answers[p] if more else [])
        row = answer_row(ranked(candidates, config.rank_by), greedy.answers[p][0], answers, (n, equal))
        chosen = row["answer"] if row["answer"] is not None else rollout.answers[p][0]
        row["completion"] = samples[rollout.answers[p].index(chosen)].text
        quality = (
            None if problem.gold is None else {k: task.score(problem, a) for k, a in row["given"].items()}
        )
        if quality is not None:
            scores = [task.score(problem, a) for a in rollout.answers[p]]
            quality |= {"mean": sum(scores) / n, "pass": max(scores)}
        about = {"problem": problem.id, "question": problem.text, "duals": len(task.duals(problem))}
        row["score"] = row["score"] if about["duals"] else None  # nothing was asked
        rows.append({**about, **row, "gold": problem.gold, "quality": quality, "tokens": tokens})
    return rows


def answer_row(
    order: Sequence["Candidate"], greedy: str | None, answers: Sequence[str | None], parts: tuple[int, int]
) -> dict[str, Any]:
    """What is answered, and what other methods would have said.

    Args:
        answers: of all samples.
        parts: how many of them, from the first, were put through duals; and how many cost as much as that.
    """
    n, equal = parts
    best, second = (*order[:2], None, None)[:2]
    given = {
        "greedy": greedy,
        "majority": winner(votes(answers[:n])),
        "dual": best.answer if best else None,
        "equal_cost": winner(votes(answers[:equal])),
        "more_votes": winner(votes(answers)),
    }
    return {
        "answer": given["dual"],
        "score": best.backward_rate if best else None,
        "votes": best.votes if best else 0,
        "runner_up": second._asdict() if second else None,
        "given": given,
        "candidates": [candidate._asdict() for candidate in order],
    }


def show(display: Display, summary: dict[str, Any]) -> None:
    """Every way to answer, what it is worth (with gold) and what it cost."""
    rows = []
    for method in summary["methods"]:
        cells = [method["method"], f"{method['tokens_per_problem']:,.1f}", f"{method['tokens']:,}"]
        if method["score"] is not None:
            cells += [
                f"{100 * method['score']:.1f}",
                f"{100 * method['low']:.1f} to {100 * method['high']:.1f}",
            ]
        rows.append(cells)
    header = ["method", "tokens a problem", "generated tokens"]
    if summary["with_gold"]:
        header += [f"score of {summary['with_gold']:,}", "95% interval"]
    display.table(f"{summary['problems']:,} problems", header, rows)
    for name, gain in summary["dual_minus"].items():
        mean, low, high = (100 * gain[key] for key in ("mean", "low", "high"))
        display.note(f"dual rerank minus {name}: {mean:+.1f} points ({low:+.1f} to {high:+.1f})")
    changed, left, unread = (summary[k] for k in ("other_than_majority", "without_dual", "unanswered"))
    display.note(f"the dual chose another answer than the majority for {changed:,} problems")
    if left:
        display.note(f"{left:,} problems have no dual: the majority answers those")
    if unread:
        display.note(f"{unread:,} problems have no answer: no sample could be read")
