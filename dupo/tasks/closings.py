"""What a model writes behind a translation: "I hope this helps!", an explanation, a second translation.

A closing comes off where the rest has as many sentences as the source. An explanation or a second translation
cannot be told from the first for sure, so the gate `wrapper` refuses these.
"""

import re

from dupo.tasks.chat_words import speaks_of_translation
from dupo.tasks.languages import language_of
from dupo.tasks.refusals import speaks_of_this_text
from dupo.tasks.words import words_of

_ENGLISH = (
    r"(?:i )?hope (?:this|that|it|the translation)\b"
    r"|(?:please )?(?:feel free to|let me know|don['’]t hesitate)"
    r"|is there anything else|if you (?:have|need) any|if you need (?:more|further)|would you like me to"
)
_OTHERS = r"""ich hoffe, (?:das|dies|diese|die übersetzung)|lass(?:en sie)? (?:es )?mich (?:gerne )?wissen
    |wenn (?:sie|du) (?:weitere|noch)|j['’]espère que (?:cela|cette|ça)|n['’]hésite[zr]|faites-moi savoir
    |espero que (?:esto|esta traducción|te|le)|no dud[ea]s? en|(?:av[ií]s[ae]|házme)|espero que isso
    |(?:이 번역이 )?도움이 되(?:었|셨|길|기)|추가 (?:질문|도움)|궁금한 점|더 필요한|언제든지
    |お役に立て|ご参考に|何かご不明|他にご質問|お気軽に|希望(?:这|對|对|能|此)|如果您?(?:还)?(?:需要|有(?:任何|其他|什么))
    |请随时|nadam se da|javite mi|jag hoppas att (?:det|den)|hör av dig
    |надеюсь,? (?:это|перевод)|spero che questo"""
_ALL = "|".join(line.strip(" |") for line in [_ENGLISH, *_OTHERS.splitlines()])
_IS_CLOSING = re.compile(_ALL, re.IGNORECASE)
_LAST = r"(?<=[.!?。！？\"”»」)\n])\s*((?:{})[^.!?。！？\n]*[.!?。！？]*\s*)\Z"
_LAST_ENGLISH, _LAST_CLOSING = (re.compile(_LAST.format(words), re.IGNORECASE) for words in (_ENGLISH, _ALL))
# The stop of an initial ends nothing: "U.S.", "M. Pittman".
_SENTENCE_END = re.compile(r"(?<!\b\w)[.!?]+(?=[^\w\s]*(?:\s|$))|[。！？؟]")
# A long run of blanks is looked at from its start alone, see `markup`.
_SEPARATOR = re.compile(
    r"(?<!\s)\s+[/|]\s+"
    r"|\b(?:or|alternatively|oder|alternativ|ou|o bien|또는|或者|または|あるいは)\s?[:：]",
    re.IGNORECASE,
)
LEAST_WEIGHT = 16.0  # letters of a translation, of which there may be two
MAX_CLOSINGS = 8  # sentences to a user behind a translation
BALANCE = 0.5  # the shorter of two translations has at least this share of the letters of the longer


def closing_length(source: str, text: str, tgt: str) -> int:
    """Returns the length of the sentences to a user at the end of a text, or 0: "I hope this helps!"."""
    end = len(text)
    for _ in range(MAX_CLOSINGS):
        if closing := _last_closing(source, text[:end], tgt):
            end = closing.start(1)
    return len(text) - end


def _last_closing(source: str, text: str, tgt: str) -> re.Match[str] | None:
    """Finds the last sentence of a text, if it speaks to a user and is none of the source's."""
    if _IS_CLOSING.search(source):
        return None
    if language_of(tgt) != "en" and (closing := _LAST_ENGLISH.search(text)):
        return closing
    closing = _LAST_CLOSING.search(text)
    if closing is None:
        return None
    is_of_translation = speaks_of_translation(closing[1]) and not speaks_of_translation(source)
    is_whole = num_sentences(text[: closing.start()]) >= num_sentences(source)
    return closing if is_whole or is_of_translation else None


def num_sentences(text: str) -> int:
    """Returns the number of sentences of a text."""
    return max(1, len(_SENTENCE_END.findall(text)))


def explains(source: str, text: str) -> bool:
    """Says whether a later sentence of a text, which the source does not have, is about a sentence."""
    if num_sentences(text) <= num_sentences(source):
        return False
    sentences = _SENTENCE_END.split(text.casefold())
    return any(speaks_of_this_text(source.casefold(), sentence) for sentence in sentences[1:])


def offers_two(source: str, text: str) -> bool:
    """Says whether a text is two translations: "... / ...", and the source has no such mark."""
    if _SEPARATOR.search(source) or "/" in source or "|" in source:
        return False
    versions = _SEPARATOR.split(text)
    weights = [sum(word.weight for word in words_of(version)) for version in versions]
    return len(versions) == 2 and min(weights) >= max(LEAST_WEIGHT, BALANCE * max(weights))
