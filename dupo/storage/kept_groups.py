"""Groups of a rollout in progress, a line each as they come, in the form of `storage/kept_answers.py`.

    RUN/rollouts/N.jsonl    {"key": "origin", "answer": {...}, "crc32": 1}     what decides the rollout
                            {"key": "<hex digits>", "answer": {"groups": [[{"ids": "<base64>", ...}]]}, ...}

Ids (int32) and log-probs (fp32) are their bytes in base64: 11 bytes a token, and no digit is lost.
"""

import base64
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dupo.records import Completion
from dupo.storage.files import writing
from dupo.storage.kept_answers import KeptAnswers

ORIGIN = "origin"
# Field of a completion -> how its numbers are written, whatever the machine.
_ARRAYS = {"ids": "<i4", "logprobs": "<f4", "forced": "?"}
_PLAIN = ("text", "truncated", "entropy", "self_certainty", "starts_in_thought")


class KeptGroups:
    """The groups of one rollout.

    Args:
        file: made once the rollout has taken long enough.
        seconds: after which groups are written; those before are then written as well.
        origin: everything that decides the rollout, as JSON holds it. A file of another origin is removed.
    """

    def __init__(self, file: Path, seconds: float, origin: Mapping[str, Any]) -> None:
        self.file, self._seconds, self._origin = file, seconds, dict(origin)
        self._since = time.monotonic()
        self._waiting: list[tuple[str, Sequence[list[Completion]]]] = []
        self._kept: KeptAnswers | None = None
        if file.is_file():
            answers = KeptAnswers(file)
            if ORIGIN in answers and answers.get(ORIGIN) == self._origin:
                self._kept = answers
            else:
                file.unlink()

    @property
    def num_kept(self) -> int:
        """Lines of groups that the file has."""
        return 0 if self._kept is None else len(self._kept) - 1

    def get(self, name: str) -> list[list[Completion]] | None:
        """The groups of that name; None where there are none, or where their line was torn or changed."""
        if self._kept is None or name not in self._kept:
            return None
        groups = self._kept.get(name)["groups"]
        return [[_completion(fields) for fields in group] for group in groups]

    def put(self, name: str, groups: Sequence[list[Completion]]) -> None:
        """Keeps groups under a name.

        Raises:
            StorageError: the disk is full, or the file cannot be written.
        """
        self._waiting.append((name, groups))
        # A rollout of a moment costs less than its file.
        if time.monotonic() - self._since < self._seconds:
            return
        if self._kept is None:
            with writing(self.file):
                self.file.parent.mkdir(exist_ok=True)
            self._kept = KeptAnswers(self.file)
            self._kept.put(ORIGIN, self._origin)
        # The first lines are those of the seconds in which nothing was written.
        for waiting, completions in self._waiting:
            self._kept.put(waiting, {"groups": [[_fields(c) for c in group] for group in completions]})
        self._waiting.clear()


def _fields(completion: Completion) -> dict[str, Any]:
    """A completion as JSON holds it."""
    arrays = {name: getattr(completion, name) for name in _ARRAYS}
    return {name: _text(value, _ARRAYS[name]) for name, value in arrays.items()} | {
        name: getattr(completion, name) for name in _PLAIN
    }


def _completion(fields: Mapping[str, Any]) -> Completion:
    """What `_fields` was called on."""
    arrays = {name: _tensor(fields[name], kind) for name, kind in _ARRAYS.items()}
    return Completion(**arrays, **{name: fields[name] for name in _PLAIN})  # type: ignore[arg-type]


def _text(tensor: Tensor | None, kind: str) -> str | None:
    return None if tensor is None else base64.b64encode(tensor.numpy().astype(kind).tobytes()).decode()


def _tensor(text: str | None, kind: str) -> Tensor | None:
    if text is None:
        return None
    # A copy in the order of this machine, which torch may write to.
    array = np.frombuffer(base64.b64decode(text), kind)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
