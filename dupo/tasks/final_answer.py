"""The final answer of a completion, normalised: equal answers are equal strings."""

import re
from typing import NamedTuple

from dupo.tasks.answer_numbers import MAX_ANSWER, clean_markup, format_number, last_number, parse_number

# \boxed{ and \fboxed{, an escaped character (which opens and closes nothing), or a brace.
BRACE = re.compile(r"(?P<box>\\f?boxed ?\{)|\\.|[{}]")
COMMA_MARK = "\x00"  # stands for the space after a comma while other spaces are taken out


def normalise(text: str) -> str | None:
    """Returns an answer as the string of all equal answers; None if nothing is left, or far too much.

    A number is written in one way. Other text loses its markup, its capitals (unless it is LaTeX) and spaces
    beside signs. One space stays after each comma, so that (3, 148) is not read as 3148.
    """
    value = parse_number(text)
    if value is not None:
        return format_number(value)
    text = re.sub(r",(?: |(?![0-9]{3}(?![0-9])))", f",{COMMA_MARK}", clean_markup(text))
    text = re.sub(r"(?<!\w) | (?!\w)", "", text).replace(COMMA_MARK, " ").strip()
    if len(text) > MAX_ANSWER:
        return None
    return (text if "\\" in text else text.casefold()) or None


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

    That is its last \\boxed{}, else the number (or, without a number, the text) after its last ####, else its
    last number.
    """
    text = without_thinking(completion)
    boxed = last_boxed(text)
    if boxed is not None:
        return normalise(boxed)
    # GSM8K marks its answers with ####, and models trained on GSM8K write the mark too.
    marked = text.rsplit("####", 1)[1].strip().split("\n", 1)[0] if "####" in text else ""
    value = parse_number(marked)
    if value is not None:
        return format_number(value)
    return last_number(marked) or normalise(marked) or last_number(text)
