"""Data sets from files: rows of JSON lines, line-parallel text, and the split into train and held-out.

Whatever can be wrong with a file is a `UserError` that names the file, and the line where there is one.
The split depends on the texts alone, so it is the same for any order of the lines, seed and machine.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from dupo.errors import UserError
from dupo.records import Problem

SURROGATE = re.compile("[\ud800-\udfff]")
SPLIT_KEY = "dupo held-out split"


class Row(dict[str, Any]):
    """One object of a JSON-lines file. Numbers are kept as the text that the file has ("0.10"), because a
    binary float would change them.

    Attributes:
        line: where it stands in the file, from 1.
    """

    line: int = 0


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file without their ends; a byte order mark at the start is skipped.

    Raises:
        UserError: no such file, a folder, unreadable, empty, or not UTF-8.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: expected a file, got a folder")
    if not path.exists():
        raise UserError(f"{path}: no such file")
    try:
        data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not data.strip():
        raise UserError(f"{path}: the file is empty")
    # Only "\n" ends a line: str.splitlines would also cut at U+2028 and others, which text may hold.
    return [_decoded(path, k, line) for k, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=1)]


def _decoded(path: Path, number: int, line: bytes) -> str:
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name}, line {number}: not valid UTF-8 at byte {error.start + 1}") from None


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, as `Row`s that know their line. Blank lines are skipped.

    Raises:
        UserError: as `read_lines`, or a line that is not a JSON object.
    """
    path = Path(path)
    return [_row(path, k, line) for k, line in enumerate(read_lines(path), start=1) if line.strip()]


def _row(path: Path, number: int, line: str) -> Row:
    where = f"{path.name}, line {number}"
    try:
        value = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not valid JSON ({error.msg})") from None
    except RecursionError:
        raise UserError(f"{where}: not valid JSON (nested too deeply)") from None
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "a single value"
        raise UserError(f'{where}: expected an object such as {{"question": "..."}}, got {kind}')
    row = Row(value)
    row.line = number
    return row


def columns(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Every column that some row has, in the order in which they first come."""
    return list(dict.fromkeys(name for row in rows for name in row))


def column(
    rows: Sequence[dict[str, Any]],
    path: str | Path,
    wanted: str | None,
    candidates: Sequence[str],
    option: str,
) -> str:
    """The column to read: `wanted` if it is given, else the first of `candidates` that the file has.

    Raises:
        UserError: there is none; names the file, the columns that it has, and the option that chooses.
    """
    there = columns(rows)
    for name in [wanted] if wanted is not None else candidates:
        if name in there:
            return name
    sought = repr(wanted) if wanted is not None else " or ".join(candidates)
    shown = ", ".join(there) or "none"
    raise UserError(f"{option}: {Path(path).name} has no column {sought}; its columns are: {shown}")


def text_at(row: dict[str, Any], path: str | Path, name: str, *, needed: bool) -> str | None:
    """The text of one column of a row, stripped; None where it is absent, null or blank and not `needed`.

    Raises:
        UserError: missing though needed, not text or a number, or half a surrogate pair (no UTF-8 for it).
    """
    where = f"{Path(path).name}, line {getattr(row, 'line', '?')}"
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{where}: {name!r} must be text or a number, got {json.dumps(value)[:40]}")
    value = (value or "").strip()
    if not value and needed:
        raise UserError(f"{where}: {name!r} is missing or empty")
    if SURROGATE.search(value):
        raise UserError(f"{where}: {name!r} holds half a surrogate pair, which is not text")
    return value or None


def keyed_hash(text: str, key: str) -> int:
    """64 bits of BLAKE2b: the same on every machine and in every process, unlike Python's hash()."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key.encode()[:64])
    return int.from_bytes(digest.digest())


def first_by_hash(problems: Iterable[Problem], count: int) -> list[Problem]:
    """The `count` problems that come first in hash order, of those that have a gold answer; a text that
    stands in the file several times is taken once."""
    ordered = sorted(
        (p for p in problems if p.gold is not None),
        key=lambda p: (keyed_hash(p.text, SPLIT_KEY), p.text, p.gold),
    )
    once: dict[str, Problem] = {}
    for problem in ordered:
        once.setdefault(problem.text, problem)
    return list(once.values())[:count]


def without_texts(problems: Iterable[Problem], taken: Collection[Problem]) -> list[Problem]:
    """Those whose text is not among `taken`'s."""
    texts = {p.text for p in taken}
    return [p for p in problems if p.text not in texts]


def split(problems: Sequence[Problem], eval_size: int) -> tuple[list[Problem], list[Problem]]:
    """(train, held_out): `eval_size` problems with a gold answer are held out, by a hash of their text.

    Copies of one text all land on the same side. Train keeps the order of the file. With no gold answers
    nothing is held out.

    Raises:
        UserError: nothing would be left to train on.
    """
    held_out = first_by_hash(problems, eval_size)
    train = without_texts(problems, held_out)
    if not train:
        different = len({p.text for p in problems})
        raise UserError(
            f"eval_size: must be below the number of different problems ({different:,}), so that some are "
            f"left to train on, got {eval_size:,}"
        )
    return train, held_out


def make_split(
    problems: Sequence[Problem], eval_problems: Sequence[Problem] | None, eval_size: int
) -> tuple[list[Problem], list[Problem]]:
    """(train, held_out), the latter from a data set of its own where one is given.

    Raises:
        UserError: nothing would be left to train on.
    """
    if eval_problems is None:
        return split(problems, eval_size)
    held_out = first_by_hash(eval_problems, eval_size)
    train = without_texts(problems, held_out)
    if not train:
        raise UserError("eval_dataset: it holds every problem of dataset, so that none is left to train on")
    return train, held_out
