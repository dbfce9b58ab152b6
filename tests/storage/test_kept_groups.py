"""Groups of a rollout in progress come back bit for bit, and those of another rollout do not."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from dupo.records import Completion
from dupo.storage.kept_groups import KeptGroups

ORIGIN = {"inputs": {"the data set": "ab"}, "rows": {"bytes": 3, "sha256": "cd"}}
FIRST = Completion(
    torch.tensor([1, 150_000], dtype=torch.int32), torch.tensor([-0.1, -1e-30]), "a\ud800é", False, 0.1 + 0.2
)
SECOND = Completion(
    torch.tensor([7], dtype=torch.int32),
    torch.tensor([-3.0]),
    "",
    True,
    starts_in_thought=True,
    forced=torch.tensor([True]),
)
NONE = Completion(torch.empty(0, dtype=torch.int32), torch.empty(0), "", True)


def same(first: Completion, second: Completion) -> None:
    for field in fields(Completion):
        before, after = getattr(first, field.name), getattr(second, field.name)
        if isinstance(before, torch.Tensor):
            assert before.dtype == after.dtype and torch.equal(before, after), field.name
        else:
            assert before == after, field.name


def test_groups_come_back_bit_for_bit(tmp_path: Path) -> None:
    file = tmp_path / "rollouts/3.jsonl"
    KeptGroups(file, 0, ORIGIN).put("a", [[FIRST, SECOND], [NONE]])
    again = KeptGroups(file, 0, ORIGIN)
    groups = again.get("a")
    assert again.num_kept == 1 and again.get("b") is None and groups is not None
    for before, after in zip([FIRST, SECOND, NONE], [c for group in groups for c in group], strict=True):
        same(before, after)
    groups[0][0].ids.add_(1)  # memory of their own


def test_nothing_is_written_in_the_first_seconds_and_nothing_is_lost_then(tmp_path: Path) -> None:
    groups = KeptGroups(tmp_path / "3.jsonl", 3600, ORIGIN)
    groups.put("a", [[FIRST]])
    assert not groups.file.exists()
    groups._seconds = 0
    groups.put("b", [[SECOND]])
    again = KeptGroups(groups.file, 0, ORIGIN)
    assert again.num_kept == 2 and again.get("a") and again.get("b")


def test_a_rollout_of_another_origin_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "3.jsonl"
    KeptGroups(file, 0, ORIGIN).put("a", [[FIRST]])
    other = KeptGroups(file, 0, ORIGIN | {"rows": {"bytes": 4, "sha256": "cd"}})
    assert other.get("a") is None and not file.exists()


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_line_counts_as_not_there(cut: int, tmp_path: Path) -> None:
    file = tmp_path / "3.jsonl"
    groups = KeptGroups(file, 0, ORIGIN)
    groups.put("a", [[FIRST]])
    groups.put("b", [[SECOND]])
    file.write_bytes(file.read_bytes()[:-cut])
    again = KeptGroups(file, 0, ORIGIN)
    assert again.get("b") is None and again.get("a") and again.num_kept == 1
    again.put("b", [[SECOND]])
    assert KeptGroups(file, 0, ORIGIN).get("b")
