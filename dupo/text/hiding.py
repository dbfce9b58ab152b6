"""Finds and hides the numbers of many texts, in C++ where the extension is built; see `dupo.text.numbers`."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dupo.text import extension, numbers
from dupo.text.numbers import REASONS, ROLES, Hidden, Number

MOST_HIDDEN = 256  # hidden numbers of one text: a text with more numbers is a table, not a problem

# The last reason of the C++ enum says that the number may be hidden.
_SKIP: tuple[str | None, ...] = (*REASONS, None)


def find_numbers(texts: Sequence[str], *, threads: int = 1) -> list[list[Number]]:
    """Finds the numbers of each text from left to right. `Number.skip` says why a number may not be hidden.

    The rules are those of `dupo.text.numbers`; docs/duals.md has a table of the rules. `threads` share the
    work and do not change the result.

    Raises:
        ValueError: half a surrogate pair in a text (no UTF-8 exists for it), or threads below 1.
    """
    _check_texts(texts, threads)
    core = extension.core()
    # Only the twin needs the check beforehand: the extension refuses a lone surrogate by itself.
    if core is None:
        return [numbers.find_numbers(_checked_text(texts, i)) for i in range(len(texts))]
    rows_of_texts = _read(core.find_numbers, texts, threads)
    return [_numbers(text, rows) for text, rows in zip(texts, rows_of_texts, strict=True)]


def hide_numbers(
    texts: Sequence[str], seeds: Sequence[int], *, most: int = MOST_HIDDEN, threads: int = 1
) -> list[list[Hidden]]:
    """Hides each number that may be hidden, in turn, wherever the number stands (DuPO, appendix A).

    Args:
        texts: the texts.
        seeds: one unsigned 64-bit integer per text. The seed alone decides the names of the variables, and
            which numbers are hidden where a text has more than `most`.
        most: hidden numbers per text, 1 to 256. Every hidden number costs a copy of the text.
        threads: share the work and do not change the result.

    Returns:
        For each text one `Hidden` per different number, in the order of first appearance.

    Raises:
        ValueError: half a surrogate pair in a text, or an argument out of range.
    """
    _check_texts(texts, threads)
    if len(seeds) != len(texts) or not all(0 <= seed < 2**64 for seed in seeds):
        raise ValueError(f"seeds: expected {len(texts)} integers from 0 to 2**64 - 1, one a text")
    if not 1 <= most <= MOST_HIDDEN:
        raise ValueError(f"most: expected 1 to {MOST_HIDDEN}, got {most}")
    core = extension.core()
    if core is None:
        return [numbers.hide_numbers(_checked_text(texts, i), seed, most) for i, seed in enumerate(seeds)]
    hidden_of_texts = _read(core.hide_numbers, texts, np.array(seeds, dtype=np.uint64), most, threads)
    return [
        [Hidden(known, variable, tuple(_numbers(text, rows))) for known, variable, rows in hidden]
        for text, hidden in zip(texts, hidden_of_texts, strict=True)
    ]


def _check_texts(texts: Sequence[str], threads: int) -> None:
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"texts: expected a list of str, got {str(texts)[:40]!r}")
    if threads < 1:
        raise ValueError(f"threads: expected at least 1, got {threads}")


def _checked_text(texts: Sequence[str], index: int) -> str:
    try:
        texts[index].encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"texts[{index}]: expected text, got half a surrogate pair at character {error.start}"
        ) from None
    return texts[index]


def _read(function: Callable[..., list[Any]], texts: Sequence[str], *args: object) -> list[Any]:
    """Calls a function of the extension. Looks for the text at fault only after the function has refused."""
    try:
        return function(list(texts), *args)
    except UnicodeEncodeError:
        for index in range(len(texts)):
            _checked_text(texts, index)
        raise


def _numbers(text: str, rows: list[tuple[int, int, int, int, int, int, int]]) -> list[Number]:
    return [
        Number(
            start, end, text[start:end], Fraction(numerator, denominator), ROLES[role], _SKIP[skip], quantity
        )
        for start, end, numerator, denominator, role, skip, quantity in rows
    ]
