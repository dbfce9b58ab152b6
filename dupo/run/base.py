"""What every run does, whether it trains or not: folder, settings, device, threads, signature, display."""

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import torch

from dupo.config.config import OPTIONS, Config
from dupo.config.layers import (
    ONE_START,
    config_hash,
    fixed_settings,
    read_config,
    resume_differences,
)
from dupo.config.yaml_files import to_yaml
from dupo.errors import UserError
from dupo.storage.files import write_atomic
from dupo.storage.inputs import changed_inputs, inputs_hash, read_inputs, write_inputs
from dupo.storage.names import CONFIG, INPUTS, check_format, first_line, owner_of
from dupo.storage.run_folder import RunFolder
from dupo.storage.signature import signature
from dupo.views.terminal import Display


class Run:
    """One run of one program, from its first check to its last file.

    Args:
        name: what the run is about, in a few words joined by dashes: the end of a folder that is not named.

    Attributes:
        path: the folder of the run.
        inputs: fingerprints of what the run reads; `check_inputs` sets them.

    Raises:
        UserError: the folder holds another run, or a run with other options.
    """

    def __init__(self, config: Config, name: str) -> None:
        self.started = time.monotonic()
        self.display = Display()
        if config.run.output_dir is None:
            folder = Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
            config = config.changed(output_dir=str(folder))
        self.config, self.program, self.path = config, config.program, Path(str(config.run.output_dir))
        self.inputs: Mapping[str, str] = {}
        # Before anything is loaded: a folder that is refused costs no time.
        self.continues = self._checked()
        if config.run.num_threads:
            torch.set_num_threads(config.run.num_threads)

    def _checked(self) -> bool:
        """Whether the folder holds the run that is to be continued. Touches nothing."""
        # Only training needs to be asked to resume: its options may differ in ways that matter.
        options = self.config.run
        resumes = options.resume_from_checkpoint is not None
        if self.program == "train":
            continues = resumes
        else:  # a program that does not train continues its own work without being asked
            continues = owner_of(self.path) == self.program and not options.overwrite_output_dir
        if not continues:
            RunFolder.check(self.path, options.overwrite_output_dir, self.program)
            return False
        check_format(self.path)
        if differences := resume_differences(read_config(self.path / CONFIG, self.program), self.config):
            if self.program == "train":
                raise UserError(f"resume_from_checkpoint: {'; '.join(differences)}")
            hint = "--overwrite_output_dir replaces it"
            raise UserError(f"output_dir {self.path} holds other work ({'; '.join(differences)}): {hint}")
        return True

    def check_inputs(self, inputs: Mapping[str, str]) -> None:
        """Refuses to continue with other contents than the run was started with. Touches nothing.

        Args:
            inputs: name -> fingerprint of what the run reads.

        Raises:
            UserError: names the inputs that differ.
        """
        # Settings too: config.yaml can be edited, and a row does not tell by which settings it was made.
        self.inputs = {"the settings": inputs_hash(self._settings()), **inputs}
        saved = read_inputs(self.path, self.program) if self.continues else None
        if saved is not None and (changes := changed_inputs(saved, self.inputs)):
            raise UserError(f"{self.path}: {changes}: put them back, or start anew in another --output_dir")

    @property
    def origin(self) -> dict[str, str]:
        """What everything that the run keeps for a later start was made from."""
        return dict(self.inputs)

    def open_folder(self) -> RunFolder:
        """The folder with config.yaml and inputs.json in it; a new one unless the run is continued."""
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
        write_atomic(self.path / CONFIG, (first_line(self.program) + self._settings_yaml()).encode())

    def _settings_yaml(self) -> str:
        # config.yaml reproduces the run elsewhere, so it names no folder of this machine.
        fresh = {name: None if name != "overwrite_output_dir" else False for name in ONE_START}
        return to_yaml(self.config.changed(**fresh))

    def _settings(self) -> dict[str, str]:
        # Those that were chosen: an option that a later dupo adds, at its default, changes nothing.
        settings = fixed_settings(self.config).items()
        return {name: repr(value) for name, value in settings if value != OPTIONS[name].default}

    def signature(self, device: torch.device) -> dict[str, str]:
        """What produced the results: versions, revision, device, threads and settings."""
        # The number of threads is read and not taken from the options: 0 lets torch decide.
        return signature(config_hash(self.config), str(device), torch.get_num_threads())
