"""The `main` of every program: options in, exit code out.

    0    done
    1    stopped by the disk (full, not to be written any more), by a server that answers no more, or by
         numbers that are not finite; or the run is done, and its model could not be pushed to the Hub
    2    something in what the user gave; or the folder belongs to a program that is running
    130  asked to stop: Ctrl-C, SIGTERM, SIGHUP, or the reader of stdout is gone

In every case what was saved is whole. When a run stops early (disk, server, signal), the last line says how
to go on.
"""

import os
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dupo.config.command_line import parse
from dupo.config.config import Config
from dupo.config.engine_options import VLLM, check_vllm
from dupo.config.model_options import BUILT_IN_MODEL
from dupo.distributed.faults import RankFault, told_by
from dupo.distributed.launch import Launch, start_ranks, this_program
from dupo.errors import DISK_FAULTS, ServerError, StorageError, UserError
from dupo.process import output_is_a_log
from dupo.run.claim import claim_folder
from dupo.run.interrupt import stopped_by_signals
from dupo.storage.commands import resume_command
from dupo.storage.lock import owned, release_all
from dupo.storage.names import CONFIG, LATEST
from dupo.views.plain import error
from dupo.views.streams import flush_standard_streams, open_standard_streams
from dupo.views.terminal import Display

Data = TypeVar("Data")
ResultT = TypeVar("ResultT")
_ROOM = "free space or give write permission"


def run_program(program: str, body: Callable[[Config], object], argv: Sequence[str] | None) -> int:
    """Runs `body` with the options of a command line; argv None: those of the process.

    Args:
        body: returns what the run measured; an empty mapping if the run was asked to stop.

    Returns:
        The exit code, see above.
    """
    open_standard_streams()
    arguments = sys.argv[1:] if argv is None else argv
    try:
        config = parse(arguments, program)
        output_is_a_log()
        if not Launch.of(os.environ).is_alone:
            # Where a rank is killed, torch would print the stacks of all who waited for it.
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        elif (size := config.ranks.num_processes or 1) > 1:
            # A folder that only the first rank refuses would leave the others waiting for that rank.
            claim_folder(config)
            release_all()
            return start_ranks(this_program(program, arguments), size)
        with stopped_by_signals():
            return 130 if body(config) == {} else 0
    except RankFault as end:
        if end.is_own:
            error(end.fault.message)
        return end.fault.code
    except (UserError, FloatingPointError, OSError, KeyboardInterrupt) as problem:
        # Wherever a library writes: its cache and temporary files are told in one line as well.
        if isinstance(problem, OSError) and problem.errno not in DISK_FAULTS:
            raise
        _tell(problem, _ending(problem, program))
        return _exit_code(problem)
    finally:
        release_all()
        flush_standard_streams()


def _ending(problem: BaseException, program: str) -> str:
    """What a program says at its end, in one line."""
    match problem:
        case StorageError():
            return f"{problem}; {_kept(program)}"
        case ServerError():
            return f"{problem}; {_go_on(program)}"
        case OSError():
            reason = os.strerror(problem.errno or 0)
            return f"{problem.filename or 'a file'}: {reason}; {_kept(program)}"
        case KeyboardInterrupt():
            return f"stopped; {_go_on(program)}"
    return str(problem)


def _exit_code(problem: BaseException) -> int:
    if isinstance(problem, UserError):
        return problem.exit_code
    return 130 if isinstance(problem, KeyboardInterrupt) else StorageError.exit_code


def _tell(problem: BaseException, line: str) -> None:
    """Prints the line once, whatever number of processes meet the problem."""
    rank = told_by(problem)
    if rank is not None:
        error(f"rank {rank}: {line}")
    # Before they have met, the processes of one machine meet the same options and files.
    elif os.environ.get("LOCAL_RANK", "0") == "0":
        error(line)


def read_first(config: Config, read: Callable[[Config], Data]) -> Data:
    """Reads the data of a run before torch is imported: a wrong option or column is told at once.

    Imports take seconds, in which an empty screen looks like a fault; so a line says that they come.
    """
    if config.engine.engine == VLLM:
        check_vllm()
    display = Display.of(config.run)
    with display.work("reading the data"):
        data = read(config)
    name = config.model.model_name_or_path
    # Without a network the Hub is waited for a minute.
    is_named = name != BUILT_IN_MODEL and not config.holds_no_model and not Path(name).is_dir()
    then = f", then {name} from the Hub or its cache" if is_named else ""
    then += f", then asking {config.engine.base_url}" if config.engine.is_server else ""
    display.note(f"dupo {config.program}: options and data are read; loading torch{then} ...")
    return data


def returned_by(steps: Generator[Any, None, ResultT]) -> ResultT:
    """Runs a generator to its end; returns what the generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _kept(program: str) -> str:
    """What is left of a run that the disk stopped, and how to go on."""
    folder = _started()
    if folder is None:
        return f"nothing was started; {_ROOM}, then run the same command again"
    latest = folder / LATEST
    saved = f"{latest.read_text().strip()} and the rows before it are" if latest.is_file() else "the rows are"
    return f"{saved} kept; {_ROOM}, then {_go_on(program)}"


def _go_on(program: str) -> str:
    folder = _started()
    if folder is None:
        return "nothing was started"
    if program == "train":
        return f"{resume_command(folder)} goes on"
    return f"the same command goes on, with its --output_dir {folder}, without --overwrite_output_dir"


def _started() -> Path | None:
    """The folder of the run that was started; None where none was."""
    return next((folder for folder in owned() if (folder / CONFIG).is_file()), None)
