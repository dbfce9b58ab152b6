"""`python -m dupo.duals --dataset FILE`: the numbers of word problems, and which may be hidden and why not.

    Tina has [[7]] apples on day 3{label} and buys [[12]] more.        duals: 7 as Vqk, 12 as Vrt

[[...]] may be hidden; a number in front of {...} may not, for that reason. No model is read and no label.
"""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.duals")

import argparse
import random
from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dupo.config.config import Config
from dupo.config.values import underscored
from dupo.errors import UserError
from dupo.records import Dual, Problem
from dupo.tasks.word_problem_data import read_problems
from dupo.tasks.word_problem_duals import hidden_number_duals, text_around_answer
from dupo.text import MOST_HIDDEN, find_numbers
from dupo.text.numbers import Number
from dupo.views.escaping import visible
from dupo.views.plain import error

HIDDEN, KEPT = "bold green", "yellow"
WORDS = 4  # on either side of an example


def marked(text: str, numbers: Sequence[Number]) -> Text:
    """The text, with what may be hidden in [[...]] and the reason after every other number in {...}."""
    found, at = Text(), 0
    for number in numbers:
        found.append(visible(text[at : number.start]))
        surface = visible(number.surface)
        if number.skip is None:
            found.append(f"[[{surface}]]", HIDDEN)
        else:
            found.append(f"{surface}{{{number.skip}}}", KEPT)
        at = number.end
    return found.append(visible(text[at:]))


def show(console: Console, problem: Problem, numbers: Sequence[Number], duals: Sequence[Dual]) -> None:
    console.print(Text(visible(problem.id), "bold"))
    console.print(marked(problem.text, numbers), soft_wrap=True)
    asked = ", ".join(f"{visible(dual.unknown)} as {dual.variable}" for dual in duals)
    console.print(Text(f"duals: {asked or 'none'}", "dim"), end="\n\n", soft_wrap=True)


def show_prompt(console: Console, dual: Dual, seed: int) -> None:
    before, after = (visible(part) for part in text_around_answer(dual, seed))
    console.print(Text(f"How {visible(dual.unknown)} is asked for, given the answer:", "bold"))
    console.print(Text.assemble(before, ("ANSWER", HIDDEN), after), end="\n\n", soft_wrap=True)


def count_table(problems: Sequence[Problem], numbers: Sequence[Sequence[Number]]) -> Table:
    """What became of every number of the file."""
    reasons, examples = Counter[str](), dict[str, str]()
    for problem, found in zip(problems, numbers, strict=True):
        for number in found:
            reason = number.skip or "may be hidden"
            reasons[reason] += 1
            if reason not in examples:
                before, after = problem.text[: number.start].split(" "), problem.text[number.end :].split(" ")
                words = f"{' '.join(before[-WORDS:])}[[{number.surface}]]{' '.join(after[:WORDS])}"
                examples[reason] = " ".join(words.split())
    table = Table(box=box.SIMPLE, title="Numbers", title_justify="left")
    for name, justify in (("what", "left"), ("numbers", "right"), ("share", "right"), ("example", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for reason, count in reasons.most_common():
        share = f"{count / reasons.total():.1%}"
        table.add_row(reason, f"{count:,}", share, Text(visible(examples[reason])))
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 2 something in what the user gave."""
    parser = argparse.ArgumentParser(
        prog="python -m dupo.duals", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, metavar="FILE", help="JSON lines with a question column")
    parser.add_argument("--question_column", help="default: found by the usual names, as in training")
    parser.add_argument(
        "--show", type=int, default=20, help="how many problems, drawn by the seed (default 20)"
    )
    parser.add_argument(
        "--duals_per_prompt", type=int, default=0, help="at most, as in training; 0: all (default)"
    )
    parser.add_argument("--seed", type=int, default=0, help="names, and which problems are shown (default 0)")
    options = parser.parse_args(underscored(sys.argv[1:] if argv is None else argv))
    given = {n: getattr(options, n) for n in ("dataset", "question_column", "duals_per_prompt", "seed")}
    console = Console(highlight=False)
    try:
        config = Config(task="word_problems", eval_size=0, **given)
        validate(config)
        if options.show < 0:
            raise UserError(f"show: expected at least 0, got {options.show}")
        problems = read_problems(options.dataset, config, answers_needed=False)
    except UserError as problem:
        error(str(problem))
        return 2
    numbers = find_numbers([problem.text for problem in problems])
    count = min(options.show, len(problems))
    example = None
    for index in sorted(random.Random(options.seed).sample(range(len(problems)), count)):
        duals = hidden_number_duals(problems[index].text, config.seed, config.duals_per_prompt)
        show(console, problems[index], numbers[index], duals)
        example = example or next(iter(duals), None)
    if example:
        show_prompt(console, example, config.seed)
    console.print(count_table(problems, numbers))
    most = config.duals_per_prompt or MOST_HIDDEN
    duals_each = [min(most, len({(n.value, n.role) for n in f if n.skip is None})) for f in numbers]
    with_dual = sum(map(bool, duals_each))
    console.print(
        f"{len(problems):,} problems; {with_dual:,} ({with_dual / len(problems):.1%}) have a dual; "
        f"{sum(duals_each):,} duals, {sum(duals_each) / len(problems):.2f} for each problem"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
