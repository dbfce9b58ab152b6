"""Problems that are made on the spot: disjoint sets of them, by a hash of their text."""

import zlib
from collections.abc import Iterator

from dupo.records import Problem

SETS = {"warmup": (0, 1, 2, 3), "train": (4, 5, 6, 7), "held_out": (8,), "dev": (9,)}  # tenths


def belongs(text: str) -> str:
    """The one set that a problem's text is in."""
    bucket = zlib.crc32(text.encode()) % 10
    return next(name for name, buckets in SETS.items() if bucket in buckets)


def different(source: Iterator[Problem], count: int) -> list[Problem]:
    """The first `count` problems of a stream whose texts differ."""
    found: dict[str, Problem] = {}
    while len(found) < count:
        problem = next(source)
        found.setdefault(problem.text, problem)
    return list(found.values())
