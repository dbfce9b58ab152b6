"""The dual task: does an answer, put back into the question, give the question back?

    y --(y, x_k)--> x_u'        d(x_u, x_u') in [0, 1]        DuPO, definition 2 and equation 2

Which model is asked is the caller's choice (`ask`); what the distances are worth is `rewards`' business.
Each different answer of a problem is asked about once, however many completions gave it.
"""

from collections.abc import Callable, Sequence

from dupo.records import Completion, Problem, Prompt, Reconstruction
from dupo.tasks import Task

Ask = Callable[[Sequence[Prompt]], list[list[Completion]]]  # dual prompts -> K samples of each
Reconstructed = list[dict[str, list[Reconstruction]]]  # per problem: answer -> one entry per dual


def reconstruct(
    task: Task, problems: Sequence[Problem], answers: Sequence[Sequence[str | None]], ask: Ask
) -> Reconstructed:
    """Puts every different readable answer of every problem through every dual of that problem."""
    asked = [
        (p, answer, dual, task.dual_prompt(problem, dual, answer))
        for p, (problem, group) in enumerate(zip(problems, answers, strict=True))
        for duals in [task.duals(problem)]
        for answer in dict.fromkeys(a for a in group if a is not None)
        for dual in duals
    ]
    replies = ask([prompt for *_, prompt in asked])
    each = [row for row, group in zip(asked, replies, strict=True) for _ in group]
    texts = [c.text for group in replies for c in group]
    distances = iter(task.distances([dual for _, _, dual, _ in each], [a for _, a, _, _ in each], texts))
    found: Reconstructed = [{} for _ in problems]
    for (p, answer, dual, prompt), group in zip(asked, replies, strict=True):
        texts, far = [c.text for c in group], [next(distances) for _ in group]
        made = Reconstruction(dual, "".join(prompt), texts, far, sum(len(c.ids) for c in group))
        found[p].setdefault(answer, []).append(made)
    return found


def dual_figures(answers: Sequence[Sequence[str | None]], found: Reconstructed) -> dict[str, float]:
    """What a run logs about its duals. `reconstruct_rate` is the mean of 1 - d over all completions, an
    unreadable answer or dual counting 0; `none_rate` the share of dual samples that could not be read;
    `cache_hit_rate` the share of readable answers that needed no dual of their own."""
    samples = [d for group in found for duals in group.values() for r in duals for d in r.distances]
    readable = sum(a is not None for group in answers for a in group)
    different = sum(map(len, found))
    rates = {(p, a): mean_similarity(duals) for p, group in enumerate(found) for a, duals in group.items()}
    per_completion = [
        rates.get((p, a), 0.0) for p, group in enumerate(answers) for a in group if a is not None
    ]
    total = sum(map(len, answers))
    return {
        "dual/reconstruct_rate": sum(per_completion) / total,
        "dual/none_rate": sum(d is None for d in samples) / max(1, len(samples)),
        "dual/prompts": float(sum(len(duals) for group in found for duals in group.values())),
        "dual/cache_hit_rate": 1 - different / readable if readable else 0.0,
        "completions/none_rate": 1 - readable / total,
    }


def mean_similarity(duals: Sequence[Reconstruction]) -> float:
    """Mean of 1 - d over duals and samples; unreadable samples count 0."""
    values = [0.0 if d is None else 1 - d for r in duals for d in r.distances]
    return sum(values) / len(values)
