"""Questions with numbers in them, from a data set: hide one number, find it again from the answer.

    primal   Natalia sold clips to 48 friends in April and half as many in May. How many in all?   -> 72
    dual     Natalia sold clips to Vqk friends in April and half as many in May. How many in all?
             The final answer is \\boxed{72}. What is Vqk?                                         -> 48

DuPO, section 3.4 and appendix A: numbers are found by rule (`dupo.text.numbers`), one is hidden per dual
behind a fresh name, and the dual sees the final answer only, never how the answer was reached.
"""

from collections.abc import Sequence

from dupo.config.task_options import TaskOptions
from dupo.data.splits import copies_note, evaluation_note, split_problems
from dupo.records import Dual, Problem
from dupo.tasks.answer_equality import kind_of
from dupo.tasks.exact_match import ExactMatchTask
from dupo.tasks.final_answer import final_answer, same_answer
from dupo.tasks.math_equality import is_installed
from dupo.tasks.word_problem_data import read_problems, read_with_columns
from dupo.tasks.word_problem_duals import hidden_number_duals, text_around_answer, without_unknown
from dupo.text import find_numbers

PRIMAL_TEMPLATE = """{question}

Think step by step. At the end, write the final answer, and nothing else, inside \\boxed{{}}."""


class WordProblems(ExactMatchTask):
    """Word problems with one hidden number as duals; see `dupo.tasks.base.Task`.

    Problems with no number to hide are left out of `train`.

    Args:
        options: data sets, their columns, and how many duals a problem has.
        seed: chooses the hidden numbers, the names that stand for them, and the templates.

    Raises:
        UserError: the data cannot be used.
    """

    lessons = None

    def __init__(self, options: TaskOptions, seed: int) -> None:
        assert options.dataset is not None  # held by `Config`
        self.seed, self.duals_per_prompt = seed, options.duals_per_prompt
        self.problems, columns, left_out = read_with_columns(options.dataset, options, answers_needed=False)
        eval_problems = None
        if options.eval_dataset:
            eval_problems, notes = read_problems(options.eval_dataset, options, answers_needed=True)
            left_out += notes
        # A problem without a number has no dual, and so no reward. It can still be held out.
        hidable = texts_with_number_to_hide(self.problems)
        split = split_problems(self.problems, eval_problems, options.eval_size)
        self.held_out = split.held_out
        self.train = [problem for problem in split.train if problem.text in hidable]
        num_hidable = sum(problem.text in hidable for problem in self.problems)
        self.notes = [
            f"{len(self.problems):,} problems read; {num_hidable:,} with a number to hide; "
            f"{len(self.held_out):,} held out",
            *columns,
            *left_out,
        ]
        self.notes += formulas_note([*self.train, *self.held_out])
        lack = "no held-out problem with a known answer: accuracy cannot be given"
        source = self.problems if eval_problems is None else eval_problems
        self.notes += evaluation_note(source, self.held_out, options.eval_size, lack)
        self.notes += copies_note(len(self.problems), split, are_apart=eval_problems is not None)

    def prompt(self, problem: Problem) -> str:
        """Asks for the answer in a box, after steps."""
        return PRIMAL_TEMPLATE.format(question=problem.text)

    def answer(self, problem: Problem, completion: str) -> str | None:
        """The final answer of the completion: see `final_answer`."""
        return final_answer(completion)

    def duals(self, problem: Problem) -> list[Dual]:
        """Hides the numbers of the problem in turn."""
        return hidden_number_duals(problem.text, self.seed, self.duals_per_prompt)

    def dual_prompt(self, problem: Problem, dual: Dual, answer: str) -> tuple[str, ...]:
        """Shows the answer, and asks for the value of the variable."""
        before, after = text_around_answer(dual, self.seed)
        return before, without_unknown(answer, dual), after

    def distance(self, dual: Dual, completion: str) -> float | None:
        """0 for the hidden number, 1 for another answer, None without a final answer."""
        recovered = final_answer(completion)
        # Numbers are compared exactly, and never by math-verify: a dual asks for a number.
        return None if recovered is None else float(not same_answer(recovered, dual.unknown, by_value=False))

    def means_gold(self, answer: str, gold: str) -> bool:
        """See `same_answer`."""
        return same_answer(answer, gold)


def formulas_note(problems: Sequence[Problem]) -> list[str]:
    """Returns the line for the user on golds that are formulas, where math-verify is not installed."""
    golds = [problem.gold for problem in problems if problem.gold is not None]
    count = 0 if is_installed() else sum(kind_of(gold) not in ("number", "words") for gold in golds)
    how = "compared as they are written; pip install math-verify compares their values"
    return [f"{count:,} right answers are formulas, {how}"] if count else []


def texts_with_number_to_hide(problems: Sequence[Problem]) -> set[str]:
    """Returns the texts that have a number that may be hidden."""
    texts = [problem.text for problem in problems]
    # One call for all texts, because the extension loops over texts in C++.
    numbers_of_texts = find_numbers(texts)
    return {
        text
        for text, numbers in zip(texts, numbers_of_texts, strict=True)
        if any(number.skip is None for number in numbers)
    }
