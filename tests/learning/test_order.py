"""The order of a data set: every item once per epoch, and the same from any start."""

import pytest

from dupo.learning.order import EpochOrder

ITEMS = [f"item {k}" for k in range(7)]


def test_every_item_comes_once_per_epoch_in_an_order_of_its_own():
    epochs = [EpochOrder(0, 7).take(ITEMS, 7 * epoch, 7) for epoch in range(5)]
    assert all(sorted(epoch) == ITEMS for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_the_seed_decides_the_order():
    first, again, other = (EpochOrder(seed, 7).take(ITEMS, 0, 21) for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("start", [0, 1, 6, 7, 13, 30])
def test_any_start_gives_what_stands_there(start):
    """A resumed run starts in the middle, and in an order that has already given something else."""
    endless = EpochOrder(5, 7).take(ITEMS, 0, 60)
    fresh, used = EpochOrder(5, 7), EpochOrder(5, 7)
    used.take(ITEMS, 40, 9)
    for order in (fresh, used):
        assert order.take(ITEMS, start, 10) == endless[start : start + 10]


def test_one_take_may_be_longer_than_an_epoch():
    one_item = EpochOrder(0, 1)
    assert one_item.take(["only"], 0, 3) == ["only"] * 3
    assert one_item.take(["only"], 5, 0) == []
