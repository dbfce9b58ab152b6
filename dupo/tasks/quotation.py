"""Takes quotes off that a model puts around a translation, and leaves those that answer quotes of the source.

    open quotes   quotes at an end of a text, and quotes inside that lack their partner

Quotes are taken off where the open quotes of what is left are more like those of the source.
"""

import re
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
_QUOTE = re.compile('["“”„«»‹›「」『』《》]')
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
    return undoubled if first > 0 and _is_opening(inner, first) is True else text


def open_quotes(text: str) -> OpenQuotes:
    """Counts the quotes of a text that have no partner inside."""
    words = [place for place, char in enumerate(text) if char.isalnum()]
    first, last = (words[0], words[-1]) if words else (0, 0)
    unclosed = list[int]()
    leading = trailing = opened = closed = 0
    for match in _QUOTE.finditer(text):
        place = match.start()
        is_opening = _is_opening(text, place)
        if is_opening is None:
            is_opening = match[0] in _OPENING or (match[0] in '"”' and not unclosed)
        if is_opening:
            unclosed.append(place)
            continue
        partner = next((p for p in reversed(unclosed) if match[0] in QUOTES.get(text[p], "")), None)
        if partner is not None:
            unclosed.remove(partner)
        is_outer = place > last and (partner is None or partner < first)
        trailing += is_outer
        leading += is_outer and partner is not None
        closed += partner is None and not is_outer
    leading += sum(place < first for place in unclosed)
    opened += sum(place >= first for place in unclosed)
    return OpenQuotes(leading, trailing, opened, closed)


def _is_opening(text: str, place: int) -> bool | None:
    """Whether a quote opens, by the characters on its sides; None: these do not say."""
    before, behind = _QUOTE.sub("", text[:place])[-1:], _QUOTE.sub("", text[place:])[:1]
    is_after_gap = not before or before.isspace() or before in _BEFORE_OPENING
    is_before_gap = not behind or behind.isspace() or behind in _BEHIND_CLOSING
    return None if is_after_gap == is_before_gap else is_after_gap
