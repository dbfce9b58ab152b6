"""Lists in brackets, whose commas separate numbers, and the marks of exercises: (1) and (2).

Twin of csrc/numbers_marks.cpp.
"""

import re

from dupo.text.numbers.base import SPACE, WORDLIKE

LIST_BLANKS = r"(?: |\\[ ,;!])*"
MEMBER = r"[-+]?(?:(?!0[0-9])[0-9]+(?:\.[0-9]+)?|[A-Za-z]|\\[A-Za-z]+|\.\.\.|…)"
# (100,200), \{3,148\}, [2,102). A member such as 000 says that the comma is a thousands comma: (1,000). So do
# a factor before the bracket and the argument of a command: 2(1,200), \frac{1,200}{3}.
BRACKETED_LIST = re.compile(
    rf"(?:(?<![0-9)])[(\[]|(?<![A-Za-z}}^_])\{{){LIST_BLANKS}{MEMBER}(?:{LIST_BLANKS},{LIST_BLANKS}{MEMBER})+"
    rf"{LIST_BLANKS}(?:\\(?:right|[bB]igg?r?))?\\?[)\]}}]"
)

IN_PARENTHESES = re.compile(
    rf"(?<!{WORDLIKE})(?<![)\]}}\\^$])(?:\((?P<half>[0-9]{{1,2}})\)(?={SPACE})|（(?P<full>[0-9]{{1,2}})）)"
)
WITH_POINT = re.compile(rf"(?<!{WORDLIKE})[0-9]{{1,2}}(?=[.)]{SPACE})")
MOST_BLANKS = 4  # before a mark
STARTS = re.compile(rf"(?:\A|[.?!:;。？！：；\n]){SPACE}{{0,{MOST_BLANKS}}}\Z")


def bracketed_lists(text: str) -> list[tuple[int, int]]:
    """Finds the lists in brackets."""
    return [match.span() for match in BRACKETED_LIST.finditer(text)]


def list_marks(text: str) -> list[tuple[int, int]]:
    """Finds the marks of exercises: (1) and (2), 1. and 2., and 17. where a text starts with the mark."""
    in_parentheses = [match.span(match.lastgroup or 0) for match in IN_PARENTHESES.finditer(text)]
    with_point = [
        match.span()
        for match in WITH_POINT.finditer(text)
        if STARTS.search(text[max(0, match.start() - MOST_BLANKS - 1) : match.start()])
    ]
    marks = _runs(text, in_parentheses) + _runs(text, with_point)
    return marks + [span for span in with_point[:1] if not text[: span[0]].strip(" \n") and span not in marks]


def _runs(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the marks that count up from 1 to at least 2."""
    marks: list[tuple[int, int]] = []
    run: list[tuple[int, int]] = []
    for start, end in spans:
        value = int(text[start:end])
        if value == 1:
            marks += run if len(run) > 1 else []
            run = []
        if value == len(run) + 1:
            run.append((start, end))
    return marks + (run if len(run) > 1 else [])
