"""Where transformers is called on files of a user: whatever goes wrong there is one line for the user.

A broken folder can make the library raise nearly anything: KeyError, ZeroDivisionError, a panic of Rust code.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler

import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from dupo.errors import UserError, in_one_line

NO_MEMORY = re.compile(r"(can't|cannot) allocate|out of memory|not enough memory", re.IGNORECASE)
LIBRARIES = ("transformers", "huggingface_hub")  # whose logs are meant wherever logs are named here
MOST_RECORDS = 10_000  # of the log of one call


def set_log_level(level: str) -> None:
    """Sets the least level of what the libraries log on stderr; `passive` leaves their levels as they are."""
    if level != "passive":
        for name in LIBRARIES:
            logging.getLogger(name).setLevel(level.upper())


@contextmanager
def library_call(subject: str, name: str = "") -> Iterator[None]:
    """Turns every error inside into one line; what the library logs is shown only if nothing is raised.

    Args:
        subject: what was being done and with which folder; opens the line.
        name: of a model that may be on the Hub.

    Raises:
        UserError: names the subject, the kind of the error and the first 200 characters of its text.
    """
    try:
        with _warnings_held_back():
            yield
    except (UserError, KeyboardInterrupt, SystemExit):
        raise
    except (MemoryError, torch.OutOfMemoryError):
        raise UserError(f"{subject}: not enough memory") from None
    except BaseException as error:
        # A panic of Rust code, in the tokenizers library, derives from BaseException alone.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        # torch reports memory of the CPU that it cannot get as a plain RuntimeError.
        if isinstance(error, RuntimeError) and NO_MEMORY.search(str(error)):
            raise UserError(f"{subject}: not enough memory ({in_one_line(error)})") from None
        why = _hub_fault(error, name) if name else None
        raise UserError(f"{subject}: {why or in_one_line(error, kind=True)}") from None


def _hub_fault(error: BaseException, name: str) -> str | None:
    """Why the Hub gave no file of a model, in our words; None for an error of another kind."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, LocalEntryNotFoundError):
            lack = "neither a folder nor in the cache, and the Hub cannot be reached"
            return f"{lack}: where there is a network, type: hf download {name}"
        if isinstance(cause, RepositoryNotFoundError):
            return "neither a folder, nor a model of the Hub that is open to you: hf auth login gives access"
        cause = cause.__cause__ or cause.__context__
    return None


@contextmanager
def _warnings_held_back() -> Iterator[None]:
    """Keeps the log of the libraries until the block ends, and drops it if the block raises.

    What a library warns of before it raises would be said twice. What it warns of otherwise must be seen.
    """
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    held = MemoryHandler(MOST_RECORDS, flushLevel=logging.CRITICAL + 1)
    before = [logger.handlers[:] for logger in loggers]
    for logger in loggers:
        logger.handlers[:] = [held]
    try:
        yield
    except BaseException:
        held.buffer.clear()
        raise
    finally:
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers[:] = handlers
        for record in held.buffer:
            logging.getLogger(record.name.partition(".")[0]).handle(record)
        held.buffer.clear()
