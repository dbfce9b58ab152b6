"""What a number counts: the noun behind the number, and the words that tell two equal numbers apart.

Twin of csrc/numbers_mentions.cpp.
"""

from typing import NamedTuple

from dupo.text.numbers.base import LOWER, Number, is_letter, is_space
from dupo.text.numbers.east_asian_values import char_at, is_han, is_hangul

MOST_WORDS = 8  # words behind a number that are read
MOST_NOUNS = 4  # words among which the noun stands: "5 large red wooden shelves"


def _words_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words that end the phrase of a noun.
STOPS = _words_of(
    "and or but nor that which who whom whose is are was were be been being has had have can could will would"
    " shall should may might must did does do for in on at to from with by into onto out off up down over"
    " under about than if when where while because as after before so then each every per a an it he she"
    " get gets got give gives gave take takes took make makes made need needs cost costs sell sells sold buy"
    " buys bought eat eats ate go goes went hold holds contain contains earn earns share weigh weighs"
    " they we you i this there here how what only not also during until since between among without"
)
# Words between a number and its noun that say nothing of the noun.
FILLERS = _words_of("of the these those her his their its my your our different such total same whole")
# "5 more pens" are other pens.
OTHERS = _words_of("more less fewer additional extra other others another next remaining")
PRONOUNS = _words_of("them us you which whom")
DEFINITE = _words_of("the these those all both same her his their its my your our")
CURRENCIES = _words_of("dollar dollars cent cents euro euros")
# Behind a unit: "4 inches wide" and "4 inches long" are two quantities.
DIMENSIONS = _words_of(
    "wide long tall deep high thick old older younger ago apart away later earlier longer shorter taller"
    " wider deeper higher heavier lighter faster slower late early left right north south east west"
)
# Of these, "2 years older" is another quantity than "2 years".
COMPARED = _words_of(
    "old older younger ago apart later earlier longer shorter taller wider deeper higher heavier lighter"
    " faster slower"
)
COMPARING = _words_of("more less fewer")
# Stems of words that make another unit: "2 square feet" are not 2 feet.
SCALES = _words_of("dozen squar cubic")
# Stems of units: "the three of them" is not said of three seconds.
UNITS = _words_of(
    "second minut hour dai week month year mil met kilomet foot inch yard pound ounc gram kilogram lit gallon"
    " dollar cent degr point mil ft cm kg km m"
)
IRREGULAR = {
    "children": "child",
    "people": "person",
    "men": "man",
    "women": "woman",
    "feet": "foot",
    "mice": "mouse",
    "teeth": "tooth",
    "geese": "goose",
}
NOTHING_ELSE = (frozenset[str](), "", "", "")
UNCHANGED = _words_of("sheep fish deer dice")


class Mention(NamedTuple):
    """What a number in plain text counts.

    Attributes:
        noun: the stem of the noun, "" where no noun can be told.
        modifiers: stems of the words between number and noun.
        rate: the stem of the word behind "per", "a" or "every"; "" for no rate.
        complement: the stem of the noun behind "of" or a hyphen: "8 ounces of cheese", "an 8-mile run".
        dimension: "wide", "ago", ...; "" for none.
        before: the two words before the number.
        is_other: other things than those named so far: "5 more", "another 5".
        is_definite: things named before: "the 5 pens", "her 5 pens", "5 of them".
        purpose: how the verb behind "to" starts: "5 letters to mail"; "" for none.
    """

    noun: str
    modifiers: frozenset[str]
    rate: str
    complement: str
    dimension: str
    before: tuple[str, str]
    is_other: bool
    is_definite: bool
    purpose: str = ""


def mention_of(text: str, number: Number, end: int) -> Mention:
    """Reads the words around a number.

    Args:
        end: where the words behind the number start: behind the `$` that closes a formula.
    """
    before = _words_before(text, number.start)
    words = _words_after(text, end)
    k = _skip_unit(words, number.role)
    # "5 kilos of flour more than"
    is_other = before[-1] in OTHERS or any(word in COMPARING for word in words[:5])
    is_definite = before[-1] in DEFINITE
    while k < len(words) and words[k] in FILLERS | OTHERS:
        is_other |= words[k] in OTHERS
        k += 1
    # "the three of them get": no noun
    of_pronoun = k > 0 and words[k - 1 : k] == ["of"] and k < len(words) and words[k] in PRONOUNS
    is_definite |= of_pronoun
    last = k
    while last < len(words) and last - k < MOST_NOUNS and words[last] not in STOPS | {"of"}:
        last += 1
    last = k if of_pronoun else last
    nouns = words[k:last]
    # The noun is the first word that looks like a plural: "5 red pens hold".
    head = next((i for i, word in enumerate(nouns) if is_plural(word)), 0)
    behind = k + head + 1
    next_word = words[behind] if nouns and behind < len(words) else ""
    complement = _complement(words, behind + 1) if next_word == "of" else ""
    if not words:
        return Mention(_counted(text, number.start, end), *NOTHING_ELSE, before, is_other, is_definite)
    if behind == 1 and text[end : end + 1] == "-" and next_word not in STOPS:
        complement = stem(next_word)
    return Mention(
        noun=stem(nouns[head]) if nouns else "",
        modifiers=frozenset(map(stem, nouns[:head])),
        rate=_stem_at(words, behind + 1) if next_word in ("per", "a", "an", "every", "/") else "",
        complement=complement,
        dimension=next_word if next_word in DIMENSIONS else "",
        before=before,
        is_other=is_other,
        is_definite=is_definite,
        purpose=words[behind + 1].removesuffix("e") if next_word == "to" and behind + 1 < len(words) else "",
    )


def _counted(text: str, start: int, end: int) -> str:
    """Returns what a number of East Asian text counts: 사과 before 5개 with the counter, 个苹 behind 5."""
    end += char_at(text, end) == " "
    if is_hangul(char_at(text, end)):
        last = start - (char_at(text, start - 1) == " ")
        first = last
        while is_hangul(char_at(text, first - 1)):
            first -= 1
        return text[first:last] + text[end]
    behind = text[end : end + 2]
    return behind[: is_han(behind[:1]) + (is_han(behind[:1]) and is_han(behind[1:]))]


def is_plural(word: str) -> bool:
    """Tells whether a word in lower case looks like the plural of a noun."""
    if word in IRREGULAR or word in UNCHANGED:
        return True
    return len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is"))


def stem(word: str) -> str:
    """Returns one string for singular and plural: shelf and shelves, berry and berries, box and boxes."""
    if word in IRREGULAR:
        word = IRREGULAR[word]
    elif is_plural(word) and word not in UNCHANGED:
        word = word[:-1]
    if word.endswith("ie"):
        return word[:-1]
    if word.endswith("y"):
        return word[:-1] + "i"
    if word.endswith("e"):
        word = word[:-1]
    return word[:-1] + "v" if word.endswith("f") else word


def _skip_unit(words: list[str], role: str) -> int:
    """Returns the number of words that only repeat the role: "dollars", "percent"."""
    if role == "money":
        return int(bool(words) and words[0] in CURRENCIES)
    if role != "percent" or not words:
        return 0
    return 1 if words[0] == "percent" else 2 * (words[:2] == ["per", "cent"])


def _complement(words: list[str], k: int) -> str:
    """Returns the stem of the noun behind "of"."""
    while k < len(words) and words[k] in FILLERS:
        k += 1
    last = k
    while last < len(words) and words[last] not in STOPS | {"of"}:
        last += 1
    nouns = words[k:last]
    return stem(next(filter(is_plural, nouns), nouns[0])) if nouns else ""


def _stem_at(words: list[str], k: int) -> str:
    return stem(words[k]) if k < len(words) else ""


def _words_after(text: str, at: int) -> list[str]:
    """Reads the words behind a number, up to a mark, in lower case. A slash is a word of its own."""
    while at < len(text) and text[at] in "\\%":
        at += 1
    words: list[str] = []
    while len(words) < MOST_WORDS and at < len(text):
        if words and text[at] == "/":
            words.append("/")
            at += 1
        elif is_space(text[at]):
            at += 1
            at += at < len(text) and is_space(text[at])
        elif text[at] == "-":
            at += 1
        start = at
        while at < len(text) and is_letter(text[at]):
            at += 1
        if at == start:
            break
        words.append(text[start:at].translate(LOWER))
    return words


def _words_before(text: str, at: int) -> tuple[str, str]:
    """Reads the two words before a number, in lower case, past the sign of a currency or a formula."""
    words: list[str] = []
    for _ in range(2):
        while at > 0 and (is_space(text[at - 1]) or text[at - 1] in "$£€¥₹\\"):
            at -= 1
        end = at
        while at > 0 and is_letter(text[at - 1]):
            at -= 1
        words.append(text[at:end].translate(LOWER))
        if at == end:
            break
    return words[-1] if len(words) > 1 else "", words[0]
