"""Output in a notebook: the plain lines of a log, and one bar that is drawn over and over in its place."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dupo.views.escaping import safe
from dupo.views.plain import PlainOutput
from dupo.views.progress import Plan, Status, StepProgress

_DRAWN_EVERY = 0.25  # seconds: each drawing is a message to the browser


def is_notebook() -> bool:
    """Whether stdout is a cell of Jupyter, which shows what IPython displays."""
    # Looked up and not imported: in a notebook IPython is there, and nothing else needs it.
    return type(sys.stdout).__module__.split(".")[0] == "ipykernel" and "IPython" in sys.modules


class NotebookOutput(PlainOutput):
    """Plain lines, and a bar in place of the lines of progress."""

    @contextmanager
    def progress(self, plan: Plan) -> Iterator[StepProgress]:
        """Draws a bar while steps are done."""
        # Imported here: the package is there if this class is used.
        from IPython.display import display

        bar = _bar(plan, plan.start, ["starting"])
        handle = display(bar, raw=True, display_id=True)
        assert handle is not None  # as a display_id was asked for
        drawn_at = self._clock()

        def show(status: Status) -> None:
            nonlocal bar, drawn_at
            bar = _bar(plan, status.step, status.metrics + status.pace)
            if self._clock() - drawn_at >= _DRAWN_EVERY:
                drawn_at = self._clock()
                handle.update(bar, raw=True)

        try:
            with self.work("sampling"):
                yield StepProgress(plan, clock=self._clock, show=show)
        finally:
            handle.update(bar, raw=True)  # the last step, also of a run that was stopped


def _bar(plan: Plan, step: int, words: list[str]) -> dict[str, str]:
    """The bar as HTML, and as text for whatever shows no HTML."""
    text = f"{plan.title} {plan.unit}".strip() + f" {step}/{plan.total} · {' · '.join(words)}"
    bar = f'<progress value="{step}" max="{plan.total}" style="width: 20em"></progress>'
    return {"text/html": f"{bar} {safe(text)}", "text/plain": text}
