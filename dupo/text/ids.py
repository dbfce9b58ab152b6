"""Token ids of sequences, laid end to end, and the integer arrays that this folder works with."""

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]
Integers = Sequence[int] | npt.NDArray[np.integer]

INT32_MAX = 2**31 - 1  # cu_seqlens are int32, as attention kernels want them


class Ids(NamedTuple):
    """Token ids of S sequences, end to end.

    Attributes:
        ids: (N,) int64.
        cu_seqlens: (S + 1,) int32, the start of each sequence and the end of the last sequence.
    """

    ids: Int64
    cu_seqlens: Int32

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int] | npt.ArrayLike]) -> "Ids":
        """Joins sequences of token ids: lists of int, 1-D integer arrays or 1-D integer CPU tensors.

        Raises:
            ValueError: more than 2**31 - 1 tokens, or an array that is not one-dimensional and of integers.
        """
        bounds = np.cumsum([0, *map(len, sequences)])  # type: ignore[arg-type]
        if bounds[-1] > INT32_MAX:
            raise ValueError(
                f"sequences: expected at most {INT32_MAX} tokens (cu_seqlens are int32), got {bounds[-1]}"
            )
        # Arrays are copied as blocks of memory; only lists are read integer by integer.
        if any(hasattr(sequence, "__array__") for sequence in sequences):
            ids = np.concatenate([_row(sequence) for sequence in sequences], dtype=np.int64)
        else:
            ids = np.fromiter(chain.from_iterable(sequences), np.int64, int(bounds[-1]))  # type: ignore[arg-type]
        return cls(ids, bounds.astype(np.int32))

    def lists(self) -> list[list[int]]:
        """Returns one list of ids per sequence."""
        ids = self.ids.tolist()
        return [ids[start:end] for start, end in pairwise(self.cu_seqlens.tolist())]


def _row(sequence: Sequence[int] | npt.ArrayLike) -> npt.NDArray[np.integer]:
    if not hasattr(sequence, "__array__"):
        return np.array(sequence, np.int64)  # np.asarray would read an empty list as floats
    row = np.asarray(sequence)
    if row.ndim != 1 or row.dtype.kind not in "iu":
        raise ValueError(f"sequences: expected 1-D arrays of integers, got {row.dtype} of shape {row.shape}")
    return row


def int64_array(name: str, values: Integers, least: int) -> Int64:
    """Checks `values` and returns a contiguous int64 array; an array that is one already is not copied.

    Raises:
        ValueError: not one-dimensional, not integers, or a value below `least`.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(
            f"{name}: expected a flat list of integers, got {array.dtype} of shape {array.shape}"
        )
    array = np.ascontiguousarray(array, dtype=np.int64)
    too_small = np.flatnonzero(array < least)
    if too_small.size:
        index = too_small[0]
        raise ValueError(f"{name}[{index}]: expected at least {least} token(s), got {array[index]}")
    return array
