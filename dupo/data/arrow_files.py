"""Rows of parquet files and Arrow files, by pyarrow (extra `[data]`)."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dupo.data.class_labels import features_of, has_classes, with_class_names
from dupo.data.contents import GZIP, check_names, mismatch
from dupo.data.rows import Row, place_of
from dupo.errors import UserError, in_one_line
from dupo.user_files import read_file

MAGIC = b"PAR1"
_NO_VALUES = {"nan", "-nan", "inf", "-inf", "NaT"}  # as numbers and dates of a gap are written


def rows_of_parquet(path: Path, file_name: str) -> list[Row]:
    """The rows of a parquet file. Numbers become text, with the digits that their type holds.

    Args:
        file_name: of the rows, in their ids.

    Raises:
        UserError: pyarrow is not installed, or the file is damaged or of another kind.
    """
    data = read_file(path)
    _refuse_packed(path, data)
    # Said before anything about the extra: no extra reads another kind of file.
    if not data.startswith(MAGIC):
        from_text = "give the file the ending of its format (.jsonl, .csv), or write it again as parquet"
        raise mismatch(path, "a parquet file", "something else", from_text)
    return _rows(path, data, file_name, is_parquet=True)


def rows_of_arrow(path: Path, file_name: str) -> list[Row]:
    """The rows of an Arrow file or stream, such as `save_to_disk` of `datasets` writes; as above."""
    data = read_file(path)
    _refuse_packed(path, data)
    return _rows(path, data, file_name, is_parquet=False)


def _refuse_packed(path: Path, data: bytes) -> None:
    if data.startswith(GZIP):
        raise mismatch(path, "rows of data", "a file packed by gzip", "unpack the file with: gunzip")


def _rows(path: Path, data: bytes, file_name: str, *, is_parquet: bool) -> list[Row]:
    if find_spec("pyarrow") is None:
        advice = "pip install pyarrow, or write the rows as JSON lines"
        raise UserError(f"{path}: expected pyarrow, which reads such files, got none: {advice}")
    import pyarrow as pa
    from pyarrow import parquet

    source = pa.BufferReader(data)
    try:
        if is_parquet:
            table = parquet.ParquetFile(source).read()
        elif data.startswith(b"ARROW1"):
            table = pa.ipc.open_file(source).read_all()
        else:
            table = pa.ipc.open_stream(source).read_all()
        check_names(path, table.schema.names)
        # Values of a damaged file are looked at only after this: they would end the process.
        table.validate(full=True)
        # A float of 32 bits would show the digits of 64: 0.1 as 0.10000000149011612.
        for index, field in enumerate(table.schema):
            if pa.types.is_float32(field.type) or pa.types.is_float16(field.type):
                texts = table.column(index).cast(pa.string()).to_pylist()
                texts = [None if text in _NO_VALUES else text for text in texts]
                table = table.set_column(index, field.name, pa.array(texts, pa.string()))
        values = table.to_pylist()
    # The library has classes of its own, which are those of Python as well, and tells bad text by another.
    except (pa.ArrowException, OSError, ValueError, TypeError, SystemError, MemoryError) as error:
        kind = "parquet" if is_parquet else "Arrow"
        reason = in_one_line(error, kind=True)
        raise UserError(f"{path}: expected a whole {kind} file, got an error ({reason})") from None
    if not values:
        raise UserError(f"{path}: expected rows, got none")
    _name_classes(path, values, (table.schema.metadata or {}).get(b"huggingface"))
    rows = enumerate(values, start=1)
    return [Row({k: _plain(v) for k, v in row.items()}, file_name, number, "row") for number, row in rows]


def _name_classes(path: Path, rows: list[dict[str, Any]], metadata: bytes | None) -> None:
    """Puts the names of classes in the place of their numbers; see `class_labels`."""
    features = {k: v for k, v in features_of(path, metadata).items() if k in rows[0] and has_classes(v)}
    for number, row in enumerate(rows, start=1):
        for name, feature in features.items():
            place = f"{place_of(str(path), number, 'row')}, {name!r}"
            row[name] = with_class_names(row[name], feature, place)


def _plain(value: Any) -> Any:
    """A value as JSON has it: texts, truth values, lists and objects; numbers and dates become text."""
    if value is None or isinstance(value, str | bool | bytes):
        return value
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    # pandas writes a missing number as NaN.
    return None if str(value) in _NO_VALUES else str(value)
