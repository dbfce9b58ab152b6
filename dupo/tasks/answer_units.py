"""Words beside the number of an answer: units and counted nouns, which leave the value, and all other words.

"27 apples" and "5 cm" are 27 and 5. "7 tenths", "double 6" and "at least 5" are other values, and "12 xyz" is
none that can be told. So words are accepted by lists and by shape, and never because they are words:

    before the number   words that introduce an answer, or a sentence that ends on the number with its noun
    after the number    a unit, a plural noun with at most two words before the noun, or a remark ("in total")
    anywhere            no word that changes a value: parts, multiples, negations, bounds, operators
"""

import re
from collections.abc import Sequence

from dupo.text.numbers.east_asian_words import COUNTERS

# Words of one or two letters that may stand beside a number; any other such word may be a variable.
_SHORT = (
    "a an the is are of in on at by to he she it so we per for was has had be as his her up off go do me"
    " my am pm us km cm mm dm nm kg mg lb oz ft yd mi hr ms ml dl kl gb mb tb kb hz m g s h l sq cu rs"
)
SHORT_WORDS = frozenset(_SHORT.split())
_GLUED = "km cm mm kg mg lb lbs oz ft hr hrs min mins secs ml mph am pm th st nd rd"
GLUED_UNITS = frozenset(_GLUED.split())
_UNITS = (
    "km cm mm dm nm kg mg lb lbs oz ft yd mi hr hrs ms ml dl kl gb mb tb kb hz m g s h l sq cu rs am pm"
    " mph kph min mins sec secs usd eur gbp percent degree degrees celsius fahrenheit kelvin radians rad"
    " unit units meter metre kilometer kilometre centimeter centimetre millimeter millimetre decimeter"
    " decimetre inch inches foot feet yard mile gram kilogram milligram ton tonne pound ounce liter litre"
    " milliliter millilitre gallon quart pint cup tablespoon teaspoon acre hectare second minute hour day"
    " week month year decade century centuries dollar cent euro rupee yen yuan won peso franc ruble penny"
    " pence pennies dime nickel watt volt ampere joule newton hertz pascal calorie point people person"
    " persons children men women teeth geese mice sheep fish deer cattle dice oxen fruit staff furniture"
    " ads cds dvds tvs pcs pts"
)
UNITS = frozenset(_UNITS.split()) | COUNTERS
# Units that can be squared; a single letter, as in "5 m^2", only behind a blank.
POWER_UNITS = (
    "(?:km|cm|mm|dm|nm|m|ft|yd|mi|in|inches|inch|feet|foot|yards?|miles?|(?:kilo|centi|milli|deci)?met(?:er|re)s?"
    "|units?)"
)
UNIT_POWER = re.compile(rf"(?<=[ 0-9}}])({POWER_UNITS}) ?(?:\^ ?(?:[23]|\{{ ?[23] ?\}}))(?![\w^])")
TRAILING_UNIT = re.compile(
    r"(?<=[0-9A-Za-z}) ]) (?:(?:square|cubic) )?"
    r"(?:in(?= ?\^)|km|cm|mm|kg|ft|units?|inch(?:es)?|feet|foot|yards?|miles?"
    r"|(?:kilo|centi|milli)?met(?:er|re)s?|degrees?|dollars?|cents?|hours?|minutes?|seconds?|days?|years?|liters?|gallons?|pounds?|grams?"
    r"|radians?)"
    r"(?: ?\^ ?(?:[23]|\{ ?[23] ?\}))?(?:(?:/| per ) ?(?:h|hr|s|sec|hour|second|minute|day))?\Z",
    re.I,
)

# Units of one dimension, each with what it is worth in the smallest.
SCALES = (
    {"cent": 1, "dollar": 100},
    {"mm": 1, "cm": 10, "centimeter": 10, "m": 10**3, "meter": 10**3, "km": 10**6, "kilometer": 10**6},
    {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800},
    {"mg": 1, "g": 10**3, "gram": 10**3, "kg": 10**6, "kilogram": 10**6},
    {"inch": 1, "foot": 12, "feet": 12, "yard": 36, "mile": 63360},
)

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
    " hexadecimal hex mil mln bln bn grand lakh lakhs crore crores sin cos tan cot sec log ln sqrt exp abs"
    " max gcd lcm than pi zillion multiple multiples maximum minimum upto mille basis isn doesn didn"
    " cannot wrong false unknown"
)
# "sec" is a unit after a number and a function before a variable; the list of units comes first.
CHANGERS = frozenset(_CHANGERS.split()) - UNITS
_PARTS = (
    "four fif six seven eigh nin ten eleven twelf thirteen fourteen fifteen sixteen seventeen eighteen"
    " nineteen twentie thirtie fortie fiftie sixtie seventie eightie ninetie hundred thousand million"
    " billion"
)
PART = re.compile(rf"(?:{'|'.join(_PARTS.split())})ths?|\w+fold")
CHANGING_PHRASE = re.compile(
    r"\bat (?:least|most)\b|\b(?:square|cube)s? (?:root )?of\b|\bout of\b|\bup to\b"
    r"|\band (?:more|above|up|below)\b|\b(?:all|anything|nothing) but\b|\bshort of\b"
)
# Bounds before a number, and plain prepositions after one: "over 5 apples", "5 hours over the weekend".
BOUND_BEFORE = re.compile(
    r"\b(?:over|under|above|below|beyond|exceed(?:s|ing)|between|through|past|within)\b"
)
LETTERS = re.compile(r"[^\W\d_]+")
PLURAL = re.compile(
    r"[a-zà-ÿ]{3,}(?<![su])s|\w*(?:children|people|men|feet|teeth|geese|mice|fish|shrimp|sheep)"
)
_NO_NOUNS = "this his hers its always perhaps besides sometimes less unless yes basis does goes"
NO_NOUNS = frozenset(_NO_NOUNS.split())
MOST_MODIFIERS = 2  # words between a number and its noun: "5 small red apples"


def state_other_units(first: str, second: str) -> bool:
    """Says whether two texts without markup state units of one dimension that differ: 5 dollars, 5 cents."""
    words = [LETTERS.findall(text.lower()) for text in (first, second)]
    for scale in SCALES:
        sizes = [
            {scale.get(word, scale.get(word.removesuffix("s"))) for word in text} - {None} for text in words
        ]
        if all(len(size) == 1 for size in sizes) and sizes[0] != sizes[1]:
            return True
    return False


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
    before, after = before.lower(), after.lower()
    glued = re.match(r"[^\W\d_]+", after)
    if glued and glued[0] not in GLUED_UNITS | COUNTERS:
        return False
    # A hyphen stands between letters there; any other is a minus, as in -(-2).
    if not re.fullmatch(r"(?:[^\W\d_]|[\s().,:;'’\"]|(?<=[^\W\d_])-(?=[^\W\d_]))*", before):
        return False
    if not re.fullmatch(r"(?:[^\W\d_]|[\s().,:;'’\"/-])*", after):
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
    if word in COUNTERS:
        return True
    is_latin = all(char < "ɐ" for char in word)
    return is_latin and (len(word) > 2 or word in SHORT_WORDS or word in GLUED_UNITS or word == "i")


def _states_noun(words: Sequence[str], after: str, is_one: bool) -> bool:
    if after.lstrip().startswith((",", ".", ";", ":")):
        return True
    for word in words[: MOST_MODIFIERS + 1]:
        if word in UNITS | GLUED_UNITS or (word not in NO_NOUNS and PLURAL.fullmatch(word)):
            return True
    # "15 profit left", "20 water per day"
    if not REMARKS.isdisjoint(words[: MOST_MODIFIERS + 1]):
        return True
    return is_one and len(words[0]) > 2
