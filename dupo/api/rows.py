"""Data sets as Python objects -> JSON lines, which a run reads like any file.

a list, or any iterable, of dicts     datasets.Dataset, IterableDataset (classes by their names)
datasets.DatasetDict, dict of splits  pandas.DataFrame (NaN is a gap)
"""

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dupo.data.class_labels import with_class_names
from dupo.data.contents import shown_names
from dupo.errors import UserError, quoted
from dupo.storage.files import encoded

_EXPECTED = 'a path, a list of dicts such as {"question": "..."}, or a datasets.Dataset'


def json_lines(option: str, dataset: Any) -> bytes:
    """The rows of a data set, one JSON object a line.

    Args:
        option: that names the data set, for messages. For `dataset`, the split train of several is taken.

    Raises:
        UserError: the object is no data set, or a row holds what JSON cannot.
    """
    lines = []
    for number, row in enumerate(_rows(option, dataset), start=1):
        place = f"{option}: row {number}"
        if not isinstance(row, Mapping):
            raise UserError(f"{option}: expected {_EXPECTED}, got {_shown(row)} as row {number}")
        try:
            values = {_text_key(name, place): _plain(value, _at(place, name)) for name, value in row.items()}
        except RecursionError:
            raise UserError(
                f"{place}: expected values that JSON has, got some that hold themselves"
            ) from None
        lines.append(encoded(values, place))
    if not lines:
        raise UserError(f"{option}: expected rows, got none")
    return b"".join(lines)


def _rows(option: str, dataset: Any) -> Iterable[Any]:
    """The rows of a data set, with the names of classes in the place of their numbers."""
    if isinstance(dataset, Mapping):
        dataset = _split(option, dataset)
    # The libraries are optional, so their classes are known by what they have.
    if hasattr(dataset, "iterrows") and hasattr(dataset, "to_dict"):
        return dataset.to_dict("records")
    features = getattr(dataset, "features", None)
    if features is not None and hasattr(dataset, "with_format"):
        described = features.to_dict()
        # Without a format the values are those of Python, not tensors.
        rows = dataset.with_format(None)
        return (
            {name: with_class_names(value, described.get(name), option) for name, value in row.items()}
            for row in rows
        )
    try:
        return iter(dataset)
    except TypeError:
        raise UserError(f"{option}: expected {_EXPECTED}, got {_shown(dataset)}") from None


def _split(option: str, splits: Mapping[str, Any]) -> Any:
    """The split that is meant; of several, `dataset` means train."""
    columns = [name for name, value in splits.items() if _is_column(value)]
    if columns or not splits:
        advice = ": turn one dict of columns into rows, as datasets.Dataset.from_dict does" if columns else ""
        raise UserError(f"{option}: expected {_EXPECTED}, got {_shown(splits)}{advice}")
    names = list(splits)
    if option == "dataset" and "train" in splits:
        return splits["train"]
    if option != "dataset" and len(names) == 1:
        return splits[names[0]]
    expected = "a split train" if option == "dataset" else "one split"
    raise UserError(
        f"{option}: expected {expected}, got {shown_names(list(map(str, names)))}: give one of them"
    )


def _is_column(value: Any) -> bool:
    """Whether a value of a mapping is a column, or a single value, and no split of rows."""
    if isinstance(value, list | tuple):
        return not value or not isinstance(value[0], Mapping)
    return isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__")


def _plain(value: Any, place: str) -> Any:
    """A value as JSON has it; NaN, by which tables mark a gap, is null."""
    if isinstance(value, np.generic):
        value = value.item()
    elif isinstance(value, np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return _number(value, place)
    if isinstance(value, float) and not math.isinf(value):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {_text_key(key, place): _plain(inner, _at(place, key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, place) for item in value]
    raise UserError(f"{place}: expected a value that JSON has, got {_shown(value)}")


def _number(value: int, place: str) -> int:
    try:
        str(value)  # Python writes, and reads, integers up to a length alone
    except ValueError:
        expected = f"an integer of at most {sys.get_int_max_str_digits():,} digits"
        raise UserError(f"{place}: expected {expected}, got one of {value.bit_length():,} bits") from None
    return value


def _text_key(key: object, place: str) -> str:
    if not isinstance(key, str):
        raise UserError(f"{place}: expected names that are texts, got {_shown(key)}")
    return key


def _at(place: str, name: object) -> str:
    return f"{place}, column {quoted(name)}" if "column" not in place else f"{place}[{quoted(name)}]"


def _shown(value: object) -> str:
    """A value and its type, as an error shows both."""
    return f"{quoted(value)} ({type(value).__name__})"
