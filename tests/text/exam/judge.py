"""What the duals of `competition_problems.jsonl` are worth, by labels made without sight of the rules.

A row has `kind`, `problem`, `answer` and `numbers`: every place of a number, its `text`, its `occurrence`
among the places of that text, and its `label`.

    determined   with the number hidden at all its places, the answer and the rest leave one value for it
    useless      the answer leaves several values, or the rest tells the value without the answer

`quantity` joins places that speak of the same quantity: to hide only some of them leaves the value in sight.
A dual that hides different quantities together is useless, unless the row says `"joint": "determined"`.

    python -m tests.text.exam.judge      the figures, and every dual that is not determined
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dupo.text import Hidden, hide_numbers

PROBLEMS = Path(__file__).with_name("competition_problems.jsonl")
MOST_DUALS = 16


@dataclass(frozen=True)
class Judged:
    """One dual: the problem, what it hides, and "determined", "useless" or "unlisted"."""

    problem: int
    kind: str
    hidden: tuple[str, ...]
    verdict: str


def read_rows(path: Path = PROBLEMS) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def span_of(problem: str, number: dict[str, Any]) -> tuple[int, int]:
    """First and last + 1 character of a listed number."""
    start = -1
    for _ in range(number["occurrence"] + 1):
        start = problem.index(number["text"], start + 1)
    return start, start + len(number["text"])


def verdict_of(row: dict[str, Any], places: Sequence[tuple[int, int]]) -> str:
    """What a dual is worth that hides `places`, spans of characters of the problem.

    A place stands for the listed numbers inside it. A place with none, a mere piece of a number for example,
    makes the dual "unlisted": a person has to read it.
    """
    listed = [span_of(row["problem"], number) for number in row["numbers"]]
    inside = [
        [n for n, (first, last) in enumerate(listed) if start <= first and last <= end]
        for start, end in places
    ]
    hidden = {n for numbers in inside for n in numbers}
    quantities: dict[object, set[int]] = defaultdict(set)
    for n, number in enumerate(row["numbers"]):
        quantities[number.get("quantity", n)].add(n)
    touched = [members for members in quantities.values() if members & hidden]
    in_sight = any(members - hidden for members in touched)
    mixed = len(touched) > 1 and row.get("joint") != "determined"
    if in_sight or mixed or any(row["numbers"][n]["label"] == "useless" for n in hidden):
        return "useless"
    return "determined" if all(inside) else "unlisted"


def judged(rows: Sequence[dict[str, Any]], duals: Sequence[Sequence[Hidden]]) -> Iterator[Judged]:
    """Every dual of every row with its verdict."""
    for index, (row, of_row) in enumerate(zip(rows, duals, strict=True)):
        for dual in of_row:
            places = [(number.start, number.end) for number in dual.numbers]
            surfaces = tuple(row["problem"][start:end] for start, end in places)
            yield Judged(index, row["kind"], surfaces, verdict_of(row, places))


def judged_by_the_rules(rows: Sequence[dict[str, Any]]) -> list[Judged]:
    """Every dual that `hide_numbers` makes of the rows, with its verdict."""
    texts = [row["problem"] for row in rows]
    return list(judged(rows, hide_numbers(texts, list(range(len(texts))), most=MOST_DUALS)))


def determined_share(duals: Sequence[Judged]) -> float:
    """The share of "determined" among the duals that the labels know."""
    known = [dual for dual in duals if dual.verdict != "unlisted"]
    return sum(dual.verdict == "determined" for dual in known) / len(known)


def main() -> None:
    rows = read_rows()
    duals = judged_by_the_rules(rows)
    for dual in duals:
        if dual.verdict != "determined":
            print(
                f"{dual.verdict:10} {dual.kind:26} {' '.join(dual.hidden)!r}: {rows[dual.problem]['problem']}"
            )
    counts = {
        name: sum(dual.verdict == name for dual in duals) for name in ("determined", "useless", "unlisted")
    }
    print(f"{len(duals)} duals: {counts}; {determined_share(duals):.1%} determined")
    print(f"{len({dual.problem for dual in duals})} of {len(rows)} problems have a dual")
    for kind in dict.fromkeys(row["kind"] for row in rows):
        of_kind = [dual for dual in duals if dual.kind == kind]
        useless = sum(dual.verdict == "useless" for dual in of_kind)
        problems = len({dual.problem for dual in of_kind})
        print(f"{kind:26} {len(of_kind):3} duals of {problems:2} problems, {useless} useless")


if __name__ == "__main__":
    main()
