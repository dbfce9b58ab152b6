"""The dual task: does an answer, put back into the question, give the question back?

    y --(y, x_k)--> x_u'        d(x_u, x_u') in [0, 1]        DuPO, definition 2 and equation 2

Which model answers the duals is not known here (`ask`), nor what a distance is worth (`dupo.rewards`). Each
different answer of a problem is asked about once, however many completions gave it.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from dupo.engines.base import naming_problems
from dupo.records import Completion, Dual, Problem, Prompt, Reconstruction
from dupo.tasks.base import Task

Ask = Callable[[Sequence[Prompt]], list[list[Completion]]]  # dual prompts -> samples of each
Reconstructions = list[dict[str, list[Reconstruction]]]  # per problem: answer -> one for each dual


class DualQuestion(NamedTuple):
    """One answer of one problem, about to be put through one dual.

    Attributes:
        problem: index of the problem in its rollout.
    """

    problem: int
    answer: str
    dual: Dual
    prompt: tuple[str, ...]


def reconstruct(
    task: Task,
    problems: Sequence[Problem],
    answers: Sequence[Sequence[str | None]],
    ask: Ask,
    *,
    skip_equal: bool = False,
) -> Reconstructions:
    """Puts every different readable answer of every problem through every dual of that problem.

    Args:
        problems: P problems.
        answers: the answers to each problem; None where none could be read.
        ask: the model that answers dual prompts.
        skip_equal: see `dual_questions`.
    """
    questions = dual_questions(task, problems, answers, skip_equal=skip_equal)
    # One call for all duals of the rollout: engines are slow on small batches.
    prompts = [question.prompt for question in questions]
    with naming_problems([problems[question.problem].id for question in questions], prompts):
        samples = ask(prompts)
    distances = sample_distances(task, questions, samples)
    reconstructions: Reconstructions = [{} for _ in problems]
    for question, completions, row in zip(questions, samples, distances, strict=True):
        # The prompt is kept as text for people to read; its pieces have done their work.
        reconstruction = Reconstruction(
            question.dual,
            "".join(question.prompt),
            [completion.text for completion in completions],
            row,
            tokens=sum(len(completion.ids) for completion in completions),
        )
        reconstructions[question.problem].setdefault(question.answer, []).append(reconstruction)
    return reconstructions


def is_one_answer(group: Sequence[str | None]) -> bool:
    """Whether all completions of a problem give the same answer, which can be read."""
    return group[0] is not None and all(answer == group[0] for answer in group)


def dual_questions(
    task: Task,
    problems: Sequence[Problem],
    answers: Sequence[Sequence[str | None]],
    *,
    skip_equal: bool = False,
) -> list[DualQuestion]:
    """Every different readable answer beside every dual of its problem.

    Args:
        skip_equal: ask nothing of a problem whose completions give one answer: whatever its duals say, the
            rewards are equal.
    """
    questions = []
    for index, (problem, group) in enumerate(zip(problems, answers, strict=True)):
        if skip_equal and is_one_answer(group):
            continue
        duals = task.duals(problem)
        # dict.fromkeys keeps the order in which the answers came, which a set would not.
        for answer in dict.fromkeys(answer for answer in group if answer is not None):
            for dual in duals:
                prompt = task.dual_prompt(problem, dual, answer)
                questions.append(DualQuestion(index, answer, dual, prompt))
    return questions


def sample_distances(
    task: Task, questions: Sequence[DualQuestion], samples: Sequence[Sequence[Completion]]
) -> list[list[float | None]]:
    """d(x_u, recovered) of every sample of every question; None where nothing could be read."""
    # The task measures all samples in one call, because a metric may be a model that works in batches.
    duals, answers, texts = list[Dual](), list[str](), list[str]()
    for question, completions in zip(questions, samples, strict=True):
        for completion in completions:
            duals.append(question.dual)
            answers.append(question.answer)
            texts.append(completion.to_read)
    distances = iter(task.distances(duals, answers, texts))
    return [list(islice(distances, len(completions))) for completions in samples]


def mean_similarity(reconstructions: Sequence[Reconstruction]) -> float:
    """Mean of 1 - d over the duals of an answer and their samples; an unreadable sample counts 0."""
    distances = [distance for r in reconstructions for distance in r.distances]
    return sum(0.0 if distance is None else 1 - distance for distance in distances) / len(distances)


def dual_metrics(
    answers: Sequence[Sequence[str | None]], reconstructions: Reconstructions
) -> dict[str, float]:
    """Metrics of the duals of a rollout.

    Returns:
        dual/reconstruct_rate: mean of 1 - d over all completions; an unreadable answer or dual counts 0.
        dual/none_rate: share of dual samples that could not be read; left out where there are none.
        dual/prompts: number of dual prompts.
        dual/cache_hit_rate: share of readable answers whose duals another completion had asked already; left
            out where no answer could be read.
        completions/none_rate: share of completions without a readable answer.
        dual/too_long_rate: share of dual prompts that were too long to be asked; left out where it is 0.
    """
    asked = [r for by_answer in reconstructions for rs in by_answer.values() for r in rs]
    distances = [distance for r in asked for distance in r.distances]
    # A completion has an end token at least, so no tokens at all means that nothing was asked.
    num_long = sum(r.tokens == 0 for r in asked)
    completion_rates = []
    # By completion and not by answer: an answer given ten times counts ten times.
    for by_answer, group in zip(reconstructions, answers, strict=True):
        rates = {answer: mean_similarity(rs) for answer, rs in by_answer.items()}
        completion_rates += [rates.get(answer, 0.0) for answer in group if answer is not None]
    num_completions = sum(map(len, answers))
    num_readable = len(completion_rates)
    num_asked = sum(map(len, reconstructions))
    return {
        "dual/reconstruct_rate": sum(completion_rates) / num_completions,
        "dual/prompts": float(len(asked)),
        "completions/none_rate": 1 - num_readable / num_completions,
        **({"dual/none_rate": sum(d is None for d in distances) / len(distances)} if distances else {}),
        **({"dual/cache_hit_rate": 1 - num_asked / num_readable} if num_readable else {}),
        **({"dual/too_long_rate": num_long / len(asked)} if num_long else {}),
    }
