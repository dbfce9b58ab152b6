"""`python -m dupo.audit`: is the reward of this model on this data one to train on?

Samples answers as training would, rewards them, tries their duals with and without the answer, and compares
with the right answers where the data has them (a few dozen are enough). One verdict: train, or what to put
right first, and the threshold that decided.

    audit.jsonl   a problem a line        audit.json   all figures        audit.html   the same, with pictures
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from dupo.config.options import Config, asks_duals
from dupo.engines.builtin import sample_answers
from dupo.records import Problem
from dupo.rewards.base import Env, arms_of, weighted_sum
from dupo.run.rows import Work
from dupo.trust.audit_checks import checks, figures, verdict
from dupo.trust.dual_filter import try_duals
from dupo.views.audit_page import write_page
from dupo.views.terminal import Display

ROWS, FIGURES, PAGE = "audit.jsonl", "audit.json", "audit.html"


def audit(config: Config) -> dict[str, Any]:
    """Measures, going on where an earlier run stopped. Returns what audit.json holds.

    Raises:
        UserError: the settings, the data or a model cannot be used.
    """
    arms = arms_of(config)  # a function of the user's own that is not there is told before anything is loaded
    work = Work(config, "audit", with_duals=asks_duals(config))
    work.sampler()  # loaded, or taught, before the clock of the progress starts
    each = max(2, config.generation_batch_size // config.num_generations)  # decoys come from other problems
    rows = work.each_batch(
        ROWS, work.problems, each, lambda index, batch: looked_at(work, arms, index, batch)
    )
    found = figures(rows, config.solve_threshold, config.scale_rewards)
    made = checks(found)
    decided = {
        "verdict": verdict(made, found["with_gold"] > 0),
        "checks": [{**check._asdict(), "passed": check.passed} for check in made],
    }
    summary = work.summary({**decided, "reward": config.reward, "figures": found}, FIGURES)
    page = write_page(work.path / PAGE, work.config, summary, rows)
    show(work.display, summary)
    work.display.note(f"{page} shows it with pictures")
    return summary


def looked_at(work: "Work", arms: Any, index: int, batch: list["Problem"]) -> list[dict[str, Any]]:
    """One batch of problems: a row of audit.jsonl each. `arms`: of `rewards.arms_of`."""
    config, task, sampler = work.config, work.task, work.sampler()
    n, seed = config.num_generations, work.draw("answer", index)
    rollout = sample_answers(sampler, task, batch, n, config.temperature, seed)
    ask = remembering(work.ask(sampler, "dual", index))
    trials: Any = [[] for _ in batch]
    if asks_duals(config):
        golds = [problem.gold for problem in batch]
        trials = try_duals(task, rollout, ask, config, seed, golds)
    env = Env(task, ask, config, work.draw("reward", index))
    rewards = weighted_sum(arms, rollout, env).rewards.tolist()
    rules = (config.solve_threshold, task.one_answer)
    rows = []
    for p, problem in enumerate(batch):
        answers, texts = rollout.answers[p], [c.text for c in rollout.completions[p]]
        unread = [t for t, a in zip(texts, answers, strict=True) if a is None]
        quality = None if problem.gold is None else [task.score(problem, a) for a in answers]
        rows.append(
            {
                "problem": problem.id,
                "text": problem.text,
                "gold": problem.gold,
                "answers": answers,
                "refused": Counter(task.refusal(problem, t) or "unreadable" for t in unread),
                "rewards": rewards[p],
                "quality": quality,
                "duals": [{"outcome": t.outcome(*rules), **t.row()} for t in trials[p]],
                "completion": texts[max(range(n), key=lambda i, of=rewards[p]: of[i])],
            }
        )
    return rows


def remembering(ask: Any) -> Any:
    """The same answers to the same dual prompts, without asking again."""
    known: dict[Any, Any] = {}

    def asked(prompts: Sequence[Any]) -> list[Any]:
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]
        known.update(zip(new, ask(new), strict=True))
        return [known[prompt] for prompt in prompts]

    return asked


def show(display: Display, summary: dict[str, Any]) -> None:
    """The checks, then the verdict."""
    rows = [
        [
            check["name"],
            f"{check['value']:.2f}",
            f"{'at least' if check['at_least'] else 'at most'} {check['bound']:.2f}",
            "ok" if check["passed"] else "NO",
        ]
        for check in summary["checks"]
    ]
    found = summary["figures"]
    title = (
        f"{found['problems']:,} problems, {found['completions']:,} completions, reward {summary['reward']}"
    )
    display.table(title, ["what training needs", "measured", "needed", ""], rows)
    if found["with_gold"]:
        auc, signal = (found[key] for key in ("reward_auc", "signal"))
        known = [f"accuracy {found['accuracy']:.3f}"]
        known += [f"reward AUC {auc:.3f}"] if auc is not None else []
        known += [f"{signal:.0%} of the signal of gold rewards"] if signal is not None else []
        display.note(f"on {found['with_gold']:,} problems with a right answer: {', '.join(known)}")
    else:
        display.note(
            "no right answers: whether the reward follows quality was not measured; a few dozen would do"
        )
    if found["refused"]:
        reasons = ", ".join(f"{reason} {part:.1%}" for reason, part in found["refused"].items())
        display.note(f"completions without an answer: {reasons}")
    display.note(f"VERDICT: {summary['verdict']}")
