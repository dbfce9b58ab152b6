"""Exchanges to read: a problem, its answer, and what its duals gave back."""

from collections.abc import Sequence
from dataclasses import replace

from dupo.config.options import RewardOptions
from dupo.duality.reconstruct import Ask, Reconstructions, reconstruct
from dupo.engines.base import Engine, Sampling, sample_answers
from dupo.records import DualExchange, Exchange, Reconstruction, Rollout
from dupo.rewards.dual import answer_reward
from dupo.tasks.base import Task

LOOKED_AT = 200  # held-out problems among which a right and a wrong answer are looked for


def exchanges_of(
    task: Task, rollout: Rollout, duals: Reconstructions, engine: Engine, options: RewardOptions
) -> list[Exchange]:
    """The first completion of each problem of a rollout, with its duals.

    Args:
        duals: of the rollout; empty where none were asked.
    """
    exchanges = []
    for index, problem in enumerate(rollout.problems):
        # The first completion stands for its group: choosing a good one would flatter the model.
        completion, answer = rollout.completions[index][0], rollout.answers[index][0]
        reconstructions = duals[index].get(answer, []) if duals and answer is not None else []
        exchanges.append(
            Exchange(
                problem=problem.id,
                prompt=engine.tokenizer.decode([rollout.prompt_ids[index]])[0],
                completion=completion.text,
                answer=answer,
                reward=answer_reward(reconstructions, options) if reconstructions else None,
                correct=None,
                duals=dual_exchanges(task, reconstructions),
                plain=task.plain(f"{task.prompt(problem)}{answer or ''}"),
            )
        )
    return exchanges


def dual_exchanges(task: Task, reconstructions: Sequence[Reconstruction]) -> list[DualExchange]:
    """What the duals of an answer gave back: the first sample of each."""
    return [
        DualExchange(
            r.prompt,
            r.completions[0],
            r.dual.unknown,
            r.distances[0],
            task.plain(f"{r.prompt}{r.completions[0]}"),
        )
        for r in reconstructions
    ]


def held_out_exchanges(
    engine: Engine, ask: Ask | None, task: Task, options: RewardOptions, max_tokens: int, count: int
) -> list[Exchange]:
    """`count` greedy answers to held-out problems, at least one right and one wrong where both happen.

    Args:
        ask: the model that answers duals; None where the reward needs none.
        max_tokens: most tokens of an answer.
    """
    problems = list(task.held_out[:LOOKED_AT])
    if not problems:
        return []
    rollout = sample_answers(engine, task, problems, 1, Sampling(0.0, max_tokens), seed=0)
    scores = [
        task.score(problem, answers[0]) for problem, answers in zip(problems, rollout.answers, strict=True)
    ]
    is_right = [score >= 0.5 for score in scores]
    # A stable sort by False < True: the first is wrong if any is, the last right if any is.
    wrong_first = sorted(range(len(problems)), key=lambda i: is_right[i])
    # One from the wrong end, the others from the right end: both kinds are shown where both happen.
    indices = [wrong_first[0], *list(reversed(wrong_first[1:]))[: count - 1]]
    chosen = rollout.take(indices)
    duals = reconstruct(task, chosen.problems, chosen.answers, ask) if ask else []
    # A translation is better or worse, not right or wrong.
    is_judged = task.headline == "accuracy"
    return [
        replace(
            exchange,
            correct=is_right[i] if is_judged else None,
            gold=problems[i].gold,
            score=scores[i],
            plain_gold=task.plain(f"{task.prompt(problems[i])}{problems[i].gold or ''}"),
        )
        for exchange, i in zip(exchanges_of(task, chosen, duals, engine, options), indices, strict=True)
    ]
