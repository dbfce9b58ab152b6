"""Worked examples: stretches of a text whose numbers only show what is meant.

Twin of csrc/numbers_examples.cpp.
"""

import re

from dupo.text.numbers.base import END, SPACE, START, Area, is_space

# What a sentence shows as an example, to the end of the sentence or of the parenthesis.
EXAMPLE = re.compile(
    rf"{START}(?:(?P<middle>for example|for instance|(?<=, )say(?=,))|e\.g\.|such as"
    rf"|as an example|an example of|an example is|one example|one such"
    rf"|(?:thus|hence|so|so that)(?=,?{SPACE}\$?[A-Za-z]\([0-9])){END}",
    re.A | re.I,
)
SENTENCE_END = rf"(?<!\.)[.!?](?=\$|\\\)|\Z|{SPACE})|\n{SPACE}*\n"
SENTENCE_MARK = re.compile(rf"[()]|{SENTENCE_END}")
SENTENCE = re.compile(SENTENCE_END)
# The next sentence goes on with the example.
GOES_ON = re.compile(rf"[.!?](?:{SPACE}|\$|\\\))*(?:Similarly|Likewise|Also|Here|Its|Since|But|Thus){END}")

# "the reversal of 173, for example, is 371": the clause around the words is the example.
LONGEST_CLAUSE = 100  # characters of the clause before the words that are read
CLAUSE_MARK = re.compile(rf"[,;:.!?]{SPACE}|[(\n]")
# "so that, for instance, 3*5 = 11": the clause before the words is none of the example.
LEADS_ON = re.compile(
    rf"{START}(?:that|so|thus|hence|and|or|but|where|then|as|with|since|because|while|when|if)\Z", re.A | re.I
)
# "(With 4 people there would be 6 handshakes.)"
IMAGINED = re.compile(rf"\((?:with|if|when|for|had){SPACE}[^()]{{0,200}}\)", re.A | re.I)
WOULD = re.compile(rf"{START}would{END}", re.A | re.I)
# "The digit sum of 482 is 4+8+2=14.": an equation without an unknown.
OPERATOR = r"(?:[-+*·×/]|\\(?:cdot|times)(?![A-Za-z]))"
NUMBER = "[0-9]{1,18}"
EQUATION = re.compile(
    rf"(?<![0-9A-Za-z.,+*·×/^)}}\\-])(?<![-+*·×/^] ){NUMBER}(?:{SPACE}?{OPERATOR}{SPACE}?{NUMBER}){{1,8}}"
    rf"{SPACE}?={SPACE}?-?{NUMBER}(?![0-9A-Za-z^(\\]|{SPACE}?[-+*·×/=])"
)


def example_areas(text: str) -> list[Area]:
    """Finds worked examples: "for example, 21 is odd-looking." """
    areas: list[Area] = []
    cue = EXAMPLE.search(text)
    while cue:
        end, depth = len(text), 0
        for mark in SENTENCE_MARK.finditer(text, cue.end()):
            depth += {"(": 1, ")": -1}.get(mark[0], 0)
            if depth < 0 or (mark[0] not in "()" and not GOES_ON.match(text, mark.start())):
                end = mark.start()
                break
        in_clause = cue["middle"] and text[cue.end() : cue.end() + 1] in (*",.;?!", "")
        start = _clause_start(text, cue.start()) if in_clause else cue.start()
        areas.append(Area(start, end, "example"))
        cue = EXAMPLE.search(text, max(end, cue.end()))
    areas += [Area(m.start(), m.end(), "example") for m in IMAGINED.finditer(text) if WOULD.search(m[0])]
    return areas + equation_areas(text)


def equation_areas(text: str) -> list[Area]:
    """Finds sentences before the last one that show an equation without an unknown."""
    areas, start = [], 0
    size = len(text)
    while size > 0 and is_space(text[size - 1]):
        size -= 1
    for mark in SENTENCE.finditer(text):
        if mark.end() >= size:
            break
        if EQUATION.search(text, start, mark.start()):
            areas.append(Area(start, mark.start(), "example"))
        start = mark.end()
    return areas


def _clause_start(text: str, place: int) -> int:
    """Returns where the clause before ", for example," starts; `place` where no clause belongs to it."""
    before = text[max(0, place - LONGEST_CLAUSE) : place - 2]
    if text[place - 2 : place] != ", " or LEADS_ON.search(before):
        return place
    marks = [mark.end() for mark in CLAUSE_MARK.finditer(before)]
    return place - 2 - len(before) + (marks[-1] if marks else 0)
