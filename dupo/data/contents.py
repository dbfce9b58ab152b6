"""The bytes of a file: what they look like, and their text.

A file whose contents are not what its name says is refused with the way to convert the file: to guess could
read the wrong text in silence.
"""

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from dupo.data.rows import place_of
from dupo.errors import UserError, in_one_line, quoted
from dupo.user_files import read_file

MOST_WORDS = 4  # of the name of a column
NUMBER = re.compile(r"[-+]?[\d.,/]+%?")
LONGEST_NAME, MOST_NAMES = 40, 20  # characters of a name, and names, in a message
GZIP = b"\x1f\x8b"
# First bytes -> what the file is, and what to do. No format that is read starts with any of these.
_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "a pointer of git-lfs without the data",
        "fetch them with: git lfs pull",
    ),
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "unpack the archive, or save the workbook as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the workbook as CSV UTF-8"),
    (b"PAR1", "a parquet file", "let its name end in .parquet"),
    (b"ARROW1", "an Arrow file", "let its name end in .arrow"),
    (b"\x28\xb5\x2f\xfd", "a file packed by zstd", "unpack the file with: zstd -d"),
    (b"BZh", "a file packed by bzip2", "unpack the file with: bunzip2"),
    (b"\xfd7zXZ", "a file packed by xz", "unpack the file with: unxz"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack the archive"),
    (b"%PDF", "a PDF document", "copy its text into a file of lines"),
    (b"SQLite format 3", "a database of SQLite", "export the table as CSV"),
    (b"\x80\x04", "a pickle of Python", "write the rows as JSON lines"),
    (b"\x80\x05", "a pickle of Python", "write the rows as JSON lines"),
    (b"\x89HDF", "an HDF5 file", "write the rows as JSON lines"),
)
_PAGES = (b"<!doctype", b"<html", b"<?xml")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_AS_UTF_8 = "save the file as UTF-8, or convert it: iconv -f OLD -t UTF-8 (OLD: WINDOWS-1252, CP949, ...)"


def read_contents(path: Path) -> bytes:
    """Reads a file, unpacked where its contents are packed by gzip.

    Raises:
        UserError: as `dupo.user_files.read_file`, or the file is damaged, or empty.
    """
    data = read_file(path)
    if data.startswith(GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            expected = "a whole file of gzip"
            raise UserError(f"{path}: expected {expected}, got an error ({in_one_line(error)})") from None
        except (MemoryError, OverflowError):
            raise UserError(f"{path}: expected a file that fits into memory, got a larger one") from None
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        raise UserError(f"{path}: expected rows of data, got an empty file")
    return data


def refuse_other_kinds(path: Path, data: bytes, expected: str) -> None:
    """Raises UserError for data that look like a file of another kind; says how to convert such a file."""
    for start, kind, advice in _STARTS:
        if data.startswith(start):
            raise mismatch(path, expected, kind, advice)
    if data.removeprefix(codecs.BOM_UTF8).lstrip()[:9].lower().startswith(_PAGES):
        raise mismatch(path, expected, "a web page", "download the file itself, not the page that shows it")


def mismatch(path: Path, expected: str, kind: str, advice: str) -> UserError:
    """The error for a file that is not what its name says, with the way to convert the file."""
    return UserError(f"{path}: expected {expected}, got what looks like {kind}: {advice}")


def decode_lines(path: Path, data: bytes) -> list[str]:
    """The lines of a text in UTF-8, or in UTF-16 with its mark, without their ends.

    Raises:
        UserError: names the line that is not text.
    """
    if data.startswith(_UTF_16):
        try:
            data = data.decode("utf-16").encode()
        except UnicodeError as error:
            raise UserError(
                f"{path}: expected UTF-16, as its first bytes say, got an error ({error}): {_AS_UTF_8}"
            ) from None
    elif b"\0" in data[:100]:
        raise UserError(f"{path}: expected text, got binary data or UTF-16 without its mark: {_AS_UTF_8}")
    # Only "\n" ends a line: str.splitlines would also cut at U+2028 and others, which text may hold.
    # "\r" ends a line where nothing else does, as in files of old systems.
    data = data.removeprefix(codecs.BOM_UTF8)
    data = data if b"\n" in data else data.replace(b"\r", b"\n")
    lines = data.removesuffix(b"\n").split(b"\n")
    return [_decode(path, number, line) for number, line in enumerate(lines, start=1)]


def _decode(path: Path, number: int, line: bytes) -> str:
    try:
        # Lines of Windows end in "\r\n".
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        got = f"expected UTF-8, got an invalid byte at {error.start + 1}"
        raise UserError(f"{place_of(str(path), number)}: {got}: {_AS_UTF_8}") from None


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raises UserError where two columns have one name: one of them would be lost."""
    if twice := next((name for place, name in enumerate(names) if name and name in names[:place]), None):
        told = f"{path}: expected different names of columns, got {quoted(twice)} twice"
        raise UserError(f"{told}{missing_header(names)}")


def missing_header(names: Iterable[str]) -> str:
    """What to do where the names of columns are those of no column but a first row; empty where they are."""
    if not any(NUMBER.fullmatch(name) or len(name.split()) > MOST_WORDS for name in names):
        return ""
    return ": the header seems to be missing: put the names of the columns into a line above the first row"


def shown_names(names: Sequence[str]) -> str:
    """Names in a message: in one line, long ones cut, the first of very many."""
    cut = [" ".join(name.split())[:LONGEST_NAME] for name in names[:MOST_NAMES]]
    return ", ".join(cut) + (f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else "")


def as_text(value: object) -> str:
    """A value in a message as JSON writes the value, and anything else as Python does."""
    return json.dumps(value, ensure_ascii=False, default=repr)
