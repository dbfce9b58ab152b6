"""`python -m dupo.rerank`: better answers with no training, from any file of prompts.

Every problem is answered once greedily and `num_generations` times by sampling. Each different answer is put
back through the duals of the problem, and that from which the question is recovered best is chosen. With
another `--reward`, the answer of the sample with the highest is chosen, and no dual is asked for itself.

answers.jsonl   one problem a line: the answer, its score, the runner-up, all candidates, what it cost
summary.json    every way to answer (greedy, mean, majority, dual or reward, pass) with its score and its cost
report.html     both on one page, with the best and the worst answers
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dupo.config.config import Config
from dupo.duality.early import sample_with_duals
from dupo.duality.reconstruct import mean_similarity, reconstruct
from dupo.duality.votes import majority_answer, votes
from dupo.engines.base import Sampling, sample_answers
from dupo.engines.load import load_engine
from dupo.errors import UserError
from dupo.evaluation.intervals import Estimate
from dupo.evaluation.samples import dual_exchanges
from dupo.methods.teaching import teaching_stage
from dupo.records import Completion, Problem, Reconstruction
from dupo.rewards import WeightedReward, load_models, load_rewards, reward_models, weighted_sum
from dupo.rewards.base import RewardInputs
from dupo.run.problems import RunProblems
from dupo.run.rows import LoadEngine, RowsRun, Teach
from dupo.storage.commands import report_command
from dupo.storage.names import ANSWERS, REPORT
from dupo.tasks.base import Task
from dupo.trust.answer_choice import (
    DUAL,
    REWARD,
    MethodResult,
    differences,
    method_results,
    ranked,
    samples_for_budget,
)
from dupo.trust.rows import AnswerRow, Candidate, TokenCounts
from dupo.views.counts import counted
from dupo.views.rerank_page import write_answers
from dupo.views.rerank_record import best_and_worst
from dupo.views.terminal import Display


@dataclass(frozen=True, slots=True)
class RerankMetrics:
    """What the answers are worth and what they cost.

    Attributes:
        problems: number of problems.
        with_gold: number of problems with a right answer.
        unanswered: number of problems without a readable sample.
        without_dual: number of problems without a dual.
        other_than_majority: number of problems for which the choice is another answer than the majority.
        methods: every way to answer.
        chosen_by: `DUAL` or `REWARD`.
        chosen_minus: method -> score of the choice minus score of the method; empty without gold.
    """

    problems: int
    with_gold: int
    unanswered: int
    without_dual: int
    other_than_majority: int
    methods: Sequence[MethodResult]
    chosen_by: str
    chosen_minus: Mapping[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """The metrics as summary.json holds them."""
        return {
            "problems": self.problems,
            "with_gold": self.with_gold,
            "unanswered": self.unanswered,
            "without_dual": self.without_dual,
            "other_than_majority": self.other_than_majority,
            "methods": [method.to_json() for method in self.methods],
            "chosen_by": self.chosen_by,
            f"{self.chosen_by}_minus": {name: gain._asdict() for name, gain in self.chosen_minus.items()},
        }


@dataclass(frozen=True, slots=True)
class SampledProblem:
    """Everything that was generated for one problem.

    Attributes:
        greedy: the greedy completion.
        greedy_answer: what could be read from the greedy completion.
        completions: n samples, then those of the larger vote.
        answers: what could be read from each of the completions.
        n: number of samples that were put through duals.
        reconstructions: different answer of the first n -> one reconstruction for each dual.
        rewards: of the first n, where they choose; None where the duals do.
    """

    problem: Problem
    greedy: Completion
    greedy_answer: str | None
    completions: Sequence[Completion]
    answers: Sequence[str | None]
    n: int
    reconstructions: Mapping[str, Sequence[Reconstruction]]
    rewards: Sequence[float] | None = None

    def candidates(self, by: str) -> list[Candidate]:
        """The different answers of the first n samples, best first; see `ranked`."""
        # The larger vote is left out: its samples have no backward rate.
        # An answer that nobody put through duals has none.
        rates = {answer: mean_similarity(duals) for answer, duals in self.reconstructions.items()}
        counts = votes(self.answers[: self.n])
        best = self._best_rewards()
        candidates = [
            Candidate(answer, count, rates.get(answer, 0.0), best.get(answer))
            for answer, count in counts.items()
        ]
        return ranked(candidates, by)

    def _best_rewards(self) -> dict[str | None, float]:
        """Answer -> the highest reward of the samples that gave the answer; none where the duals choose."""
        best: dict[str | None, float] = {}
        for answer, reward in zip(self.answers, self.rewards or (), strict=False):
            best[answer] = max(reward, best.get(answer, reward))
        return best

    def place_of(self, chosen: Candidate | None) -> int:
        """The sample that is shown: the first that gave the answer, or that with its reward."""
        # Without a readable sample, the first of the unreadable ones is shown.
        if chosen is None:
            return 0
        # Samples of one answer differ in their way there, and one of them has the reward.
        pairs = enumerate(zip(self.answers, self.rewards or [None] * self.n, strict=False))
        return next(place for place, pair in pairs if pair == (chosen.answer, chosen.reward))

    @property
    def num_dual_tokens(self) -> int:
        """Tokens of all dual samples."""
        return sum(dual.tokens for duals in self.reconstructions.values() for dual in duals)

    @property
    def num_equal_cost(self) -> int:
        """Number of samples that together cost what the first n and their duals cost."""
        # Whole samples only: a vote cannot count a part of one.
        lengths = [len(completion.ids) for completion in self.completions]
        return samples_for_budget(lengths, sum(lengths[: self.n]) + self.num_dual_tokens)

    def token_counts(self) -> TokenCounts:
        """What was generated for the problem."""
        lengths = [len(completion.ids) for completion in self.completions]
        return TokenCounts(
            n=self.n,
            greedy=len(self.greedy.ids),
            samples=sum(lengths[: self.n]),
            duals=self.num_dual_tokens,
            equal_cost=sum(lengths[: self.num_equal_cost]),
            more_votes=sum(lengths[self.n :]),
        )


def rerank(
    config: Config,
    data: RunProblems | None = None,
    *,
    load: LoadEngine = load_engine,
    teach: Teach = teaching_stage,
) -> dict[str, Any]:
    """Answers every problem, and continues where an earlier run stopped.

    Args:
        data: what `read_run_problems` gave for the config; None: read here.
        load: makes the engine of a model.
        teach: makes the stage that teaches the built-in model.

    Returns:
        What summary.json holds.

    Raises:
        UserError: the options, the data or a model cannot be used.
    """
    # Checked first: the vote draws its samples beyond those of the dual.
    n, vote_samples = config.rollout.num_generations, config.rerank.vote_samples
    if 0 < vote_samples <= n:
        expected = f"0 or more than num_generations, {n}"
        raise UserError(f"vote_samples: expected {expected}, got {vote_samples}")
    # The duals choose by more than their mean, see `ranked`, and are no reward here.
    rewards = [] if config.reward.reward == DUAL else load_rewards(config)
    run = RowsRun(config, teach, load, data, reward_models(rewards))
    run.engine()  # loaded, or taught, before the clock of the progress starts
    load_models(rewards, run.device)
    # A batch holds about generation_batch_size completions, those of the larger vote included.
    batch_size = max(1, config.rollout.generation_batch_size // max(n, vote_samples))
    rows = run.batches(ANSWERS, AnswerRow, run.problems, batch_size, partial(rerank_batch, run, rewards))
    way = REWARD if rewards else DUAL
    methods = method_results(rows, n, vote_samples, way)
    metrics = RerankMetrics(
        problems=len(rows),
        with_gold=sum(row.quality is not None for row in rows),
        unanswered=sum(row.answer is None for row in rows),
        without_dual=sum(not row.duals for row in rows) if way == DUAL else 0,
        other_than_majority=sum(row.answer != row.answers["majority"] for row in rows),
        methods=methods,
        chosen_by=way,
        chosen_minus=differences(rows, methods, way),
    )
    summary = run.write_summary(metrics.to_json())
    for title, row in best_and_worst(rows, chosen_by=way):
        run.display.exchange(f"{title} · {row.problem}", answer_lines(row))
    show(run.display, metrics)
    run.display.note(f"{run.path / ANSWERS} holds the answers")
    again = report_command(run.path)
    if page := run.report_safely(REPORT, lambda: write_answers(run.path), again):
        more = ", and what the duals gave back" if way == DUAL else ""
        run.display.note(f"{page} shows the best and the worst of them{more}")
    run.close()
    return summary


def rerank_batch(
    run: RowsRun, rewards: list[WeightedReward], index: int, problems: list[Problem]
) -> list[AnswerRow]:
    """Samples, asks duals of and ranks one batch of problems.

    Args:
        rewards: choose the answers; none: the duals do.
        index: number of the batch.
    """
    config, task, engine = run.config, run.task, run.engine()
    n = config.rollout.num_generations
    # Greedy answers depend on no seed; they are what the model gives without any of this.
    greedy = sample_answers(engine, task, problems, 1, Sampling(0.0, run.sampling.max_tokens), seed=0)
    seed, asks_duals = run.seed_for("answer", index), config.reward.needs("duals")
    ask = run.ask(engine, "dual", index) if asks_duals else None
    rollout, ask = sample_with_duals(engine, task, problems, n, run.sampling, seed, ask)
    # The first n samples are part of the larger vote, so only the others are drawn, by a seed of their own.
    num_more = config.rerank.vote_samples - n
    more = None
    if num_more > 0:
        more = sample_answers(engine, task, problems, num_more, run.sampling, run.seed_for("vote", index))
    reconstructions = reconstruct(task, problems, rollout.answers, ask) if ask else []
    values = None
    if rewards:
        length, reward_seed = run.sampling.max_tokens, run.seed_for("reward", index)
        inputs = RewardInputs(
            task, rollout, reconstructions, config.reward, reward_seed, max_completion_length=length
        )
        values = weighted_sum(rewards, inputs)[0].tolist()
    rows = []
    for place, problem in enumerate(problems):
        sampled = SampledProblem(
            problem,
            greedy.completions[place][0],
            greedy.answers[place][0],
            rollout.completions[place] + (more.completions[place] if more else []),
            rollout.answers[place] + (more.answers[place] if more else []),
            n,
            reconstructions[place] if ask else {},
            None if values is None else values[place],
        )
        rows.append(answer_row(task, sampled, config.rerank.rank_by, asks_duals=asks_duals))
    return rows


def answer_row(task: Task, sampled: SampledProblem, by: str, *, asks_duals: bool = True) -> AnswerRow:
    """What is answered, what other methods would have said, and what all of it cost.

    Args:
        by: the order of the candidates, see `ranked`.
    """
    problem, n = sampled.problem, sampled.n
    # The answers of all methods come from the same samples: a difference in score is one of the method.
    candidates, num_duals = sampled.candidates(by), len(task.duals(problem)) if asks_duals else 0
    way = DUAL if sampled.rewards is None else REWARD
    best = candidates[0] if candidates else None
    # The keys are those of `method_results`, which scores what stands here.
    answers = {
        "greedy": sampled.greedy_answer,
        "majority": majority_answer(votes(sampled.answers[:n])),
        way: best.answer if best else None,
        "equal_cost": majority_answer(votes(sampled.answers[: sampled.num_equal_cost])),
        "more_votes": majority_answer(votes(sampled.answers)),
    }
    # Nothing was asked where there is no dual, so a rate of 0 would say too much.
    score = best.backward_rate if best and num_duals else None
    return AnswerRow(
        problem=problem.id,
        text=problem.text,
        duals=num_duals,
        answer=answers[way],
        score=best.reward if best and way == REWARD else score,
        votes=best.votes if best else 0,
        runner_up=candidates[1] if len(candidates) > 1 else None,
        answers=answers,
        candidates=candidates,
        completion=sampled.completions[sampled.place_of(best)].text,
        gold=problem.gold,
        quality=quality_of(task, sampled, answers),
        tokens=sampled.token_counts(),
        reconstructions=dual_exchanges(task, sampled.reconstructions.get(best.answer, []) if best else []),
        plain=task.plain(f"{task.prompt(problem)}{best.answer}") if best else None,
        plain_gold=None if problem.gold is None else task.plain(f"{task.prompt(problem)}{problem.gold}"),
    )


def quality_of(
    task: Task, sampled: SampledProblem, answers: Mapping[str, str | None]
) -> dict[str, float] | None:
    """Score in [0, 1] of what each method answers, and of all n samples; None without gold.

    Args:
        answers: method -> its answer.
    """
    if sampled.problem.gold is None:
        return None
    quality = {method: task.score(sampled.problem, answer) for method, answer in answers.items()}
    # `pass` is no method but a bound: what a perfect choice among the n samples would score.
    scores = [task.score(sampled.problem, answer) for answer in sampled.answers[: sampled.n]]
    return {**quality, "mean": sum(scores) / sampled.n, "pass": max(scores)}


def answer_lines(row: AnswerRow) -> list[tuple[str, str]]:
    """An answer and what speaks for it, as `Display.exchange` takes it."""
    other = row.runner_up
    lines = [("problem", row.text), ("answer", _supported(row.answer, row.score, row.votes))]
    lines += [("in plain", row.plain)] if row.plain else []
    if other is not None:
        lines.append(("next", _supported(other.answer, other.score, other.votes)))
    return lines + ([("gold", row.gold)] if row.gold is not None else [])


def _supported(answer: str | None, score: float | None, num_votes: int) -> str:
    return f"{answer} (score {score or 0.0:.2f}, {counted(num_votes, 'vote')})"


def show(display: Display, metrics: RerankMetrics) -> None:
    """Shows every way to answer with its score (where there is gold) and its cost."""
    rows = []
    for method in metrics.methods:
        cells = [method.method, f"{method.tokens_per_problem:,.1f}", f"{method.tokens:,}"]
        # Shown in points, as papers do.
        if method.score is not None:
            cells += [f"{100 * method.score.mean:.1f}", interval(method.score, metrics.with_gold, "")]
        rows.append(cells)
    header = ["method", "tokens a problem", "generated tokens"]
    if metrics.with_gold:
        header += [f"score of {metrics.with_gold:,}, %", "95% interval"]
    display.table(f"{metrics.problems:,} problems", header, rows)
    way = metrics.chosen_by
    for name, difference in metrics.chosen_minus.items():
        within = interval(difference, metrics.with_gold, "+")
        display.note(f"{way} rerank minus {name}: {100 * difference.mean:+.1f} points ({within})")
    changed = metrics.other_than_majority
    display.note(f"the {way} chose another answer than the majority for {changed:,} problems")
    if metrics.without_dual:
        display.note(f"{metrics.without_dual:,} problems have no dual: the majority answers those")
    if metrics.unanswered:
        display.note(f"{metrics.unanswered:,} problems have no answer: no sample could be read")


def interval(estimate: Estimate, count: int, sign: str) -> str:
    """The interval in points; none of one problem, which says nothing of others.

    Args:
        count: number of problems.
        sign: "+" where a sign stands before every number.
    """
    if count < 2:
        return "no interval"
    return f"{100 * estimate.low:{sign}.1f} to {100 * estimate.high:{sign}.1f}"
