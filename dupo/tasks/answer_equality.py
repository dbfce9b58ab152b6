"""Whether two normalised answers mean the same: kinds first, then elements, then the value of a formula.

    number       12, 1/3, 50%             equal exactly; 50% is 0.5, and a 50 asked for in percent
    expression   2\\sqrt{3}, x^2 + 1       equal where math-verify shows it (`math_equality`)
    tuple, interval, matrix               the same brackets, and equal elements in order
    set, list    {1, 2}; 1, 2             equal elements in any order
    union        A \\cup B                 equal sides in any order
    relation     x^2 + y^2 = 1, x > 2     equal where math-verify shows it
    words        monday, 7 tenths         equal forms only

Two answers of different kinds are different, but for a number and an expression. Units are
compared before, by `final_answer.same_answer`.
"""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from dupo.tasks.answer_forms import is_word, split_elements
from dupo.tasks.answer_numbers import number_of

Judge = Callable[[str, str], bool]
COMMAND = re.compile(r"\\[A-Za-z]+")
BASED = re.compile(r"[0-9]_")  # 4210_5 is no 4210
# An inverse function is no reciprocal, and 5!! is no (5!)!: math-verify takes both for that.
UNLIKE_VALUES = re.compile(r"[A-Za-z]\^\{-1\}\(|!!")
# 1/2x is half of x or 1/(2x), so it equals itself only.
AMBIGUOUS = re.compile(r"/(?:[0-9.]+|[A-Za-z])(?:[A-Za-z(]|\\(?:pi|sqrt|frac)(?![A-Za-z]))")
DESCRIBED = re.compile(
    r"\\\{(?P<name>[A-Za-z])(?:\\in ?\\mathbb\{R\})?[|:](?P<condition>(?=.*(?P=name))[^,{}|:]+)\\\}"
)
RELATION = re.compile(r"=|<|>|\\(?:le|ge|ne|in|equiv|approx)(?![A-Za-z])")
MATRIX = re.compile(r"(\\begin\{[a-zA-Z]*\})(.*)(\\end\{[a-zA-Z]*\})")
LIST_WORDS = re.compile(r", (?:and|or) | (?:and|or) |(?<=[^A-Za-z])(?:and|or)(?=[^a-z])")
ASSIGNED = re.compile(r"\A([A-Za-z])=")
PLUS_MINUS = re.compile(r"(.*)\\pm ?(.*)")
MOST_SIGNS = 3  # of \pm in one formula: n signs are 2^n values
MOST_JUDGED = 8  # members of a set: every member may be asked against every other
CONSTANTS = {"e", "i"}


def are_never_equal(first: str, second: str) -> bool:
    """The judge that takes different formulas for different."""
    return False


def same_form(first: str, second: str, judge: Judge) -> bool:
    """Says whether two normalised answers mean the same. The order of the two does not matter.

    Args:
        judge: decides whether two different formulas of one kind are equal.
    """
    first, second = _condition(first), _condition(second)
    if first == second:
        return True
    values = _value(first), _value(second)
    if None not in values:
        return _same_numbers(first, second)
    kinds = _kind(first), _kind(second)
    if kinds[0] != kinds[1]:
        return False
    kind = kinds[0]
    if kind == "words":
        return False
    if kind in ("set", "list", "union"):
        return _same_members(_members(first, kind), _members(second, kind), judge)
    if kind == "matrix":
        return _same_matrices(first, second, judge)
    if kind == "brackets":
        sides = (first[0], first[-1]), (second[0], second[-1])
        elements = split_elements(first[1:-1]), split_elements(second[1:-1])
        return sides[0] == sides[1] and _same_in_order(*elements, judge)
    if any(mark.search(form) for mark in (UNLIKE_VALUES, BASED, AMBIGUOUS) for form in (first, second)):
        return False
    if _variables(first) != _variables(second):
        return False
    first, second = _ascending(first), _ascending(second)
    return first == second or judge(*sorted((first, second)))


def kind_of(form: str) -> str:
    """Returns number, expression, relation, brackets (tuple, interval), set, list, union, matrix or words."""
    return "number" if _value(form) is not None else _kind(form)


def _condition(form: str) -> str:
    """Returns x>3 of \\{x : x>3\\}, any other form as it is."""
    match = DESCRIBED.fullmatch(form)
    return match["condition"] if match else form


def _kind(form: str) -> str:
    # A number is an expression where it stands beside one: 4 and \sqrt{16}.
    if MATRIX.fullmatch(form):
        return "matrix"
    if form.count(r"\pm") > MOST_SIGNS:
        return "words"
    letters = COMMAND.sub(" ", form)
    if len(split_elements(form)) > 1 or r"\pm" in form or LIST_WORDS.search(form):
        named = [word for word in re.findall(r"[^\W\d_]+", LIST_WORDS.sub(" ", letters)) if is_word(word)]
        # "p or q" is no list of values, and not "p and q".
        of_letters = LIST_WORDS.search(form) and any(
            re.fullmatch("[A-Za-z]", x) for x in _members(form, "list")
        )
        return "words" if named or of_letters else "list"
    if any(is_word(word) for word in re.findall(r"[^\W\d_]+", letters)) or re.search("[%:]", form):
        return "words" if _value(form) is None else "expression"
    if r"\cup" in form:
        return "union"
    if form.startswith(r"\{") and form.endswith(r"\}"):
        return "set"
    is_enclosed = form.startswith(("(", "[")) and form.endswith((")", "]"))
    if is_enclosed and (len(split_elements(form[1:-1])) > 1 or form[0] == "["):
        return "brackets"
    return "relation" if RELATION.search(form) else "expression"


def _value(form: str) -> Fraction | None:
    value = number_of(form.removesuffix("%"))
    return value / 100 if value is not None and form.endswith("%") else value


def _same_numbers(first: str, second: str) -> bool:
    """Exact; a number of 1 or more may also be a percentage whose sign was left out."""
    numbers = [_value(first), _value(second)]
    if numbers[0] == numbers[1]:
        return True
    if first.endswith("%") == second.endswith("%"):
        return False
    stated = [number_of(form.removesuffix("%")) for form in (first, second)]
    return stated[0] == stated[1] and stated[0] is not None and abs(stated[0]) >= 1


def _ascending(form: str) -> str:
    """Writes x>2 as 2<x, and 5\\ge x as x\\le5."""
    sides = re.split(r"(\\ge(?![A-Za-z])|>|<|=|\\le(?![A-Za-z]))", form)
    signs = {r"\ge": r"\le", ">": "<"}
    if len(sides) == 1 or not signs.keys() >= set(sides[1::2]):
        return form
    sides = [signs.get(side, side).strip() for side in reversed(sides)]
    return re.sub(r"\\le(?=[A-Za-z])", r"\\le ", "".join(sides))


def _variables(form: str) -> set[str]:
    return set(re.findall(r"[A-Za-z]", COMMAND.sub(" ", form))) - CONSTANTS


def _members(form: str, kind: str) -> list[str]:
    if kind == "union":
        return [side.strip() for side in re.split(r"\\cup(?![A-Za-z])", form)]
    if kind == "set":
        return split_elements(form[2:-2])
    members = split_elements(LIST_WORDS.sub(", ", form))
    names = [ASSIGNED.match(member) for member in members]
    # "x=1 or x=2" are two values of x; "x=1, y=2" are values of two unknowns.
    if len({name[1] for name in names if name}) == 1:
        members = [
            member[name.end() :] if name else member for member, name in zip(members, names, strict=True)
        ]
    return [side for member in members for side in _both_signs(member)]


def _both_signs(member: str) -> list[str]:
    """a \\pm b is two values, a+b and a-b."""
    match = PLUS_MINUS.fullmatch(member)
    return (
        [member] if match is None else [f"{match[1]}+{match[2]}".removeprefix("+"), f"{match[1]}-{match[2]}"]
    )


def _same_members(first: Sequence[str], second: Sequence[str], judge: Judge) -> bool:
    """Equal as multisets."""
    remaining = list(second)
    if len(first) != len(remaining):
        return False
    if len(first) > MOST_JUDGED:
        judge = are_never_equal
    for member in first:
        # Equal forms first, so that nothing is asked of the judge for them.
        equal = next((other for other in remaining if other == member), None)
        if equal is None:
            equal = next((other for other in remaining if same_form(member, other, judge)), None)
        if equal is None:
            return False
        remaining.remove(equal)
    return True


def _same_in_order(first: Sequence[str], second: Sequence[str], judge: Judge) -> bool:
    same_length = len(first) == len(second)
    return same_length and all(same_form(a, b, judge) for a, b in zip(first, second, strict=True))


def _same_matrices(first: str, second: str, judge: Judge) -> bool:
    rows = []
    for form in (first, second):
        match = MATRIX.fullmatch(form)
        assert match is not None
        rows.append((match[1], [row.split(" & ") for row in match[2].split(r" \\ ")]))
    (name, cells), (other_name, other_cells) = rows
    if name != other_name or len(cells) != len(other_cells):
        return False
    return all(_same_in_order(a, b, judge) for a, b in zip(cells, other_cells, strict=True))
