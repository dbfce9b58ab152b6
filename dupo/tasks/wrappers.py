"""Takes what a model writes around a translation off: a lead-in, quotes, bold, a list mark, a fence, a note.

A mark is taken off only where the source has no mark of its kind. A lead-in comes off only where the source
does not speak of translations, a note only where the source has no remark behind a colon and loses no
sentence. What cannot be told from the translation stays.
"""

import re
from collections.abc import Callable, Sequence

from dupo.tasks.chat_words import NOTE_MARK, opens_note, speaks_of_translation, tells_of_a_version
from dupo.tasks.languages import LANGUAGES

QUOTES = {
    '"': '"',
    "“": "”",
    "„": "“”",
    "«": "»",
    "»": "«",
    "‹": "›",
    "「": "」",
    "『": "』",
    "”": "”",
    "‘": "’",
    "《": "》",
}
CLOSING_QUOTES = set("".join(QUOTES.values()))
_QUOTE = re.compile('["“”„«»‹›「」『』《》]')
_LEAD = re.compile(r"[^:：\n]{1,70}[:：](?:\*\*|__)?\s*")
_LIST_MARK = re.compile(r"(?:[-*•–—+>]|#{1,6}|\d{1,2}[.)])\s+")
_CHEER = re.compile(r"(?:sure|certainly|of course|absolutely|okay|no problem|gladly)(?: thing)?\s*!\s*", re.I)
_TAIL = re.compile(r"\s*[(\[（]([^()\[\]（）]+)[)\]）]\s*[.。]?$")
_SENTENCE_END = re.compile(r"[.!?]+(?=\W*(?:\s|$))|[。！？؟]")
_COLON = re.compile(r"[:：](?!\d)")  # "12:30" introduces nothing
_TAIL_NOTE = re.compile(r"(?<=[.!?。！？\"”»)])\s+(?=\S)")
_OPENING = re.compile(r"[(\[（]")
_EMPHASIS = ("**", "__", "*", "_", "`")
MAX_LAYERS = 8  # a lead-in, bold, quotes, a list mark and a note, and some to spare


def bare_lines(source: str, lines: Sequence[str]) -> list[str]:
    """Returns the lines of an answer without a fence, and without lines that introduce it or comment on it.

    Args:
        source: the text that was translated.
        lines: of the answer, stripped, none of them empty.
    """
    lines = list(lines)
    # An answer has a line too many where a line is the model's own.
    least = max(1, sum(bool(line.strip()) for line in source.splitlines()))
    while len(lines) > least and _introduces(source, lines[0]):
        lines = lines[1:]
    if len(lines) > least and _is_own_note(source, "\n".join(lines[:-1]), lines[-1]):
        lines = lines[:-1]
    is_fenced = len(lines) > 2 and lines[0].startswith("```") and lines[-1] == "```"
    return lines[1:-1] if is_fenced and "```" not in source else lines


def _introduces(source: str, line: str) -> bool:
    plain = line.strip("*_# ")
    if _CHEER.fullmatch(plain):
        return re.search("[!！¡]", source) is None
    is_lead = plain.endswith((":", "：")) and len(plain) <= 90
    return is_lead and speaks_of_translation(plain) and not speaks_of_translation(source)


def _is_own_note(source: str, translation: str, note: str) -> bool:
    """Whether what follows a translation is a note of the model's own, and no remark of the source."""
    if not NOTE_MARK.match(note) or _COLON.search(source) or opens_note(source):
        return False
    # A remark of the source may be a note in the translation: "Achtung, ..." becomes "Note: ...".
    return note[0] in "([（" or _num_sentences(translation) >= _num_sentences(source)


def _num_sentences(text: str) -> int:
    return max(1, len(_SENTENCE_END.findall(text)))


def bare_translation(source: str, text: str, target_name: str = "") -> str:
    """Returns a translation of one line without what is wrapped around it.

    Args:
        source: the text that was translated.
        text: one line, stripped.
        target_name: name of the target language: "German: ..." is a lead-in.
    """
    layers: Sequence[Callable[[str, str], str]] = (
        lambda source, text: _without_lead(source, text, target_name),
        _without_list_mark,
        _without_emphasis,
        _without_quotes,
        _without_note,
    )
    for _ in range(MAX_LAYERS):
        before = text
        for layer in layers:
            # A layer that leaves nothing was no wrapper.
            text = layer(source, text).strip() or text
        if text == before:
            break
    return text


def _without_lead(source: str, text: str, target_name: str) -> str:
    lead = _LEAD.match(text)
    if lead is None:
        return text
    head = lead[0].strip("*_:： ").casefold()
    # "The German translation: ..." may be the source's own "Die deutsche Fassung: ...".
    is_kept = tells_of_a_version(source) and len(_COLON.findall(text)) <= len(_COLON.findall(source))
    names_target = head == target_name.casefold() != "" and not re.search("[:：]", source)
    if names_target or (speaks_of_translation(head) and not speaks_of_translation(source) and not is_kept):
        return text[lead.end() :]
    return text


def _without_list_mark(source: str, text: str) -> str:
    mark = _LIST_MARK.match(text)
    if mark is None or _LIST_MARK.match(source):
        return text
    # "1. Mai" is a date. A number is a mark of a list if the source lacks the number, or the rest repeats it.
    # A mark of a list stands before a new sentence.
    rest = text[mark.end() :]
    if mark[0][0].isdigit():
        is_of_text = _has_number(source, mark[0]) and not _has_number(rest, mark[0])
        return text if is_of_text or not _starts_sentence(rest) else rest
    return rest


def _without_emphasis(source: str, text: str) -> str:
    for mark in _EMPHASIS:
        inner = text[len(mark) : -len(mark)]
        if text.startswith(mark) and text.endswith(mark) and mark[0] not in source and mark[0] not in inner:
            return inner
    return text


def _without_quotes(source: str, text: str) -> str:
    if not _is_quoted(text):
        return text
    inner = text[1:-1].strip()
    source = _undoubled(source)
    # Quotes of a quoted source are the translation's own, unless there are as many without them.
    if _is_quoted(_without_stop(source)):
        return inner if len(_QUOTE.findall(inner)) >= len(_QUOTE.findall(source)) else text
    return text if _is_inside_quotation(source) else inner


def _is_inside_quotation(source: str) -> bool:
    """Whether a source begins or ends a quotation that goes on elsewhere."""
    ends = _without_stop(source)
    is_open = len(_QUOTE.findall(source)) % 2 == 1
    return is_open and (ends[:1] in QUOTES or ends[-1:] in CLOSING_QUOTES)


def _without_stop(source: str) -> str:
    return source.strip(" .。!?！？")


def _undoubled(source: str) -> str:
    """A field of comma-separated values as its text: "He said ""yes""." is He said "yes"."""
    inner = source.strip()[1:-1]
    is_field = source.strip().startswith('"') and source.strip().endswith('"') and '""' in inner
    return inner.replace('""', '"') if is_field and '"' not in inner.replace('""', "") else source


def _is_quoted(text: str) -> bool:
    """Whether the first character is a quote that the last one closes."""
    opening, closing = text[:1], text[-1:]
    if len(text) < 3 or opening not in QUOTES or closing not in QUOTES[opening]:
        return False
    inner = text[1:-1]
    if opening != closing:
        return _is_balanced(inner, opening, closing)
    leading = len(text) - len(text.lstrip(opening))
    # A file of comma-separated values doubles the quotes inside its own: three to begin with, never two.
    if leading > 1:
        return leading % 2 == 0
    if opening * 2 in inner:
        return False
    places = [place for place, char in enumerate(inner) if char == opening]
    # Of straight quotes, the first inside opens and the last closes.
    opens = not places or inner[places[0] - 1] in " (\u00a0（，：:,"
    return len(places) % 2 == 0 and opens


def _is_balanced(inner: str, opening: str, closing: str) -> bool:
    # German closes with the quote with which English opens.
    if opening == "„" and opening not in inner:
        opening, closing = "“", "”"
    depth = 0
    for char in inner:
        depth += (char == opening) - (char == closing)
        if depth < 0:
            return False
    return depth == 0


def _without_note(source: str, text: str) -> str:
    tail = _TAIL.search(text)
    if tail and tail.start():
        is_note = _is_own_note(source, text[: tail.start()], tail[0].strip()) or _tells_of_translating(
            source, text, tail[1]
        )
        return text[: tail.start()] if is_note else text
    for gap in _TAIL_NOTE.finditer(text):
        if NOTE_MARK.match(text[gap.end() :]):
            is_note = _is_own_note(source, text[: gap.start()], text[gap.end() :])
            return text[: gap.start()] if is_note else text
    return text


def _tells_of_translating(source: str, text: str, inside: str) -> bool:
    # "(translated from Latin)" may be the source's "(aus dem Lateinischen)".
    is_added = len(_OPENING.findall(text)) > len(_OPENING.findall(source))
    return is_added and speaks_of_translation(inside) and not speaks_of_translation(source)


def target_name(code: str) -> str:
    """Returns the English name of a language, empty if it has none here."""
    return LANGUAGES.get(code, "")


def _has_number(source: str, mark: str) -> bool:
    number = re.match(r"\d+", mark)
    return number is not None and re.search(rf"(?<!\d){number[0]}(?!\d)", source) is not None


def _starts_sentence(text: str) -> bool:
    # Scripts without capitals have no ordinals with a dot.
    return text[:1].isupper() or text[:1].lower() == text[:1].upper() or not text[:1].isalpha()
