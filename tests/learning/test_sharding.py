"""Learning on several ranks: gloo processes that share one model out, against one that has all of it."""

from functools import partial
from pathlib import Path

import pytest
import torch.distributed

from dupo.learning.batches import deal
from tests.helpers.ranks import run_ranks
from tests.learning.sharded_steps import program

needs_gloo = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="needs gloo"
)


def test_packs_are_dealt_out_evenly():
    packs, lengths = [[0, 1], [2], [3, 4, 5], [6], [7]], [4, 4, 9, 2, 2, 2, 5, 7]
    hands = deal(packs, lengths, 2)
    assert [len(hand) for hand in hands] == [3, 3]
    assert sorted(pack for hand in hands for pack in hand if pack) == sorted(packs)
    tokens = [sum(lengths[i] for pack in hand for i in pack) for hand in hands]
    assert abs(tokens[0] - tokens[1]) <= max(lengths)
    assert deal(packs, lengths, 1) == [packs]
    assert deal([], [], 3) == [[], [], []]
    assert [len(hand) for hand in deal([[0]], [5], 4)] == [1] * 4


@pytest.mark.slow
@needs_gloo
@pytest.mark.parametrize(
    ("size", "per_node", "cases"), [(2, None, ["passes", "losses", "sampling"]), (4, 2, ["passes", "hybrid"])]
)
def test_ranks_equal_one_process(tmp_path: Path, size: int, per_node: int | None, cases: list[str]) -> None:
    ended = run_ranks(partial(program, cases, per_node), tmp_path, size)
    assert (ended.codes, ended.err) == ([0] * size, "")
