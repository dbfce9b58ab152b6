"""A fault of one line that a named test must catch (kernels/test_mutants.py)."""

from typing import NamedTuple


class Fault(NamedTuple):
    """`text`, which occurs once in the package, becomes `change`; `test` (FILE::NAME) fails."""

    text: str
    change: str
    test: str
    interpreted: bool = False
