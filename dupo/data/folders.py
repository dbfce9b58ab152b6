"""Data sets of several files: which files are the split that was asked for. `datasets` is not needed.

a folder of `save_to_disk`     state.json names its files; dataset_dict.json its splits
a folder as on the Hub         README.md may name configs and splits; else folders and files name them
the cache of `load_dataset`    CONFIG/VERSION/HASH/NAME-SPLIT.arrow
"""

import json
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dupo.data.files import ENDINGS, format_ending
from dupo.errors import UserError, nearest
from dupo.user_files import is_file, is_folder, read_file

Splits = dict[str, list[Path]]  # split -> its files, in their order
# The words that name a split on the Hub, and the split that they name.
_WORDS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation"}
_WORDS |= {"val": "validation", "dev": "validation", "test": "test", "testing": "test"}
_WORDS |= {"eval": "test", "evaluation": "test"}
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}")
_NO_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "readme.txt"}
_NO_DATA |= {"license.txt", "requirements.txt", "config.json"}
DEFAULT = "default"  # the config of a data set that names none
_OTHERS = ""  # the files beside those of named splits whose own names tell no split; no user can name them
_MOST_SHOWN = 10  # names in a message


class ChosenSplit(NamedTuple):
    """The files of one split.

    Attributes:
        note: which files are read and what is not, for the start-up table.
    """

    files: list[Path]
    note: str


def files_of_folder(folder: Path, words: list[str], name: str, option: str) -> ChosenSplit:
    """The files of one split.

    Args:
        words: config and split as the user wrote them behind the name, in this order; either may be absent.
        name: of the data set, for messages.
        option: that names the data set, for messages.

    Raises:
        UserError: the folder holds no data, several configs or splits of which none was named, or `dataset`
            names no split where there is no train.
    """
    configs = {config: splits for config, splits in configs_of(folder).items() if splits}
    if not configs:
        endings = ", ".join(ENDINGS)
        raise UserError(f"{option}: expected files that end in one of {endings} in {folder}, got none")
    return choose_split(configs, words, name, option)


def choose_split(configs: Mapping[str, Splits], words: list[str], name: str, option: str) -> ChosenSplit:
    """The files of one split of one config; see `files_of_folder`."""
    words = [word for word in words if word]
    if len(words) > 2:
        raise UserError(f"{option}: expected NAME, NAME:CONFIG, NAME:SPLIT or NAME:CONFIG:SPLIT, got {name}")
    base = name.split(":")[0]
    if words and words[0] in configs:
        config, words = words[0], words[1:]
    elif len(words) == 2:
        raise _unknown(option, f"a config of {base}", configs, words[0])
    elif len(configs) == 1 or DEFAULT in configs:
        config = DEFAULT if DEFAULT in configs else next(iter(configs))
    else:
        got = words[0] if words else "none"
        raise _unknown(option, f"a config of {base}, as in {base}:{next(iter(configs))}", configs, got)
    others = [file.name for file in configs[config].get(_OTHERS, [])]
    splits = {split: files for split, files in configs[config].items() if split != _OTHERS}
    if words:
        split = words[0] if words[0] in splits else _WORDS.get(words[0], words[0])
        if split not in splits:
            raise _unknown(option, f"a split of {base}", splits, words[0])
    elif "train" in splits and (option == "dataset" or len(splits) == 1):
        split = "train"
    elif len(splits) == 1 and option != "dataset":  # to train on a test split takes the word of the user
        split = next(iter(splits))
    else:
        got = "none, which means train" if option == "dataset" else "none"
        raise _unknown(option, f"a split of {base}, as in {base}:{next(iter(splits))}", splits, got)
    files = splits[split]
    # A data set that is there twice, as CSV and as JSON lines, would be read twice.
    if len({format_ending(file) for file in files}) > 1:
        names = ", ".join(file.name for file in files[:4])
        raise UserError(
            f"{option}: expected files of one format in {base}, got {names}: name one of the files"
        )
    # The same rows, packed and not, as gzip --keep leaves them.
    unpacked = {file.with_suffix("") for file in files if file.suffix.lower() == ".gz"}
    if twins := [file.name for file in files if file in unpacked]:
        raise UserError(
            f"{option}: expected each file of {base} once, got {twins[0]} and {twins[0]}.gz: name one of them"
        )
    unread = [f"config {c}" for c in configs if c != config] + [s for s in splits if s != split] + others
    read = f"{option}: split {split}" + (f" of config {config}" if config != DEFAULT else "")
    not_read = f"; not read: {_shown(unread)}" if unread else ""
    return ChosenSplit(files, f"{read}: {_shown([file.name for file in files])}{not_read}")


def _shown(names: list[str]) -> str:
    return ", ".join(names[:_MOST_SHOWN]) + (", ..." if len(names) > _MOST_SHOWN else "")


def _unknown(option: str, what: str, names: Iterable[str], got: str) -> UserError:
    names = list(names)
    return UserError(f"{option}: expected {what}, one of {_shown(names)}; got {got}{nearest(got, names)}")


def configs_of(folder: Path) -> dict[str, Splits]:
    """config -> split -> files, of a folder of `save_to_disk` or one as on the Hub.

    Raises:
        UserError: the folder cannot be read.
    """
    if is_file(folder / "dataset_dict.json"):
        splits = _read_json(folder / "dataset_dict.json").get("splits")
        names = [split for split in splits if isinstance(split, str)] if isinstance(splits, list) else []
        return {DEFAULT: {split: _saved_files(folder / split) for split in names}}
    if is_file(folder / "state.json"):
        return {DEFAULT: {"train": _saved_files(folder)}}
    files = data_files(folder)
    return _configs_of_card(folder, files) or _configs_of_names(folder, files)


def data_files(folder: Path) -> list[Path]:
    """Every file below a folder whose ending names a format, in the order of their names.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        paths = sorted(path for path in folder.rglob("*") if format_ending(path) in ENDINGS)
    except OSError as error:
        raise UserError(f"{folder}: expected a readable folder, got an error ({error.strerror})") from None
    inner = [(path, path.relative_to(folder)) for path in paths]
    return [
        path
        for path, below in inner
        if not any(word.startswith(".") for word in below.parts)
        and path.name.lower() not in _NO_DATA
        and is_file(path)
    ]


def _saved_files(folder: Path) -> list[Path]:
    """The files of one split that `save_to_disk` wrote."""
    files = _read_json(folder / "state.json").get("_data_files")
    listed = files if isinstance(files, list) else []
    names = [file.get("filename") for file in listed if isinstance(file, dict)]
    if not names or not all(isinstance(name, str) and name == Path(name).name for name in names):
        raise UserError(f"{folder / 'state.json'}: expected names of files in _data_files, got none")
    return [folder / str(name) for name in names]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_file(path))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, as save_to_disk writes it, got something else")
    return value


def _configs_of_card(folder: Path, files: list[Path]) -> dict[str, Splits]:
    """What the head of README.md says of configs and splits; empty where it says nothing."""
    card = folder / "README.md"
    head = re.match(rb"---\r?\n(.*?)\r?\n---", read_file(card), re.DOTALL) if is_file(card) else None
    try:
        values = yaml.safe_load(head[1]) if head else None
    except (yaml.YAMLError, ValueError, RecursionError):
        values = None  # a card is for people first: files and folders still have names
    configs: dict[str, Splits] = {}
    listed = values.get("configs") if isinstance(values, dict) else None
    for config in listed if isinstance(listed, list) else []:
        if isinstance(config, dict) and "data_files" in config:
            data = config["data_files"]
            entries = data if isinstance(data, list) and all(isinstance(e, dict) for e in data) else None
            splits: Splits = {}
            for entry in entries or [{"split": "train", "path": data}]:
                patterns = entry.get("path")
                patterns = patterns if isinstance(patterns, list) else [patterns]
                splits[str(entry.get("split"))] = _matching(folder, files, patterns)
            configs[str(config.get("config_name", DEFAULT))] = {
                s: paths for s, paths in splits.items() if paths
            }
    configs = {config: splits for config, splits in configs.items() if splits}
    listed_files = {file for splits in configs.values() for paths in splits.values() for file in paths}
    if others := [file for file in files if file not in listed_files]:
        configs = {config: splits | {_OTHERS: others} for config, splits in configs.items()}
    return configs


def _matching(folder: Path, files: list[Path], patterns: list[Any]) -> list[Path]:
    below = [(file, file.relative_to(folder).as_posix()) for file in files]
    return [file for file, path in below if any(fnmatch(path, str(p).replace("**/", "*")) for p in patterns)]


def _configs_of_names(folder: Path, files: list[Path]) -> dict[str, Splits]:
    """Configs by the folders of the files, splits by the words in their names."""
    configs: dict[str, Splits] = {}
    for file in files:
        parents = file.relative_to(folder).parts[:-1]
        config = next((word for word in parents if word != "data" and word.lower() not in _WORDS), DEFAULT)
        split = split_of(file.name) or next(
            (_WORDS[p.lower()] for p in parents if p.lower() in _WORDS), _OTHERS
        )
        configs.setdefault(config, {}).setdefault(split, []).append(file)
    for splits in configs.values():
        # Files without such a word are those of training, unless another file says that of itself.
        if _OTHERS in splits and "train" not in splits:
            splits["train"] = splits.pop(_OTHERS)
    return configs


def split_of(file_name: str) -> str | None:
    """The split that a name of a file tells: train-00000-of-00002.parquet, gsm8k_test.jsonl; None: none."""
    stem = file_name.split(".")[0]
    if shard := _SHARD.fullmatch(stem):
        return split_of(shard[1]) or shard[1]
    words = [word for word in re.split(r"[^a-z]+", stem.lower()) if word in _WORDS]
    return _WORDS[words[-1]] if words else None


def configs_of_cache(folder: Path) -> dict[str, Splits]:
    """config -> split -> files in the cache of `load_dataset`; the newest where there are several."""
    configs: dict[str, Splits] = {}
    prefix = folder.name.split("___")[-1]
    for info in sorted(folder.glob("*/*/*/dataset_info.json"), key=lambda path: path.stat().st_mtime):
        splits: Splits = {}
        for file in sorted(info.parent.glob("*.arrow")):
            stem = file.stem.removeprefix(f"{prefix}-")
            shard = _SHARD.fullmatch(stem)
            splits.setdefault(shard[1] if shard else stem, []).append(file)
        configs[info.relative_to(folder).parts[0]] = splits
    return {config: splits for config, splits in configs.items() if splits} if is_folder(folder) else {}
