"""Random texts in which every rule on numbers has a chance: for long comparisons of C++ and Python.

The texts of `number_texts` are drawn by hypothesis, which can shrink a failure but is a hundred times slower.
"""

import random
import re

from dupo.text.numbers import areas, doubts, east_asian_context, east_asian_words, mentions, rules, words
from dupo.text.numbers.phrase_classes import CLASSES
from dupo.text.numbers.phrase_table import CHOICES, DEALS, DOUBTS, PHRASES, ROUNDED, Phrase
from tests.helpers.number_texts import COUNTED, EAST_ASIAN, PIECES, SCENES, pieces_of

TABLES = (areas, doubts, east_asian_context, east_asian_words, mentions, rules, words)
NUMBERS = pieces_of(
    "1 2 3 4 5 6 7 8 10 12 20 25 30 45 52 60 90 100 360 1000 3.14 1/2 half two three five ten dozen"
)
YEARS = pieces_of("1974 1999 2000 2020 2026 1850")
NOUNS = pieces_of("pens books boxes wooden shelves children red people miles hours cups dogs cards")
LISTED = pieces_of(r"""
0 1 2 3 4 5 6 8 10 12 40 three four 25 -1 $3$ , , , ; ... … \ldots \cdots \dotsc + * · × \cdot \times by x
and and or nor { \{ } \} $ \, \! - numbers digits rows marked integers ( )
""")
SHARED = pieces_of("""
half half third third two-thirds quarter 1/2 1/3 2/3 50% 30% 20% 60 40 34 6 $5 of of the the people her a
other other remaining remaining and , . are right
""")
SHOWN = pieces_of(r"""
for example for instance , , say , e.g. such as an example of one such thus so that hence f(3) f(2) = 9 11 .
. ! ( ) (With (if would ) 4 + 8 + 2 = 14 3 * 5 = 15 2\cdot3=6 - / \times Similarly Since But Here \( \) $ \n\n
that the 21 482 7 is x
""")
ONE_BY_ONE = pieces_of("""
1 one 1 one 2 two 3 three 8 $5 12 20 pen pens books box boxes kinds colors children days day-trip inch taller
the the all these How many do have has every another other first second last one One different of
and , . 3 more both
""")


def _words_of(table: object) -> list[str]:
    if isinstance(table, str):
        if table.isascii():
            return table.split("|") if re.fullmatch("[A-Za-z|]+", table) else []
        return list(table)
    return (
        [word for word in table if isinstance(word, str)]
        if isinstance(table, frozenset | tuple | dict)
        else []
    )


TABLED = sorted(
    {word for m in TABLES for name, table in vars(m).items() if name.isupper() for word in _words_of(table)}
)
TIGHT = ("", "", " ")
LOOSE = (" ", " ", " ", "", "-", ", ", "\n", "\t", ". ")
# What a stretch of a text is made of, and what stands between.
KINDS = [
    (PIECES, LOOSE),
    (PIECES + TABLED, LOOSE),
    (EAST_ASIAN, TIGHT),
    ([word for word in TABLED if not word.isascii()] + EAST_ASIAN, TIGHT),
    (COUNTED, (" ", " ", " ", ". ", "\n")),
    (
        ["5", "5", "five", *NOUNS, *sorted(mentions.STOPS | mentions.OTHERS | mentions.DIMENSIONS)],
        (" ", " ", ". "),
    ),
    (LISTED, TIGHT),
    (SHARED, (" ",)),
    (SHOWN, (" ", " ", "")),
    (SCENES, (" ",)),
    (ONE_BY_ONE, (" ", " ", ". ", "? ")),
]


def mixture(rng: random.Random) -> str:
    """Draws a text of one to three stretches."""
    text = ""
    for _ in range(rng.randint(1, 3)):
        k = rng.randrange(len(KINDS) + 3)
        text += _drawn(rng, *KINDS[k]) if k < len(KINDS) else _said(rng)
        text += rng.choice(("", " ", ". ", "? "))
    return text


def _drawn(rng: random.Random, pool: list[str], gaps: tuple[str, ...]) -> str:
    return "".join(_cased(rng, rng.choice(pool)) + rng.choice(gaps) for _ in range(rng.randint(1, 9)))


def _said(rng: random.Random) -> str:
    """Draws a row of the tables of phrases, and says the row of a number."""
    way = rng.random()
    if way < 0.05:
        best = _filled(rng, rng.choice(CHOICES + DEALS))
        return f"{rng.choice(NUMBERS)} {rng.choice(NOUNS)}. How many is {best}"
    if way < 0.15:
        spoken, others, _ = rng.choice(ROUNDED)
        return f"{rng.choice(NUMBERS)} {rng.choice(NOUNS)} {_filled(rng, spoken)}. {_filled(rng, others)}"
    row: Phrase = rng.choice(DOUBTS if way < 0.3 else PHRASES)
    value = rng.choice(row.values.split() or NUMBERS)
    number = rng.choice(YEARS) if value in ("YEAR", "ODDYEAR") else value
    near = _filled(rng, row.near)
    parts = [near, _filled(rng, row.before), number, _filled(rng, row.after)]
    if rng.random() < 0.5:
        parts = [*parts[1:], rng.choice(NOUNS), near]
    return rng.choice((" ", " ", " ", "-", " $", "")).join(part for part in parts if part)


def _filled(rng: random.Random, pattern: str) -> str:
    """Draws a word for each place of a pattern. Optional places are mostly left out."""
    spoken = []
    for place in pattern.split():
        if place.endswith("?") and rng.random() < 0.6:
            continue
        name = rng.choice(place.removesuffix("?").split("|"))
        while name in CLASSES:
            name = rng.choice(CLASSES[name].split("|"))
        spoken.append(_cased(rng, {"N": rng.choice(NUMBERS), "W": rng.choice(NOUNS)}.get(name, name)))
    return rng.choice((" ", " ", " ", "-", "  ")).join(spoken)


def _cased(rng: random.Random, piece: str) -> str:
    way = rng.random()
    return piece if way > 0.04 else piece.upper() if way > 0.02 else piece.capitalize()
