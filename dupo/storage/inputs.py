"""inputs.json: what a run reads, by its contents.

A run that continues must go on with what it was started with. A name says little: a data set is edited in
place, a folder gets other weights, a chat template shows the date. So the folder of a run holds a fingerprint
of each input, and a start that continues compares.

    {"the settings": "<sha256>", "the data set": "<sha256>", "the weights of the model": "<sha256>", ...}
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from dupo.errors import UserError
from dupo.storage.files import encoded, write_atomic
from dupo.storage.names import CONFIG, INPUTS, holds_work

SETTINGS = "the settings"  # the name of their fingerprint


def write_inputs(run: Path, inputs: Mapping[str, str]) -> None:
    """Writes inputs.json in one step.

    Args:
        inputs: name of the input -> fingerprint of its content.
    """
    write_atomic(run / INPUTS, encoded(dict(inputs), INPUTS, indent=2))


def read_inputs(run: Path, program: str) -> dict[str, str] | None:
    """Reads what `write_inputs` wrote; None where a start was killed before anything else was written.

    Raises:
        UserError: the file is gone, but not the work; or the file is damaged.
    """
    file = run / INPUTS
    if not file.exists():
        # config.yaml is written first, so a kill can leave a folder without inputs, but never with work.
        if holds_work(run, program):
            raise UserError(f"{file} is gone, and with it what the run was started with: start anew")
        return None
    try:
        inputs = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        inputs = None
    if not isinstance(inputs, dict) or not all(isinstance(value, str) for value in inputs.values()):
        raise UserError(
            f"{file} is damaged: expected a JSON object of fingerprints; put it back or start anew"
        )
    return inputs


def changed_inputs(saved: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Names the inputs that are not what they were, in a few words; None where all are."""
    names = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
    if not names:
        return None
    # A person knows the settings by their file.
    words = [CONFIG if name == SETTINGS else name for name in names]
    what = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
    is_plural = len(words) > 1 or what.partition(" of ")[0].endswith("s")
    return f"{what} {'have' if is_plural else 'has'} changed since the run was started"


def inputs_hash(inputs: Mapping[str, str]) -> str:
    """The sha256 of all fingerprints, in hex digits."""
    return hashlib.sha256(json.dumps(dict(inputs), sort_keys=True).encode()).hexdigest()
