"""Words beside the number of an answer: units and counted nouns, which leave the value, and all other words.

"27 apples" and "5 cm" are 27 and 5. "7 tenths", "double 6" and "at least 5" are other values, and "12 xyz" is
none that can be told. So words are accepted by lists and by shape, and never because they are words:

    before the number   words that introduce an answer, or a sentence that ends on the number with its noun
    after the number    a unit, a plural noun with at most two words before the noun, or a remark ("in total")
    anywhere            no word that changes a value: parts, multiples, negations, bounds, operators
"""

import re
from collections.abc import Iterable, Sequence

from dupo.tasks.answer_text import FUNCTIONS, GREEK
from dupo.tasks.unit_table import (
    DIMENSION_OF,
    EAST_ASIAN_NAMES,
    ENDING_UNITS,
    GLUED_UNITS,
    LENGTHS,
    MAX_SHORT,
    ROW_OF,
    SHORT_UNITS,
)
from dupo.text.numbers.east_asian_words import COUNTERS
from dupo.text.numbers.words import COLLECTIVES, SMALL, TENS

# Words of one or two letters that may stand beside a number; any other such word may be a variable.
_SHORT = (
    "a an the is are of in on at by to he she it so we per for was has had be as his her up off go do me"
    " my us sq cu"
)
SHORT_WORDS = frozenset(_SHORT.split()) | SHORT_UNITS
GLUED = GLUED_UNITS | {"th", "st", "nd", "rd"}
# Counted nouns without a plural "s", and what is said like a unit.
_NOUNS = (
    "sq cu percent unit units point people person persons children men women teeth geese mice sheep fish"
    " deer cattle dice oxen fruit staff furniture ads cds dvds tvs pcs pts"
)
UNITS = frozenset(_NOUNS.split()) | ROW_OF.keys() | COUNTERS
# Glued to their number.
GLUED_EAST_ASIAN = COUNTERS | frozenset(EAST_ASIAN_NAMES)


def _one_of(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


POWER = r" ?\^ ?(?:[23]|\{ ?[23] ?\})"
# Units that can be squared; a single letter, as in "5 m^2", only behind a blank.
UNIT_POWER = re.compile(rf"(?<=[ 0-9}}])({_one_of(LENGTHS | {'unit', 'units'})})(?:{POWER})(?![\w^])")
TRAILING_UNIT = re.compile(
    rf"(?<=[0-9A-Za-z}}) ]) (?:(?:square|cubic) )?(?:in(?= ?\^)|units?|{_one_of(ENDING_UNITS)})(?:{POWER})?"
    rf"(?:(?:/| per ) ?(?:{_one_of(word for word, of in DIMENSION_OF.items() if of == 'time')}))?\Z",
    re.I,
)
LETTERS = re.compile(r"[^\W\d_]+")
# Between letters of words: well-known, km/h. Any other stroke or hyphen is an operator, as in 8/m and 7-a.
INSIDE_WORDS = r"(?<=[^\W\d_])-(?=[^\W\d_]{2})"
MARKS_BEFORE = re.compile(rf"(?:[^\W\d_]|[\s().,:;'’\"]|{INSIDE_WORDS})*")
MARKS_AFTER = re.compile(
    rf"(?:-(?=[^\W\d_]{{4}}|day))?(?:[^\W\d_]|[\s().,:;'’\"]|{INSIDE_WORDS}|(?<=[^\W\d_])\s?/(?=\s?[^\W\d_]))*"
)
# The words "a" and "I" stand before another word; s, m and re end one.
LONE_LETTER_BEFORE = re.compile(r"(?<![^\W\d_])(?:(?<!['’])[b-hj-z]|[ai]\W*\Z)(?![^\W\d_])")
# After a number a single letter is a variable, but for the small letter of a unit: 5 m, 5 m/s. "A" and "I"
# stand between words: 5 dollars a day.
VARIABLE_AFTER = re.compile(
    r"\A\W*(?:[a-zA-Z](?![^\W\d_])(?<![gmshlL])|[ai]\b)|/\s?[aiAI]\b|(?<![^\W\d_])[b-zB-HJ-Z](?![^\W\d_])(?<![gmshlL])"
)
COMPOUND_UNIT = re.compile(rf"[0-9] ?(?:{_one_of(word for word in ROW_OF if len(word) == 1)}) ?[0-9]")

# What may introduce a number: "The answer is 5", "a total of 5", "so he has 5", "about 5".
_LEADS = (
    "the a an answer answers final is are was were total of it he she they we i you there so therefore"
    " thus hence then has have had be will would can could must should get gets got make makes made need"
    " needs needed costs cost pay pays paid earn earns earned spend spends spent take takes took give"
    " gives gave left remain remains equals equal to value result sum number amount price in all and that"
    " which which's this these those his her its their our your my s re ve for at on by as per about"
    " approximately approx around roughly nearly almost exactly only just solution correct required"
    " probability area perimeter volume length width height distance speed time age ans usd rs eur gbp"
)
LEADS = frozenset(_LEADS.split())
# Remarks after the number that need no noun.
_REMARKS = (
    "in of per a an each for on every total altogether all left remaining more fewer less extra older"
    " younger taller shorter longer heavier away each apiece overall combined together too now instead"
    " later ago i he she it they we as is are was were so"
)
REMARKS = frozenset(_REMARKS.split())

# Words that change the value wherever they stand.
_CHANGERS = (
    "double triple quadruple quintuple twice thrice half halves quarter quarters third thirds score gross"
    " googol myriad myriads tens negative minus plus not never no non without except excluding unless"
    " neither nor squared cubed factorial power root mod modulo base reciprocal inverse opposite conjugate"
    " divided multiplied or infinity infinite infinitely imaginary choose repeating recurring binary octal"
    " hexadecimal hex mil mln bln bn grand lakh lakhs crore crores abs"
    " than pi zillion multiple multiples maximum minimum upto mille basis isn doesn didn"
    " cannot wrong false unknown"
)
# "sec" is a unit after a number and a function before a variable; the list of units comes first.
CHANGERS = (frozenset(_CHANGERS.split()) | FUNCTIONS) - UNITS
_PARTS = (
    "four fif six seven eigh nin ten eleven twelf thirteen fourteen fifteen sixteen seventeen eighteen"
    " nineteen twentie thirtie fortie fiftie sixtie seventie eightie ninetie hundred thousand million"
    " billion"
)
PART = re.compile(rf"(?:{'|'.join(_PARTS.split())})ths?|\w+fold")
CHANGING_PHRASE = re.compile(
    r"\bat (?:least|most)\b|\b(?:square|cube)s? (?:root )?of\b|\bout of\b|\bup to\b"
    r"|\band (?:more|above|up|below)\b|\b(?:all|anything|nothing) but\b|\bshort of\b|\bbelow zero\b"
)
# Bounds before a number, and plain prepositions after one: "over 5 apples", "5 hours over the weekend".
BOUND_BEFORE = re.compile(
    r"\b(?:over|under|above|below|beyond|exceed(?:s|ing)|between|through|past|within)\b"
)
PLURAL = re.compile(
    r"[a-zà-ÿ]{3,}(?<![su])s|\w*(?:children|people|men|feet|teeth|geese|mice|fish|shrimp|sheep)"
)
_NO_NOUNS = "this his hers its always perhaps besides sometimes less unless yes basis does goes"
NO_NOUNS = frozenset(_NO_NOUNS.split())


def _plural(word: str) -> str:
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("x", "s")) else f"{word}s"


# Counted, these are no things but factors or operations: 3 fives, 2 pairs, 4 negatives.
_FACTORS = (
    "double triple quadruple quintuple negative root square cube power factorial inverse reciprocal"
    " complement opposite conjugate log logarithm sine cosine score gross couple pair duo trio"
    " quartet quintet sextet dozen"
)
_COUNTS = (SMALL.keys() | TENS.keys() | COLLECTIVES.keys()) - {"one"}  # red ones are things
NUMBERS_AS_NOUNS = frozenset(map(_plural, (*_FACTORS.split(), *_COUNTS))) | {"pair", "couple"}
MAX_VARIABLES = 3  # letters of a product of variables: abc
FORMULA_WORDS = FUNCTIONS | GREEK | {"and", "or", "infinity"}
MOST_MODIFIERS = 2  # words between a number and its noun: "5 small red apples"


def without_trailing_unit(text: str) -> str:
    """Returns a formula without the unit at its end: 4\\sqrt{5} units.

    A text with another unit or with words stays whole: "2 hours 30" is not what "2 hours 30 minutes" says.
    """
    bare = TRAILING_UNIT.sub("", text)
    if bare == text or bare == "a" or COMPOUND_UNIT.search(bare):
        return text
    # Letters of a formula: variables, functions, the words between values; abc only before cm^3.
    most = MAX_VARIABLES if "^" in text[len(bare) :] else MAX_SHORT
    words = set(LETTERS.findall(re.sub(r"\\[A-Za-z]+", " ", bare))) - FORMULA_WORDS
    is_formula = all(
        len(word) <= most and (len(word) == 1 or word.lower() not in SHORT_WORDS) for word in words
    )
    return bare if is_formula else text


def changes_value(text: str) -> bool:
    """Says whether a text, lower case, has a word that makes another value of the number beside it."""
    if CHANGING_PHRASE.search(text):
        return True
    return any(word in CHANGERS or PART.fullmatch(word) for word in LETTERS.findall(text))


def leaves_value(before: str, after: str, *, is_one: bool) -> bool:
    """Says whether the words around a number leave its value alone.

    Args:
        before, after: the text on both sides, without sign, currency and percent.
        is_one: the value is at most 1, or no integer, so that its noun may be singular.
    """
    if VARIABLE_AFTER.search(after):
        return False
    before, after = before.lower(), after.lower()
    if LONE_LETTER_BEFORE.search(before):
        return False
    glued = re.match(r"[^\W\d_]+", after)
    if glued and glued[0] not in GLUED and glued[0] not in GLUED_EAST_ASIAN:
        return False
    if not (MARKS_BEFORE.fullmatch(before) and MARKS_AFTER.fullmatch(after)):
        return False
    words_before, words_after = LETTERS.findall(before), LETTERS.findall(after)
    if changes_value(before) or changes_value(after) or BOUND_BEFORE.search(before):
        return False
    if not all(map(_may_be_word, (*words_before, *words_after))):
        return False
    if words_after and not _states_noun(words_after, after, is_one):
        return False
    # A sentence that ends on a number with its noun: "Natalia sold 72 clips".
    return bool(words_after) or LEADS.issuperset(words_before)


def _may_be_word(word: str) -> bool:
    """Not a variable, and of a script whose words are known: Latin letters, or a counter."""
    if word in GLUED_EAST_ASIAN:
        return True
    is_latin = all(char < "ɐ" for char in word)
    return is_latin and (len(word) > 2 or word in SHORT_WORDS or word in GLUED or word == "i")


def _states_noun(words: Sequence[str], after: str, is_one: bool) -> bool:
    if after.lstrip().startswith((",", ".", ";", ":")):
        return True
    for word in words[: MOST_MODIFIERS + 1]:
        if word in NUMBERS_AS_NOUNS:
            return False
        if word in UNITS | GLUED or (word not in NO_NOUNS and PLURAL.fullmatch(word)):
            return True
    # "15 profit left", "20 water per day"
    if not REMARKS.isdisjoint(words[: MOST_MODIFIERS + 1]):
        return True
    return is_one and len(words[0]) > 2
