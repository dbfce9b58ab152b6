"""Every word of the rules on numbers, and every word that names a number."""

from fractions import Fraction

import pytest

from dupo import text

# A text with a gap, the words that fill it, and what the first number is skipped for.
LISTS = [
    (
        "in {} 5 we",
        "problem question example figure table chapter section part equation theorem lemma",
        "label",
    ),
    ("in {} 5 we", "step case room gate apartment suite locker grade district level route highway", "label"),
    ("in {} 5 we", "interstate flight channel platform option choice version page phase round", "label"),
    ("in {} 5 we", "stage zone ward house lane size model pier sector athlete contestant runner fig. eq. apt. no.", "label"),
    ("on {} 5 we", "January February March April May June July August September October", "date"),
    ("on {} 5 we", "November December Jan Feb Mar Apr Jun Jul Aug Sept Sep Oct Nov Dec", "date"),
    ("{} 1999 we", "in since until till by during year before after", "date"),
    ("the {} of 1999 we", "end start beginning spring summer fall autumn winter class", "date"),
    ("from 1999 {} 2005", "to and until through", "date"),
    ("{} 1999 to 2005", "from between", "date"),
    ("in {} we", "1500 1599 1600 1950 2000 2099", "date"),
    ("it was {} we", "8:30 12:05:59 0:00", "time"),
    ("\\{} 5", "log ln lg exp sin cos tan cot sec csc arcsin arccos arctan gcd lcm min max det", "argument"),
    ("x {} 5", "< > ≤ ≥ ⩽ ⩾ ≦ ≧ <= >= \\leqslant \\geqslant \\leq \\geq \\le \\ge \\lt \\gt", "bound"),
    ("x < {}5", "$ £ € ¥ - +", "bound"),
    ("the 5{} of it", "st nd rd th ths rds", "ordinal"),
    ("see \\{}{{5}}", "begin end label ref cite hspace vspace color textcolor", "code"),
    (
        "one {} it",
        "of and or another day morning night evening afternoon side that who which is was",
        "pronoun",
    ),
    (
        "one {} it",
        "are were has had will would can could did does in on at to for from with by as",
        "pronoun",
    ),
    (
        "one {} it",
        "but because if when where while than every each after before so then he she it",
        "pronoun",
    ),
    ("one {} it", "they we i you this these those the a an", "pronoun"),
    ("one {} it", "monday tuesday wednesday thursday friday saturday sunday weekend holiday", "pronoun"),
    ("one {} it", "summer winter spring autumn fall season semester", "pronoun"),
    ("{} one pen", "the this that these those each every any no which a an another other", "pronoun"),
    ("{} one pen", "his her their its my your our", "pronoun"),
    ("{} two pens", "the these those all both other any either", "reference"),
    ("{} 5 pens", "these those other", "reference"),
    ("{} half of it", "the first second third last next each every this that", "idiom"),
    ("half {} it", "past more dozens", "idiom"),
    ("twice{}", "-weekly", "idiom"),
    ("twice {} it", "times", "idiom"),
    ("the twenty-{}", "first second third fourth fifth sixth seventh eighth ninth", "ordinal"),
    ("a dozen here, 3 {} there", "dozen dozens", "repeated"),
]


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(("gap", "words", "reason"), LISTS, ids=[f"{g} {w[:12]}" for g, w, _ in LISTS])
def test_every_word_of_the_rules(gap: str, words: str, reason: str) -> None:
    for word in words.split(" "):
        (numbers,) = text.find_numbers([gap.format(word)])
        assert numbers and numbers[0].skip == reason, gap.format(word)


VALUES = {
    "one two three four five six seven eight nine ten eleven twelve thirteen": range(1, 14),
    "fourteen fifteen sixteen seventeen eighteen nineteen": range(14, 20),
    "twenty thirty forty fifty sixty seventy eighty ninety": range(20, 100, 10),
    "thirds quarters fourths fifths sixths sevenths eighths ninths tenths": [3, 4, 4, 5, 6, 7, 8, 9, 10],
    "twelfths twentieths hundredths": [12, 20, 100],
}


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize("names", VALUES)
def test_every_number_word(names: str) -> None:
    for name, value in zip(names.split(), VALUES[names], strict=True):
        share = name.endswith("s") and name != "six"
        (numbers,) = text.find_numbers([f"two-{name} of it" if share else f"{name} pens"])
        assert [n.value for n in numbers] == [Fraction(2, value) if share else value]


WORDS_AFTER_HALF = (
    "as",
    "price",
    "the",
    "that",
    "this",
    "what",
    "his",
    "her",
    "its",
    "their",
    "my",
    "your",
    "our",
    "an",
    "a",
)


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize("word", WORDS_AFTER_HALF)
def test_what_a_half_is_said_of(word: str) -> None:
    (hidden,) = text.hide_numbers([f"half {word} pen"], [0])
    assert [h.known.replace(h.variable, "V") for h in hidden] == [f"V times {word} pen"]
