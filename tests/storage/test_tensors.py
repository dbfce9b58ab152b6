"""Room that tensors take, and what is told when there is none."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dupo.storage.tensors import num_bytes, save_tensors


def test_tensors_are_counted_once_wherever_they_stand() -> None:
    tied = nn.Linear(10, 10, bias=False)
    head = nn.Linear(10, 10, bias=False)
    head.weight = tied.weight
    state = {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(10, 10)}}, "lr": 1e-4}
    assert num_bytes(nn.Sequential(tied, head)) == 400
    assert num_bytes(tied, None, state, [(torch.zeros(5, dtype=torch.bfloat16), "text")]) == 400 + 404 + 10


def test_a_saved_state_is_read_by_torch(tmp_path: Path) -> None:
    save_tensors({"weight": torch.arange(5), "step": 3}, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 3 and state["weight"].tolist() == [0, 1, 2, 3, 4]


def test_a_full_disk_is_told_as_a_full_disk() -> None:
    """torch.save alone says: unexpected pos 576 vs 534."""
    with pytest.raises(OSError, match="No space left on device"):
        save_tensors({"weight": torch.zeros(100_000)}, Path("/dev/full"))
