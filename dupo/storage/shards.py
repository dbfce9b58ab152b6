"""Tensors that are shared out over ranks, as files: each rank writes its own part, any number of ranks reads.

    FOLDER/__RANK_0.distcp   the parts of a rank
    FOLDER/.metadata         which file holds which part of which tensor

The format is that of torch.distributed.checkpoint, which cuts the tensors anew where the number of ranks has
changed.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from dupo.distributed.ranks import Ranks
from dupo.errors import in_one_line
from dupo.storage.files import writing

SHARDS = "shards"  # the folder in a checkpoint
METADATA = ".metadata"


def save_shards(folder: Path, tensors: Mapping[str, Tensor], ranks: Ranks) -> None:
    """Writes the part of this rank of all tensors; every rank has to ask. The folder is there and empty.

    Raises:
        StorageError: on every rank, if the disk is full or a file cannot be written for any; part of the
            files may be there.
    """
    with _quiet(), _alike(ranks):
        save(
            cast(dict[str, Any], dict(tensors)),
            storage_writer=_Writer(folder),
            process_group=ranks.group,
            no_dist=ranks.size == 1,
        )


@contextmanager
def _alike(ranks: Ranks) -> Iterator[None]:
    """Raises what failed on one rank on all of them, as an error that the programs know."""
    try:
        yield
    except CheckpointException as problem:  # which is no Exception to Python
        rank, (reason, _) = min(problem.failures.items(), key=lambda failure: failure[0])
        error = reason if isinstance(reason, Exception) else RuntimeError(in_one_line(reason, kind=True))
        raise ranks.alike(error, rank) from problem


class _Writer(FileSystemWriter):
    """Tells of a disk that takes no byte more as every other writer of a run does."""

    def write_data(self, plan: Any, planner: Any) -> Any:
        """Writes the part of this rank."""
        with writing(Path(self.path)):
            return super().write_data(plan, planner)

    def finish(self, metadata: Metadata, results: Any) -> None:
        """Writes which file holds what, on the first rank."""
        with writing(Path(self.path)):
            super().finish(metadata, results)


def load_shards(folder: Path, tensors: Mapping[str, Tensor], ranks: Ranks) -> None:
    """Reads tensors in place, bit for bit, whatever number of ranks wrote them; every rank has to ask.

    Args:
        tensors: name -> where the tensor goes; sharded or whole, of the shape that was saved.

    Raises:
        KeyError: a name is not in the folder.
        ValueError: a tensor has another shape.
    """
    saved = read_metadata(folder).state_dict_metadata
    for name, tensor in tensors.items():
        size = getattr(saved[name], "size", None)
        if size != tensor.shape:
            raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, {tuple(size or ())} was saved")
    with _quiet(), _alike(ranks):
        load(
            cast(dict[str, Any], dict(tensors)),
            storage_reader=FileSystemReader(folder),
            no_dist=ranks.size == 1,
        )


def read_metadata(folder: Path) -> Metadata:
    """What the folder holds, by name."""
    return FileSystemReader(folder).read_metadata()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of torch about its own parts, which no user can mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
        warnings.filterwarnings("ignore", category=UserWarning, module="torch")
        yield
