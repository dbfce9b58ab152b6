"""Learning on several ranks: gloo processes that share one model out, against one that has all of it."""

import pytest
import torch.distributed

from dupo.learning.batches import deal
from tests.helpers.project import RunPython

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
    ("size", "per_node", "cases"), [("2", "0", "passes losses sampling"), ("4", "2", "passes hybrid")]
)
def test_ranks_equal_one_process(run_python: RunPython, size, per_node, cases):
    done = run_python("-m", "tests.learning.sharded_steps", size, per_node, *cases.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("\n")[:-1] == [f"passed {case}" for case in cases.split()]
    assert not done.stderr
