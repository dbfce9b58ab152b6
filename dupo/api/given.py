"""What a call from Python brings that no command line can: rows, a model, a tokenizer, functions.

    RUN/given/<hash>/dataset.python.jsonl    the rows      RUN/given/<hash>/model    the model, saved

A run reads files alone. So config.yaml names everything that was read, and a run that goes on is compared by
content, wherever its first start came from. Functions have no file: config.yaml holds their dotted paths, or
`dupo.given.NAME` for those that cannot be imported.
"""

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dupo.api.rows import json_lines
from dupo.config.catalogue import load
from dupo.data.rows import PYTHON_ROWS
from dupo.errors import UserError, quoted
from dupo.plugins import GIVEN_FUNCTION
from dupo.storage.checksums import sums_of
from dupo.storage.files import read_mapping, sync, write_atomic, writing
from dupo.storage.names import CONFIG, GIVEN

# Argument -> the option that it becomes.
_OBJECTS = {"model": "model_name_or_path", "tokenizer": "tokenizer_name"}
_HASH_LENGTH = 12  # hex digits
_REWARD = "a name, a function with the signature of TRL's reward functions, or a list of these"


@dataclass
class GivenThings:
    """The objects of one call, checked, and where each goes.

    Attributes:
        rows: option -> JSON lines.
        objects: "model", "tokenizer" -> the object of transformers.
        functions: name in the options -> the function.
        options_of_functions: the options that name one of these.
    """

    rows: dict[str, bytes] = field(default_factory=dict)
    objects: dict[str, Any] = field(default_factory=dict)
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    options_of_functions: list[str] = field(default_factory=list)

    def add_dataset(self, option: str, dataset: Any) -> str | None:
        """Returns the path if the data set is one; keeps the rows of any other data set."""
        if isinstance(dataset, str | os.PathLike):
            return os.fspath(dataset)
        self.rows[option] = json_lines(option, dataset)
        return None

    def add_object(self, name: str, thing: Any) -> str | None:
        """Returns the path if a model or a tokenizer is one; keeps an object of transformers."""
        if isinstance(thing, str | os.PathLike):
            return os.fspath(thing)
        load("dupo.models.objects.check_object")(name, thing)
        self.objects[name] = thing
        return None

    def add_functions(self, option: str, reward: Any) -> str:
        """The names of rewards as the option holds them; keeps functions that cannot be imported."""
        items = list(reward) if isinstance(reward, list | tuple) else [reward]
        if not items or not all(isinstance(item, str) or callable(item) for item in items):
            raise UserError(f"{option}: expected {_REWARD}, got {quoted(reward)}")
        names = [item if isinstance(item, str) else self._name_of(item) for item in items]
        if any(name in self.functions for name in names):
            self.options_of_functions.append(option)
        return ",".join(names)

    def _name_of(self, function: Callable[..., Any]) -> str:
        dotted = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
        if _can_be_imported(dotted, function):
            return dotted
        own = getattr(function, "__name__", type(function).__name__)
        # "<lambda>" is no name of a function in a dotted path.
        base = name = f"{GIVEN_FUNCTION}{re.sub(r'[^0-9A-Za-z_]', '', own) or 'function'}"
        number = 1
        while self.functions.setdefault(name, function) is not function:
            number += 1
            name = f"{base}_{number}"
        return name

    def options(self, folder: Path) -> dict[str, str]:
        """Option -> path in the folder of the run; the path of a model is known once it is written."""
        rows = {option: str(_file_of(folder, option, lines)) for option, lines in self.rows.items()}
        return rows | {_OBJECTS[name]: str(folder / GIVEN / name) for name in self.objects}

    def write(self, folder: Path) -> dict[str, str]:
        """Writes everything into the folder of the run. Contents that lie there are not written again.

        Returns:
            Option -> path.

        Raises:
            UserError: a model or a tokenizer cannot be saved.
            StorageError: the disk is full, or the folder cannot be written.
        """
        paths = self.options(folder)
        for option, lines in self.rows.items():
            file = Path(paths[option])
            with writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                # What lies there may have been edited, whatever its name says.
                if not file.exists() or file.read_bytes() != lines:
                    write_atomic(file, lines)
        for name, thing in self.objects.items():
            paths[_OBJECTS[name]] = str(_save(name, thing, folder))
        return paths


def tidy(folder: Path) -> None:
    """Removes what lies in `given/` and no config.yaml of the run names: a refused start, a run replaced."""
    # A run that was set aside has its config.yaml in a folder of the run.
    files = [folder / CONFIG, *folder.glob(f"*/{CONFIG}")]
    texts = [str(value) for file in files for value in read_mapping(file).values()]
    for entry in (folder / GIVEN).glob("*"):
        if not any(f"{GIVEN}{os.sep}{entry.name}{os.sep}" in text for text in texts):
            shutil.rmtree(entry, ignore_errors=True)
    if (folder / GIVEN).is_dir() and not any((folder / GIVEN).iterdir()):
        (folder / GIVEN).rmdir()


def _can_be_imported(dotted: str, function: Callable[..., Any]) -> bool:
    """Whether another process gets the same function by that path, as `load_function` takes it."""
    module, _, name = dotted.rpartition(".")
    there = sys.modules.get(module)
    # What was typed into a notebook has a module as well: __main__, which another process lacks.
    is_file = module != "__main__" and getattr(there, "__spec__", None) is not None
    return (
        is_file and all(map(str.isidentifier, dotted.split("."))) and getattr(there, name, None) is function
    )


def _file_of(folder: Path, option: str, lines: bytes) -> Path:
    return folder / GIVEN / hashlib.sha256(lines).hexdigest()[:_HASH_LENGTH] / f"{option}{PYTHON_ROWS}"


def _save(name: str, thing: Any, folder: Path) -> Path:
    """Saves a model or a tokenizer under the hash of its files."""
    temporary = folder / GIVEN / "saving"
    with writing(folder / GIVEN):
        shutil.rmtree(temporary, ignore_errors=True)
        inner = temporary / name
        inner.mkdir(parents=True)
        load("dupo.models.objects.save_object")(name, thing, inner)
        target = folder / GIVEN / _hash_of(inner)
        if target.exists() and _hash_of(target / name) != target.name:  # edited since
            shutil.rmtree(target)
        if not target.exists():
            for file in inner.rglob("*"):
                sync(file)
            temporary.rename(target)
        shutil.rmtree(temporary, ignore_errors=True)
    return target / name


def _hash_of(folder: Path) -> str:
    return hashlib.sha256(sums_of(folder).encode()).hexdigest()[:_HASH_LENGTH]
