"""The `main` of every program: options in, exit code out.

    0    done
    1    stopped by the disk (full, not to be written any more), or by numbers that are not finite
    2    something in what the user gave; or the folder belongs to a program that is running
    130  asked to stop: Ctrl-C, SIGTERM, SIGHUP, or the reader of stdout is gone

In every case what was saved is whole, and the last line on stderr or stdout says how to go on.
"""

import errno
import os
import sys
from collections.abc import Callable, Sequence

from dupo.config.command_line import parse
from dupo.config.config import Config
from dupo.errors import StorageError, UserError
from dupo.run.interrupt import stopped_by_signals
from dupo.storage.lock import release_all
from dupo.views.plain import error
from dupo.views.streams import flush_standard_streams, open_standard_streams

GO_ON = {"train": "--output_dir RUN --resume_from_checkpoint latest goes on from what was saved"}
_GO_ON = "the same command goes on, with its --output_dir and without --overwrite_output_dir"
# What a disk says, wherever a library writes: its cache and temporary files are told in one line as well.
_DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM}


def run_program(program: str, body: Callable[[Config], object], argv: Sequence[str] | None) -> int:
    """Runs `body` with the options of a command line; argv None: those of the process.

    Args:
        body: returns what the run measured; an empty mapping if the run was asked to stop.

    Returns:
        The exit code, see above.
    """
    open_standard_streams()
    go_on = GO_ON.get(program, _GO_ON)
    try:
        with stopped_by_signals():
            return 130 if body(parse(sys.argv[1:] if argv is None else argv, program)) == {} else 0
    except StorageError as problem:
        error(f"{problem}; what was saved before is whole; once that is mended, {go_on}")
        return problem.exit_code
    except UserError as problem:
        error(str(problem))
        return problem.exit_code
    except FloatingPointError as problem:
        error(str(problem))
        return 1
    except OSError as problem:
        if problem.errno not in _DISK_FAULTS:
            raise
        place = problem.filename or "a file"
        error(f"{place}: {os.strerror(problem.errno)}; what was saved before is whole; {go_on}")
        return StorageError.exit_code
    except KeyboardInterrupt:
        error(f"stopped; {go_on}")
        return 130
    finally:
        release_all()
        flush_standard_streams()
