"""Who may write into the folder of a run: asked before data are read and before torch is imported."""

import os
from datetime import datetime
from pathlib import Path

from dupo.config.config import Config
from dupo.config.layers import read_config, resume_differences
from dupo.distributed.launch import Launch
from dupo.errors import UserError
from dupo.storage.lock import own
from dupo.storage.names import CONFIG, check_format, program_of
from dupo.storage.run_folder import RunFolder


def folder_named(name: str) -> Path:
    """The folder of a run for which the user names none: runs/<date>-<time>-<name>."""
    # Several rewards are parted by commas, which a glob or a shell may read as a list; Windows has no colons.
    name = name.replace(",", "-").replace(":", "-")
    return Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"


def claim_folder(config: Config) -> bool:
    """Makes this process the owner of the folder of a run, before anything is read or loaded.

    Returns:
        Whether the folder holds the run that is to be continued; False where the options name no folder.

    Raises:
        UserError: the folder holds another run, or a run with other options; or another process owns the
            folder, or it cannot be written; or the process is one of several that would all write into it.
            Nothing was changed.
    """
    if config.run.output_dir is None:
        return False
    if config.program != "train":
        refuse_several_processes(f"dupo.{config.program}")
    folder = Path(config.run.output_dir)
    # Before the lock is made: a folder that is refused gets no file of ours.
    _continues(config, folder)
    own(folder)
    # And under the lock: the owner before may have finished in between.
    return _continues(config, folder)


def refuse_several_processes(program: str) -> None:
    """Refuses a distributed launch (torchrun, accelerate, mpirun) of a program that does not train: each
    process would do the whole run, into one folder.

    Args:
        program: what was started, in words.

    Raises:
        UserError: the process is one of several.
    """
    if not (launch := Launch.of(os.environ)).is_alone:
        raise UserError(
            f"expected one process, got a distributed launch of {launch.size}: {program} is not shared out, "
            "start it with python -m"
        )


def take_place(config: Config) -> tuple[Launch, Config]:
    """The place of this process among those that train, and the options as it reads them. The first process
    claims the folder.

    Raises:
        UserError: there are other processes than the options say; or as `claim_folder`.
    """
    launch, options = Launch.of(os.environ), config.ranks
    if options.num_processes not in (None, launch.size):
        raise UserError(
            f"num_processes: expected {launch.size}, as many as were started, got {options.num_processes}"
        )
    degree = options.data_parallel_shard_degree or 1
    if launch.size % min(degree, launch.size):
        raise UserError(
            f"data_parallel_shard_degree: expected a divisor of the {launch.size} processes, got {degree}"
        )
    if launch.is_first:
        claim_folder(config)
        return launch, config
    # The first rank alone prints and uploads; what the others know, it knows.
    return launch, config.changed(quiet=True, log_level="error", report_to=None, push_to_hub=False)


def _continues(config: Config, folder: Path) -> bool:
    """Whether the folder holds the run that is to be continued. Touches nothing."""
    # Only training needs to be asked to resume: its options may differ in ways that matter.
    options, program = config.run, config.program
    if program == "train":
        continues = options.resume_from_checkpoint is not None
    else:  # a program that does not train continues its own work without being asked
        continues = program_of(folder) == program and not options.overwrite_output_dir
    if not continues:
        RunFolder.check(folder, options.overwrite_output_dir, program)
        return False
    check_format(folder)
    if differences := resume_differences(read_config(folder / CONFIG, program), config):
        if program == "train":
            raise UserError(f"resume_from_checkpoint: {'; '.join(differences)}")
        hint = "--overwrite_output_dir replaces it"
        raise UserError(f"output_dir {folder} holds other work ({'; '.join(differences)}): {hint}")
    return True
