"""Folders and names: configs, splits, `save_to_disk`, the caches of Hugging Face. No network is asked."""

import gzip
import json
from pathlib import Path

import pytest

from dupo.data.folders import split_of
from dupo.data.sources import read_rows
from dupo.errors import UserError


def put(file: Path, text: str) -> None:
    """A file of one row that says which file it is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"question": text}) + "\n")


def texts(dataset: object, option: str = "dataset") -> list[str]:
    return [row["question"] for row in read_rows(str(dataset), option)[0]]


def note(dataset: object, option: str = "dataset") -> str:
    _, (line,) = read_rows(str(dataset), option)
    return line


def refusal(dataset: object, option: str = "dataset") -> str:
    with pytest.raises(UserError) as caught:
        read_rows(str(dataset), option)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the libraries of Hugging Face keep data sets; `huggingface_hub` reads its variable once."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home/hub"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("mini-00000-of-00001.parquet", "mini"),
        ("gsm8k_test.jsonl", "test"),
        ("dev.json", "validation"),
        ("Validation.csv.gz", "validation"),
        ("contest.jsonl", None),
        ("trainer.jsonl", None),
    ],
)
def test_a_name_tells_its_split(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_train_is_read_and_any_other_split_is_named(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        put(tmp_path / f"set/data/{name}.jsonl", name)
    put(tmp_path / "set/.git/train.jsonl", "hidden")
    (tmp_path / "set/dataset_infos.json").write_text("{}")
    folder = tmp_path / "set"
    assert texts(folder) == ["train-00000-of-00002", "train-00001-of-00002"]
    assert texts(f"{folder}:test") == ["test-00000-of-00001"]
    assert "eval_dataset: expected a split of" in refusal(folder, "eval_dataset")
    assert "one of test, train; got tset, did you mean test?" in refusal(f"{folder}:tset")


def test_files_without_a_split_in_their_names_are_those_of_training(tmp_path: Path) -> None:
    for name in ("algebra", "geometry", "test"):
        put(tmp_path / f"set/{name}.jsonl", name)
    folder = tmp_path / "set"
    assert texts(folder) == ["algebra", "geometry"] and texts(f"{folder}:test") == ["test"]
    assert note(folder) == "dataset: split train: algebra.jsonl, geometry.jsonl; not read: test"
    assert "one of test, train; got none" in refusal(folder, "eval_dataset")
    put(folder / "train.jsonl", "train")
    assert texts(folder) == ["train"]
    assert note(folder) == "dataset: split train: train.jsonl; not read: test, algebra.jsonl, geometry.jsonl"


def test_no_test_split_is_trained_on_unless_the_user_says_so(tmp_path: Path) -> None:
    put(tmp_path / "set/test.jsonl", "test")
    folder = tmp_path / "set"
    line = f"expected a split of {folder}, as in {folder}:test, one of test; got none, which means train"
    assert line in refusal(folder)
    assert texts(f"{folder}:test") == texts(folder, "eval_dataset") == ["test"]


def test_folders_beside_files_are_said_not_to_be_read(tmp_path: Path) -> None:
    put(tmp_path / "set/root.jsonl", "root")
    put(tmp_path / "set/a/x.jsonl", "x")
    assert texts(tmp_path / "set") == ["root"] and texts(f"{tmp_path / 'set'}:a") == ["x"]
    assert note(tmp_path / "set") == "dataset: split train: root.jsonl; not read: config a"
    assert note(f"{tmp_path / 'set'}:a").startswith(
        "dataset: split train of config a: x.jsonl; not read: config"
    )


def test_folders_are_configs_where_no_card_says_otherwise(tmp_path: Path) -> None:
    for config in ("main", "socratic"):
        for split in ("train", "test"):
            put(tmp_path / f"set/{config}/{split}.jsonl", f"{config} {split}")
    folder = tmp_path / "set"
    assert texts(f"{folder}:main") == ["main train"]
    assert texts(f"{folder}:socratic:test") == ["socratic test"]
    assert "a config of" in refusal(folder) and "one of main, socratic; got none" in refusal(folder)
    assert "got minor" in refusal(f"{folder}:minor:test")


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [("train.jsonl", b"{}\n{\n", 2), ("train.csv", b"a,b\n1\n", 2), ("train.csv", b"a\n\n\xff\n", 3)],
)
def test_a_fault_names_the_folder_of_its_file(tmp_path: Path, name: str, data: bytes, line: int) -> None:
    (tmp_path / "set/b").mkdir(parents=True)
    (tmp_path / "set/b" / name).write_bytes(data)
    assert f"b/{name}, line {line}: expected" in refusal(f"{tmp_path / 'set'}:b")


def test_the_card_names_configs_and_splits(tmp_path: Path) -> None:
    for name in ("a/one", "a/two", "b/three"):
        put(tmp_path / f"set/{name}.jsonl", name)
    configs = [
        {"config_name": "x", "data_files": [{"split": "train", "path": "a/*"}]},
        {"config_name": "y", "data_files": [{"split": "train", "path": ["b/three.jsonl", "a/o*"]}]},
        {"config_name": "z", "data_files": "b/*.jsonl"},
    ]
    (tmp_path / "set/README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n# A set\n")
    assert texts(f"{tmp_path / 'set'}:x") == ["a/one", "a/two"]
    assert texts(f"{tmp_path / 'set'}:y:train") == ["a/one", "b/three"]
    assert texts(f"{tmp_path / 'set'}:z") == ["b/three"]
    put(tmp_path / "set/c/four.jsonl", "c/four")
    line = "dataset: split train of config z: three.jsonl; not read: config x, config y, four.jsonl"
    assert note(f"{tmp_path / 'set'}:z") == line
    (tmp_path / "set/README.md").write_text("---\nconfigs: [\n---\n")
    assert "a config of" in refusal(tmp_path / "set")


def test_a_folder_without_data_and_one_of_two_formats_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "set/train.jsonl", "x")
    (tmp_path / "set/train.csv").write_text("question\nx\n")
    assert "expected files of one format" in refusal(tmp_path / "set")
    put(tmp_path / "mixed/a.jsonl", "x")
    (tmp_path / "mixed/b.jsonl").write_text('{"en": "a", "de": "b"}\n')
    assert "expected files with the same columns, got question in a.jsonl and de, en in b.jsonl" in refusal(
        tmp_path / "mixed"
    )
    (tmp_path / "empty").mkdir()
    assert "expected files that end in one of .jsonl" in refusal(tmp_path / "empty")
    assert "nowhere.jsonl: expected a file, got no such file" in refusal(tmp_path / "nowhere.jsonl")


def saved(folder: Path, text: str) -> None:
    """What `Dataset.save_to_disk` writes."""
    pa = pytest.importorskip("pyarrow")
    folder.mkdir(parents=True)
    rows = pa.table({"question": [text]})
    with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), rows.schema) as writer:
        writer.write_table(rows)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def test_what_save_to_disk_writes_is_read(tmp_path: Path) -> None:
    saved(tmp_path / "alone", "7?")
    assert texts(tmp_path / "alone") == ["7?"]
    for split in ("train", "test"):
        saved(tmp_path / f"both/{split}", split)
    (tmp_path / "both/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert texts(tmp_path / "both") == ["train"] and texts(f"{tmp_path / 'both'}:test") == ["test"]
    for damage in ("{}", '{"_data_files": [{"filename": "../../secret"}]}', "[", "[]"):
        (tmp_path / "alone/state.json").write_text(damage)
        assert "state.json: expected" in refusal(tmp_path / "alone")


def test_a_name_is_looked_up_in_the_files_that_were_fetched(cache: Path) -> None:
    repository = cache / "hub/datasets--openai--gsm8k"
    for split in ("train", "test"):
        put(repository / f"snapshots/abc/main/{split}.jsonl", split)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("abc")
    assert texts("openai/gsm8k") == ["train"]
    assert texts("openai/gsm8k:main:test") == texts("openai/gsm8k:test") == ["test"]
    assert "one of test, train; got dev" in refusal("openai/gsm8k:dev")


def test_a_name_is_looked_up_in_the_cache_of_load_dataset(cache: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    for split in ("train", "test"):
        folder = cache / "datasets/openai___test-data/main/0.0.0/abc"
        folder.mkdir(parents=True, exist_ok=True)
        rows = pa.table({"question": [split]})
        with pa.ipc.new_stream(str(folder / f"test-data-{split}.arrow"), rows.schema) as writer:
            writer.write_table(rows)
        (folder / "dataset_info.json").write_text("{}")
    assert texts("openai/test-data") == ["train"]
    assert texts("openai/test-data:main:test") == ["test"]


@pytest.mark.parametrize("name", ["openai/gsm8k", "nothing", "a/b:c:d"])
def test_a_wrong_name_says_how_to_fetch_the_data_set(cache: Path, name: str) -> None:
    base = name.split(":")[0]
    assert f"hf download {base} --repo-type dataset" in refusal(name)


def test_a_file_packed_and_not_is_not_read_twice(tmp_path: Path) -> None:
    put(tmp_path / "train.jsonl", "5?")
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress((tmp_path / "train.jsonl").read_bytes()))
    put(tmp_path / "test.jsonl", "6?")
    assert "got train.jsonl and train.jsonl.gz: name one of them" in refusal(tmp_path)
    assert texts(tmp_path / "train.jsonl.gz") == ["5?"]
