"""The final answer of a completion, the gold answer of a data set, and whether the two mean the same.

Answers are normalised: equal strings are equal answers, for votes and for the cache of rewards. Beside the
gold answer two different strings may still be equal: \\sqrt{12} and 2\\sqrt{3}.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from dupo.tasks.answer_equality import are_never_equal, same_form
from dupo.tasks.answer_forms import write_form
from dupo.tasks.answer_numbers import (
    MAX_ANSWER,
    PLAIN_INTEGER,
    format_number,
    is_percentage,
    last_number,
    parse_number,
    right_side,
    stated_value,
)
from dupo.tasks.answer_sentences import is_east_asian_sentence
from dupo.tasks.answer_text import plain_text
from dupo.tasks.answer_units import state_other_units, without_trailing_unit
from dupo.tasks.math_equality import equal_formulas

# \boxed{ and \fboxed{, an escaped character (which opens and closes nothing), or a brace.
BRACE = re.compile(r"(?P<box>\\f?boxed ?\{)|\\.|[{}]")
MOST_ROUNDS = 6  # a text that is no formula may change in every round: such a text is no answer
MOST_WORDS = 4  # a gold answer of more is a sentence that ends on its number
# "The answer is $2\\sqrt{3}$.": a formula that is more than a number, where a text ends.
FORMULA_AT_END = re.compile(r"\$([^$\n]{0,200}[\\^(][^$\n]{0,200})\$[.\s]{0,9}\Z")
LATEX_COMMAND = re.compile(r"\\[A-Za-z]+")
OPTIONS = frozenset("abcdeABCDE")  # of a multiple choice: a small letter is the capital
WORD = re.compile(r"[^\W\d_]{2,}")


@lru_cache(maxsize=2**14)  # the same few answers come again and again
def normalise(text: str) -> str | None:
    """Returns an answer as the string of all equal answers; None if nothing is left, or far too much.

    A number is written in one way, without its unit; a percentage keeps its sign. A formula is written in the
    LaTeX of `answer_forms`. Words lose their capitals.
    """
    for _ in range(MOST_ROUNDS):
        if PLAIN_INTEGER.fullmatch(text):
            return text
        plain = plain_text(text)
        if not plain:
            return None
        plain = right_side(plain)
        value = stated_value(plain)
        if value is not None:
            return format_number(value) + "%" * is_percentage(plain)
        form = write_form(without_trailing_unit(plain))
        if not 0 < len(form) <= MAX_ANSWER:
            return None
        if form == text:
            return form
        text = form
    return None


def without_thinking(text: str) -> str:
    """Returns what stands outside <think>...</think>.

    A block that never closed, or never opened, is all thought.
    """
    text = re.sub(r"<think>.*?(?:</think>|\Z)", "", text, flags=re.S)
    return text.rsplit("</think>", 1)[-1]


class OpenBrace(NamedTuple):
    """A brace that has not closed yet.

    Attributes:
        start: where the brace, or the \\boxed before the brace, stands.
        inside: where its content starts.
        is_box: the brace is that of \\boxed.
    """

    start: int
    inside: int
    is_box: bool


def last_boxed(text: str) -> str | None:
    """Returns the content of the last \\boxed{...} that closes and is not blank."""
    open_braces: list[OpenBrace] = []
    last_start, last_content = -1, None
    for match in BRACE.finditer(text):
        if match["box"] or match[0] == "{":
            open_braces.append(OpenBrace(match.start(), match.end(), bool(match["box"])))
        elif match[0] == "}" and open_braces:
            brace = open_braces.pop()
            # Sliced only for a box: hostile text has braces in braces, and slicing all of them takes square
            # time.
            content = text[brace.inside : match.start()] if brace.is_box else ""
            if content.strip() and brace.start > last_start:
                last_start, last_content = brace.start, content
    return last_content


def final_answer(completion: str) -> str | None:
    """Returns the answer that a completion ends on, normalised; None if there is none.

    That is its last \\boxed{}, else what stands after its last ####, else a formula in $...$ at its end, or
    its last number.
    """
    text = without_thinking(completion)
    boxed = last_boxed(text)
    if boxed is not None:
        return normalise(boxed)
    formula = FORMULA_AT_END.search(text)
    if formula and "####" not in text and not WORD.search(LATEX_COMMAND.sub(" ", formula[1])):
        return normalise(formula[1])
    # GSM8K marks its answers with ####, and models trained on GSM8K write the mark too.
    marked = text.rsplit("####", 1)[1].strip().split("\n", 1)[0] if "####" in text else ""
    number = last_number(marked) if is_prose(marked) else None
    return number or normalise(marked) or last_number(text)


def gold_answer(solution: str) -> str | None:
    """Returns the final answer that a data set states, normalised; None if there is none.

    That is the answer after ####, or in \\boxed{}, or a whole formula or short text, or the last number of a
    sentence.
    """
    if "####" in solution or last_boxed(solution) is not None:
        return final_answer(solution)
    if is_prose(solution):
        return final_answer(solution)
    return normalise(solution)


def is_prose(text: str) -> bool:
    """Says whether a text is a sentence around its answer: words, and not only a formula with blanks."""
    words = WORD.findall(LATEX_COMMAND.sub(" ", text))
    has_words = len(text.split()) > MOST_WORDS and len(words) >= MOST_WORDS
    if not has_words and not (is_east_asian_sentence(text) and last_number(text)):
        return False
    return parse_number(text) is None


def same_answer(answer: str | None, gold: str | None, *, by_value: bool = True) -> bool:
    """Says whether an answer means what the right answer means; either may be normalised or not.

    Equal forms are equal. Other formulas are equal where math-verify, if it is installed, shows that both are
    of one kind and have one value: see `answer_equality`.

    Args:
        by_value: math-verify may be asked. If not, formulas are compared as they are written.
    """
    form, gold_form = (None if text is None else normalise(text) for text in (answer, gold))
    if form is None or gold_form is None or answer is None or gold is None:
        return False
    # Texts as they were written may state units; an answer of a run is normalised and has none.
    if form == gold_form and state_other_units(plain_text(answer) or "", plain_text(gold) or ""):
        return False
    if form in OPTIONS and form.upper() == gold_form.upper():
        return True
    return same_form(form, gold_form, equal_formulas if by_value else are_never_equal)
