import numpy as np
import numpy.typing as npt

# start, end, numerator, denominator, index of the role, index of the reason
_Number = tuple[int, int, int, int, int, int]

def pack(
    lengths: npt.NDArray[np.int64], token_budget: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...
def layout(
    lengths: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]: ...
def loss_rows(
    prompts: npt.NDArray[np.int64], completions: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]: ...
def find_numbers(texts: list[str] | list[bytes], threads: int) -> list[list[_Number]]: ...
def hide_numbers(
    texts: list[str] | list[bytes], seeds: npt.NDArray[np.uint64], most: int, threads: int
) -> list[list[tuple[str, str, list[_Number]]]]: ...
