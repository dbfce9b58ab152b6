"""`python -m dupo.audit`: is the reward of this model on this data one to train on?

Samples answers as training would, rewards them, tries their duals with and without the answer, and compares
with the right answers where the data has them (a few dozen are enough). One verdict: train, or what to put
right first, and the threshold that decided.

audit.jsonl   one problem a line
audit.json    all metrics
audit.html    the same, with pictures
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from dupo.config.config import Config
from dupo.duality.early import sample_with_duals
from dupo.duality.judge import cached
from dupo.duality.reconstruct import Reconstructions, reconstruct
from dupo.engines.load import load_engine
from dupo.methods.teaching import teaching_stage
from dupo.records import Problem, Rollout
from dupo.rewards import WeightedReward, load_models, load_rewards, reward_models, weighted_sum
from dupo.rewards.base import RewardInputs, TrainerState
from dupo.run.problems import RunProblems
from dupo.run.rows import LoadEngine, RowsRun, Teach
from dupo.storage.commands import report_command
from dupo.storage.names import AUDIT as RESULT
from dupo.storage.names import AUDIT_PAGE as PAGE
from dupo.storage.names import AUDIT_ROWS as ROWS
from dupo.tasks.base import Task
from dupo.trust.audit_checks import Check, checks, verdict
from dupo.trust.audit_metrics import AuditMetrics, audit_metrics
from dupo.trust.dual_filter import Trial, TrialQuestions, try_duals
from dupo.trust.guidance import Guidance
from dupo.trust.rows import AuditRow, TrialRow
from dupo.views.audit_page import AMONG_ALL, AMONG_READABLE, write_audit
from dupo.views.counts import counted
from dupo.views.terminal import Display


def audit(
    config: Config,
    data: RunProblems | None = None,
    *,
    load: LoadEngine = load_engine,
    teach: Teach = teaching_stage,
) -> dict[str, Any]:
    """Measures, and continues where an earlier run stopped.

    Args:
        data: what `read_run_problems` gave for the config; None: read here.
        load: makes the engine of a model.
        teach: makes the stage that teaches the built-in model.

    Returns:
        What audit.json holds.

    Raises:
        UserError: the options, the data or a model cannot be used.
    """
    # A reward function that does not exist is refused before anything is loaded.
    rewards = load_rewards(config)
    run = RowsRun(config, teach, load, data, reward_models(rewards))
    run.engine()  # loaded, or taught, before the clock of the progress starts
    load_models(rewards, run.device)
    options = run.config.rollout
    # Decoys come from the other problems of a batch, so a batch has two problems at least.
    batch_size = max(2, options.generation_batch_size // options.num_generations)
    rows = run.batches(ROWS, AuditRow, run.problems, batch_size, partial(audit_batch, run, rewards))
    # Computed from all rows anew, so a continued audit has the metrics of one that was never stopped.
    metrics = audit_metrics(rows, config.selection.solve_threshold, config.reward.scale_rewards)
    results = checks(metrics)
    decision = verdict(results, metrics.with_gold > 0)
    summary = run.write_summary(
        {
            "verdict": decision,
            "checks": [check.to_json() for check in results],
            "reward": config.reward.shown,
            "one_answer": run.task.one_answer,
            "metrics": metrics.to_json(),
        },
        RESULT,
    )
    again = report_command(run.path)
    page = run.report_safely(PAGE, lambda: write_audit(run.path), again)
    show(run.display, metrics, config.reward.shown, results, run.task.headline)
    run.display.note(f"VERDICT: {decision}")
    if page:
        run.display.note(f"{page} shows it with pictures")
    run.close()
    return summary


def audit_batch(
    run: RowsRun, rewards: list[WeightedReward], index: int, problems: list[Problem]
) -> list[AuditRow]:
    """Samples, rewards and tries one batch of problems.

    Args:
        index: number of the batch.
    """
    config, task, engine = run.config, run.task, run.engine()
    seed, n = run.seed_for("answer", index), config.rollout.num_generations
    golds = [problem.gold for problem in problems]
    ask = run.ask(engine, "dual", index) if config.reward.needs("duals") else None
    questions = TrialQuestions(task, problems, config.selection, seed, golds)
    # The same number of samples at the same temperature as in training: the audit is about that reward.
    rollout, ask = sample_with_duals(
        engine, task, problems, n, run.sampling, seed, ask, questions=questions, once=True
    )
    trials: list[list[Trial]] = [[] for _ in problems]
    reconstructions: Reconstructions = []
    if ask:
        # Trials and rewards ask many duals twice; the second time the samples must be those of the first.
        ask = cached(ask)
        trials = try_duals(task, rollout, ask, config.selection, seed, golds)
        reconstructions = reconstruct(task, problems, rollout.answers, ask)
    state = TrainerState(0, config.optimizer.max_steps)
    reward_seed, length = run.seed_for("reward", index), run.sampling.max_tokens
    inputs = RewardInputs(
        task, rollout, reconstructions, config.reward, reward_seed, state, max_completion_length=length
    )
    rewards_PG, _ = weighted_sum(rewards, inputs)
    # Outcomes stand in the rows for a person to read; a pool with one answer counts as kept.
    threshold = config.selection.solve_threshold
    duals_P = [[TrialRow(t.outcome(threshold, task.one_answer), t) for t in tried] for tried in trials]
    return [
        audit_row(task, rollout, place, problem_rewards, problem_duals)
        for place, (problem_rewards, problem_duals) in enumerate(
            zip(rewards_PG.tolist(), duals_P, strict=True)
        )
    ]


def audit_row(
    task: Task, rollout: Rollout, place: int, rewards: list[float], duals: Sequence[TrialRow]
) -> AuditRow:
    """The row of one problem.

    Args:
        place: index of the problem in the rollout.
        rewards: one for each completion.
    """
    problem, answers = rollout.problems[place], rollout.answers[place]
    texts = [completion.to_read for completion in rollout.completions[place]]
    unread = [text for text, answer in zip(texts, answers, strict=True) if answer is None]
    return AuditRow(
        problem=problem.id,
        text=problem.text,
        gold=problem.gold,
        answers=answers,
        # A task that names no reason could not read the completion.
        refused=Counter(task.refusal(problem, text) or "unreadable" for text in unread),
        truncated=sum(completion.truncated for completion in rollout.completions[place]),
        rewards=rewards,
        quality=None if problem.gold is None else [task.score(problem, answer) for answer in answers],
        duals=duals,
        completion=texts[rewards.index(max(rewards))],
        plain=task.plain(f"{task.prompt(problem)}{problem.gold or ''}"),
    )


def show(
    display: Display, metrics: AuditMetrics, reward: str, results: Sequence[Check], quality: str
) -> None:
    """Shows the checks, what the right answers tell, and why completions had no answer.

    Args:
        quality: name of what `Task.score` measures.
    """
    words = {True: "ok", False: "NO", None: "none"}
    rows = [[c.name, c.measured, c.of, c.needed, words[c.passed]] for c in results]
    counts = counted(metrics.problems, "problem"), counted(metrics.completions, "completion")
    title = ", ".join([*counts, f"reward {reward}"])
    display.table(title, ["what training needs", "measured", "of", "needed", ""], rows)
    # Without gold, nothing may look as if the reward had been compared with anything.
    if metrics.with_gold:
        show_gold(display, metrics, quality)
    else:
        display.note(
            "no right answers: whether the reward follows quality was not measured; a few dozen would do"
        )
    if metrics.refused:
        reasons = ", ".join(f"{reason} {share:.1%}" for reason, share in metrics.refused.items())
        display.note(f"without an answer, of {counted(metrics.completions, 'completion')}: {reasons}")


def show_gold(display: Display, metrics: AuditMetrics, quality: str) -> None:
    """Shows how the reward compares with quality and what it gives, among readable answers first.

    Args:
        quality: name of what `Task.score` measures.
    """
    gold = metrics.gold
    kinds = ((AMONG_READABLE, gold.readable), (AMONG_ALL, gold.overall))
    rows = [
        [
            name,
            "none" if kind.within is None else f"{kind.within.mean:.2f}",
            counted(kind.within_pairs, "pair"),
            "none" if kind.reward_auc is None else f"{kind.reward_auc:.3f}",
            counted(kind.reward_auc_pairs, "pair"),
        ]
        for name, kind in kinds
    ]
    header = ["better answers have higher rewards", "within problems", "of", "AUC over all", "of"]
    display.table(f"{counted(metrics.with_gold, 'problem')} with a right answer", header, rows)
    for name, guidance in ((AMONG_READABLE, gold.guidance), (AMONG_ALL, gold.overall_guidance)):
        display.note(f"{name}: {_in_words(guidance, quality)}")


def _in_words(guidance: Guidance, quality: str) -> str:
    """Each figure with the number of completions or problems that it is made of."""
    figures = [
        (f"mean {quality}", guidance.accuracy, ".3f", counted(guidance.compared, "completion")),
        (
            f"{quality} of the highest rewards",
            guidance.best_of_n,
            ".3f",
            counted(guidance.best_of_n_problems, "problem"),
        ),
        (
            "signal of the reward, as a share of gold's",
            guidance.signal,
            ".0%",
            counted(guidance.signal_problems, "problem"),
        ),
    ]
    return "; ".join(
        f"{name} {'none' if value is None else format(value, form)} of {count}"
        for name, value, form, count in figures
    )
