"""Whether a part of a text is in another language: the text as a whole hides that.

    parts      two halves, three thirds, and every second word
    own words  words that are neither in the source, nor numbers, nor names of several words
    refused    a part whose own words are in another script, or likelier in another language (py3langid)

What a text has from its source is the business of `copy_check`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from dupo.tasks import language_detection
from dupo.tasks.languages import LANGUAGES, language_of
from dupo.tasks.scripts import is_in_script, script_of
from dupo.tasks.words import UNSPACED, Word, words_of

NUM_PARTS = (2, 3)
# In nats. Of 40,419 fitted references, each with three sources, 4 have parts above these margins: three have
# English names or English left in them. In 28 directions the own words of fitted references have at most 9.7
# for a language of `LANGUAGES` (into Swedish), and 16.0 into Indonesian and Malay.
MARGIN = 16.0
MARGIN_OF_MALAY = 23.0
MARGIN_OF_RARE_LANGUAGES = 24.0
# A part with fewer letters of its own, or a smaller share of them, says nothing.
LEAST_LETTERS = 15.0
LEAST_SHARE = 0.3
# Words with capitals so near to each other are one name: "Society for the Prevention of Cruelty".
NAME_REACH = 4


def is_partly_in_another_language(source: str, text: str, code: str) -> bool:
    """Says whether a part of a text is not in a language, which may be unknown."""
    parts = [_glued(words) for words in _parts_of_own_words(source, text, code)]
    if not all(is_in_script(piece, code) for piece in parts):
        return True
    return language_detection.knows(code) and any(_is_in_another_language(piece, code) for piece in parts)


def _is_in_another_language(piece: str, code: str) -> bool:
    margin = MARGIN_OF_MALAY if language_of(code) in ("id", "ms") else MARGIN
    return any(
        odds > (margin if name in LANGUAGES else MARGIN_OF_RARE_LANGUAGES)
        for name, odds in language_detection.log_odds_against(piece, code).items()
    )


def _parts_of_own_words(source: str, text: str, code: str) -> Iterator[list[Word]]:
    words = words_of(text)
    are_own = _are_own(source, words, code)
    places = range(len(words))
    parts = [places[k * len(words) // n : (k + 1) * len(words) // n] for n in NUM_PARTS for k in range(n)]
    for chosen in [*parts, places[::2], places[1::2]]:
        own = [words[place] for place in chosen if are_own[place]]
        if chosen.step > 1:  # a word that comes again would tell twice, out of its context
            own = list({word.key: word for word in own}.values())
        weight = sum(word.weight for word in own)
        if weight >= max(LEAST_LETTERS, LEAST_SHARE * sum(words[place].weight for place in chosen)):
            yield own


def _are_own(source: str, words: Sequence[Word], code: str) -> list[bool]:
    left, are_own = Counter(word.key for word in words_of(source)), list[bool]()
    capitals = [word.text[0].isupper() for word in words]
    for place, word in enumerate(words):
        near = range(max(0, place - NAME_REACH), min(len(words), place + NAME_REACH + 1))
        # A noun has a capital in German.
        is_name = capitals[place] and not word.opens and sum(capitals[other] for other in near) > 1
        is_number = any(char.isdigit() for char in word.text)
        are_own.append(not (left[word.key] or is_number or (is_name and language_of(code) != "de")))
        left[word.key] -= left[word.key] > 0
    return are_own


def _glued(words: Sequence[Word]) -> str:
    """Joins words with blanks, and characters of scripts without blanks without."""
    text = ""
    for word in words:
        is_unspaced = text != "" and {script_of(text[-1]), script_of(word.text[0])} <= UNSPACED
        text += word.text if is_unspaced or not text else " " + word.text
    return text
