"""Takes markup off that a model puts around a translation: tags, data, boxes, brackets, ends of a turn.

A mark is taken off only where the source has no mark of its kind, and only as a whole: what is left of a half
is refused (`is_data`).
"""

import json
import re
from itertools import accumulate

from dupo.tasks.chat_words import names_language
from dupo.tasks.languages import language_of

_TURN = r"(?:</?s>|<\|[\w ]+\|>|<(?:eos|bos|pad|end_of_turn|start_of_turn)>|<br ?/?>)"
_TURNS = re.compile(rf"\A(?:\s*{_TURN})+|(?:{_TURN}\s*)+\Z", re.IGNORECASE)
_TAG = re.compile(r"<([\w-]+)(?: [^<>]*)?>\s*([^<>]*?)\s*</\1>", re.DOTALL)
_BOX = re.compile(r"\$*\\(?:boxed|text|textbf|mathrm|fbox)\{([^{}]*)\}\$*")
_DATA = re.compile(r"\s*[{\[]\s*[\"'“]\w|.*\S[\"'”]\s*[}\]]\s*\Z", re.DOTALL)
_BRACKETS = {"(": ")", "[": "]", "（": "）", "【": "】"}
_ANY_BRACKET = re.compile(r"[()\[\]（）【】]")
_LABEL = re.compile(
    r"\A[(\[（【]([^()\[\]（）【】]{1,30})[)\]）】]\s*|(?:(?<!\s)\s+)?[(\[（【]([^()\[\]（）【】]{1,30})[)\]）】]\Z"
)
_SYMBOLS = "[\u2600-\u27bf\U0001f300-\U0001faff\ufe0f]"
_OUTER_SYMBOLS = re.compile(rf"\A(?:{_SYMBOLS}\s*)+|(?<!\s)(?:\s*{_SYMBOLS})+\Z")
# What a post or a signature ends with, and what a source with it has. Here and elsewhere a run of blanks is
# looked at from its start alone: from each place of a long run, it would take square time.
_TAILS = {
    "http": re.compile(r"(?<!\s)\s+https?://\S+\Z"),
    "#": re.compile(r"(?<!\s)(?:\s+#\w+)+\Z"),
    "..": re.compile(r"(?<=[.!?。！？])\s+\.{3}\Z"),
    "…": re.compile(r"(?<=[.!?。！？])\s+…\Z"),
    "DeepL": re.compile(r"(?<!\s)\s+[(—–-]\s*(?:DeepL|Google Translate|ChatGPT|Papago)\)?\Z"),
}
UNSEEN = "\u200b\u2060\ufeff"
KEYS = {"translation", "translated", "translated_text", "target", "output", "answer", "text", "result"}


def without_markup(source: str, text: str, tgt: str) -> str:
    """Returns a text without one kind of markup around it, or the text.

    Args:
        source: the text that was translated.
        text: what a model wrote.
        tgt: code of the target language.
    """
    text = text.strip(UNSEEN)
    for mark, tail in _TAILS.items():
        text = text if mark in source else tail.sub("", text)
    if "<" not in source:
        text = _TURNS.sub("", text)
        if tag := _TAG.fullmatch(text):
            return tag[2]
    if "\\" not in source and (box := _BOX.fullmatch(text)):
        return box[1]
    if re.search(_SYMBOLS, source) is None:
        text = _OUTER_SYMBOLS.sub("", text) or text
    if not re.search(r"[{\[]", source) and text[:1] in ("{", "["):
        text = _value(text, tgt) or text
    is_added = len(_ANY_BRACKET.findall(text)) > len(_ANY_BRACKET.findall(source))
    return _without_brackets(source, text, tgt) if is_added else text


def is_data(source: str, text: str) -> bool:
    """Says whether a text is data, or a half of such, and the source is none: '{"translation": "..."}'."""
    return not re.search(r"[{\[]", source) and _DATA.match(text) is not None


def _value(text: str, tgt: str) -> str | None:
    """Returns the one text in data, or that of a translation."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):  # a thousand brackets in one another are no answer
        return None
    if isinstance(data, dict):
        texts = {str(key).casefold(): value for key, value in data.items()}
        named = [
            value for key, value in texts.items() if key in KEYS or names_language(key, language_of(tgt))
        ]
        data = named if len(named) == 1 else list(texts.values())
    return data[0] if isinstance(data, list) and len(data) == 1 and isinstance(data[0], str) else None


def _without_brackets(source: str, text: str, tgt: str) -> str:
    label = _LABEL.search(text)
    if label and names_language(label[1] or label[2], language_of(tgt)):
        return text[: label.start()] + text[label.end() :]
    return text[1:-1] if _is_bracketed(text) and source[:1] not in _BRACKETS else text


def _is_bracketed(text: str) -> bool:
    """Whether the bracket at the beginning of a text is closed by that at the end."""
    opening, closing = text[:1], _BRACKETS.get(text[:1])
    depths = accumulate((char == opening) - (char == closing) for char in text)
    return (
        closing is not None and next((k for k, depth in enumerate(depths) if depth == 0), 0) == len(text) - 1
    )
