"""How much room tensors take, and a file of tensors whose failure to be written says why."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


@runtime_checkable
class Saved(Protocol):
    """What saves tensors and is no module, such as the adapters of a model."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """The tensors by name."""
        ...


def num_bytes(*values: object) -> int:
    """Bytes of all tensors in models, and in nested mappings, lists and tuples. Shared tensors count once."""
    # Tied weights are written once, so they are counted once.
    tensors = {(_place(tensor), tensor.nbytes): tensor for tensor in tensors_in(values)}
    return sum(tensor.nbytes for tensor in tensors.values())


def _place(tensor: Tensor) -> int:
    # A tensor that is shared out over ranks has no place of its own, but its part has.
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).data_ptr()


def tensors_in(value: object) -> list[Tensor]:
    """The tensors of a model, or in nested mappings, lists and tuples."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, nn.Module | Saved):
        return list(value.state_dict().values())
    items = list(value.values()) if isinstance(value, Mapping) else value
    return (
        [tensor for item in items for tensor in tensors_in(item)] if isinstance(items, list | tuple) else []
    )


def host_copy(value: Any, copies: dict[tuple[Any, ...], Tensor] | None = None) -> Any:
    """A copy of tensors in nested mappings, lists and tuples, in host memory; all else as it is.

    Tensors that are one and the same (tied weights) stay one.
    """
    copies = {} if copies is None else copies
    if isinstance(value, Tensor):
        key = (value.data_ptr(), value.shape, value.stride(), value.dtype, value.device)
        # An empty tensor has no address of its own.
        if value.numel() == 0 or key not in copies:
            # A copy on a CPU as well, where `to` alone would give the tensor itself.
            copies[key] = value.detach().to("cpu", copy=True)
        return copies[key]
    if isinstance(value, Mapping):
        return {name: host_copy(inner, copies) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(host_copy(inner, copies) for inner in value)
    return value


class Snapshot:
    """A model as it was, for `checkpoint.save`: `save_pretrained` of the model, with a copy of its weights.

    Args:
        model: has `state_dict`, and `save_pretrained` that takes a `state_dict`, if that is called.
        weights: the copies; None: they are made here.
    """

    def __init__(self, model: Any, weights: Mapping[str, Tensor] | None = None) -> None:
        self._model = model
        self._weights = host_copy(model.state_dict()) if weights is None else weights

    def state_dict(self) -> Mapping[str, Tensor]:
        """The copies."""
        return self._weights

    def save_pretrained(self, folder: Path) -> None:
        """Writes the folder with the copies; the model itself may be in training meanwhile."""
        self._model.save_pretrained(folder, state_dict=self._weights)


def save_tensors(state: Mapping[str, Any], file: Path) -> None:
    """Writes tensors and plain values, as torch.save does.

    Raises:
        OSError: the disk is full, or the file cannot be written; part of the file may be there.
    """
    with file.open("wb") as out:
        writer = _Writer(out)
        torch.save(dict(state), cast("IO[bytes]", writer))
        writer.check()


class _Writer(io.RawIOBase):
    """Keeps the first error of a stream: torch.save hides a write error behind one of its own about zip
    archives."""

    def __init__(self, stream: io.BufferedWriter) -> None:
        self._stream = stream
        self._problem: OSError | None = None

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any) -> int:
        """Writes unless an earlier write failed."""
        if self._problem is None:
            try:
                self._stream.write(data)
            except OSError as problem:
                self._problem = problem
        return len(data)

    def check(self) -> None:
        """Raises the first error."""
        if self._problem is not None:
            raise self._problem
