"""How text from a model or a data set is made safe to show in a terminal, a plain file or a page.

Nothing here reads markup: hostile text is shown character by character.
"""

import html
import unicodedata

_JOINERS = "\u200c\u200d"  # invisible, but Persian and emoji need them, and they cannot reorder text
_UNSAFE_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_LONGEST = 1200  # characters of one text in a terminal


def visible(text: str) -> str:
    """Replaces every character that draws nothing, or moves others, by its escape; line breaks stay.

    Covers control codes, bidirectional overrides, lone surrogates, and characters that XML forbids.
    """
    return "".join(_escape(char) if _unsafe(char) else char for char in text)


def _unsafe(char: str) -> bool:
    if char == "\n" or char in _JOINERS:
        return False
    # U+FFFE and U+FFFF, of every plane, are no characters at all.
    return unicodedata.category(char) in _UNSAFE_CATEGORIES or ord(char) & 0xFFFE == 0xFFFE


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def safe(text: object) -> str:
    """Escapes a value for XML and HTML, between tags and inside quoted attributes."""
    return html.escape(visible(str(text)), quote=True)


def one_line(text: str) -> str:
    r"""Makes a text visible on one line: a line break becomes the two characters `\n`."""
    return visible(text).replace("\n", "\\n")


def shortened(text: str, limit: int = _LONGEST) -> str:
    """Cuts a text after `limit` characters and says how many are left out."""
    return text if len(text) <= limit else f"{text[:limit]} ... ({len(text) - limit} more characters)"


def encodable(text: str, stream: object) -> str:
    """Escapes the characters that the encoding of `stream` lacks, such as Chinese in a cp1252 console."""
    # A stream in memory may have no encoding.
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
