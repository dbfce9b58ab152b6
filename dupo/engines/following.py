"""The rows of one call of `sample_and_follow`, as they come: complete groups, what follows, and the progress.

Further prompts stand behind all prompts in the queue of every engine. A rollout is used as a whole, so no
answer may wait for a dual; a dual takes the place that the tail of the answers leaves idle.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from dupo.engines.base import Followed, FollowUps
from dupo.progress import tell_progress
from dupo.records import Completion, Prompt

Row = TypeVar("Row")  # one completion as an engine has it


class Following(Generic[Row]):
    """Collects rows; prompts have the numbers from 0 on, further prompts those behind.

    Args:
        num_prompts: without those that follow.
        n: completions of each prompt, at least 1.
        read: the completions of one prompt from its rows.
    """

    def __init__(
        self, num_prompts: int, n: int, follow: FollowUps, read: Callable[[list[Row]], list[Completion]]
    ) -> None:
        self.num_prompts, self.n, self.follow, self.read = num_prompts, n, follow, read
        self.num_further = 0
        self._rows: defaultdict[int, dict[int, Row]] = defaultdict(dict)
        self._groups: dict[int, list[Completion]] = {}
        self._num_rows = self._num_further_rows = self._num_complete = 0

    def take(self, number: int, sample: int, row: Row) -> Sequence[Prompt] | Sequence[list[int]]:
        """Takes one row; returns the prompts that follow, where the row completes the group of a prompt."""
        is_further = number >= self.num_prompts
        self._rows[number][sample] = row
        # Counted before anything follows: a fault of what follows must not hide what there is.
        self._num_rows += not is_further
        self._num_further_rows += is_further
        self._tell(is_further)
        if len(self._rows[number]) < (self.follow.n if is_further else self.n):
            return []
        # Read in the order of the samples, as a rollout holds them: rows end in any order.
        rows = self._rows.pop(number)
        group = self._groups[number] = self.read([rows[k] for k in range(len(rows))])
        if is_further:
            return []
        self._num_complete += 1
        prompts = self.follow.after(number, group)
        self.num_further += len(prompts)
        # From here on all further prompts are known, and some of them may be done.
        self._tell(is_further=True)
        return prompts

    def take_all(self, number: int, rows: Sequence[Row]) -> Sequence[Prompt] | Sequence[list[int]]:
        """Takes all rows of one prompt; returns the prompts that follow."""
        for sample, row in enumerate(rows[:-1]):
            self.take(number, sample, row)
        return self.take(number, len(rows) - 1, rows[-1])

    def _tell(self, is_further: bool) -> None:
        """Tells how many rows there are: of the prompts until their last group, then of further prompts."""
        if not is_further:
            tell_progress("samples", self._num_rows, self.num_prompts * self.n)
        elif self._num_complete == self.num_prompts and self.num_further:
            tell_progress(self.follow.unit, self._num_further_rows, self.num_further * self.follow.n)

    def result(self) -> Followed:
        """All groups, in the order in which their prompts came."""
        total = self.num_prompts + self.num_further
        groups = [self._groups[number] for number in range(total)]
        return Followed(groups[: self.num_prompts], groups[self.num_prompts :])
