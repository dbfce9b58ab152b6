"""The dual task: what is asked, how often, and what the metrics say of the replies."""

import torch

from dupo.duality.reconstruct import dual_metrics, dual_questions, reconstruct
from dupo.records import Completion
from dupo.tasks.arithmetic import Arithmetic
from tests.helpers.options import RUN
from tests.helpers.rollouts import PROBLEMS, RIGHT, WRONG
from tests.helpers.worlds import said, solver, task_of

TASK = task_of(RUN)


def test_every_different_answer_is_asked_once():
    prompts = []

    def ask(asked):
        prompts.extend(asked)
        return solver(asked)

    answers = [[RIGHT, WRONG, RIGHT, RIGHT]]
    reconstructions = reconstruct(TASK, PROBLEMS[:1], answers, ask)
    assert len(prompts) == len(set(prompts)) == 4  # two answers, two operands each
    metrics = dual_metrics(answers, reconstructions)
    assert metrics["dual/prompts"] == 4
    assert metrics["dual/cache_hit_rate"] == 0.5


def test_metrics_of_duals():
    answers = [[RIGHT, WRONG, None, RIGHT]]
    replies = iter([["321"], ["654"], ["x"], ["999"]])
    reconstructions = reconstruct(
        TASK, PROBLEMS[:1], answers, lambda prompts: [[said(t) for t in next(replies)] for _ in prompts]
    )
    first = reconstructions[0][RIGHT][0]
    assert first.prompt == f"{PROBLEMS[0].text.replace('#321', '@?')}{RIGHT}:"
    assert (first.completions, first.distances, first.tokens) == (["321"], [0.0], 2)
    assert first.similarity == 1 and reconstructions[0][WRONG][0].similarity == 0
    metrics = dual_metrics(answers, reconstructions)
    assert metrics["dual/reconstruct_rate"] == 0.5
    assert metrics["dual/none_rate"] == 0.25
    assert metrics["completions/none_rate"] == 0.25


def test_duals_that_were_too_long_to_be_asked_are_counted():
    answers, unasked = [[RIGHT]], Completion(torch.empty(0), torch.empty(0), "", True)
    reconstructions = reconstruct(TASK, PROBLEMS[:1], answers, lambda _: [[unasked], [said("654")]])
    metrics = dual_metrics(answers, reconstructions)
    assert (
        metrics["dual/too_long_rate"] == metrics["dual/none_rate"] == metrics["dual/reconstruct_rate"] == 0.5
    )


def test_samples_stay_with_their_dual_however_many_there_are():
    """The task measures all samples in one call: none may slip to the dual next to its own."""
    measured = []

    class Counting(Arithmetic):
        def distances(self, duals, answers, completions):
            measured.append(list(completions))
            return super().distances(duals, answers, completions)

    def ask(prompts):  # one, two, three, ... samples; the last one of each is right
        hidden = [reply.text for (reply,) in solver(prompts)]
        return [[said("999")] * k + [said(text)] for k, text in enumerate(hidden)]

    task = Counting(RUN.task, 0)
    answers = [[RIGHT, WRONG], ["9710"]]
    reconstructions = reconstruct(task, PROBLEMS, answers, ask)
    rows = [r for by_answer in reconstructions for rs in by_answer.values() for r in rs]
    assert [r.distances for r in rows] == [
        [*[1.0] * k, 0.0 if question.answer != WRONG else 1.0]
        for k, question in enumerate(dual_questions(task, PROBLEMS, answers))
    ]
    assert len(measured) == 1 and len(measured[0]) == 21


def test_questions_are_in_the_order_of_problems_answers_and_duals():
    questions = dual_questions(TASK, PROBLEMS, [[WRONG, None, RIGHT, WRONG], [None]])
    assert [(q.problem, q.answer, q.dual.unknown) for q in questions] == [
        (0, WRONG, "321"),
        (0, WRONG, "654"),
        (0, RIGHT, "321"),
        (0, RIGHT, "654"),
    ]


def test_nothing_readable_asks_nothing():
    answers = [[None, None]]
    reconstructions = reconstruct(TASK, PROBLEMS[:1], answers, solver)
    assert reconstructions == [{}]
    metrics = dual_metrics(answers, reconstructions)
    # The shares of dual samples and of readable answers would be shares of nothing.
    assert metrics == {"dual/reconstruct_rate": 0, "dual/prompts": 0, "completions/none_rate": 1}
