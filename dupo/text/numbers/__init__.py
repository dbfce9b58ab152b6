"""Numbers in text: where numbers stand, what numbers are worth, and which numbers may be hidden.

A number is an integer (with or without thousands commas), a decimal, a fraction, a mixed number, a number in
English words, or a Korean, Chinese or Japanese number with scales or before a counter. A currency or percent
sign beside a number stays in the text. Values are exact (`Fraction`).
Three kinds of rules keep a number from being hidden: the rules of DuPO, appendix A (subscripts, bounds of
inequalities, bases and exponents, function arguments), rules for plain text (labels, dates, pronouns), and
rules on phrases and lists (definitions, bounds in words, numbers listed beside each other).
docs/duals.md shows each rule with an example.

This is the plain Python twin of csrc/numbers*.cpp. The twin defines every result: change both together.
`dupo.text.hiding` chooses between the two.

    base         records, classes of characters           digits    numbers in digits
    areas        stretches in which nothing is hidden     words     numbers in English words
    rules        what stands around a number in digits    phrases, lists   what phrases and lists say
    east_asian   Korean, Chinese and Japanese numbers; east_asian_values, _words, _context, _phrases serve it
    shares       shares that add up to a whole      examples   worked examples
    mentions     what a number counts                     quantities   which equal numbers count the same
    marks        lists in brackets, marks of exercises    questions    what a question only supposes
    find, hide   the two public functions
"""

from dupo.text.numbers.base import REASONS, ROLES, Hidden, Number
from dupo.text.numbers.find import find_numbers
from dupo.text.numbers.hide import hide_numbers

__all__ = ["REASONS", "ROLES", "Hidden", "Number", "find_numbers", "hide_numbers"]
