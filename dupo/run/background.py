"""One piece of work in the background at a time, whose failure the run learns of at its next look.

training    copy state | step | step | look |  step   | look: done
thread                 | ------ write checkpoint ------- |

Each of several ranks has such a thread. The threads exchange what they need in a process group of their own,
and the work is done once the threads of all ranks have ended.
"""

from collections.abc import Callable
from threading import Thread

from dupo.distributed.ranks import ALONE, Ranks
from dupo.errors import in_one_line


class Background:
    """Work in a thread of its own.

    A failure is raised by `look` or `wait`, once, in the thread that calls them.

    Args:
        ranks: that train together, each with its work.
        apart: the same ranks, as the work knows them.
    """

    def __init__(self, ranks: Ranks = ALONE, apart: Ranks = ALONE) -> None:
        self.ranks, self.apart = ranks, apart
        self._thread: Thread | None = None
        self._problem: BaseException | None = None
        self._then: Callable[[], None] = lambda: None

    def run(self, work: Callable[[], object], then: Callable[[], None], *, in_background: bool) -> None:
        """Does work here, or starts it; waits for the work before.

        Args:
            then: is called once the work has ended well: here, or by `look` or `wait`.
            in_background: start the work, and return.

        Raises:
            Exception: what the work before raised; the new work is not started.
        """
        self.wait()
        if not in_background:
            work()
            then()
            return
        self._then = then
        # A second Ctrl-C ends the process at once, and must not wait for a disk.
        self._thread = Thread(target=self._run, args=(work,), name="checkpoint", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Ends the work if it is done on every rank; returns at once. Every rank has to ask.

        Raises:
            Exception: what the work raised.
        """
        # Threads end at different moments, and all ranks must meet a failure in the same step.
        if self._thread is not None and all(self.ranks.gather(not self._thread.is_alive())):
            self.wait()

    def wait(self) -> None:
        """Waits until the work is done.

        Raises:
            Exception: what the work raised.
        """
        if self._thread is None:
            return
        # Joined even where it has ended: what the thread wrote is then seen here.
        self._thread.join()
        self._thread = None
        if (problem := self._problem) is not None:
            self._problem = None
            raise problem
        self._then()

    def end(self, error: BaseException | None, warn: Callable[[str], None]) -> None:
        """Waits until the work is done; its failure hides no error that came before.

        Args:
            error: what ends the run; None: nothing does, and a failure is raised.
            warn: is told of a failure that is not raised.
        """
        try:
            self.wait()
        except Exception as problem:
            if error is None:
                raise
            # A thread that lost another rank tells nothing new: that rank is what ends the run.
            if self.ranks.raised_everywhere(problem):
                warn(in_one_line(problem))

    def _run(self, work: Callable[[], object]) -> None:
        # Whatever is raised is raised again in the thread that trains.
        try:
            work()
        except BaseException as problem:
            self._problem = problem
