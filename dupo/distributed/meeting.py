"""Where ranks wait for the long work of others: as long as that work shows signs of going on.

An exchange of torch ends after ddp_timeout, whatever the others do. So a rank that has nothing to do looks
into the store until all ranks have come, and only then enters the exchange:

    came/N       how many ranks have come to meeting N
    last/RANK    the number of the last meeting that a rank has come to
    signs        grows with the work of any rank: a completion has ended

A rank that is dead is told by `dupo.distributed.watch`. A rank that lives and does nothing is told here.
"""

import time

from torch._C._distributed_c10d import Store

from dupo.errors import UserError

FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.5  # seconds between two looks
SIGN_SECONDS = 1.0  # between two signs: a fast engine ends a thousand completions in a second
GONE_SECONDS = 10.0  # for the watch to say in better words that the store is gone


class Meeting:
    """The meetings of all ranks, seen from one of them; the main thread alone may use it.

    Args:
        store: of this object alone: a store serves one caller at a time.
        limit: `--ddp_timeout`, seconds.
    """

    def __init__(self, store: Store, rank: int, size: int, limit: float) -> None:
        self.store, self.rank, self.size, self.limit = store, rank, size, limit
        self._number, self._signed_at = 0, 0.0

    def sign(self) -> None:
        """Says that the work of this rank goes on; cheap, as most calls say nothing."""
        if time.monotonic() - self._signed_at > SIGN_SECONDS:
            self._add("signs", 1)
            self._signed_at = time.monotonic()

    def wait(self, what: str, patience: float) -> None:
        """Waits until every rank has come; every rank has to ask.

        Args:
            what: the ranks do, for the message.
            patience: most seconds without a sign; never less than ddp_timeout.

        Raises:
            UserError: no rank gave a sign for so long.
        """
        self._number += 1
        self.store.set(f"last/{self.rank}", str(self._number))
        num_come, came = self._add(f"came/{self._number}", 1), f"came/{self._number}"
        pause, since, signs = FIRST_PAUSE, time.monotonic(), -1
        patience = max(patience, self.limit)
        while num_come < self.size:
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            num_come, seen = self._add(came, 0), self._add("signs", 0)
            if seen != signs:
                since, signs = time.monotonic(), seen
            if num_come < self.size and time.monotonic() - since > patience:
                raise UserError(self._silence(what, patience))
        # Whoever is here has seen all others in the meeting before, so nobody looks at an earlier one.
        if self.rank == 0 and self._number > 2:
            self.store.delete_key(f"came/{self._number - 2}")

    def _add(self, key: str, amount: int) -> int:
        try:
            return self.store.add(key, amount)
        except RuntimeError:
            time.sleep(GONE_SECONDS)
            raise

    def _silence(self, what: str, patience: float) -> str:
        missing = []
        for rank in range(self.size):
            key = f"last/{rank}"
            last = int(self.store.get(key)) if self.store.check([key]) else 0
            missing += [rank] if last < self._number else []
        who = f"rank {missing[0]} of {self.size}" if missing else "all ranks"
        return (
            f"ranks: expected a sign of {what} from {who} within {patience:g} s, got none: "
            f"give more than --ddp_timeout {self.limit:g} where one completion takes longer"
        )
