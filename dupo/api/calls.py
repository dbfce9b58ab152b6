"""A program that is called from Python: options and objects in, the folder of the run out.

A call leaves the process as it was: signal handlers, threads and random numbers of torch, locks. What a call
prints, registers or names is known in its own context (`contextvars`) alone, so calls of several threads do
not meet.
"""

import importlib
import os
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any, TypeVar

from dupo.api.given import GivenThings, tidy
from dupo.config.catalogue import load
from dupo.config.command_line import configure
from dupo.config.config import Config
from dupo.errors import UserError
from dupo.plugins import give_functions, without_given
from dupo.run.claim import claim_folder, folder_named, refuse_several_processes
from dupo.run.interrupt import handlers_kept
from dupo.run.problems import as_kept
from dupo.storage.commands import speak_python
from dupo.storage.lock import own
from dupo.views.notebook import is_notebook

# Options of comma-separated items, which Python writes as a list.
_LISTS = {"reward_weights", "report_to", "pool_sizes", "pool_models", "gates", "question_column"}
_LISTS |= {"lora_target_modules"}
# Argument -> the option that says the same by a name or a path.
_OPTION_OF = {"model": "model_name_or_path", "tokenizer": "tokenizer_name"}
# The folders of all calls that are going on, in whatever thread.
_FOLDERS, _GUARD = set[str](), threading.Lock()
ResultT = TypeVar("ResultT")


class Call:
    """One call of a program: checked when it is made, run once.

    Args:
        program: train, rerank, audit or select.
        arguments: those that may be objects, by name; None: not named by the caller.
        options: all others, by flat name.

    Attributes:
        folder: of the run.

    Raises:
        UserError: an option or an object that the program cannot use.
    """

    def __init__(self, program: str, arguments: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        refuse_several_processes("a call from Python")
        self._things = GivenThings()
        # What is set while the call runs, such as its functions, is gone for the caller's next line.
        self._context = copy_context()
        values = _arguments(self._things, arguments, options) | _options(self._things, options)
        # The objects have no path yet, but the options are checked with one.
        config = configure(values | self._things.options(Path()), program)
        self.folder = Path(config.run.output_dir or _new_folder(config))
        self.config = config.changed(output_dir=str(self.folder), **self._things.options(self.folder))

    @contextmanager
    def running(self) -> Iterator[Config]:
        """Claims the folder, writes the objects into it, gives the options of the run, and cleans up."""
        with _alone_in(self.folder):
            claim_folder(as_kept(self.config))
            lock = own(self.folder)
            try:
                with handlers_kept(), _threads_kept():
                    speak_python(self._things.options_of_functions)
                    give_functions(self._things.functions)
                    yield self.config.changed(**self._things.write(self.folder))
            finally:
                tidy(self.folder)
                lock.release()

    def run(self, function: Callable[..., ResultT], *args: Any) -> ResultT:
        """Calls a function in the context of the call; the caller's random numbers stay as they are."""
        return self._context.run(_with_own_draws, function, *args)

    def finish(self, door: Callable[[Config], dict[str, Any]]) -> dict[str, Any]:
        """Runs a program to its end; returns what it measured."""

        def body() -> dict[str, Any]:
            with self.running() as config:
                return door(config)

        return self.run(body)

    def steps(
        self, door: Callable[[Config], Generator[dict[str, Any], None, dict[str, Any]]]
    ) -> Generator[dict[str, Any], None, dict[str, Any]]:
        """The rows of a training run, each when its step is done. Every step is to be made by `run`."""
        with self.running() as config:
            return (yield from door(config))


def _arguments(
    things: GivenThings, arguments: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The options that the arguments stand for; objects are kept in `things`."""
    values: dict[str, Any] = {}
    for name, argument in arguments.items():
        option = _OPTION_OF.get(name, name)
        if argument is None:
            continue
        if option in options:
            raise UserError(f"{name}: expected {name} or {option}, got both")
        if name in _OPTION_OF:
            values[option] = things.add_object(name, argument)
        elif name == "reward":
            values[option] = things.add_functions(name, argument)
        else:
            values[option] = things.add_dataset(name, argument)
    if "model" in things.objects and not values.keys() | options.keys() >= {"tokenizer_name"}:
        raise UserError("tokenizer: expected one beside a model that is an object, got none")
    return values


def _options(things: GivenThings, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as Python writes them, as values that a `Config` takes."""
    values: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        elif name in _LISTS and isinstance(value, list | tuple):
            value = ",".join(map(str, value))
        elif name == "translation_metric" and callable(value):
            value = things.add_functions(name, value)
        elif name == "resume_from_checkpoint" and isinstance(value, bool):  # as transformers takes it
            value = "latest" if value else None
        values[name] = value
    return values


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Refuses a folder that another call of this process writes into: a lock bars other processes alone."""
    path = os.path.abspath(folder)
    with _GUARD:
        if path in _FOLDERS:
            another = "another call of this process (close() ends a loop over train_steps that was left)"
            raise UserError(f"output_dir {folder} is in use by {another}: nothing was changed")
        _FOLDERS.add(path)
    try:
        yield
    finally:
        _FOLDERS.discard(path)


def _new_folder(config: Config) -> Path:
    """A folder that is not there yet: calls of a loop may come within a second."""
    rewards = without_given(config.reward.shown)
    what = {"dupo": f"{config.task.task}-{rewards}"}.get(config.method, f"{config.method}-{config.task.task}")
    first = folder_named(what if config.program == "train" else f"{config.program}-{config.task.task}")
    folder, number = first, 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Gives the number of threads back to torch that the caller had."""
    # Imported here: a wrong option or object is told without waiting for torch.
    torch = importlib.import_module("torch")
    if is_notebook():
        # transformers imports tqdm, which asks for widgets that nothing here draws.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "IProgress not found")
            importlib.import_module("tqdm.auto")
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _with_own_draws(function: Callable[..., ResultT], *args: Any) -> ResultT:
    # Who seeded torch draws the same numbers after a call as without the call.
    torch = importlib.import_module("torch")
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        return function(*args)


def door(program: str, name: str | None = None) -> Callable[[Config], Any]:
    """The function of a program's module, by default that of its own name. No room imports a door by name."""
    return load(f"dupo.{program}.{name or program}")
