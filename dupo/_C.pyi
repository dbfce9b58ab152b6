import numpy as np
import numpy.typing as npt

# start, end, numerator, denominator, index in ROLES, index in REASONS (one past the end: may be hidden),
# quantity
_Number = tuple[int, int, int, int, int, int, int]

def pack(
    lengths: npt.NDArray[np.int64], token_budget: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...
def find_numbers(texts: list[str] | list[bytes], threads: int) -> list[list[_Number]]: ...
def hide_numbers(
    texts: list[str] | list[bytes], seeds: npt.NDArray[np.uint64], most: int, threads: int
) -> list[list[tuple[str, str, list[_Number]]]]: ...
def packed(
    prompt_ids: npt.NDArray[np.int64],
    prompt_bounds: npt.NDArray[np.int32],
    completion_ids: npt.NDArray[np.int64],
    completion_bounds: npt.NDArray[np.int32],
    threads: int,
) -> tuple[
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.int32],
    int,
    npt.NDArray[np.bool_],
]: ...
def padded(
    prompt_ids: npt.NDArray[np.int64],
    prompt_bounds: npt.NDArray[np.int32],
    completion_ids: npt.NDArray[np.int64],
    completion_bounds: npt.NDArray[np.int32],
    pad_id: int,
    left: bool,
    threads: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]: ...

class Assembler:
    def __init__(self, cuts: bool, limit: int) -> None: ...
    def begin(
        self,
        text: bytes,
        bounds: npt.NDArray[np.int64],
        members: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
        threads: int,
    ) -> tuple[list[str], list[bool]]: ...
    def finish(
        self,
        ids: npt.NDArray[np.int64],
        bounds: npt.NDArray[np.int64],
        before: npt.NDArray[np.int64],
        after: npt.NDArray[np.int64],
        threads: int,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]: ...
    def counts(self) -> tuple[int, int, int, int, int]: ...
