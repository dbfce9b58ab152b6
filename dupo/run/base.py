"""What every run does, whether it trains or not: folder, settings, device, threads, signature, display."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from dupo.config.config import OPTIONS, Config, option_of
from dupo.config.layers import ONE_START, config_hash, fixed_settings
from dupo.config.reward_names import is_function
from dupo.config.yaml_files import to_yaml
from dupo.distributed.ranks import ALONE, Ranks
from dupo.errors import StorageError, UserError, in_one_line
from dupo.methods.base import Stage
from dupo.models.library_errors import set_log_level
from dupo.plugins import function_fingerprint, without_given
from dupo.run.claim import claim_folder, folder_named
from dupo.run.stage import run_stage
from dupo.storage.inputs import SETTINGS, changed_inputs, inputs_hash, read_inputs, write_inputs
from dupo.storage.lock import follow, own
from dupo.storage.names import INPUTS, TEACHING
from dupo.storage.run_folder import NoFolder, RunFolder
from dupo.storage.signature import signature
from dupo.views.terminal import Display


class Run:
    """One run of one program, from its first check to its last file.

    Args:
        name: what the run is about, in a few words joined by dashes: the end of a folder that is not named.
        ranks: the processes that make the run together. The first alone writes.

    Attributes:
        at_stake: what a second Ctrl-C loses, in words.
        path: the folder of the run. This process owns it until `close`, or until the process ends.
        inputs: fingerprints of what the run reads; `check_inputs` sets them.

    Raises:
        UserError: the folder holds another run, or a run with other options, or another process owns it.
    """

    at_stake = "it"

    def __init__(self, config: Config, name: str, ranks: Ranks = ALONE) -> None:
        self.started, self.ranks = time.monotonic(), ranks
        self.display = Display.of(config.run)
        set_log_level(config.run.log_level)
        if config.run.output_dir is None:
            # Ranks may read their clocks on both sides of a second.
            config = config.changed(output_dir=str(ranks.on_first(lambda: folder_named(name))))
        self.config, self.program, self.path = config, config.program, Path(str(config.run.output_dir))
        self.inputs: dict[str, str] = {}
        self._is_asked = self._stops = False
        # Before anything is loaded: a folder that is refused costs no time.
        self.continues = ranks.on_first(lambda: claim_folder(config))
        self._lock = own(self.path) if ranks.is_first else follow(self.path)
        if not self._lock.has_lock:
            self.display.warn(f"{self.path} is on a file system without locks: start no second run in it")
        if config.run.num_threads:
            torch.set_num_threads(config.run.num_threads)

    def close(self) -> None:
        """Gives the folder up; nothing more is written into it."""
        self._lock.release()

    def check_inputs(self, inputs: Mapping[str, str]) -> None:
        """Refuses to continue with other contents than the run was started with. Touches nothing.

        Args:
            inputs: name -> fingerprint of what the run reads.

        Raises:
            UserError: names the inputs that differ.
        """
        # Settings too: config.yaml can be edited, and a row does not tell by which settings it was made.
        self.inputs = {SETTINGS: inputs_hash(self._settings()), **inputs, **self._functions()}
        self.ranks.check_same(self.inputs, "data, model and options")
        saved = self.ranks.on_first(lambda: read_inputs(self.path, self.program)) if self.continues else None
        if saved is not None and (changes := changed_inputs(saved, self.inputs)):
            raise UserError(f"{self.path}: {changes}: put them back, or start anew in another --output_dir")

    def _functions(self) -> dict[str, str]:
        """Name -> fingerprint of the functions of the user that the options name."""
        named = [("reward", path) for path, _ in self.config.reward.terms]
        named.append(("translation_metric", self.config.task.translation_metric))
        return {
            f"the source of {without_given(path)}": function_fingerprint(option, path)
            for option, path in named
            if is_function(path)  # all other names are of dupo
        }

    def interrupted(self) -> bool:
        """Whether the run was asked to stop: by a signal, or by a reader of stdout that is gone.

        Every rank has to ask, and all stop if one was asked to.
        """
        # Once a run stops it stops: later answers must not differ between ranks.
        self._stops = self._stops or self.ranks.any(self._is_asked or self.display.is_closed)
        return self._stops

    def interrupt(self) -> None:
        """Asks the run to stop after this step."""
        self._is_asked = True
        self.display.warn(f"stopping after this step; Ctrl-C again stops at once and loses {self.at_stake}")

    def run_stage(self, stage: Stage) -> bool:
        """Runs the stage before a method, or goes on with it; see `dupo.run.stage`."""
        file = self.path / TEACHING
        return run_stage(stage, file, self.display, self.interrupted, self.inputs, self.ranks)

    def open_folder(self) -> RunFolder:
        """The folder with config.yaml and inputs.json in it; a new one unless the run is continued."""
        folder = self.ranks.on_first(self._open_folder)
        return folder if self.ranks.is_first else NoFolder(self.path)

    def _open_folder(self) -> RunFolder:
        if self.continues:
            folder = RunFolder.open(self.path)
        else:
            overwrite = self.config.run.overwrite_output_dir
            folder = RunFolder.create(self.path, self._settings_yaml(), overwrite, self.program)
        if not (self.path / INPUTS).is_file():
            write_inputs(self.path, self.inputs)
        return folder

    def keep_settings(self) -> None:
        """Writes the settings of this start into config.yaml: options that are free on resume may differ."""
        if self.ranks.is_first:
            RunFolder.open(self.path).settings(self._settings_yaml(), self.program)

    def _settings_yaml(self) -> str:
        # config.yaml reproduces the run elsewhere, so it names no folder of this machine.
        return to_yaml(self.config.changed(**{name: OPTIONS[name].default for name in ONE_START}))

    def _settings(self) -> dict[str, str]:
        # Those that were chosen: an option that a later dupo adds, at its default, changes nothing.
        settings = fixed_settings(self.config).items()
        method = self.config.method
        return {name: repr(value) for name, value in settings if value != option_of(name, method).default}

    def report_safely(self, page: str, write: Callable[[], Path], again: str) -> Path | None:
        """Writes a page about the run; a page that fails is a warning, because the run has lost nothing.

        Args:
            page: name of the file.
            write: writes the page and returns its path.
            again: the command that makes the page.

        Returns:
            The path; None if the page could not be written.
        """
        try:
            return write()
        except Exception as problem:
            reason = in_one_line(problem, kind=not isinstance(problem, UserError))
            # A disk that is full says itself which file could not be written.
            is_told = isinstance(problem, StorageError)
            told = reason if is_told else f"{page} could not be written ({reason})"
            self.display.warn(f"{told}; all other files are whole; make the page with: {again}")
            return None

    def signature(self, device: torch.device) -> dict[str, str]:
        """What produced the results: versions, revision, device, threads and settings."""
        # The number of threads is read and not taken from the options: 0 lets torch decide.
        packages = ("peft",) if self.config.lora.use_peft else ()
        fields = signature(config_hash(self.config), str(device), torch.get_num_threads(), *packages)
        # Sums over ranks are rounded by their order.
        return fields if self.ranks.size == 1 else fields | {"ranks": str(self.ranks.size)}
