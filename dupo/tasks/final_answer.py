"""The final answer of a completion, the gold answer of a data set, and whether the two mean the same.

Answers are normalised: equal strings are equal answers, for votes and for the cache of rewards. Beside the
gold answer two different strings may still be equal: \\sqrt{12} and 2\\sqrt{3}.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from dupo.tasks.answer_endings import last_answer, last_number
from dupo.tasks.answer_equality import are_never_equal, same_form
from dupo.tasks.answer_forms import write_form
from dupo.tasks.answer_numbers import (
    MAX_ANSWER,
    PLAIN_INTEGER,
    format_number,
    is_percentage,
    parse_number,
    right_side,
    stated_value,
)
from dupo.tasks.answer_quantities import TWO_UNITS, Answer, are_other_units, compound, same_amount, unit_of
from dupo.tasks.answer_sentences import is_east_asian_sentence
from dupo.tasks.answer_text import FUNCTIONS, plain_text
from dupo.tasks.answer_units import MAX_VARIABLES, without_trailing_unit
from dupo.tasks.math_equality import equal_formulas

# \boxed{ and \fboxed{, an escaped character (which opens and closes nothing), or a brace.
BRACE = re.compile(r"(?P<box>\\(?:f?boxed|fbox|framebox)\s*\{)|(?P<bare>\\f?boxed(?![A-Za-z{]))|\\.|[{}]")
# $\boxed 5$, \boxed\frac{1}{2}: a number, or a command with its arguments.
BARE_CONTENT = re.compile(
    r"\s*(?P<content>-?(?:[0-9]+(?:[.,][0-9]+)*|\\[A-Za-z]+(?: ?(?:\{[^{}]*\}|[0-9]))*|[A-Za-z]))"
)
MOST_BOXES = 4  # of one answer: \boxed{5} or \boxed{6}
BETWEEN_BOXES = re.compile(r"[\s$]*(,|or|and)[\s$]*")
MOST_ROUNDS = 6  # a text that is no formula may change in every round: such a text is no answer
MOST_WORDS = 4  # a gold answer of more is a sentence that ends on its number
# A single sentence without a box states its answer if one of these stands before the last number.
VERB = re.compile(r"\b(?:is|are|was|were|be|equals?|makes?|gives?|answer|so|total)\b|=\s*\Z", re.I)
SENTENCE_END = re.compile(r"[.!?]\s+[A-Z]|\n|[。！？]\s*\S")
LATEX_COMMAND = re.compile(r"\\[A-Za-z]+")
# "(B) 12" beside B or 12, "Option B".
OPTION_AND_VALUE = re.compile(r"\(?([A-E])[).] ?([-0-9\\].*)")
NAMED_OPTION = re.compile(r"(?:option|choice) ?:? ?\(?([A-E])\)?", re.I)
OPTIONS = frozenset("abcdeABCDE")  # of a multiple choice: a small letter is the capital
WORD = re.compile(r"[^\W\d_]{2,}")
# Beside a formula these make a list; between two words they are words.
JOINER = re.compile(r"(?<![A-Za-z])(?:(?:or|and)(?! [A-Za-z]{3})|(?<![A-Za-z]{3} )(?:or|and))(?![A-Za-z])")
BLANKS_OF_FORMULA = re.compile(r"\s*([-+*/=^_<>|&(){}\[\],;])\s*")
_LETTERS = f"[A-Za-z]{{2,{MAX_VARIABLES}}}"
_OF_FORMULA = r"-+*/=^_<>|&(){}\[\]"
# Letters that operators, digits or brackets make a product of variables: ab + bc, 2abc.
PRODUCT = re.compile(
    rf"(?<=[{_OF_FORMULA}0-9]){_LETTERS}(?=[{_OF_FORMULA},;]|\Z| [A-Za-z](?![A-Za-z]))"
    rf"|(?<![^,;]){_LETTERS}(?=[{_OF_FORMULA}])"
)


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
        two = TWO_UNITS.fullmatch(plain)
        quantity = compound(two["before"], two["number"], two["after"]) if two else None
        if quantity:
            return quantity
        option = NAMED_OPTION.fullmatch(plain)
        if option:
            return option[1].upper()
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
    last_start, last_content, last_end = -1, None, -1
    parts = list[str]()
    for match in BRACE.finditer(text):
        if match["bare"]:
            bare = BARE_CONTENT.match(text, match.end())
            if bare and match.start() > last_start:
                last_start, last_content, last_end = match.start(), bare["content"], bare.end()
        elif match["box"] or match[0] == "{":
            open_braces.append(OpenBrace(match.start(), match.end(), bool(match["box"])))
        elif match[0] == "}" and open_braces:
            brace = open_braces.pop()
            # Sliced only for a box: hostile text has braces in braces, and slicing all of them takes square
            # time.
            content = text[brace.inside : match.start()] if brace.is_box else ""
            if content.strip() and brace.start > last_start:
                between = BETWEEN_BOXES.fullmatch(text, last_end, brace.start) if last_content else None
                parts = [*parts, content] if between and content not in parts else [content]
                content = f" {between[1]} ".join(parts) if between and len(parts) <= MOST_BOXES else content
                last_start, last_content, last_end = brace.start, content, match.end()
    return last_content


def final_answer(completion: str) -> Answer | None:
    """Returns the answer that a completion ends on, normalised, with its unit; None if there is none.

    That is its last \\boxed{}, else what stands after its last ####, else its last formula or number.
    """
    text = without_thinking(completion)
    boxed = last_boxed(text)
    if boxed is not None:
        return _normal(boxed)
    if "####" not in text:
        return _normal(last_answer(text))
    # GSM8K marks its answers with ####, and models trained on GSM8K write the mark too.
    marked = text.rsplit("####", 1)[1].strip().split("\n", 1)[0]
    number = last_number(marked) if is_prose(marked) else None
    return _normal(number) or _normal(marked) or _normal(last_number(text))


def _normal(text: str | None) -> Answer | None:
    """The normal form of an answer, with the unit of the answer as it was written."""
    form = None if text is None else normalise(text)
    return None if text is None or form is None else Answer(form, unit_of(text))


def gold_answer(solution: str) -> Answer | None:
    """Returns the final answer that a data set states, normalised, with its unit; None if there is none.

    That is the answer after ####, or in \\boxed{}, or a whole formula or short text, or the last number of a
    sentence. Words that state no number stay words: "all real numbers except 3".
    """
    if "####" in solution or last_boxed(solution) is not None:
        return final_answer(solution)
    if is_prose(solution) and parse_number(solution) is None and _states_its_number(solution):
        return final_answer(solution)
    return _normal(solution)


def _states_its_number(text: str) -> bool:
    """Says whether the last number of a text is what the text says: "the number of ways is 12"."""
    places = [match.start() for match in re.finditer("[0-9]+", text)]
    if not places or SENTENCE_END.search(text.strip()) or is_east_asian_sentence(text):
        return True
    return bool(VERB.search(text[: places[-1]]))


def is_prose(text: str) -> bool:
    """Says whether a text is a sentence around its answer: words, and not only a formula with blanks."""
    has_words = False
    if len(text.split()) > MOST_WORDS:
        plain = " ".join(LATEX_COMMAND.sub(" ", text).split())
        formula = PRODUCT.sub(" ", BLANKS_OF_FORMULA.sub(r"\1", JOINER.sub(";", plain)))
        has_words = sum(word not in FUNCTIONS for word in WORD.findall(formula)) >= MOST_WORDS
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
    units = unit_of(answer), unit_of(gold)
    # 20% is 20 where a question asks for a percentage, and never 20 km or 20 people.
    if form.endswith("%") != gold_form.endswith("%") and (units[0] or units[1]):
        return False
    if are_other_units(*units):
        return same_amount(Answer(form, units[0]), Answer(gold_form, units[1]))
    options = [OPTION_AND_VALUE.fullmatch(text) for text in (form, gold_form)]
    if any(options):
        return _same_option(options, (form, gold_form), by_value=by_value)
    if form in OPTIONS and form.upper() == gold_form.upper():
        return True
    return same_form(form, gold_form, equal_formulas if by_value else are_never_equal)


def _same_option(options: Sequence[re.Match[str] | None], forms: tuple[str, str], *, by_value: bool) -> bool:
    """Compares options with their values: letters where both have one, else values."""
    letters = [
        option[1] if option else form.upper() if form in OPTIONS else ""
        for option, form in zip(options, forms, strict=True)
    ]
    if all(letters):
        return letters[0] == letters[1]
    values = [option[2] if option else form for option, form in zip(options, forms, strict=True)]
    return same_answer(values[0], values[1], by_value=by_value)
