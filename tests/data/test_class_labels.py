"""Classes of `datasets` are read by their names, wherever the names stand."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from dupo.config.task_options import TaskOptions
from dupo.data.files import read_file_rows
from dupo.data.sources import read_rows
from dupo.errors import UserError
from dupo.tasks.word_problem_data import read_problems

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
CLASS = {"names": ["A", "B"], "_type": "ClassLabel"}
TEXT = {"dtype": "string", "_type": "Value"}
FEATURES = {"question": TEXT, "answer": CLASS}
ROWS = {"question": ["Which of 2?", "Which of 3?", "Of 4?"], "answer": [1, 0, -1]}


def described(columns: dict[str, list[Any]], features: dict[str, Any] | None) -> Any:
    """A table with the description that `datasets` writes into a schema; None: without one."""
    table = pa.table(columns)
    if features is None:
        return table
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def saved(folder: Path, in_schema: dict[str, Any] | None, in_info: dict[str, Any] | None) -> Path:
    """A folder as `save_to_disk` writes one."""
    table, name = described(ROWS, in_schema), "data-00000-of-00001.arrow"
    with pa.ipc.new_stream(str(folder / name), table.schema) as writer:
        writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": in_info} if in_info else {}))
    return folder


@pytest.mark.parametrize(
    ("in_schema", "in_info"), [(FEATURES, None), (None, FEATURES), (FEATURES, {"answer": TEXT})]
)
def test_right_answers_are_the_names_of_classes(tmp_path: Path, in_schema, in_info) -> None:
    folder = saved(tmp_path, in_schema, in_info)
    assert [row["answer"] for row in read_rows(str(folder))[0]] == ["B", "A", None]
    options = TaskOptions(task="word_problems")
    problems, _ = read_problems(str(folder), options, answers_needed=True)
    assert [problem.gold for problem in problems] == ["B", "A", None]


def read_parquet(folder: Path, columns: dict[str, list[Any]], features: Any) -> list[dict[str, Any]]:
    sink = io.BytesIO()
    parquet.write_table(described(columns, features), sink)
    (folder / "a.parquet").write_bytes(sink.getvalue())
    return [dict(row) for row in read_file_rows(folder / "a.parquet")]


def test_classes_inside_lists_and_objects_have_names(tmp_path: Path) -> None:
    columns = {
        "list": [[1, 0]],
        "old": [{"a": [1, None], "b": ["x"]}],
        "object": [{"deep": [{"a": 0}]}],
        "number": [1],
    }
    features = {
        "list": {"feature": CLASS, "_type": "List"},
        "old": {"feature": {"a": CLASS, "b": TEXT}, "_type": "Sequence"},
        "object": {"deep": [{"a": CLASS}]},
        "number": {"dtype": "int64", "_type": "Value"},
        "absent": CLASS,
    }
    (row,) = read_parquet(tmp_path, columns, features)
    assert row == {
        "list": ["B", "A"],
        "old": {"a": ["B", None], "b": ["x"]},
        "object": {"deep": [{"a": "A"}]},
        "number": "1",
    }


def test_a_class_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.parquet, row 2, 'answer': expected a class below 2, .* got 2$"):
        read_parquet(tmp_path, {"answer": [1, 2]}, {"answer": CLASS})


@pytest.mark.parametrize("features", [None, [], {"answer": None}, {"answer": {"_type": "ClassLabel"}}])
def test_columns_without_names_of_classes_keep_their_numbers(tmp_path: Path, features: Any) -> None:
    assert read_parquet(tmp_path, {"answer": [1]}, features) == [{"answer": "1"}]
