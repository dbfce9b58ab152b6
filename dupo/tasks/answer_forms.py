r"""One spelling for each formula: braces, blanks, brackets, sets and matrices of LaTeX.

    \frac9{19}        \frac{9}{19}         {3 \over 4}       \frac{3}{4}
    11\sqrt{2}        11\sqrt{2}           4210_{5}          4210_5
    \{3, 1, 2\}       \{1, 2, 3\}          (3,148)           (3, 148)
    2 \cdot \pi       2\pi                 (C)               C

A form is one walk over the tokens of a text (`_Writer`). Nothing is computed here but plain numbers that
stand alone between commas.
"""

import re
from functools import lru_cache

from dupo.tasks.answer_numbers import format_number, number_of
from dupo.tasks.answer_text import FUNCTIONS, GREEK
from dupo.tasks.answer_units import SHORT_WORDS
from dupo.text.numbers.words import SMALL

TOKEN = re.compile(
    r"\\[A-Za-z]+|\\.|(?<![0-9,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])|[0-9]+(?:\.[0-9]+)?|\.[0-9]+|[^\W\d_]+|\s+|.",
    re.S,
)
MAX_DEPTH = 40  # brackets in brackets; deeper text is written as it stands
SYNONYMS = {
    r"\leq": r"\le",
    r"\leqslant": r"\le",
    r"\geq": r"\ge",
    r"\geqslant": r"\ge",
    r"\neq": r"\ne",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\lbrack": "[",
    r"\rbrack": "]",
    r"\vert": "|",
    r"\lvert": "|",
    r"\rvert": "|",
    r"\mid": "|",
    r"\dots": r"\ldots",
    r"\cdots": r"\ldots",
    r"\rightarrow": r"\to",
    r"\varnothing": r"\emptyset",
    r"\div": "/",
    r"\ast": r"\cdot",
    r"*": r"\cdot",
    r"\infin": r"\infty",
    r"\colon": ":",
    r"\varphi": r"\phi",
    r"\varepsilon": r"\epsilon",
    "infinity": r"\infty",
}
COMPARISONS = {"<=": r"\le ", ">=": r"\ge ", "!=": r"\ne ", "...": r"\ldots "}
OPENING, CLOSING = ("(", "[", r"\{"), (")", "]", r"\}")
ARGUMENTS = {
    r"\frac": 2,
    r"\sqrt": 1,
    r"\overline": 1,
    r"\vec": 1,
    r"\hat": 1,
    r"\bar": 1,
    r"\mathbb": 1,
    r"\binom": 2,
}
HAS_ITS_RULE = frozenset({"^", "_", r"\sqrt", *ARGUMENTS, *OPENING, "{", r"\begin"})
KEPT_WORDS = SHORT_WORDS | {"or", "and", "if", "no", "yes"}
ENDS_ON_COMMAND = re.compile(r"\\[A-Za-z]+\Z")
ENDS_ON_WORD = re.compile(r"[^\W_]+\Z")
# What `format_number` writes, with at most `answer_numbers.MAX_PLACES` places.
WRITTEN_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}(?:\.[0-9]{0,11}[1-9])?|-?0\.[0-9]{0,11}[1-9]")
OPTION = re.compile(r"\(?([A-Za-z])\)?")
BRACED = re.compile(r"\{(?:[^{}]|\{[^{}]*\})*\}")
OF_SET = re.compile(r"\{ ?[A-Za-z] ?[:|]")
NOTHING = re.compile(r"(?:there (?:is|are) )?(?P<nothing>no .*[a-z]{2}[a-rtv-z])s?", re.I)  # no solutions
PLAIN_QUOTIENT = re.compile(r"(-?)([^-+=,/()\[\]|<>&%:]+)/([0-9]+|[A-Za-z]|\\[A-Za-z]+)")


def write_form(text: str) -> str:
    """Returns the one spelling of a formula, or of words, that has no markup any more."""
    for sign, command in COMPARISONS.items():
        text = text.replace(sign, command)
    if BRACED.fullmatch(text) and (OF_SET.match(text) or len(split_elements(text[1:-1])) > 1):
        text = rf"\{{{text[1:-1]}\}}"  # braces that lost their backslashes: {1, 2}
    form = _Writer(text).sequence(depth=0, closing=())
    nothing = NOTHING.fullmatch(form)
    if nothing:
        return nothing["nothing"].casefold()
    option = OPTION.fullmatch(form)
    if option:
        # An option of a multiple choice may stand in brackets. A bare e may be the number.
        return option[1].upper() if form != option[1] and option[1] in "abcde" else option[1]
    quotient = PLAIN_QUOTIENT.fullmatch(form)
    if (
        quotient
        and not quotient[2].isdigit()
        and not any(is_word(word) for word in re.findall(r"(?<!\\)\b[a-z]{2,}", form))
    ):
        return f"{quotient[1]}\\frac{{{quotient[2]}}}{{{quotient[3]}}}"
    return form.casefold() if is_word(form) else form


def is_word(text: str) -> bool:
    """Says whether letters are a word of a language rather than a product of variables."""
    return (
        text.isalpha()
        and len(text) > 1
        and (len(text) > 2 or text.lower() in KEPT_WORDS or not text.isascii())
    )


class _Writer:
    """Walks over the tokens of one text, from left to right, once."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.place = 0

    def sequence(self, depth: int, closing: tuple[str, ...]) -> str:
        """Writes tokens up to one of `closing`, which is not consumed; elements are joined by ", "."""
        elements, pieces = list[str](), list[str]()
        while self.place < len(self.tokens) and self.tokens[self.place] not in closing:
            if self.tokens[self.place] == ",":
                elements.append(_element(pieces))
                pieces = []
                self.place += 1
            else:
                self._item(pieces, depth)
        elements.append(_element(pieces))
        return ", ".join(elements)

    def _item(self, pieces: list[str], depth: int) -> None:
        """Writes the token at the place, with its arguments, behind `pieces`."""
        token = self.tokens[self.place]
        self.place += 1
        if token not in HAS_ITS_RULE:
            pieces.append(token)
        elif token in ("^", "_"):
            argument = self._argument(depth, whole_number=True)
            if token == "_" and any(pieces) and pieces[-1][-1:].isdigit():
                base = argument.removeprefix("base ")
                argument = str(SMALL.get(base, base))  # 4210_{five}
            # x^10 is written x^{10}, as LaTeX needs it; 4210_5 and x_{12} likewise.
            pieces.append(f"{token}{argument}" if len(argument) == 1 else f"{token}{{{argument}}}")
        elif token == r"\sqrt" and self._next() == "[":
            pieces.append(rf"\sqrt[{self._group(depth)[1:-1]}]{{{self._argument(depth)}}}")
        elif token in ARGUMENTS:
            arguments = [
                self._argument(depth, token not in (r"\frac", r"\binom")) for _ in range(ARGUMENTS[token])
            ]
            if token == r"\frac" and not any(pieces) and re.fullmatch("-[^-+]+", arguments[0]):
                pieces.append("-")
                arguments[0] = arguments[0][1:]
            pieces.append(token + "".join(f"{{{argument}}}" for argument in arguments))
        elif token in OPENING or token == "{":
            self.place -= 1
            pieces.append(self._group(depth))
        else:  # \begin
            pieces.append(self._environment(depth))

    def _next(self) -> str:
        """Skips blanks, and returns the token that follows; "" at the end."""
        while self.place < len(self.tokens) and self.tokens[self.place].isspace():
            self.place += 1
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def _argument(self, depth: int, whole_number: bool = True) -> str:
        """Reads the argument of a command: a group, or one token or its first letter or digit."""
        token = self._next()
        if depth >= MAX_DEPTH or not token or token in ("}", *CLOSING, ",", "&", r"\\"):
            return ""
        if token in ("{", "("):
            group = self._group(depth)
            return group[1:-1] if token == "(" and group.startswith("(") else group
        if token == "-":
            self.place += 1
            return f"-{self._argument(depth + 1)}"
        if len(token) > 1 and (token.isalpha() or (token.isdigit() and not whole_number)):
            self.tokens[self.place] = token[1:]
            return token[0]
        pieces = list[str]()
        self._item(pieces, depth + 1)
        return _joined(pieces)

    def _group(self, depth: int) -> str:
        """Writes a group with its brackets; braces of LaTeX go, and a \\over b becomes a fraction."""
        opening = self._next()
        self.place += 1
        if depth >= MAX_DEPTH:
            return opening
        if opening == "{":
            return self._content_of_braces(depth)
        content = self.sequence(depth + 1, (*CLOSING, "}"))
        closing = self.tokens[self.place] if self.place < len(self.tokens) else ""
        if closing not in CLOSING:
            return opening + content
        self.place += 1
        if opening == r"\{" and closing == r"\}":
            content = _sorted_set(content)
            return rf"\{{{content}\}}" if content else r"\emptyset"
        return f"{opening}{content}{closing}"

    def _content_of_braces(self, depth: int) -> str:
        content = self.sequence(depth + 1, ("}", r"\over"))
        over = self.place < len(self.tokens) and self.tokens[self.place] == r"\over"
        if over:
            self.place += 1
            content = rf"\frac{{{content}}}{{{self.sequence(depth + 1, ('}',))}}}"
        self.place += 1
        # {2^3}^2 is no 2^{3^2}.
        return f"({content})" if "^" in content and self._next() == "^" else content

    def _environment(self, depth: int) -> str:
        """Writes \\begin{...} cells \\end{...}: one blank beside & and the line breaks."""
        name = self._group(depth) if self._next() == "{" else ""
        rows, cells = list[list[str]](), list[str]()
        while self.place < len(self.tokens) and depth < MAX_DEPTH:
            cells.append(self.sequence(depth + 1, ("&", r"\\", r"\end")))
            token = self.tokens[self.place] if self.place < len(self.tokens) else r"\end"
            self.place += 1
            if token != "&":
                rows.append(cells)
                cells = []
            if token == r"\end":
                break
        if self._next() == "{":
            self._group(depth)
        if rows and not any(rows[-1]):
            rows.pop()
        body = r" \\ ".join(" & ".join(row) for row in rows)
        return rf"\begin{{{name}}}{body}\end{{{name}}}"


def _tokens(text: str) -> list[str]:
    tokens, depth = list[str](), 0
    for token in map(_plain_token, TOKEN.findall(text)):
        if token[0] == "." and len(token) > 1 and not (tokens and tokens[-1][-1].isalnum()):
            token = f"0{token}"  # .5 is 0.5, but 1.2.5 is no number
        depth += (token in OPENING) - (token in CLOSING)
        if len(token) > 1 and "," in token:
            # Inside brackets a comma separates: (3,148) is a pair.
            tokens += re.findall("[0-9]+|,", token) if depth > 0 else [token.replace(",", "")]
        else:
            tokens.append(token)
    return tokens


@lru_cache(maxsize=2**12)  # formulas share most of their tokens
def _plain_token(token: str) -> str:
    if token.isspace():
        return " "
    if token in FUNCTIONS or token in GREEK:
        return f"\\{token}"
    if "." in token and token[-1].isdigit():
        return token.rstrip("0").rstrip(".") or "0"
    return SYNONYMS.get(token, token)


def _element(pieces: list[str]) -> str:
    text = _joined(pieces)
    text = text[1:] if text.startswith("+") else text
    # Most elements are written so already, and exact fractions take ten times as long.
    if WRITTEN_NUMBER.fullmatch(text):
        return text
    value = number_of(text)
    return text if value is None else format_number(value)


def _sorted_set(content: str) -> str:
    elements = split_elements(content)
    # A set that is described, or goes on, has an order of its own.
    if re.search(r"[|:]|\\ldots", content):
        return content
    return ", ".join(sorted(dict.fromkeys(elements)))


def split_elements(text: str) -> list[str]:
    """Splits a written form at its commas outside brackets."""
    elements, depth, start = [], 0, 0
    for match in re.finditer(r"\\?[{}]|[()\[\]]|,", text):
        if match[0] == ",":
            if not depth:
                elements.append(text[start : match.start()].strip())
                start = match.end()
        else:
            depth += 1 if match[0][-1] in "([{" else -1
    return [*elements, text[start:].strip()]


def _joined(pieces: list[str]) -> str:
    """Joins pieces; a blank stays where words or digits would grow together."""
    text, blank, dot = "", False, False
    for piece in filter(None, pieces):
        if piece == " ":
            blank = True
            continue
        if piece == r"\cdot" or (piece == r"\times" and re.search(r"[0-9]\Z", text)):
            dot, blank = True, False
            continue
        if dot:
            # 2\cdot3 is not 23, and 2\cdot\frac{1}{2} is no mixed number.
            if text and (piece[0].isdigit() or piece.startswith(r"\frac")):
                text += r"\cdot"
            blank = False
        text += " " if _needs_blank(text, piece, blank) else ""
        text += piece if not is_word(piece) or piece.isupper() else piece.casefold()
        blank = dot = False
    return text


def _needs_blank(text: str, piece: str, blank: bool) -> bool:
    if not text or not piece:
        return False
    if piece[0].isalpha() and ENDS_ON_COMMAND.search(text):
        return True
    if text[-1].isdigit() and piece[0].isdigit():  # R^2 2 is not R^{22}
        return True
    if not blank or not (text[-1].isalnum() and piece[0].isalnum()):
        return False
    last = ENDS_ON_WORD.search(text)
    return is_word(piece) or bool(last and is_word(last[0]))
