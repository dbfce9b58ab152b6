"""Can a dual be solved without the answer? Then its reward says nothing about the answer.

    no answer   the dual prompt with nothing where the answer stands: is x_u seen in, or guessed from, x_k?
    decoys      answers to other problems; and every answer that solves the dual, with all its numbers changed
                but those that are hidden: is x_u written in the answer's own text?

A dual that is still solved is leaky (failure mode 7 of the method: the reviewers of DuPO asked whether the
unknown part can be guessed from the known part alone). No label is read.
"""

import random
import re
from collections.abc import Collection, Sequence

from dupo.records import Dual

NO_ANSWER = ""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*", re.ASCII)
_DIGIT = re.compile(r"\d", re.ASCII)


def foreign(answers: Collection[str | None], others: Sequence[str], count: int, seed: int) -> list[str]:
    """At most `count` of `others`, answers to other problems, that are not among `answers`; all different."""
    found = [answer for answer in dict.fromkeys(others) if answer and answer not in answers]
    random.Random(seed).shuffle(found)
    return found[:count]


def altered(answer: str, duals: Sequence[Dual], seed: int) -> str | None:
    """The answer with other digits in every number but those that are a hidden value: a dual that reads its
    own there is still solved. None where no number would change."""
    hidden, rng = {dual.unknown for dual in duals}, random.Random(seed)

    def other(match: re.Match[str]) -> str:
        number = match[0]
        if number in hidden:
            return number
        return _DIGIT.sub(lambda digit: rng.choice("123456789".replace(digit[0], "")), number)

    changed = _NUMBER.sub(other, answer)
    return None if changed == answer else changed
