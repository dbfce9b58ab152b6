"""The text of an answer without its markup: one sign for each meaning, nothing for the looks."""

import re
import unicodedata
from fractions import Fraction

MAX_RAW = 2000  # characters; a longer text, blanks aside, explains instead of answering

NARROW_SPACE = "[\u00a0\u2009\u202f]"
SPACED_NUMBER = re.compile(
    rf"(?<![0-9.,])[0-9]{{1,3}}(?:(?:{NARROW_SPACE}[0-9]{{3}})+|(?: [0-9]{{3}}){{2,}}| 000)(?![0-9])"
)
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau"
    " upsilon phi chi psi omega"
)
GREEK = frozenset(_GREEK.split())
OF_ANGLE = ("sin", "cos", "tan", "cot", "sec", "csc")
ARC = ("arcsin", "arccos", "arctan")
FUNCTIONS = frozenset({*OF_ANGLE, *ARC, "log", "ln", "exp", "gcd", "lcm", "max", "min", "sqrt"})
_SIGNS = {
    **dict.fromkeys("−–—‐‑", "-"),
    **dict.fromkeys("·⋅∙∗", r"\cdot "),
    "∞": r"\infty ",
    "×": r"\times ",
    "÷": r"\div ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\ne ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "√": r"\sqrt ",
    "±": r"\pm ",
    "∓": r"\mp ",
    "∅": r"\emptyset ",
    "∈": r"\in ",
    "≈": r"\approx ",
    "°": r"^\circ ",
    "′": "'",
    "″": '"',
    "…": r"\ldots ",
    "⁄": "/",
    "ℝ": r"\mathbb{R}",
    "µ": "u",
    "\u2126": r"\Omega ",  # the sign of the unit, which is no letter
}
_RAISED, _LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "₀₁₂₃₄₅₆₇₈₉₊₋"
_PLAIN = str.maketrans(_RAISED + _LOWERED, "0123456789+-" * 2)
SMALL_DIGITS = re.compile(f"[{_RAISED}]+|[{_LOWERED}]+")
VULGAR_FRACTIONS = {
    char: f" {Fraction(unicodedata.numeric(char)).limit_denominator(10)}" for char in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
}

TEXT_COMMANDS = (
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf)|mbox|hbox|operatorname\*?|boldsymbol|bm|emph"
    r"|underline)"
)
TEXT = re.compile(rf"{TEXT_COMMANDS} ?\{{([^{{}}]*)\}}")
# Two backslashes break a line of a matrix, "\\[2pt]" too: what follows them is no command.
MARKS = re.compile(
    r"(?P<line_break>\\\\(?: ?\[[0-9.]+[a-z]{2}\])?)"
    r"|\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])\.?"
    r"|\\(?:displaystyle|textstyle|limits|qquad|quad|bf|rm|it|tiny|small|large|Large|LARGE|huge)(?![A-Za-z])"
    r"|\\(?:textcolor|color|tag|label|hspace) ?\{[^{}]*\}"
    r"|\\[()\[\],!;:> ]|(?:\bUS)?\\?[$£€¥₹₩¢]|~|\*\*"
)
# Applied in this order: markup to what it stands for.
LATEX = [
    (re.compile(r"(?<=[0-9])(?:,\\!|\{,\}|\\[,! ])(?=[0-9]{3})"), ""),
    (re.compile(r",\\!|\{,\}"), ","),
    (re.compile(r"\\(?=%)|(?<=\\)[dtc](?=frac|binom)"), ""),
]
DEGREES = re.compile(
    r"\^ ?(?:\{ ?\\circ ?\}|\\circ(?![a-z])) ?(?:(?P<scale>[CF])(?![A-Za-z]))?|\\degrees?(?![a-z])"
)
SCALES = {"C": " celsius ", "F": " fahrenheit ", None: " "}
OF_ANGLES = re.compile(rf"(?:{'|'.join(OF_ANGLE)})(?![a-z])")
_BARE_MATRIX = (
    r"\\begin ?\{(?:array\} ?\{[^{}]*|(?:small)?matrix)\}(.*?)\\end ?\{(?:array|(?:small)?matrix)\}"
)
# A matrix in brackets, an array in bars; then brackets that the name of the matrix says.
MATRICES = [
    (re.compile(rf"[(\[] *{_BARE_MATRIX} *[)\]]"), r"\\begin{pmatrix}\1\\end{pmatrix}"),
    (re.compile(rf"\| *{_BARE_MATRIX} *\|"), r"\\begin{vmatrix}\1\\end{vmatrix}"),
    (re.compile(r"(?<=\{)(?:[bB]|small)?(?=matrix\})"), "p"),
]
# 3:30 P.M., but the triangle PM.
CLOCK_HALF = re.compile(r"\b([ap])\. ?m\b|(?<=[0-9] )([AP])M\b", re.I)
GOES_ON = re.compile(r"[0-9]\.\.\.\Z")
EXCLAMATION = re.compile(r"(?<=[A-Za-z][a-z])!\Z")
TEXT_LEVELS = 3  # of \textbf{\text{...}}


def plain_text(text: str) -> str | None:
    """Returns an answer without markup around the value; None for a text that is far too long.

    Signs outside ASCII become LaTeX commands, \\text{...} its words; units and equations stay.
    """
    text = " ".join(with_plain_signs(text).split())
    if len(text) > MAX_RAW:
        return None
    if "\\" in text or "{,}" in text:
        for _ in range(TEXT_LEVELS):
            text, count = TEXT.subn(r" \1 ", text)
            if not count:
                break
        for pattern, replacement in LATEX:
            text = pattern.sub(replacement, text)
        # An angle of 30 degrees is 30; the sine of 30 degrees is not the sine of 30.
        text = text if OF_ANGLES.search(text) else DEGREES.sub(_scale, text)
    text = MARKS.sub(_plain_mark, text)
    text = (
        CLOCK_HALF.sub(lambda half: f"{half[1] or half[2]}m".lower(), text) if "m" in text.lower() else text
    )
    for pattern, replacement in MATRICES if r"\begin" in text else ():
        text = pattern.sub(replacement, text)
    text = " ".join(text.split())
    # "Yes!" loses its mark, "3!" does not.
    text = EXCLAMATION.sub("", text)
    # 0.333... goes on.
    text = text if GOES_ON.search(text) else text.rstrip(".,;: ")
    return text.removesuffix(" \\\\").strip("`").strip()


def _scale(match: re.Match[str]) -> str:
    return SCALES[match["scale"]]


def _plain_mark(match: re.Match[str]) -> str:
    return r" \\ " if match["line_break"] else " "


def with_plain_signs(text: str) -> str:
    """Returns a text with ASCII digits, signs as LaTeX, and plain fractions; other letters stay.

    5 000 000 loses its spaces.
    """
    if text.isascii():
        return _without_spaces_in_numbers(text)
    text = SMALL_DIGITS.sub(_small_digits, text)
    return _without_spaces_in_numbers("".join(map(_with_plain_sign, text)))


def _without_spaces_in_numbers(text: str) -> str:
    return SPACED_NUMBER.sub(lambda number: re.sub(r"[^0-9]", "", number[0]), text)


def _small_digits(match: re.Match[str]) -> str:
    mark = "^" if match[0][0] in _RAISED else "_"
    return f"{mark}{{{match[0].translate(_PLAIN)}}}"


def _with_plain_sign(char: str) -> str:
    if char.isascii():
        return char
    if char in _SIGNS:
        return _SIGNS[char]
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if char in VULGAR_FRACTIONS:
        return VULGAR_FRACTIONS[char]
    # Full-width forms have plain ones; any other character is left to the rules on words.
    if "\uff01" <= char <= "\uff5e" or "\uffe0" <= char <= "\uffe6":
        return unicodedata.normalize("NFKC", char)
    return _GREEK_LETTERS.get(char, char)


def _greek_letters() -> dict[str, str]:
    """π -> \\pi, Ω -> \\Omega: the name that Unicode has for the letter."""
    letters = {}
    for code in range(0x391, 0x3CA):
        size, _, name = unicodedata.name(chr(code), "").removeprefix("GREEK ").partition(" LETTER ")
        name = {"lamda": "lambda"}.get(name.lower(), name.lower())
        if name in GREEK:
            letters[chr(code)] = f"\\{name if size == 'SMALL' else name.capitalize()} "
    return letters


_GREEK_LETTERS = _greek_letters()
