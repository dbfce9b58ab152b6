"""Fingerprints of problems and duals as they were read: the same contents, the same fingerprint."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from dupo.data.examples import Example
from dupo.records import Dual, Problem


def problems_fingerprint(problems: Iterable[Problem]) -> str:
    """The sha256 of ids, texts, right answers, columns and system messages, in their order, in hex digits."""
    return _sha256([p.id, p.text, p.gold, dict(p.columns), p.system] for p in problems)


def examples_fingerprint(examples: Iterable[Example]) -> str:
    """The sha256 of ids, prompts, completions and earlier messages, in their order, in hex digits."""
    return _sha256(list(example) for example in examples)


def duals_fingerprint(duals_by_text: Mapping[str, Sequence[Dual]]) -> str:
    """The sha256 of the duals of each text, in their order, in hex digits."""
    return _sha256([text, [list(_fields(d)) for d in duals]] for text, duals in duals_by_text.items())


def _fields(dual: Dual) -> tuple[str, str, str]:
    return dual.known, dual.unknown, dual.variable


def _sha256(rows: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        # JSON marks where a text ends, and its ASCII form holds lone surrogates, which UTF-8 does not.
        # `default`: a column may be of a kind that only Python knows.
        digest.update(json.dumps(row, sort_keys=True, default=repr).encode())
        digest.update(b"\n")
    return digest.hexdigest()
