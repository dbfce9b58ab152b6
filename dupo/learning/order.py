"""The order in which training visits a data set."""

from collections.abc import Sequence
from typing import TypeVar

import torch

from dupo.seeds import derive

Item = TypeVar("Item")


class EpochOrder:
    """Every item once per epoch, in an order drawn anew for each epoch.

    What `take` gives depends on the seed and the place alone, so a resumed run needs no state.
    """

    def __init__(self, seed: int, size: int) -> None:
        self.seed, self.size = seed, size
        self._epoch, self._order = -1, list[int]()

    def take(self, items: Sequence[Item], start: int, count: int) -> list[Item]:
        """The `count` items from place `start` of the endless order."""
        chosen = []
        for place in range(start, start + count):
            epoch, index = divmod(place, self.size)
            # Only the order of one epoch is held: a data set may be large and a run long.
            if epoch != self._epoch:
                generator = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
                self._epoch, self._order = epoch, torch.randperm(self.size, generator=generator).tolist()
            chosen.append(items[self._order[index]])
        return chosen
