"""Takes what a model writes around a translation off: a lead-in, quotes, bold, a list mark, a fence, a note.

A mark is taken off only where the source has no mark of its kind. A lead-in comes off only where the rest
speaks of translations as often as the source does; a note only where the rest has as many sentences as the
source; "Sure!" only where the source cannot have said so. What cannot be told from the translation stays, or
is refused by the gate `wrapper`.
"""

import re
from collections.abc import Callable, Sequence

from dupo.tasks.chat_words import (
    NOTE_MARK,
    bare_lead_length,
    cheer_length,
    english_cheer_length,
    is_cheer,
    is_english_lead,
    is_label,
    is_plain_lead,
    may_agree,
    names_language,
    num_translation_words,
    opens_note,
    says_here,
    says_more,
    short_opening,
    speaks_of_translation,
    tells_of_a_version,
)
from dupo.tasks.closings import closing_length, num_sentences
from dupo.tasks.languages import language_of
from dupo.tasks.markup import without_markup
from dupo.tasks.quotation import without_quotes

_LEAD = re.compile(r"[^:：\n]{1,70}[:：](?:\*\*|__)?\s*")
_LIST_MARK = re.compile(r"(?:[-*•–—+>]|#{1,6}|\d{1,2}[.)])\s+")
_TAIL = re.compile(r"(?:(?<!\s)\s+)?[(\[（]([^()\[\]（）]+)[)\]）]\s*[.。]?$")
_COLON = re.compile(r"[:：](?!\d)")  # "12:30" introduces nothing
_TAIL_NOTE = re.compile(r"(?<=[.!?。！？\"”»)])\s+(?=\S)")
_OPENING = re.compile(r"[(\[（]")
_ENGLISH_NOTE = re.compile(r"[(\[（*_]*(?:translator['’]s )?note[*_]*:", re.IGNORECASE)
_CLOSING_BRACKETS = ")]）"
_STOPS = ".!?。！？؟"
# These write an ordinal with a dot: "1. Mai".
_DOTTED_ORDINALS = {"cs", "da", "de", "fi", "hr", "hu", "nb", "no", "pl", "tr"}
_MINUS = re.compile(
    r"minus|meno\b|moins|menos|минус|мінус|ناقص|負|负|零下|마이너스|영하|氷点下|マイナス|[-−–]\s?\d"
)
_PLUS = re.compile(r"plus|più|más|mais|плюс|زائد|正|零上|플러스|영상|プラス|\+\s?\d")
_MORE = re.compile(
    r"more than|over|above|mehr als|über|plus de|más de|mais de|più di|более|больше|понад|أكثر"
    r"|이상|초과|넘|以上|超|多于|を上回|więcej|preko|više od|mer än|mere end|mer enn|över|over"
)
# Of the source, where a list mark before a number may stand for these words.
_SIGNS = {"-": _MINUS, "–": _MINUS, "+": _PLUS, ">": _MORE}
_EMPHASIS = ("***", "___", "**", "__", "~~", "```", "*", "_", "`", "|")
MAX_LAYERS = 8  # a lead-in, bold, quotes, a list mark and a note, and some to spare


def bare_lines(source: str, lines: Sequence[str], tgt: str) -> list[str]:
    """Returns the lines of an answer without a fence, and without lines that introduce it or comment on it.

    Args:
        source: the text that was translated.
        lines: of the answer, stripped, none of them empty.
        tgt: code of the target language.
    """
    lines = list(lines)
    # An answer has a line too many where a line is the model's own.
    least = max(1, sum(bool(line.strip()) for line in source.splitlines()))
    while len(lines) > least and _introduces(source, lines[0], "\n".join(lines[1:])):
        lines = lines[1:]
    if len(lines) > least and _is_own_note(source, "\n".join(lines[:-1]), lines[-1], tgt):
        lines = lines[:-1]
    if len(lines) > least and closing_length(source, "\n".join(lines), tgt) == len(lines[-1]):
        lines = lines[:-1]
    is_fenced = len(lines) > 2 and lines[0].startswith("```") and lines[-1] == "```"
    return lines[1:-1] if is_fenced and "```" not in source else lines


def _introduces(source: str, line: str, rest: str) -> bool:
    plain = line.strip("*_# ")
    if is_cheer(plain):
        return num_sentences(rest) >= num_sentences(source)
    is_lead = plain.endswith((":", "：")) and len(plain) <= 90
    return is_lead and speaks_of_translation(plain) and _keeps_translation_words(source, rest)


def _keeps_translation_words(source: str, rest: str) -> bool:
    """Whether a text without its lead-in speaks of translations as often as the source."""
    # "The translation: a hard trade." is the source's own "Die Übersetzung - ein hartes Gewerbe."
    lost = num_translation_words(source) - num_translation_words(rest)
    return lost <= 0 or (speaks_of_translation(rest) and not _COLON.search(source))


def _is_own_note(source: str, translation: str, note: str, tgt: str) -> bool:
    """Whether what follows a translation is a note of the model's own, and no remark of the source."""
    if not NOTE_MARK.match(note):
        return False
    if (
        language_of(tgt) not in ("en", "fr")
        and _ENGLISH_NOTE.match(note)
        and "note:" not in source.casefold()
    ):
        return True
    # A remark of the source may be a note in the translation: "Achtung, ..." becomes "Note: ...".
    is_whole = num_sentences(translation) >= num_sentences(source)
    is_apart = translation.rstrip("\"'”»*_ ").endswith(tuple(_STOPS))
    if note[0] in "([（" and is_apart and is_whole and source.rstrip(_STOPS)[-1:] not in _CLOSING_BRACKETS:
        return NOTE_MARK.search(source) is None
    return not _COLON.search(source) and not opens_note(source) and (note[0] in "([（" or is_whole)


def bare_translation(source: str, text: str, tgt: str) -> str:
    """Returns a translation of one line without what is wrapped around it.

    Args:
        source: the text that was translated.
        text: one line, stripped.
        tgt: code of the target language.
    """
    layers: Sequence[Callable[[str, str], str]] = (
        lambda source, text: without_markup(source, text, tgt),
        lambda source, text: _without_cheer(source, text, tgt),
        lambda source, text: _without_lead(source, text, tgt),
        lambda source, text: _without_list_mark(source, text, tgt),
        _without_emphasis,
        without_quotes,
        lambda source, text: _without_note(source, text, tgt),
        lambda source, text: text[: len(text) - closing_length(source, text, tgt)],
    )
    for _ in range(MAX_LAYERS):
        before = text
        for layer in layers:
            # A layer that leaves nothing was no wrapper.
            text = layer(source, text).strip() or text
        if text == before:
            break
    return text


def _without_cheer(source: str, text: str, tgt: str) -> str:
    length = english_cheer_length(source, text) if language_of(tgt) != "en" else 0
    if length == 0 and not (_opens_apart(source, text) or has_doubtful_opening(source, text)):
        length = cheer_length(source, text)
    return text[length:]


def has_doubtful_opening(source: str, text: str) -> bool:
    """Says whether "Sure!" before a translation may be the source's own, in words that no list has."""
    rest = text[cheer_length(source, text) :]
    is_doubtful = may_agree(source) and not may_agree(rest)
    return rest not in ("", text) and is_doubtful and not _opens_apart(source, text)


def has_lead(text: str, tgt: str) -> bool:
    """Says whether a lead-in was left on a text: "Here is the translation: ..."."""
    lead = _LEAD.match(text)
    head = lead[0].strip("*_:： ").casefold() if lead else ""
    return says_here(head) and (speaks_of_translation(head) or names_language(head, language_of(tgt)))


def _opens_apart(source: str, text: str) -> bool:
    """Whether "Sure!" before a translation is a sentence of the source: without it one is lacking."""
    rest = text[cheer_length(source, text) :]
    is_sentence = short_opening(source).endswith(tuple(_STOPS))
    return is_sentence and num_sentences(rest) < num_sentences(source)


def _without_lead(source: str, text: str, tgt: str) -> str:
    lead = _LEAD.match(text)
    # What begins as data has keys before its colons.
    if text[:1] in ("{", "["):
        return text
    if (length := bare_lead_length(text)) and not _may_speak_of_translation(source):
        return text[length:]
    if lead is None:
        return text
    head, rest = lead[0].strip("*_:： ").casefold(), text[lead.end() :]
    # A lead-in is no sentence, and no beginning of a remark.
    if re.search("[.。?？;；]", head) or len(re.findall("[(（\\[]", head)) != len(
        re.findall("[)）\\]]", head)
    ):
        return text
    language = language_of(tgt)
    num_colons = len(_COLON.findall(source))
    if language != "en" and is_english_lead(head) and not is_english_lead(source.casefold()):
        is_lead = speaks_of_translation(head) or names_language(head, language)
    elif names_language(head, language) or is_label(source, head):
        is_lead = len(_COLON.findall(rest)) >= num_colons
    else:
        # "The German translation: ..." may be the source's own "Die deutsche Fassung: ...".
        has_own_colon = len(_COLON.findall(text)) <= num_colons
        is_own = has_own_colon and (tells_of_a_version(source) or says_more(head))
        is_lead = speaks_of_translation(head) and (
            is_plain_lead(head) and _keeps_translation_words(source, rest)
            if speaks_of_translation(source)
            else not is_own
        )
    return rest if is_lead else text


def _may_speak_of_translation(source: str) -> bool:
    return speaks_of_translation(source) or tells_of_a_version(source)


def _without_list_mark(source: str, text: str, tgt: str) -> str:
    mark = _LIST_MARK.match(text)
    if mark is None or _LIST_MARK.match(source):
        return text
    rest = text[mark.end() :]
    # "- 5 degrees" is the source's "minus 5 Grad".
    if mark[0][0] in _SIGNS and rest[:1].isdigit() and _SIGNS[mark[0][0]].search(source.casefold()):
        return text
    if not mark[0][0].isdigit():
        return rest
    return text if _is_ordinal(source, mark[0], rest, language_of(tgt)) else rest


def _is_ordinal(source: str, mark: str, rest: str, language: str) -> bool:
    """Whether a number with a dot is an ordinal of the source, "1. Mai", and no mark of a list."""
    is_repeated = _has_number(rest, mark)
    if language not in _DOTTED_ORDINALS:
        return mark.strip() in source.split() and not is_repeated
    # A corpus may have no capitals.
    if source[:1].islower():
        return _has_number(source, mark) and not is_repeated
    # A mark of a list stands before a new sentence, an ordinal before a noun, which German writes large.
    starts = _starts_sentence(rest)
    return not starts or (language == "de" and _has_number(source, mark) and not is_repeated)


def _without_emphasis(source: str, text: str) -> str:
    for mark in _EMPHASIS:
        inner = text[len(mark) : -len(mark)]
        if text.startswith(mark) and text.endswith(mark) and mark[0] not in source and mark[0] not in inner:
            return inner
    return text


def _without_note(source: str, text: str, tgt: str) -> str:
    tail = _TAIL.search(text)
    # A bracket that the source has too is no note.
    if tail and _has_brackets_left(source, text):
        return text
    if tail and tail.start():
        is_note = _is_own_note(source, text[: tail.start()], tail[0].strip(), tgt) or _tells_of_translating(
            source, text, tail[1]
        )
        return text[: tail.start()] if is_note else text
    for gap in _TAIL_NOTE.finditer(text):
        if NOTE_MARK.match(text[gap.end() :]):
            is_note = _is_own_note(source, text[: gap.start()], text[gap.end() :], tgt)
            return text[: gap.start()] if is_note else text
    return text


def _has_brackets_left(source: str, text: str) -> bool:
    """Whether a text has no bracket more than the source, which ends with one and has no note."""
    is_as_many = len(_OPENING.findall(text)) <= len(_OPENING.findall(source))
    return is_as_many and source.rstrip(_STOPS)[-1:] in tuple(_CLOSING_BRACKETS)


def _tells_of_translating(source: str, text: str, inside: str) -> bool:
    # "(translated from Latin)" may be the source's "(aus dem Lateinischen)".
    is_added = len(_OPENING.findall(text)) > len(_OPENING.findall(source))
    return is_added and speaks_of_translation(inside) and not speaks_of_translation(source)


def _has_number(source: str, mark: str) -> bool:
    number = re.match(r"\d+", mark)
    return number is not None and re.search(rf"(?<![\d.,]){number[0]}(?![.,]?\d)", source) is not None


def _starts_sentence(text: str) -> bool:
    # Scripts without capitals have no ordinals with a dot.
    return text[:1].isupper() or text[:1].lower() == text[:1].upper() or not text[:1].isalpha()
