"""Data sets as Python objects: what becomes of them on the disk, and what is refused."""

import json
import math
from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pytest

from dupo.api.rows import json_lines
from dupo.data.files import read_file_rows
from dupo.data.rows import PYTHON_ROWS, native
from dupo.errors import UserError


def written(dataset: Any, option: str = "dataset") -> list[Any]:
    return [json.loads(line) for line in json_lines(option, dataset).splitlines()]


ROW = {"text": "한국어 \n", "n": 3, "x": 0.1, "no": None, "yes": True, "in": [{"a": [1]}]}


class Described:
    """What `datasets.Dataset` and `IterableDataset` have that is read here."""

    class Features(dict):
        def to_dict(self) -> dict[str, Any]:
            return {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}

    def __init__(self, rows: list[dict[str, Any]], *, formatted: bool = True) -> None:
        self.features, self.rows, self.formatted = Described.Features(), rows, formatted

    def with_format(self, kind: None) -> "Described":
        return Described(self.rows, formatted=False)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        assert not self.formatted  # a tensor would stand in the place of each number
        return iter(self.rows)


class Frame:
    """What `pandas.DataFrame` has that is read here; iterating over one gives the names of columns."""

    def iterrows(self) -> None: ...

    def __iter__(self) -> Iterator[str]:
        return iter(["n"])

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        assert orient == "records"
        return [{"n": np.int64(3), "gap": math.nan}]


def test_rows_of_every_kind_are_the_same_rows() -> None:
    for dataset in ([ROW], (ROW,), (row for row in [ROW]), {"train": [ROW], "test": [ROW, ROW]}):
        assert written(dataset) == [ROW]
    assert written({"test": [ROW]}, "eval_dataset") == [ROW]
    assert written(Described([{"label": 1}, {"label": 0}])) == [{"label": "yes"}, {"label": "no"}]
    assert written(Frame()) == [{"n": 3, "gap": None}]
    assert written([{"x": np.float32(0.5), "y": np.arange(2), "z": math.nan}]) == [
        {"x": 0.5, "y": [0, 1], "z": None}
    ]


def test_a_real_dataset_is_read() -> None:
    datasets = pytest.importorskip("datasets")
    features = {"q": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    rows = [{"q": "a", "label": 1}, {"q": "b", "label": 0}]
    dataset = datasets.Dataset.from_list(rows, features=datasets.Features(features))
    expected = [{"q": "a", "label": "yes"}, {"q": "b", "label": "no"}]
    for form in (dataset, dataset.with_format("torch"), dataset.to_iterable_dataset()):
        assert written(form) == expected
    assert written(datasets.DatasetDict(train=dataset)) == expected


def test_a_reader_gives_the_same_values_back(tmp_path: Any) -> None:
    file = tmp_path / f"dataset{PYTHON_ROWS}"
    row = ROW | {"big": 10**30, "small": 1e-9, "half": "\ud800"}
    file.write_bytes(json_lines("dataset", [row]))
    (read,) = read_file_rows(file)
    assert native(dict(read)) == row
    assert read["x"] == "0.1" and read["n"] == "3"  # texts, as tasks read them


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (3, ["dataset: expected", "got 3 (int)"]),
        (list, ["dataset: expected", "class 'list'"]),
        ([1, 2], ["got 1 (int) as row 1"]),
        (["What?"], ["got 'What?' (str) as row 1"]),
        ([ROW, None], ["got None (NoneType) as row 2"]),
        ([], ["expected rows, got none"]),
        ({}, ["got {} (dict)"]),
        ({"question": ["a", "b"]}, ["one dict of columns"]),
        ({"question": "a"}, ["one dict of columns"]),
        ({"test": [ROW], "dev": [ROW]}, ["a split train", "test, dev"]),
        ([{"day": date(2026, 1, 2)}], ["row 1, column 'day'", "datetime.date(2026, 1, 2) (date)"]),
        ([ROW, {"in": [{"a": {1}}]}], ["row 2, column 'in'['a']", "(set)"]),
        ([{"x": math.inf}], ["column 'x'", "inf (float)"]),
        ([{"x": 10**5000}], ["row 1, column 'x'", "an integer of at most", "16,610 bits"]),
        ([{1: "a"}], ["row 1", "names that are texts", "1 (int)"]),
        ([{"x": LOOP}], ["row 1", "hold themselves"]),
    ],
)
def test_what_is_no_data_set_is_one_line(dataset: Any, words: list[str]) -> None:
    with pytest.raises(UserError) as problem:
        json_lines("dataset", dataset)
    assert all(word in str(problem.value) for word in words), problem.value
    assert "\n" not in str(problem.value)


def test_of_several_splits_of_an_evaluation_one_must_be_chosen() -> None:
    with pytest.raises(UserError, match="eval_dataset: expected one split, got train, test"):
        json_lines("eval_dataset", {"train": [ROW], "test": [ROW]})
