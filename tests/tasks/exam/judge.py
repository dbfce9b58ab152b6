"""Which pairs of `equal_answers.jsonl` and `different_answers.jsonl` the program judges right.

A row has `kind`, `answer` (what a model writes inside its box) and `gold` (what a data set states). Two texts
are equal where a fair person who grades calls them the same answer.

    python -m tests.tasks.exam.judge      the counts, and every pair that is judged wrong
"""

import json
from pathlib import Path

from dupo.tasks.final_answer import final_answer, gold_answer, same_answer

FOLDER = Path(__file__).parent


def pairs(name: str) -> list[dict[str, str]]:
    """The rows of `equal_answers.jsonl` or `different_answers.jsonl`; `name` is "equal" or "different"."""
    text = (FOLDER / f"{name}_answers.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def called_equal(pair: dict[str, str]) -> bool:
    """Whether the program calls a pair equal, read as it reads a completion and a data set."""
    answer, gold = final_answer("\\boxed{" + pair["answer"] + "}"), gold_answer(pair["gold"])
    return answer is not None and gold is not None and bool(same_answer(answer, gold))


def wrong_pairs(name: str) -> list[dict[str, str]]:
    """The pairs of a file that the program judges wrong."""
    return [pair for pair in pairs(name) if called_equal(pair) != (name == "equal")]


def main() -> None:
    for name in ("equal", "different"):
        wrong = wrong_pairs(name)
        for pair in wrong:
            print(f"{name:9} {pair['kind']:28} {pair['answer']!r} {pair['gold']!r}")
        print(f"{name}: {len(pairs(name)) - len(wrong)} of {len(pairs(name))} right")


if __name__ == "__main__":
    main()
