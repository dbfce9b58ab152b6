"""Whether a text ends on a question, and what the question only supposes: "if he buys 5 pens".

Twin of csrc/numbers_questions.cpp.
"""

import re

from dupo.text.numbers.base import LOWER
from dupo.text.numbers.mentions import DEFINITE, STOPS

NEAR = 200  # characters of a sentence, on either side of a number, that are read


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


# A supposition starts with one of these words.
SUPPOSING = _set_of("if when whenever while unless suppose supposing assume assuming given provided")
# "after he buys 5 pens" supposes; "after 5 years" does not.
TEMPORAL = frozenset(["after", "before", "until"])
ASKING = _set_of("how what find calculate compute determine")
RELATIVE = _set_of("which who whom whose where")  # these ask too, or go on: "Ann, who has 5 pens"
JOINING = frozenset(["and", "or", "but", "then"])  # behind a comma, a supposition goes on with these words
# Words of a sentence that speaks of something else than the sentences before.
TURNS = _set_of(
    "first second third fourth fifth sixth seventh eighth ninth tenth last next following final"
    " then later finally also too again another other others today yesterday tomorrow morning"
    " afternoon evening night monday tuesday wednesday thursday friday saturday sunday"
)
SUPPOSING_MARKS = ("면 ", "면,", "如果", "假如", "要是", "再", "もし", "れば", "たら")
WORD = re.compile("[A-Za-z]+|[,;]")
QUESTION_MARK = re.compile(r"[?？][ \n]*\Z")


def asks(sentence: str) -> bool:
    """Tells whether the last sentence of a text asks for something."""
    return QUESTION_MARK.search(sentence) is not None or not (ASKING | RELATIVE).isdisjoint(_words(sentence))


def has_supposing_mark(sentence: str) -> bool:
    """Tells whether a word of Chinese, Japanese or Korean says that something is asked of a supposed case."""
    return any(mark in sentence for mark in SUPPOSING_MARKS)


def supposes(clause: str) -> bool:
    """Tells whether what stands before a number in a question makes the number a supposition."""
    words = _words(clause)
    supposed = comma = False
    for k, word in enumerate(words):
        if word in ",;":
            comma = True
            continue
        if word in ASKING | RELATIVE or (comma and word not in JOINING):
            supposed = False
        if word in SUPPOSING or (word in TEMPORAL and k + 1 < len(words)):
            supposed = True
        comma = False
    return supposed


def contrasts(sentence: str, later: str) -> bool:
    """Tells whether a later sentence speaks of something else: another name, another day."""
    new = set(WORD.findall(later)) - set(WORD.findall(sentence)) - {",", ";"}
    names = {word for word in new if word[0] < "a" and word.lower() not in STOPS | DEFINITE}
    return bool(names) or not TURNS.isdisjoint(new)


def _words(text: str) -> list[str]:
    return WORD.findall(text.translate(LOWER))
