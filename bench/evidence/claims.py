"""What the project promises of the evidence, and whether it holds."""

from statistics import fmean
from typing import NamedTuple

from bench.evidence.grid import CONTROLS, RATES, TASKS, VOTES_TASK
from bench.evidence.records import Evidence
from bench.evidence.tables import best_rate

SHARE_OF_GOLD, CONTROL_SHARE = 0.85, 0.1  # of the change with gold labels
RERANK_GAIN = 0.15  # of the score, over majority votes at no lower cost
VOTE_GAIN = 0.1  # of the accuracy of 32 votes over greedy answers, where votes are to help


class Claim(NamedTuple):
    """A promise, with what was measured, and whether it holds."""

    text: str
    holds: bool


class PairedChanges(NamedTuple):
    """Mean changes of a reward and of gold, over the seeds that both have."""

    reward: float
    gold: float


def paired_changes(evidence: Evidence, task: str, label: str, rate: str) -> PairedChanges:
    """The changes of a label at a rate, and of gold at the best rate of gold."""
    changes = {r.run.seed: r.change for r in evidence.training(task, label, rate)}
    best = best_rate(evidence, task, "gold")
    gold = {r.run.seed: r.change for r in evidence.training(task, "gold", best)}
    # A grid cut short may lack a seed of either.
    seeds = sorted(changes.keys() & gold.keys())
    return PairedChanges(fmean(changes[seed] for seed in seeds), fmean(gold[seed] for seed in seeds))


def claims(evidence: Evidence) -> list[Claim]:
    """Every claim that the evidence has runs for."""
    claims: list[Claim] = []
    for task in TASKS:
        if evidence.training(task, "dual", "") and evidence.training(task, "gold", ""):
            claims += [_dual_is_near_gold(evidence, task), *_controls_gain_nothing(evidence, task)]
            claims += _reranking_gains(evidence, task)
    if evidence.training(VOTES_TASK, "dual", "") and evidence.training(VOTES_TASK, "gold", ""):
        claims += [*_votes_help(evidence, VOTES_TASK), _dual_is_near_gold(evidence, VOTES_TASK)]
        claims += _controls_gain_nothing(evidence, VOTES_TASK)
    return claims


def _votes_help(evidence: Evidence, task: str) -> list[Claim]:
    claims = []
    for r in evidence.reranks(task):
        votes, greedy = r.method("more_votes"), r.method("greedy")
        gain = votes.score - greedy.score
        text = f"{task}, seed {r.run.seed}: {votes.method} of the taught model minus greedy"
        bound = f"{100 * gain:+.1f} points (at least {100 * VOTE_GAIN:.0f})"
        claims.append(Claim(f"{text}: {bound}", gain >= VOTE_GAIN))
    return claims


def _dual_is_near_gold(evidence: Evidence, task: str) -> Claim:
    change, gold = paired_changes(evidence, task, "dual", best_rate(evidence, task, "dual"))
    text = f"{task}: dual {100 * change:+.1f} points, {change / gold:.0%} of gold's {100 * gold:+.1f}"
    bound = f"(each at its best rate; at least {SHARE_OF_GOLD:.0%})"
    return Claim(f"{text} {bound}", change >= SHARE_OF_GOLD * gold)


def _controls_gain_nothing(evidence: Evidence, task: str) -> list[Claim]:
    claims = []
    for label in CONTROLS:
        for rate in RATES:
            if evidence.training(task, label, rate):
                change, gold = paired_changes(evidence, task, label, rate)
                text = f"{task}: {label} at {RATES[rate]:.0e} {100 * change:+.1f} points"
                bound = f"(at most {100 * CONTROL_SHARE * gold:+.1f}, a tenth of gold's)"
                claims.append(Claim(f"{text} {bound}", change <= CONTROL_SHARE * gold))
    return claims


def _reranking_gains(evidence: Evidence, task: str) -> list[Claim]:
    claims = []
    for r in evidence.reranks(task):
        majority, dual = r.method("equal_cost"), r.method("dual")
        gain = r.dual_minus[majority.method].mean
        text = f"{task}, seed {r.run.seed}: dual rerank of 8 minus majority with no fewer tokens"
        # The majority must not lose because it was given less.
        is_fair = majority.tokens >= dual.tokens
        bound = f"{100 * gain:+.1f} points (at least {100 * RERANK_GAIN:.0f})"
        claims.append(Claim(f"{text}: {bound}", is_fair and gain >= RERANK_GAIN))
    return claims
