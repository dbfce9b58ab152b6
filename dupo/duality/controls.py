"""Can a dual be solved without the answer? Then its reward says nothing about the answer.

no answer    the dual prompt with nothing in the place of the answer: is x_u seen in x_k, or guessed from x_k?
decoys       answers to other problems
copies       answers that solve the dual, with other digits in every number except the hidden ones: is x_u
             written in the text of the answer?

A dual that is still solved leaks (failure mode 7 of the method: the reviewers of DuPO asked whether the
unknown part can be guessed from the known part alone). No label is read.
"""

import random
import re
from collections.abc import Collection, Sequence

from dupo.records import Dual

# An empty text, and not another prompt: the prompt must be the one that rewards are made from.
NO_ANSWER = ""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*", re.ASCII)
_DIGIT = re.compile(r"\d", re.ASCII)


def answers_of_other_problems(
    answers: Collection[str | None], candidates: Sequence[str], count: int, seed: int
) -> list[str]:
    """Draws different answers to other problems.

    Args:
        answers: the answers to the problem itself, which are never drawn.
        candidates: answers to other problems; repeats and empty texts are left out.
        count: most answers to draw.
    """
    decoys = [answer for answer in dict.fromkeys(candidates) if answer and answer not in answers]
    # Shuffled before they are cut: the first problems of a batch would be the decoys of all others.
    random.Random(seed).shuffle(decoys)
    return decoys[:count]


def with_other_digits(answer: str, duals: Sequence[Dual], seed: int) -> str | None:
    """Replaces every number in the answer except the hidden ones.

    A dual that only copies its hidden number out of the answer is still solved: a leak.

    Args:
        duals: the duals of the problem, which say what is hidden.

    Returns:
        None where no number would change.
    """
    hidden, rng = {dual.unknown for dual in duals}, random.Random(seed)

    def replaced(match: re.Match[str]) -> str:
        number = match[0]
        if number in hidden:
            return number
        # No digit becomes 0, which could shorten the number; each becomes another, so the number differs.
        return _DIGIT.sub(lambda digit: rng.choice("123456789".replace(digit[0], "")), number)

    changed = _NUMBER.sub(replaced, answer)
    return None if changed == answer else changed
