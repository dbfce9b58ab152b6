"""Shows the numbers of word problems: which may be hidden, why the others may not, and the duals."""

import random
from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dupo.config.task_options import TaskOptions
from dupo.progress import telling
from dupo.records import Dual, Problem
from dupo.tasks.word_problem_data import read_with_columns
from dupo.tasks.word_problem_duals import hidden_number_duals, text_around_answer
from dupo.text import MOST_HIDDEN, find_numbers
from dupo.text.numbers import Number
from dupo.views.escaping import visible
from dupo.views.terminal import Display

HIDDEN_STYLE, LEFT_STYLE = "bold green", "yellow"
PART = 1000  # problems whose numbers are found between two words on progress
WORDS = 4  # on either side of an example


def list_numbers(options: TaskOptions, seed: int, num_shown: int) -> None:
    """Prints a few problems of a file with their numbers marked, and what became of all numbers of the file.

    Args:
        options: name the file, its column of questions, and the most duals of a problem.
        seed: draws the problems that are shown, and the names that stand for hidden numbers.
        num_shown: most problems to show.

    Raises:
        UserError: the file cannot be read.
    """
    assert options.dataset is not None
    with Display().work("reading the data"):
        problems, columns, notes = read_with_columns(options.dataset, options, answers_needed=False)
        texts = [problem.text for problem in problems]
        starts = telling("parts", range(0, len(texts), PART))
        numbers = [of_text for start in starts for of_text in find_numbers(texts[start : start + PART])]
    # Highlighting would colour every number, and the marks are about some of them only.
    console = Console(highlight=False)
    example: Dual | None = None
    # Drawn from the whole file, because the first problems are often of one kind.
    for index in sorted(random.Random(seed).sample(range(len(problems)), min(num_shown, len(problems)))):
        duals = hidden_number_duals(problems[index].text, seed, options.duals_per_prompt)
        show_problem(console, problems[index], numbers[index], duals)
        example = example or next(iter(duals), None)
    if example:
        show_prompt(console, example, seed)
    console.print(count_table(problems, numbers))
    console.print(count_line(numbers, options.duals_per_prompt))
    for note in [*columns, *notes]:
        console.print(visible(note), soft_wrap=True)


def marked(text: str, numbers: Sequence[Number]) -> Text:
    """The text with `[[...]]` around what may be hidden, and a reason in `{...}` after every other number."""
    styled, position = Text(), 0
    for number in numbers:
        styled.append(visible(text[position : number.start]))
        surface = visible(number.surface)
        if number.skip is None:
            styled.append(f"[[{surface}]]", HIDDEN_STYLE)
        else:
            styled.append(f"{surface}{{{number.skip}}}", LEFT_STYLE)
        position = number.end
    return styled.append(visible(text[position:]))


def show_problem(
    console: Console, problem: Problem, numbers: Sequence[Number], duals: Sequence[Dual]
) -> None:
    """Prints a problem with its numbers marked, and its duals."""
    console.print(Text(visible(problem.id), "bold"))
    console.print(marked(problem.text, numbers), soft_wrap=True)
    names = ", ".join(f"{visible(dual.unknown)} as {dual.variable}" for dual in duals)
    console.print(Text(f"duals: {names or 'none'}", "dim"), end="\n\n", soft_wrap=True)


def show_prompt(console: Console, dual: Dual, seed: int) -> None:
    """Prints the prompt of a dual, with ANSWER in the place of the answer."""
    before, after = map(visible, text_around_answer(dual, seed))
    console.print(Text(f"How {visible(dual.unknown)} is asked for, given the answer:", "bold"))
    console.print(Text.assemble(before, ("ANSWER", HIDDEN_STYLE), after), end="\n\n", soft_wrap=True)


def count_table(problems: Sequence[Problem], numbers: Sequence[Sequence[Number]]) -> Table:
    """What became of every number of the file, with an example of each reason."""
    # The first number of each reason is its example: one is enough to see what the rule means.
    reasons, examples = Counter[str](), dict[str, str]()
    for problem, problem_numbers in zip(problems, numbers, strict=True):
        for number in problem_numbers:
            reason = number.skip or "may be hidden"
            reasons[reason] += 1
            if reason not in examples:
                examples[reason] = in_context(problem.text, number)
    table = Table(box=box.SIMPLE, title="Numbers", title_justify="left")
    table.add_column("what")
    table.add_column("numbers", justify="right")
    table.add_column("share", justify="right")
    table.add_column("example")
    for reason, count in reasons.most_common():
        share = f"{count / reasons.total():.1%}"
        table.add_row(reason, f"{count:,}", share, Text(visible(examples[reason])))
    return table


def in_context(text: str, number: Number) -> str:
    """The number in `[[...]]` with a few words on either side."""
    before, after = text[: number.start].split(" "), text[number.end :].split(" ")
    words = f"{' '.join(before[-WORDS:])}[[{number.surface}]]{' '.join(after[:WORDS])}"
    return " ".join(words.split())


def count_line(numbers: Sequence[Sequence[Number]], duals_per_prompt: int) -> str:
    """How many problems have a dual, and how many duals there are."""
    # No problem gives more duals than that, whatever the options say.
    most = duals_per_prompt or MOST_HIDDEN
    # The numbers of one quantity are hidden together: they make one dual.
    different = [{n.quantity for n in problem if n.skip is None} for problem in numbers]
    num_duals = [min(most, len(hidden)) for hidden in different]
    with_dual, total = sum(map(bool, num_duals)), len(numbers)
    return (
        f"{total:,} problems; {with_dual:,} ({with_dual / total:.1%}) have a dual; "
        f"{sum(num_duals):,} duals, {sum(num_duals) / total:.2f} for each problem"
    )
