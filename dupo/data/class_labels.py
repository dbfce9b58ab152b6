"""Classes of Hugging Face `datasets`: a file holds the number of a class, a description its name.

The description stands in the schema of an Arrow or parquet file (key "huggingface"), and in dataset_info.json
beside the files that `save_to_disk` and `load_dataset` write.
"""

import json
from pathlib import Path
from typing import Any

from dupo.errors import UserError
from dupo.user_files import is_file, read_file

_NO_CLASS = -1  # as `datasets` writes a gap


def features_of(path: Path, metadata: bytes | None) -> dict[str, Any]:
    """What `datasets` says of the columns of a file: column -> description; empty where nothing is said.

    Args:
        metadata: what the schema of the file holds under "huggingface"; None: nothing.

    Raises:
        UserError: dataset_info.json cannot be read.
    """
    described = _features(_object(metadata).get("info")) if metadata else {}
    info = path.with_name("dataset_info.json")
    return described or (_features(_object(read_file(info))) if is_file(info) else {})


def has_classes(feature: Any) -> bool:
    """Whether classes stand in a column, or deeper inside one."""
    if isinstance(feature, dict):
        return feature.get("_type") == "ClassLabel" or any(map(has_classes, feature.values()))
    return isinstance(feature, list) and any(map(has_classes, feature))


def with_class_names(value: Any, feature: Any, place: str) -> Any:
    """A value with the names of its classes in the place of their numbers; None for a gap.

    Args:
        feature: the description of the value.
        place: of the value, for the message.

    Raises:
        UserError: a number that has no name.
    """
    if isinstance(value, list):
        # A list of objects may be stored as an object of lists: then the items are described one level up.
        inner = feature[0] if isinstance(feature, list) and feature else _item(feature)
        return [with_class_names(item, inner, place) for item in value]
    feature = _item(feature)
    if isinstance(value, dict):
        described = feature if isinstance(feature, dict) else {}
        return {key: with_class_names(inner, described.get(key), place) for key, inner in value.items()}
    names = (
        feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    )
    if not isinstance(names, list) or not isinstance(value, int) or value == _NO_CLASS:
        return None if isinstance(names, list) and value == _NO_CLASS else value
    if not 0 <= value < len(names):
        raise UserError(f"{place}: expected a class below {len(names)}, which have names, got {value}")
    return str(names[value])


def _item(feature: Any) -> Any:
    """The description of the items of a list; of anything else the description itself."""
    is_list = isinstance(feature, dict) and isinstance(feature.get("_type"), str) and "feature" in feature
    return feature["feature"] if is_list else feature


def _features(info: Any) -> dict[str, Any]:
    features = info.get("features") if isinstance(info, dict) else None
    return features if isinstance(features, dict) else {}


def _object(data: bytes) -> dict[str, Any]:
    """A JSON object; empty for anything else, which describes no classes."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
