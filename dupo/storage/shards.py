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
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from dupo.distributed.ranks import Ranks

SHARDS = "shards"  # the folder in a checkpoint
METADATA = ".metadata"


def save_shards(folder: Path, tensors: Mapping[str, Tensor], ranks: Ranks) -> None:
    """Writes the part of this rank of all tensors; every rank has to ask. The folder is there and empty.

    Raises:
        OSError: the disk is full, or a file cannot be written; part of the files may be there.
    """
    with _quiet():
        save(
            cast(dict[str, Any], dict(tensors)),
            storage_writer=FileSystemWriter(folder),
            no_dist=ranks.size == 1,
        )


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
    with _quiet():
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
