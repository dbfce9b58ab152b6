"""The rows of metrics.jsonl in TensorBoard, Weights & Biases and Trackio, under the names that TRL has there.

metrics.jsonl stays the truth. A tracker that fails is told once and gets nothing more; the run goes on.
trackers.json holds what each tracker has got. So a resumed run continues the same run of the tracker, sends
no row twice, and first sends the rows that the tracker lacks.
"""

import io
import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dupo.config.values import show
from dupo.errors import StorageError, UserError, in_one_line
from dupo.storage.files import encoded, read_rows, write_atomic
from dupo.storage.names import METRICS, TENSORBOARD, TRACKERS
from dupo.views.terminal import Display

PROJECT = "dupo"  # unless WANDB_PROJECT or TRACKIO_PROJECT names another
HELD_OUT = "eval/completions"
COLUMNS = ("step", "problem", "prompt", "completion", "answer", "gold", "correct", "score", "reward")


class State(NamedTuple):
    """One tracker in trackers.json: the id and the name of the run there, and the step of its last row."""

    run: str
    name: str
    step: int


class TrackedRun(NamedTuple):
    """What a tracker is told of the run.

    Attributes:
        folder: of the run.
        name: what a person calls the run.
        key: the id of the run, which no other run has.
        sent: the step of the last row that the tracker has; 0: none.
        is_new: the tracker has not seen the run.
        settings: every option by its flat name.
    """

    folder: Path
    name: str
    key: str
    sent: int
    is_new: bool
    settings: Mapping[str, Any]


class Tracker(Protocol):
    """One place that shows runs. Any method may raise anything.

    Attributes:
        name: as `--report_to` names the tracker, which is also its package.
        rewinds: whether rows that were sent before can be taken back.
    """

    name: str
    rewinds: bool

    def start(self, run: TrackedRun) -> str:
        """Opens the run; returns where a person finds the run."""
        ...

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Sends one row."""
        ...

    def table(self, name: str, columns: Sequence[str], rows: list[list[Any]], step: int) -> None:
        """Sends a table; a tracker without tables does nothing."""
        ...

    def finish(self, failed: bool) -> None:
        """Closes the run."""
        ...


class TensorBoard:
    """Event files in the folder of the run. No text of a model is written: TensorBoard reads markup in it."""

    name, rewinds = "tensorboard", True

    def start(self, run: TrackedRun) -> str:
        """Opens a new event file; rows behind `run.sent` in older files are hidden."""
        from torch.utils.tensorboard import SummaryWriter

        folder = run.folder / TENSORBOARD
        self._writer = SummaryWriter(str(folder), purge_step=run.sent + 1)
        settings = {
            name: value if isinstance(value, bool | int | float) else show(value)
            for name, value in run.settings.items()
        }
        # The name "." keeps the settings in this run; without it they are a second run beside.
        self._writer.add_hparams(settings, {}, run_name=".")
        return f"tensorboard --logdir {folder}"

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Writes one scalar for each metric."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # a killed run has its rows

    def table(self, name: str, columns: Sequence[str], rows: list[list[Any]], step: int) -> None:
        """TensorBoard has no tables."""

    def finish(self, failed: bool) -> None:
        """Closes the file."""
        self._writer.close()


class Wandb:
    """Weights & Biases; WANDB_MODE=offline keeps everything in the folder of the run."""

    name, rewinds = "wandb", False

    def start(self, run: TrackedRun) -> str:
        """Opens the run, or goes on with the run of the same id."""
        import wandb  # type: ignore[import-not-found]

        # Silent and without a console: stdout and stderr belong to the run. `setup` silences the login.
        settings = wandb.Settings(silent=True, console="off")
        wandb.setup(settings=settings)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            id=run.key,
            resume="never" if run.is_new else "allow",
            dir=str(run.folder),
            config=dict(run.settings),
            settings=settings,
        )
        return f"wandb sync {Path(self._run.dir).parent}" if self._run.offline else str(self._run.url)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Sends one row."""
        self._run.log({**metrics, "train/global_step": step}, step=step)

    def table(self, name: str, columns: Sequence[str], rows: list[list[Any]], step: int) -> None:
        """Sends a table."""
        import wandb  # type: ignore[import-not-found]

        self._run.log({name: wandb.Table(list(columns), rows, allow_mixed_types=True)}, step=step)

    def finish(self, failed: bool) -> None:
        """Sends what is left, and says whether the run failed."""
        self._run.finish(exit_code=int(failed))


class Trackio:
    """Trackio: files on this machine, unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL is set."""

    name, rewinds = "trackio", False

    def start(self, run: TrackedRun) -> str:
        """Opens the run, or goes on with the newest run of the same name."""
        import trackio  # type: ignore[import-not-found]

        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        with redirect_stdout(io.StringIO()):  # ten lines about the dashboard
            self._run = trackio.init(
                project=project,
                name=run.name,
                resume="never" if run.is_new else "allow",
                config={name: show(value) for name, value in run.settings.items()},
            )
        return f"trackio show --project {project}"

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Sends one row."""
        self._run.log({**metrics, "train/global_step": step}, step=step)

    def table(self, name: str, columns: Sequence[str], rows: list[list[Any]], step: int) -> None:
        """Sends a table."""
        import trackio  # type: ignore[import-not-found]

        self._run.log({name: trackio.Table(columns=list(columns), data=rows)}, step=step)

    def finish(self, failed: bool) -> None:
        """Writes what is left."""
        import trackio  # type: ignore[import-not-found]

        # Not `finish` of the run, which Trackio calls a second time when the process ends.
        with redirect_stdout(io.StringIO()):
            trackio.finish()


CLASSES: dict[str, Callable[[], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
}


def check_installed(names: Iterable[str], find: Callable[[str], Any] = find_spec) -> None:
    """Refuses trackers whose packages are missing.

    Args:
        names: of trackers.
        find: gives the spec of a package, or None.

    Raises:
        UserError: names what to install.
    """
    # A folder `wandb` without code, as wandb makes one, is a package without an origin.
    missing = [name for name in names if getattr(find(name), "origin", None) is None]
    if missing:
        expected = f"{' and '.join(missing)} to be installed"
        raise UserError(f"report_to: expected {expected}: pip install {' '.join(missing)}")


class Trackers:
    """All trackers of one run. No method raises for a tracker that fails.

    Args:
        trackers: none of them is started.
        folder: of the run.
    """

    def __init__(self, trackers: Iterable[Tracker], folder: Path, display: Display) -> None:
        self._live, self._folder, self._display = list(trackers), folder, display
        self._state: dict[str, State] = {}

    def start(self, name: str, settings: Mapping[str, Any], step: int) -> None:
        """Opens the run everywhere, and sends what metrics.jsonl has and a tracker lacks.

        Args:
            name: what a person calls the run.
            step: optimizer steps done; metrics.jsonl has no later row.
        """
        if not self._live:
            return
        self._state = _read_state(self._folder / TRACKERS)
        for tracker in list(self._live):
            is_new = tracker.name not in self._state
            # A run keeps its first name: Trackio knows runs by their names.
            state = self._state.get(tracker.name, State(uuid.uuid4().hex, name, 0))
            if tracker.rewinds:
                state = state._replace(step=min(state.step, step))
            run = TrackedRun(self._folder, state.name, state.run, state.step, is_new, settings)
            if self._try(tracker, self._open, tracker, run):
                self._state[tracker.name] = state
        self._save()
        for row in read_rows(self._folder / METRICS):
            self.log(row)

    def log(self, row: Mapping[str, Any]) -> None:
        """Sends one row of metrics.jsonl to the trackers that lack the row."""
        step, numbers = row["step"], {n: v for n, v in row.items() if isinstance(v, int | float)}
        metrics = {tracked_name(name): value for name, value in numbers.items() if name != "step"}
        behind = [tracker for tracker in self._live if self._state[tracker.name].step < step]
        for tracker in behind:
            if self._try(tracker, tracker.log, metrics, step):
                self._state[tracker.name] = self._state[tracker.name]._replace(step=step)
        if behind:
            self._save()

    def held_out(self, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Sends held-out rows of samples.jsonl as a table."""
        cells = [[row.get(name) for name in COLUMNS] for row in rows]
        for tracker in list(self._live) if cells else []:
            self._try(tracker, tracker.table, HELD_OUT, COLUMNS, cells, step)

    def finish(self, failed: bool = False) -> None:
        """Closes the run everywhere; a second call does nothing."""
        for tracker in list(self._live):
            self._try(tracker, tracker.finish, failed)
        self._live = []

    def _open(self, tracker: Tracker, run: TrackedRun) -> None:
        self._display.note(f"{tracker.name}: {tracker.start(run)}")

    def _try(self, tracker: Tracker, act: Callable[..., None], *given: Any) -> bool:
        try:
            act(*given)
            return True
        except Exception as problem:  # of the network, the disk, or the package itself
            self._live.remove(tracker)
            reason = in_one_line(problem, kind=True)
            self._display.warn(
                f"{tracker.name} failed ({reason}) and gets nothing more of this start; "
                f"{METRICS} has every row, and a resumed run sends what is missing"
            )
            return False

    def _save(self) -> None:
        # The next row of the run itself tells a full disk.
        with suppress(StorageError):
            state = {name: state._asdict() for name, state in self._state.items()}
            write_atomic(self._folder / TRACKERS, encoded(state, TRACKERS))


def _read_state(file: Path) -> dict[str, State]:
    """What trackers.json says; empty where it says nothing that can be read."""
    # That costs doubled rows in a tracker, and never the run.
    with suppress(OSError, ValueError, AttributeError, KeyError, TypeError):
        saved = json.loads(file.read_text(encoding="utf-8"))
        return {n: State(str(s["run"]), str(s["name"]), int(s["step"])) for n, s in saved.items()}
    return {}


def tracked_name(name: str) -> str:
    """A metric by its name in a tracker, as TRL's runs have it: eval/accuracy, train/reward."""
    return name if name.startswith("eval/") else f"train/{name}"
