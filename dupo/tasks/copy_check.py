"""Whether a translation is a copy of its source, or carries much of the source along, in any order.

Names count for nothing: a translation keeps them. What is left is compared four ways:

    run     the longest run of letters of the source
    total   letter grams of the source in the same order
    words   words of the source in any order, weighed by their letters
    end     words with which both texts begin, or with which both end
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from itertools import pairwise
from typing import NamedTuple

from dupo.tasks import language_detection
from dupo.tasks.languages import in_same_group, language_of
from dupo.tasks.related_words import told_apart
from dupo.tasks.scripts import LETTER_WEIGHTS, script_of, scripts_of_language
from dupo.tasks.words import UNSPACED, Word, names_of, words_of


class CopyLimits(NamedTuple):
    """Shares above which a translation is a copy.

    Attributes:
        run: of the letters of the source, in one run.
        total: of the letters of the source, in the same order.
        words: of the words of the translation, in any order.
        end: letters of the words with which both texts begin or end; no share.
    """

    run: float
    total: float
    words: float
    end: float


# References begin or end with at most 11 letters of the source (en-fr). The limit is a quarter more, here and
# below: references of other data go further.
LIMITS = CopyLimits(0.3, 0.5, 0.3, 14)
# Between two scripts references share names and hardly a word else (at most 0.06).
LIMITS_OF_TWO_SCRIPTS = CopyLimits(0.3, 0.5, 0.1, 14)
# Related languages share words (references at most 0.43, es-pt); `copies_words_of` tells them from copies.
# They begin or end alike with at most 25 letters (pt-es).
LIMITS_OF_RELATED_LANGUAGES = CopyLimits(0.3, 0.5, 0.45, 31)
# References of close languages share more than half of the source in up to 12 % of a direction (id-ms), more
# than 0.7 of it in at most 0.8 %, and a run of more than half of it in at most 0.6 %. They begin or end alike
# with at most 43 letters (id-ms).
LIMITS_OF_CLOSE_LANGUAGES = CopyLimits(0.5, 0.7, 0.85, 54)
# German nouns count as names, so less is left: references begin or end with at most 6 letters of the source.
END_OF_GERMAN = 9
RELATED_LANGUAGES = (
    {"ca", "es", "fr", "gl", "it", "pt", "ro"},
    {"be", "bg", "bs", "cs", "hr", "mk", "pl", "ru", "sk", "sl", "sr", "uk"},
)
CLOSE_LANGUAGES = ({"da", "nb", "no", "sv"}, {"id", "ms"})
# A right translation of a short sentence may share this many letters: "Angela Merkel besucht Paris".
COPY_SLACK = 8
# Letters that are compared at once: single letters stand in the same order in any two texts.
GRAM_LETTERS = 4
# Copied words are refused above these log-odds, source against target language, in nats. At most 0.2 % of the
# fitted references of a direction are above.
MOST_LOG_ODDS = 15.0
# The same for a source in Slavic or German, and between Danish and Norwegian.
LOWER_LOG_ODDS = 10.0
SLAVIC_OR_GERMAN = {"be", "bg", "bs", "cs", "de", "hr", "mk", "pl", "ru", "sk", "sl", "sr", "uk"}
DANISH_OR_NORWEGIAN = ({"da", "nb", "no"},)
# The same from Portuguese into Spanish, whose references share most words.
LOG_ODDS_OF_PORTUGUESE = 12.0
# Copied words fewer than these say nothing: they may be the name of a species, or cafés and restaurants.
LEAST_COPIED = 4
# The same where lower log-odds hold.
LEAST_WITH_LOWER = 3
# So many copied words that tell Indonesian from Malay are a copy.
TELLING = 2
# One such word is a copy where more than this share of the text is copied.
SHARE_WITH_ONE = 0.45
# One such word is a copy where the log-odds of the copied words are above this, in nats.
LOG_ODDS_WITH_ONE = 8.0
# A first word of so many letters that keeps its capital is a name.
LONG_WORD = 6
# At most so many words, of at most so many letters, stand between the capitals of one name.
NAME_GAP, NAME_GAP_LETTERS = 2, 3
_BRACKETS = re.compile(r"[(\[（]([^()\[\]（）]+)[)\]）]")
_OPENING = re.compile(r"[(\[（]")
CLOSING = ")]）"
_STOPPED = re.compile(r"[.!?。！？][\"'”»]*\s*$")
# Copied words in brackets weigh at least so many letters; fewer are a term: "(bit-for-bit copy)".
LEAST_IN_BRACKETS = 6.0
# They weigh at least this share of the source.
LEAST_SHARE = 0.15
# They weigh more than this share of what stands in the brackets.
LEAST_SHARE_INSIDE = 0.6
# The beginning of the source in brackets at the end counts from so many letters or characters on.
LEAST_TAIL = 8


def copy_limits(src: str, tgt: str) -> CopyLimits:
    """Returns the limits for translations between two languages."""
    if in_same_group(src, tgt, CLOSE_LANGUAGES):
        return LIMITS_OF_CLOSE_LANGUAGES
    if in_same_group(src, tgt, RELATED_LANGUAGES):
        return LIMITS_OF_RELATED_LANGUAGES
    scripts = scripts_of_language(src), scripts_of_language(tgt)
    limits = LIMITS_OF_TWO_SCRIPTS if all(scripts) and not scripts[0] & scripts[1] else LIMITS
    return limits._replace(end=END_OF_GERMAN) if language_of(src) == "de" else limits


def is_copy(source: str, text: str, limits: CopyLimits = LIMITS, code: str = "") -> bool:
    """Says whether `text` is the source again, or shares more of the source than the limits allow.

    Capitals, spaces and punctuation make no difference. `code` is the language of the source, by which names
    are told; empty: unknown.
    """
    source_letters, text_letters = _letters(source), _letters(text)
    if source_letters == text_letters:
        return source_letters != "" or source.split() == text.split()
    names = _names(source, text, code)
    if shared_end(words_of(source), words_of(text), names) > limits.end:
        return True
    source_words, text_words = (
        [word for word in words_of(string) if word.key not in names] for string in (source, text)
    )
    # A source of names alone has nothing else to be compared by.
    if not source_words:
        source_words, text_words = list(words_of(source)), list(words_of(text))
    if copied_share(source_words, text_words, COPY_SLACK) > limits.words:
        return True
    source_rest, text_rest = ("".join(word.key for word in words) for words in (source_words, text_words))
    return _shares_letters(source_rest, text_rest, len(source_letters), limits)


def copies_in_brackets(source: str, text: str, code: str) -> bool:
    """Says whether a text has words of its source in brackets: no names, and nothing that has brackets there.

    Names count where the brackets at the end of the text have the beginning of the source.
    """
    if not _OPENING.search(text):
        return False
    names = names_of(source, code)
    source_words = [word for word in words_of(_BRACKETS.sub(" ", source)) if word.key not in names]
    source_weight = sum(word.weight for word in source_words)
    groups = [match[1] for match in _BRACKETS.finditer(text)]
    if text.rstrip(" .。")[-1:] in CLOSING:
        openings = list(_OPENING.finditer(text))
        if any(_begins_source(source, text[: m.start()], text[m.end() :]) for m in openings):
            return True
        groups += [text[match.end() :] for match in openings]
    for group in groups:
        inside = [word for word in words_of(group) if word.key not in names]
        copied = copied_words(source_words, inside)
        weight = sum(word.weight for word in copied)
        # One word in Latin letters is a name that opens the source.
        is_name = len(copied) == 1 and script_of(copied[0].text[0]) == "LATIN"
        is_enough = not is_name and weight >= max(LEAST_IN_BRACKETS, LEAST_SHARE * source_weight)
        if is_enough and weight > LEAST_SHARE_INSIDE * sum(word.weight for word in inside):
            return True
    return False


def _begins_source(source: str, before: str, tail: str) -> bool:
    """Whether the brackets at the end of a text have the beginning of the source; behind a stop, any."""
    is_added = _STOPPED.search(before) is not None and not _OPENING.search(source)
    letters = _letters(tail)
    return len(letters) >= (1 if is_added else LEAST_TAIL) and _letters(source).startswith(letters)


def copies_words_of(source: str, text: str, src: str, tgt: str) -> bool:
    """Says whether the words that a text has from its source are, by py3langid, of the source language.

    What related languages share is as likely in both. Without py3langid nothing is copied so, but for words
    that tell Indonesian from Malay.
    """
    names = _names(source, text, src)
    text_words = [word for word in words_of(text) if word.key not in names]
    copied = copied_words(words_of(source), text_words)
    telling = told_apart((word.key for word in copied), src, tgt)
    if telling >= TELLING or (telling > 0 and copied_share(words_of(source), text_words, 0) > SHARE_WITH_ONE):
        return True
    # Characters are shared by Chinese and Japanese, in which they are words of either.
    copied = [word for word in copied if script_of(word.text[0]) not in UNSPACED]
    is_low = language_of(src) in SLAVIC_OR_GERMAN or in_same_group(src, tgt, DANISH_OR_NORWEGIAN)
    is_portuguese = (language_of(src), language_of(tgt)) == ("pt", "es")
    least = LEAST_WITH_LOWER if is_low or is_portuguese else LEAST_COPIED
    if len(copied) < least or sum(word.weight for word in copied) <= COPY_SLACK:
        return False
    if not (language_detection.knows(src) and language_detection.knows(tgt)):
        return False
    limit = LOWER_LOG_ODDS if is_low else LOG_ODDS_OF_PORTUGUESE if is_portuguese else MOST_LOG_ODDS
    limit = LOG_ODDS_WITH_ONE if telling > 0 else limit
    return language_detection.log_odds(" ".join(word.text for word in copied), src, tgt) > limit


def _names(source: str, text: str, code: str) -> Set[str]:
    """Names of the source; a long first word too that the text has with its capital, and whole long names."""
    capitals = {word.key for word in words_of(text) if word.text[0].isupper()}
    first = {
        word.key
        for word in words_of(source)
        if word.opens and word.text[0].isupper() and len(word.text) >= LONG_WORD
    }
    # Every German noun has a capital.
    inside = set[str]() if language_of(code) == "de" else _words_inside_names(source, text)
    return names_of(source, code) | (first & capitals) | inside


def _words_inside_names(source: str, text: str) -> set[str]:
    """Returns the short words between capitals that a text has too: Society for the Prevention of Cruelty."""
    words, keys = words_of(source), f" {' '.join(word.key for word in words_of(text))} "
    capitals = [place for place, word in enumerate(words) if word.text[0].isupper()]
    inside = set[str]()
    for place, following in pairwise(capitals):
        between = words[place + 1 : following]
        is_short = len(between) <= NAME_GAP and all(len(word.text) <= NAME_GAP_LETTERS for word in between)
        name = " ".join(word.key for word in words[place : following + 1])
        if between and is_short and f" {name} " in keys:
            inside.update(word.key for word in between)
    return inside


def copied_words(source_words: Sequence[Word], text_words: Sequence[Word]) -> list[Word]:
    """Returns the words of a text that stand in its source, each as often as it stands there."""
    left = Counter(word.key for word in source_words)
    copied = []
    for word in text_words:
        if left[word.key]:
            left[word.key] -= 1
            copied.append(word)
    return copied


def copied_share(source_words: Sequence[Word], text_words: Sequence[Word], slack: float) -> float:
    """Returns the share of the words of a text that stand in its source, by weight, `slack` letters less."""
    weight = sum(word.weight for word in copied_words(source_words, text_words)) - slack
    return max(0.0, weight) / max(1.0, sum(word.weight for word in text_words))


def shared_end(source_words: Sequence[Word], text_words: Sequence[Word], names: Set[str]) -> float:
    """Returns the weight of the words with which both texts begin, or both end, without names."""
    ends = [(source_words, text_words), (source_words[::-1], text_words[::-1])]
    return max(_shared_beginning(first, second, names) for first, second in ends)


def _shared_beginning(first: Sequence[Word], second: Sequence[Word], names: Set[str]) -> float:
    weights = []
    for word, other in zip(first, second, strict=False):
        if word.key != other.key:
            break
        # Chinese and Japanese share characters.
        if word.key not in names and script_of(word.text[0]) not in UNSPACED:
            weights.append(word.weight)
    # One word may be of a name: "Hesperonychus elizabethae".
    return sum(weights) if len(weights) > 1 else 0.0


def _shares_letters(source: str, text: str, length: int, limits: CopyLimits) -> bool:
    """Compares letters without names; `length` is that of the source with names."""
    run_length, total_length = (int(share * length) + COPY_SLACK + 1 for share in (limits.run, limits.total))
    # The cheaper check first: a run of letters needs no table of subsequences.
    starts = range(len(source) - run_length + 1)
    if any(source[start : start + run_length] in text for start in starts):
        return True
    return common_subsequence_length(_grams(source), _grams(text)) >= total_length


def common_subsequence_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Returns the length of the longest common subsequence."""
    places: dict[str, int] = {}
    for place, gram in enumerate(first):
        places[gram] = places.get(gram, 0) | 1 << place
    return num_in_order([places.get(gram, 0) for gram in second], len(first))


def num_in_order(matches: Iterable[int], length: int) -> int:
    """Returns how many places of one sequence match places of another in the same order (Hyyrö 2004).

    The row of the usual table is one integer: a bit for each place of the first sequence, cleared where a
    match ends. So one addition does a whole row.

    Args:
        matches: for each place of the second sequence, the bits of the places of the first that match.
        length: of the first sequence.
    """
    all_bits = (1 << length) - 1
    row = all_bits
    for bits in matches:
        matched = row & bits
        row = ((row + matched) | (row - matched)) & all_bits
    return length - row.bit_count()


def _letters(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKC", text).casefold() if char.isalnum())


def _grams(letters: str) -> list[str]:
    # A Han character, a syllable or a kana says as much as a few letters of an alphabet.
    return [
        char if script_of(char) in LETTER_WEIGHTS else letters[place : place + GRAM_LETTERS]
        for place, char in enumerate(letters)
    ]
