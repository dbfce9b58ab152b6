"""A process that asks math-verify whether two formulas are equal: lines of JSON in, one byte a pair out.

The process is started by `math_equality`. It ends with its standard input, and a timer ends the process where
a formula takes too much processor time: no parent is needed to stop it. An alarm by the clock serves where
the process only waits.
"""

import json
import os
import resource
import signal
import sys
from typing import Any

MAX_BYTES = 4 * 2**30  # of memory: 1000000! stops here at the latest
READY, EQUAL, DIFFERENT = b"r", b"1", b"0"
DIGITS = 12  # to which two values that are no exact numbers have to agree


def main() -> None:
    """Answers lines until standard input ends.

    A line is [first formula, second formula, seconds of the processor, seconds by the clock].
    """
    # What libraries print must not be read as an answer.
    replies = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if sys.platform == "linux":  # other systems refuse this limit
        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    are_equal("1+x", "x+1")  # the first formula takes a second: grammars are read
    os.write(replies, READY)
    for line in sys.stdin.buffer:
        first, second, seconds, wait_seconds = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, wait_seconds)
        equal = are_equal(first, second)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(replies, EQUAL if equal else DIFFERENT)


def are_equal(first: str, second: str) -> bool:
    """Says whether math-verify reads both formulas and takes them for equal."""
    from math_verify import LatexExtractionConfig, parse, verify  # optional

    formulas = [
        parse(
            f"${text}$",
            extraction_config=[LatexExtractionConfig()],
            fallback_mode="no_fallback",
            parsing_timeout=0,
        )
        for text in (first, second)
    ]
    if not all(formulas):
        return False
    formulas = [list(map(_with_imaginary_unit, readings)) for readings in formulas]
    equal = verify(*formulas, float_rounding=DIGITS, numeric_precision=2 * DIGITS, timeout_seconds=0)
    return bool(equal)


def _with_imaginary_unit(formula: Any) -> Any:
    """Makes i, which math-verify reads as a variable, the root of -1."""
    from sympy import Expr, I  # comes with math-verify

    if not isinstance(formula, Expr):
        return formula
    return formula.subs({symbol: I for symbol in formula.free_symbols if str(symbol) == "i"})


if __name__ == "__main__":
    main()
