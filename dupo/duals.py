"""`python -m dupo.duals --dataset FILE`: the numbers of word problems, and which may be hidden and why not.

    Tina has [[7]] apples on day 3{label} and buys [[12]] more.        duals: 7 as Vqk, 12 as Vrt

[[...]] may be hidden; a number in front of {...} may not, for that reason. No model is read and no label.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dupo.config import Config, UserError
from dupo.display import error, visible
from dupo.numbers import Number
from dupo.records import Problem
from dupo.tasks.word_problems import WordProblems, read_problems
from dupo.text import find_numbers

HIDDEN, KEPT = "bold green", "yellow"
NEAR = 20  # characters of text on either side of an example


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


def show(console: Console, task: WordProblems, problem: Problem, numbers: Sequence[Number]) -> None:
    duals = task.duals(problem)
    console.print(Text(visible(problem.id), "bold"))
    console.print(marked(problem.text, numbers), soft_wrap=True)
    asked = ", ".join(f"{visible(dual.unknown)} as {dual.variable}" for dual in duals)
    console.print(Text(f"duals: {asked or 'none'}", "dim"), end="\n\n", soft_wrap=True)


def count_table(problems: Sequence[Problem], numbers: Sequence[Sequence[Number]]) -> Table:
    """What became of every number of the file."""
    reasons, examples = Counter[str](), dict[str, str]()
    for problem, found in zip(problems, numbers, strict=True):
        for number in found:
            reason = number.skip or "may be hidden"
            reasons[reason] += 1
            before, after = problem.text[: number.start][-NEAR:], problem.text[number.end :][:NEAR]
            examples.setdefault(reason, " ".join(f"{before}[[{number.surface}]]{after}".split()))
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
    options = parser.parse_args(argv)
    given = {n: getattr(options, n) for n in ("dataset", "question_column", "duals_per_prompt", "seed")}
    console = Console(highlight=False)
    try:
        config = Config(task="word_problems", eval_size=0, **given)
        task = WordProblems(config)
        problems = read_problems(options.dataset, config, answers_needed=False)
    except UserError as problem:
        error(str(problem))
        return 2
    numbers = find_numbers([problem.text for problem in problems])
    count = min(max(options.show, 0), len(problems))
    for index in sorted(random.Random(options.seed).sample(range(len(problems)), count)):
        show(console, task, problems[index], numbers[index])
    console.print(count_table(problems, numbers))
    duals = [len(task.duals(problem)) for problem in problems]
    with_dual = sum(map(bool, duals))
    console.print(
        f"{len(problems):,} problems; {with_dual:,} ({with_dual / len(problems):.1%}) have a dual; "
        f"{sum(duals):,} duals, {sum(duals) / len(problems):.2f} for each problem"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
