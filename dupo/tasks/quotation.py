"""Takes quotes off that a model puts around a translation, and leaves those that answer quotes of the source.

    open quotes   quotes at an end of a text, and quotes inside that lack their partner

Quotes are taken off where the open quotes of what is left are more like those of the source.
"""

import re
from collections import defaultdict
from typing import NamedTuple

# What an opening quote may be closed with.
QUOTES = {
    '"': '"',
    "“": "”",
    "„": '“”"',
    "«": "»",
    "»": "«",
    "‹": "›",
    "「": "」",
    "『": "』",
    "”": "”",
    "‘": "’",
    "《": "》",
}
SINGLE_QUOTES = tuple("'‚‘’")
_QUOTES = re.compile('["“”„«»‹›「」『』《》]+')
_OPENING = set("“„«‹「『《")
_BEFORE_OPENING = set("([（:'’")
_BEHIND_CLOSING = set(".,;:!?)]）。，、！？；：")


class OpenQuotes(NamedTuple):
    """How many quotes of a text have no partner inside.

    Attributes:
        leading: at the beginning, closed at the end or never.
        trailing: at the end, opened at the beginning or never.
        opened: inside, never closed.
        closed: inside, never opened.
    """

    leading: int
    trailing: int
    opened: int
    closed: int


def without_quotes(source: str, text: str) -> str:
    """Returns a text without quotes around it, unless the source has such quotes."""
    if source[:1] in SINGLE_QUOTES and source[-1:] in SINGLE_QUOTES:
        return text
    if len(text) > 2 and text[0] == text[-1] == "'":
        inner = text[1:-1]
        # An apostrophe stands between letters, or else this may be a quote inside.
        is_own = source[:1] in QUOTES or source[-1:] in QUOTES or re.search(r"(?<!\w)'|'(?!\w)", inner)
        return text if is_own else inner
    if len(text) < 3 or text[-1] not in QUOTES.get(text[0], ""):
        return text
    inner = text[1:-1].strip()
    if text[0] == "‘":  # its partner is an apostrophe too
        return text if re.search("[‘’]", inner) or source.startswith("‘") else inner
    if _is_field(text):
        return text
    expected = open_quotes(field_text(source))
    own = open_quotes(text)
    nearer = _distance(own, expected) - _distance(open_quotes(inner), expected)
    # Quotes at both ends that the source has at neither are a wrapper, though quotes inside may be odd.
    is_wrapper = own.leading > 0 and expected.leading == expected.trailing == 0
    return inner if nearer > 0 or (nearer == 0 and is_wrapper) else text


def _is_field(text: str) -> bool:
    """Whether straight quotes are those of a file of comma-separated values, which doubles quotes inside."""
    middle = text.strip('"')
    ends = [len(text) - len(text.lstrip('"')), len(text) - len(text.rstrip('"'))]
    return any(end > 1 and end % 2 for end in ends) or (ends[0] == 1 and '""' in middle)


def _distance(first: OpenQuotes, second: OpenQuotes) -> int:
    return sum(abs(a - b) for a, b in zip(first, second, strict=True))


def field_text(text: str) -> str:
    """Returns the text of a field of comma-separated values: "He said ""yes""." is He said "yes".

    A file may have lost the doubling: where a straight quote opens inside of straight quotes, the outer ones
    are those of the field.
    """
    inner = text.strip()[1:-1]
    if len(text.strip()) < 3 or not (text.strip().startswith('"') and text.strip().endswith('"')):
        return text
    undoubled = inner.replace('""', '"')
    if undoubled != inner and '"' not in inner.replace('""', ""):
        return undoubled
    first = inner.find('"')
    if first <= 0:
        return text
    before, behind = _QUOTES.sub("", inner[:first])[-1:], _QUOTES.sub("", inner[first:])[:1]
    return undoubled if _is_opening(before, behind) is True else text


def open_quotes(text: str) -> OpenQuotes:
    """Counts the quotes of a text that have no partner inside."""
    words = [place for place, char in enumerate(text) if char.isalnum()]
    first, last = (words[0], words[-1]) if words else (0, 0)
    # A stack for each kind: a text may be nothing but quotes, and one stack would be searched for each.
    unclosed = defaultdict[str, list[int]](list)
    trailing = leading = opened = closed = 0
    for run in _QUOTES.finditer(text):
        by_sides = _is_opening(text[run.start() - 1 : run.start()], text[run.end() : run.end() + 1])
        for place in range(run.start(), run.end()):
            quote, is_opening = text[place], by_sides
            if is_opening is None:
                is_opening = quote in _OPENING or (quote in '"”' and not any(unclosed.values()))
            if is_opening:
                unclosed[quote].append(place)
                continue
            stacks = [stack for kind, stack in unclosed.items() if stack and quote in QUOTES.get(kind, "")]
            # The partner is the quote that opened last.
            partner = max(stacks, key=lambda stack: stack[-1]).pop() if stacks else None
            is_outer = place > last and (partner is None or partner < first)
            trailing += is_outer
            leading += is_outer and partner is not None
            closed += partner is None and not is_outer
    places = [place for stack in unclosed.values() for place in stack]
    leading += sum(place < first for place in places)
    opened += sum(place >= first for place in places)
    return OpenQuotes(leading, trailing, opened, closed)


def _is_opening(before: str, behind: str) -> bool | None:
    """Whether a quote opens, by the characters beside its run of quotes; None: these do not say.

    Args:
        before, behind: one character, or none at an end of the text.
    """
    is_after_gap = not before or before.isspace() or before in _BEFORE_OPENING
    is_before_gap = not behind or behind.isspace() or behind in _BEHIND_CLOSING
    return None if is_after_gap == is_before_gap else is_after_gap
