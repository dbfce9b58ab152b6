"""What `--dataset` names -> rows: a file, a folder, or a data set of the Hub that is in the local cache.

A folder or a name may end in a config and a split: NAME:CONFIG:SPLIT, NAME:CONFIG, NAME:SPLIT. Nothing is
fetched from the network.
"""

import os
import re
from pathlib import Path

from dupo.data.columns import column_names
from dupo.data.contents import shown_names
from dupo.data.files import format_ending, read_file_rows
from dupo.data.folders import ChosenSplit, choose_split, configs_of, configs_of_cache, files_of_folder
from dupo.data.rows import Row
from dupo.errors import UserError
from dupo.user_files import NOTHING, is_folder, path_kind

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def read_rows(dataset: str, option: str = "dataset") -> tuple[list[Row], list[str]]:
    """Reads the rows of a data set.

    Args:
        option: that names the data set, for messages. `dataset` without a split means train, which must be
            there.

    Returns:
        The rows, and a line for the user on the files that were read, where there was a choice.

    Raises:
        UserError: nothing of that name is there, or it cannot be read; see `files` and `folders`.
    """
    if path_kind(dataset) == NOTHING:
        base, *words = dataset.split(":")
    else:
        base, words = dataset, []
    if is_folder(base):
        return _rows_of_files(Path(base), files_of_folder(Path(base), words, dataset, option))
    is_name = _HUB_NAME.fullmatch(base) and not format_ending(base) and path_kind(base) == NOTHING
    if not is_name:
        return read_file_rows(dataset), []
    snapshot, cache = hub_snapshot(base), datasets_cache(base)
    if snapshot is not None and (configs := {c: s for c, s in configs_of(snapshot).items() if s}):
        return _rows_of_files(snapshot, choose_split(configs, words, dataset, option))
    if configs := configs_of_cache(cache):
        return _rows_of_files(cache, choose_split(configs, words, dataset, option))
    raise UserError(
        f"{option}: expected a file, a folder, or a data set in the local cache of Hugging Face, got {base}, "
        f"which is none: fetch it with: hf download {base} --repo-type dataset"
    )


def _rows_of_files(folder: Path, chosen: ChosenSplit) -> tuple[list[Row], list[str]]:
    """The rows of all files, with names that are different in a folder of folders."""
    files = chosen.files
    # The cache has a folder for each version, which would make ids long and say nothing.
    names = [file.relative_to(folder).as_posix() if file.parent != folder else file.name for file in files]
    if len({file.name for file in files}) == len(files):
        names = [file.name for file in files]
    rows = [read_file_rows(file, name) for file, name in zip(files, names, strict=True)]
    # Files that share no column are no one data set: a folder of all kinds of files was named.
    columns = [set(column_names(rows_of_file)) for rows_of_file in rows]
    for name, names_of_file in zip(names, columns, strict=True):
        if not columns[0] & names_of_file:
            raise UserError(
                f"{folder}: expected files with the same columns, got {shown_names(sorted(columns[0]))} in "
                f"{names[0]} and {shown_names(sorted(names_of_file))} in {name}: name one of the files"
            )
    return [row for rows_of_file in rows for row in rows_of_file], [chosen.note]


def hub_snapshot(name: str) -> Path | None:
    """The folder of a data set that `hf download` fetched, or `load_dataset`; None where there is none."""
    # Imported here: only names need the library, and it takes a while to load.
    from huggingface_hub import snapshot_download

    try:
        # Offline by itself: a wrong name must not wait for the network.
        return Path(snapshot_download(name, repo_type="dataset", local_files_only=True))
    except (OSError, ValueError):  # not there, or a text that is no name
        return None


def datasets_cache(name: str) -> Path:
    """The folder in which `load_dataset` keeps a data set, by the variables that it reads."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or Path(home) / "datasets").expanduser()
    folder = name.replace("/", "___")
    # Which letters are large depends on the version that wrote the folder.
    return next((path for path in cache.glob("*") if path.name.lower() == folder.lower()), cache / folder)
