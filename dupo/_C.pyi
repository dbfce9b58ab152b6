import numpy as np
import numpy.typing as npt

def pack(
    lengths: npt.NDArray[np.int64], token_budget: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...
def layout(
    lengths: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]: ...
def loss_rows(
    prompts: npt.NDArray[np.int64], completions: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]: ...
