"""Rows in trackers: each once, under TRL's names, and no tracker that fails ends a run."""

import json
import struct
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from dupo.config.command_line import parse
from dupo.config.config import Config
from dupo.errors import UserError
from dupo.run.trackers import CLASSES, COLUMNS, HELD_OUT, TrackedRun, Trackers, check_installed
from dupo.run.training import TrainingRun
from dupo.train import main
from dupo.views.terminal import Display
from tests.helpers.options import refusal
from tests.helpers.project import RunPython
from tests.helpers.runs import loop, resume, same_files, start
from tests.helpers.streams import Stream
from tests.helpers.worlds import rows

SHORT = ["--max_steps", "4", "--eval_size", "8", "--reward", "random", "--save_total_limit", "9"]


class Recorder:
    """A tracker that keeps what it gets, and fails in one method if it is told to.

    Args:
        fails_in: the name of the method.
        at: the step of the row that `log` fails at.
    """

    def __init__(self, name: str = "tracker", fails_in: str = "", at: int = 0, rewinds: bool = False) -> None:
        self.name, self.rewinds = name, rewinds
        self._fails_in, self._at = fails_in, at
        self.runs: list[TrackedRun] = []
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.tables: list[tuple] = []
        self.ends: list[bool] = []

    def _fail(self, method: str) -> None:
        if method == self._fails_in:
            raise ConnectionError("no network")

    def start(self, run: TrackedRun) -> str:
        self._fail("start")
        self.runs.append(run)
        return "here"

    def log(self, metrics, step: int) -> None:
        if step == self._at:
            self._fail("log")
        self.rows.append((step, dict(metrics)))

    def table(self, name, columns, rows, step: int) -> None:
        self._fail("table")
        self.tables.append((name, tuple(columns), rows, step))

    def finish(self, failed: bool) -> None:
        self._fail("finish")
        self.ends.append(failed)

    @property
    def steps(self) -> list[int]:
        return [step for step, _ in self.rows]


def trackers(folder: Path, *tracker: Recorder, step: int = 0) -> Trackers:
    """Started trackers of a run whose metrics.jsonl has rows up to `step`."""
    lines = [json.dumps({"step": n, "reward": n / 2}) + "\n" for n in range(1, step + 1)]
    (folder / "metrics.jsonl").write_text("".join(lines))
    every = Trackers(tracker, folder, Display(Stream()))
    every.start("run", {"seed": 0}, step)
    return every


def send(every: Trackers, *steps: int) -> None:
    for step in steps:
        every.log({"step": step, "reward": step / 2})


def test_rows_have_the_names_that_trl_has_in_trackers(tmp_path: Path) -> None:
    one = Recorder()
    trackers(tmp_path, one).log({"step": 3, "reward": 0.5, "rewards/f/mean": 1.0, "eval/accuracy": 0.25})
    assert one.rows == [(3, {"train/reward": 0.5, "train/rewards/f/mean": 1.0, "eval/accuracy": 0.25})]


def test_a_resumed_run_goes_on_in_the_same_run_and_sends_no_row_twice(tmp_path: Path) -> None:
    before, after = Recorder(), Recorder()
    send(trackers(tmp_path, before), 1, 2, 3)
    # Killed after row 3; the newest checkpoint is of step 2.
    send(trackers(tmp_path, after, step=2), 3, 4)
    assert after.steps == [4]
    (first,), (second,) = before.runs, after.runs
    assert (first.is_new, second.is_new) == (True, False)
    assert first.key == second.key and second.sent == 3


def test_a_tracker_that_can_take_rows_back_gets_them_anew(tmp_path: Path) -> None:
    send(trackers(tmp_path, Recorder(rewinds=True)), 1, 2, 3)
    after = Recorder(rewinds=True)
    send(trackers(tmp_path, after, step=2), 3, 4)
    assert after.runs[0].sent == 2 and after.steps == [3, 4]


def test_a_tracker_gets_the_rows_that_it_lacks(tmp_path: Path) -> None:
    send(trackers(tmp_path, Recorder("a"), Recorder("b", "log", at=2)), 1, 2, 3)
    known, lost, late = Recorder("a"), Recorder("b"), Recorder("c")
    send(trackers(tmp_path, known, lost, late, step=3), 4)
    assert (known.steps, lost.steps, late.steps) == ([4], [2, 3, 4], [1, 2, 3, 4])


def test_a_resumed_run_keeps_its_name(tmp_path: Path) -> None:
    trackers(tmp_path, Recorder())
    after = Recorder()
    Trackers([after], tmp_path, Display(Stream())).start("another", {}, 0)
    assert after.runs[0].name == "run"


@pytest.mark.parametrize("content", ["", "[]", '{"tracker": 1}', '{"tracker": {"run": "a"}}', "\udc80"])
def test_notes_that_cannot_be_read_are_no_reason_to_stop(content: str, tmp_path: Path) -> None:
    (tmp_path / "trackers.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    one = Recorder()
    send(trackers(tmp_path, one), 1)
    assert one.runs[0].is_new and one.steps == [1]


@pytest.fixture(scope="module")
def untracked(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without trackers."""
    return start(untrained, tmp_path_factory.mktemp("untracked") / "plain", *SHORT)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["log", *(pytest.param(m, marks=pytest.mark.full) for m in ("start", "table", "finish"))]
)
def test_a_tracker_that_fails_is_one_warning_and_the_run_goes_on(
    method: str, untracked: Path, untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound, broken = Recorder("sound"), Recorder("broken", method, at=2)

    class Tracked(TrainingRun):
        def __init__(self, config: Config, method) -> None:
            super().__init__(config, method)
            self.trackers = Trackers([broken, sound], self.path, self.display)

    model = ["--model_name_or_path", str(untrained), "--output_dir", str(tmp_path / "run")]
    sizes = ["--num_threads", "1", "--generation_batch_size", "32", "--eval_steps", "2", "--save_steps", "2"]
    assert loop(parse([*model, *SHORT, *sizes]), run_class=Tracked)
    same_files(untracked, tmp_path / "run", "metrics.jsonl", "samples.jsonl")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: broken failed (ConnectionError: no network)")
    assert sound.steps == [1, 2, 3, 4] and sound.ends == [False]
    assert [(name, columns, step) for name, columns, _, step in sound.tables] == [
        (HELD_OUT, COLUMNS, 0),
        (HELD_OUT, COLUMNS, 4),
    ]
    (told,) = sound.runs
    assert told.name == "run" and told.settings["max_steps"] == 4
    if method in ("start", "log"):
        assert broken.steps == ([] if method == "start" else [1])


@pytest.mark.slow
def test_a_run_that_fails_says_so(untrained: Path, tmp_path: Path) -> None:
    one = Recorder()

    class Tracked(TrainingRun):
        def __init__(self, config: Config, method) -> None:
            super().__init__(config, method)
            self.trackers = Trackers([one], self.path, self.display)

    options = ["--model_name_or_path", str(untrained), "--output_dir", str(tmp_path / "run")]
    options += ["--eval_size", "8", "--generation_batch_size", "32", "--num_threads", "1", "--beta", "1e38"]
    with pytest.raises(FloatingPointError):
        loop(parse([*options, "--reward", "random", "--learning_rate", "1"]), run_class=Tracked)
    assert one.ends == [True]


# --- options ---


@pytest.mark.parametrize(
    ("text", "names"),
    [("none", []), ("wandb", ["wandb"]), ("TensorBoard, trackio", ["tensorboard", "trackio"])],
)
def test_trackers_are_named_with_commas(text: str, names: list[str]) -> None:
    assert parse(["--report_to", text]).run.trackers == names


def test_a_name_that_is_no_tracker_is_one_line() -> None:
    one_of = "report_to: expected none, or any of tensorboard, wandb, trackio, got "
    assert refusal("--report_to", "wandbb") == f"{one_of}'wandbb', did you mean wandb?"
    assert refusal("--report_to", "none,wandb") == f"{one_of}'none'"
    assert refusal("--report_to", "wandb,wandb").startswith("report_to: expected different names")


def test_a_missing_package_is_one_line_that_installs_it() -> None:
    # wandb makes a folder `wandb` where it is started, which Python finds as a package without code.
    specs = {"wandb": ModuleSpec("wandb", None), "trackio": ModuleSpec("trackio", None, origin="a file")}
    check_installed(["trackio"], specs.get)
    with pytest.raises(UserError) as caught:
        check_installed(["tensorboard", "wandb", "trackio"], specs.get)
    told = "expected tensorboard and wandb to be installed: pip install tensorboard wandb"
    assert str(caught.value) == f"report_to: {told}"


def test_a_missing_package_is_told_before_torch_is_imported(tmp_path: Path, run_python: RunPython) -> None:
    code = "import sys; sys.modules['wandb'] = None; from dupo.train import main; "
    code += "print(main(sys.argv[1:]), 'torch' in sys.modules)"
    done = run_python("-c", code, "--report_to", "wandb", "--output_dir", str(tmp_path / "run"))
    assert done.stdout.split() == ["2", "False"] and not (tmp_path / "run").exists()
    assert done.stderr == "error: report_to: expected wandb to be installed: pip install wandb\n"


# --- the packages themselves, where they are installed ---


def tensorboard_rows(run: Path) -> dict[int, dict[str, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), {"scalars": 0})
    events.Reload()
    found: dict[int, dict[str, float]] = {}
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            assert name not in found.setdefault(event.step, {}), (name, event.step)
            found[event.step][name] = event.value
    return found


def wandb_rows(run: Path) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    files = list(run.glob("wandb/offline-run-*/*.wandb"))
    assert len({file.name for file in files}) == 1  # one run, in as many parts as there were starts
    for file in files:
        for record in wandb_records(file.read_bytes()):
            if record.WhichOneof("record_type") != "history":
                continue
            items = {".".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            row = {n: json.loads(v) for n, v in items.items() if n.startswith(("train/", "eval/accuracy"))}
            if row:
                step = row.pop("train/global_step")
                assert step == record.history.step.num and step not in found
                found[step] = row
    return found


def wandb_records(data: bytes) -> Iterator:
    """The records of a .wandb file: parts with headers of 7 bytes in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    position, whole = 7, b""
    while position + 7 <= len(data):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, position)
        whole += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # a whole record, or its last part
            yield Record.FromString(whole)
            whole = b""


def trackio_rows(run: Path) -> dict[int, dict[str, float]]:
    from trackio.sqlite_storage import SQLiteStorage

    assert SQLiteStorage.get_runs("dupo").count("run") == 1
    found: dict[int, dict[str, float]] = {}
    for row in SQLiteStorage.get_logs("dupo", "run"):
        numbers = {n: v for n, v in row.items() if n.startswith(("train/", "eval/accuracy"))}
        if numbers:
            step = numbers.pop("train/global_step")
            assert step == row["step"] and step not in found
            found[step] = numbers
    return found


READERS = {"tensorboard": tensorboard_rows, "wandb": wandb_rows, "trackio": trackio_rows}


@pytest.mark.parametrize("name", CLASSES)
def test_a_real_tracker_has_every_row_once(
    name: str,
    untrained: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # Trackio reads its folder once, when it is imported.
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
    monkeypatch.setenv("WANDB_MODE", "offline")
    pytest.importorskip(name)
    capfd.readouterr()
    steady = ["--lr_scheduler_type", "constant"]
    plain = start(untrained, tmp_path / "plain", *SHORT, *steady)
    run = start(untrained, tmp_path / "run", *SHORT, *steady, "--report_to", name)
    same_files(plain, run, "metrics.jsonl", "samples.jsonl")  # no tracker draws numbers of the run
    # From an older checkpoint: rows 3 and 4 are made again, to the same numbers.
    assert main(["--resume_from_checkpoint", str(run / "checkpoint-2"), "--max_steps", "6"]) == 0
    assert resume(run) == 0
    told = capfd.readouterr()
    assert told.err == ""
    assert told.out.count(f"{name}: ") == 3 and "\n* " not in told.out
    sent = READERS[name](run)
    assert sorted(sent) == [1, 2, 3, 4, 5, 6]
    for row in rows(run):
        expected = {n if n.startswith("eval/") else f"train/{n}": v for n, v in row.items() if n != "step"}
        assert sent[row["step"]] == pytest.approx(expected, rel=1e-5, abs=1e-30)  # TensorBoard has float32
