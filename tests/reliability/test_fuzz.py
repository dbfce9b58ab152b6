"""Random command lines and random files at every door: an exit code that is documented, never a traceback.

In this process a door runs up to the place where it would load a model; a share of the cases trains the
built-in model for one step. Set DUPO_FUZZ_SECONDS for a longer search.
"""

import contextlib
import io
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from dupo import audit, duals, report, rerank, select, train
from dupo.config.catalogue import METHODS, load
from dupo.config.command_line import parse, program_named
from dupo.config.config import Config
from dupo.run import program
from dupo.run.training import TrainingRun
from dupo.storage.names import first_line
from dupo.tasks import generated
from dupo.trust import audit as audit_body
from dupo.trust import rerank as rerank_body
from dupo.trust import select as select_body
from tests.helpers.engines import FakeEngine
from tests.helpers.hostile import damaged, options
from tests.helpers.project import RunPython
from tests.helpers.runs import loop
from tests.helpers.small_world import contents

SECONDS = float(os.environ.get("DUPO_FUZZ_SECONDS", "20"))
QUICK_EXAMPLES, ROUND = 4, 100
# Stands behind whatever was drawn: a run that is over in a second.
SMALL_SFT = "--num_threads 1 --max_steps 1 --train_batch_size 2 --token_budget 4096 --output_dir out"
SMALL = f"{SMALL_SFT} --num_generations 2 --generation_batch_size 2 --max_completion_length 4 --eval_size 0 "
SMALL += "--dual_max_completion_length none --num_iterations 1 --max_concurrent_sequences 4"

QUESTIONS = (
    b'{"question": "Ann has 5 pens and gets 8 more. How many?", "answer": "5 + 8 = 13\\n#### 13"}\n'
    b'{"question": "Bob eats 3 of 10 figs. How many are left?", "answer": "\\\\boxed{7}", "level": [1]}\n'
)
PAIRS = b'{"prompt": "Say hi.", "completion": "hi"}\n{"prompt": "Say ho.", "completion": " ho\\n"}\n'
SENTENCES = b'{"en": "Good day.", "de": "Guten Tag."}\n{"en": "Where are you?", "de": "Wo bist du?"}\n'
KEPT = (
    b'{"text": "Ann has 5 pens and gets 8 more. How many?", "known": "A", "unknown": "5", "variable": "V"}\n'
)
OPTIONS_FILE = b"# options\nseed: 3\nlearning_rate: 1e-4\npad_token: 'null'\nnum_generations: 2\nbeta: 0.1\n"
METRICS = (
    b'{"step": 1, "reward": 0.5, "loss": 0.1, "eval/accuracy": 0.5}\n{"step": 2, "reward": 1, "loss": 0}\n'
)
SAMPLES = (
    b'{"step": 1, "problem": "p", "prompt": "q", "completion": "c", "answer": "4", "reward": 1.0, "correct": '
    b'true, "advantage": 0.5, "duals": [{"prompt": "d", "completion": "5", "unknown": "5", "distance": 0}]}\n'
)
SUMMARY = b'{"eval/accuracy_before": 0.5, "evals": [[0, {"accuracy": 0.5}]], "signature": "s", "task": "t"}'
SOUND = {
    "questions.jsonl": QUESTIONS,
    "pairs.jsonl": PAIRS,
    "sentences.jsonl": SENTENCES,
    "kept.jsonl": KEPT,
    "options.yaml": OPTIONS_FILE,
    "run/config.yaml": first_line("train").encode() + OPTIONS_FILE,
    "run/metrics.jsonl": METRICS,
    "run/samples.jsonl": SAMPLES,
    "run/summary.json": SUMMARY,
}
SMALLEST = "--num_generations 2 --generation_batch_size 2"
WORDS = "--task word_problems --dataset questions.jsonl"
TRAIN = f"{WORDS} {SMALLEST} --eval_size 0"
# Door and words -> the file that is damaged for it.
BASES: list[tuple[str, str, str]] = [
    ("train", TRAIN, "questions.jsonl"),
    ("select", f"{WORDS} --pool_sizes 2,2", "questions.jsonl"),
    ("rerank", f"{WORDS} --num_generations 2", "questions.jsonl"),
    ("audit", f"{WORDS} --num_generations 2", "questions.jsonl"),
    ("train", f"{TRAIN} --eval_dataset questions.jsonl", "questions.jsonl"),
    ("audit", f"{WORDS} --eval_dataset questions.jsonl", "questions.jsonl"),
    ("train", f"{TRAIN} --selected_duals kept.jsonl", "kept.jsonl"),
    ("train", "--method sft --eval_size 1 --dataset pairs.jsonl", "pairs.jsonl"),
    ("train", f"--task translation --eval_size 1 {SMALLEST} --dataset sentences.jsonl", "sentences.jsonl"),
    ("rerank", "--task translation --dataset sentences.jsonl", "sentences.jsonl"),
    ("train", SMALLEST, "questions.jsonl"),
    ("train", f"{TRAIN} --config options.yaml", "options.yaml"),
    ("rerank", f"{WORDS} --config options.yaml", "options.yaml"),
    ("train", f"{TRAIN} --output_dir run --overwrite_output_dir", "run/config.yaml"),
    ("select", f"{WORDS} --output_dir run", "run/config.yaml"),
    ("duals", "--dataset questions.jsonl", "questions.jsonl"),
    *(("report", "run", name) for name in SOUND if name.startswith("run/")),
]
# A run that trained for a step, and the words that continue the run.
TRAINED = f"{TRAIN} --reward random --max_steps 1 --max_completion_length 4 --output_dir train"
RESUME = "--output_dir train --resume_from_checkpoint latest"
# Doors that do not train, and the words that make, and continue, a run in a folder of their name.
OF_ROWS = {
    "select": f"{WORDS} --pool_sizes 2,2 --output_dir select",
    "rerank": f"{WORDS} --num_generations 2 --output_dir rerank",
    "audit": f"{WORDS} --num_generations 2 --output_dir audit",
}
DOORS: dict[str, Any] = {
    "train": train, "select": select, "rerank": rerank, "audit": audit, "duals": duals, "report": report,
}  # fmt: skip


class Reached(BaseException):
    """The door came to where a model is loaded: all that it checks before is sound."""


def talking_engine(*_: object) -> FakeEngine:
    """In the place of a model: says one of a few answers."""
    return FakeEngine(lambda text, k: f"\\boxed{{{(len(text) + k) % 3 + 5}}}")


def up_to_the_model(config: Config) -> dict[str, Any]:
    """In the place of `dupo.train.train`: everything before the weights."""
    TrainingRun(config, load(METHODS[config.method].path)(config))
    raise Reached


def in_place_of_ranks(command: list[str], size: int) -> int:
    """In the place of `dupo.distributed.launch.start_ranks`."""
    raise Reached


class Case(NamedTuple):
    """One start of a door.

    Attributes:
        files: relative path -> content.
    """

    door: str
    words: list[str]
    files: dict[str, bytes]


def options_of(door: str, words: str) -> list[str]:
    """The options that a door reads beside its first words."""
    return program_named(door, "sft" if "sft" in words else "dupo").names


@st.composite
def cases(draw: st.DrawFn, runs: dict[str, bytes]) -> Case:
    """Args: runs: files of sound runs, each in a folder with the name of its door."""
    files, has_damage = SOUND | runs, draw(st.booleans())
    words_of = {**OF_ROWS, "train": RESUME}
    continued = [(name.split("/")[0], words_of[name.split("/")[0]], name) for name in runs]
    door, words, damaged_file = draw(st.sampled_from(BASES) | st.sampled_from(continued))
    # Another option is other work, which a folder refuses before its rows are read.
    has_options = door not in ("duals", "report") and not (has_damage and damaged_file in runs)
    if has_damage or not has_options:
        files[damaged_file] = draw(damaged(files[damaged_file]))
    more = draw(options(options_of(door, words), sorted(files))) if has_options else []
    # Now and then without the words that make the rest sound.
    base = words.split() if not has_options or draw(st.integers(0, 9)) else []
    return Case(door, [*base, *more], files)


@pytest.fixture
def runs(stand_ins: None, tmp_path: Path) -> dict[str, bytes]:
    """Runs of every door that makes runs, all of them done: relative path -> content."""
    place = tmp_path / "runs"
    with folder_of(Case("train", [], SOUND), place):
        loop(parse(TRAINED.split()))
    made = contents(place)
    for door, words in OF_ROWS.items():
        assert start(Case(door, words.split(), SOUND), place) == 0
        made |= contents(place)
    return {name: data for name, data in made.items() if data is not None and name not in SOUND}


@pytest.mark.slow
def test_the_run_of_the_fuzz_can_be_continued(runs: dict[str, bytes], tmp_path: Path) -> None:
    """Else no case would come to the checkpoint, or to the rows."""
    assert start(Case("train", RESUME.split(), SOUND | runs), tmp_path / "case") == 0


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Doors without a model: training stops before it, the others get an engine that says anything."""
    bodies: dict[Any, Callable[..., object]] = {
        select: select_body.select, rerank: rerank_body.rerank, audit: audit_body.audit,
    }  # fmt: skip
    monkeypatch.setattr(train, "train", up_to_the_model)
    # Or `--num_processes 108` starts as many programs.
    monkeypatch.setattr(program, "start_ranks", in_place_of_ranks)
    monkeypatch.setattr(generated, "TRAIN_SIZE", 20)  # 20,000 problems would take half of the time
    for door, body in bodies.items():
        name = door.__name__.removeprefix("dupo.")
        monkeypatch.setattr(door, name, with_an_engine(body))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def with_an_engine(body: Callable[..., object]) -> Callable[[Config], object]:
    return lambda config: body(config, load=talking_engine, teach=lambda *_: None)


@contextlib.contextmanager
def folder_of(case: Case, place: Path) -> Iterator[None]:
    """A fresh working folder that holds the files of a case."""
    shutil.rmtree(place, ignore_errors=True)
    for name, data in case.files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    before = os.getcwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)


def start(case: Case, place: Path) -> int:
    """Starts a door in this process, and holds what it says against what is promised."""
    out, err = io.StringIO(), io.StringIO()
    with folder_of(case, place), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = DOORS[case.door].main(case.words)
        except SystemExit as leaving:  # of --help
            code = leaving.code
        except Reached:
            code = 0
    holds(code, err.getvalue())
    return code


def holds(code: object, err: str) -> None:
    """The exit code is a documented one, and exit code 2 comes with one line."""
    assert code in (None, 0, 1, 2, 130), (code, err)
    assert "Traceback" not in err, err
    if code == 2:
        assert err.startswith("error: ") and err.count("\n") == 1, err


def for_a_time(seconds: float, round_of: Callable[[int], None]) -> int:
    """Makes rounds of `ROUND` cases, each of other draws, until the time is over; returns their number."""
    start, rounds = time.monotonic(), 0
    first = time.time_ns()  # another search in every run: what is found becomes a plain test
    while time.monotonic() - start < seconds:
        round_of(first + rounds)
        rounds += 1
    return rounds * ROUND


def fuzz(
    strategy: st.SearchStrategy[Case], check: Callable[[Case], object], number: int, examples: int
) -> None:
    """One round."""

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def one_round(case: Case) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(case)

    one_round()


@pytest.mark.slow
def test_some_cases(runs: dict[str, bytes], tmp_path: Path) -> None:
    """The quick part: always the same cases."""
    fuzz(cases(runs), lambda case: start(case, tmp_path / "case"), number=1, examples=QUICK_EXAMPLES)


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.timeout(SECONDS + 600)
def test_doors_never_end_in_a_traceback(runs: dict[str, bytes], tmp_path: Path) -> None:
    def one_round(number: int) -> None:
        fuzz(cases(runs), lambda case: start(case, tmp_path / "case"), number, ROUND)

    print(f"{for_a_time(SECONDS * 2 / 3, one_round)} cases")


@st.composite
def trainings(draw: st.DrawFn) -> Case:
    """Runs of one step on one or two problems, with absurd values of whatever keeps them small."""
    bases = [
        words for door, words, _ in BASES if door == "train" and "--output" not in words and "--task" in words
    ]
    # Rewards that differ, or no weight would ever move.
    bases = [f"{words} --reward random --learning_rate 1e-3" for words in bases if "sft" not in words]
    words = draw(st.sampled_from([*bases, "--method sft --eval_size 1 --dataset pairs.jsonl"]))
    small = SMALL_SFT if "sft" in words else SMALL
    more = draw(options(options_of("train", words), sorted(SOUND)))
    return Case("train", [*words.split(), *more, *small.split()], dict(SOUND))


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.timeout(SECONDS + 600)
def test_runs_of_one_step_never_end_in_a_traceback(tmp_path: Path) -> None:
    threads = torch.get_num_threads()

    def one_round(number: int) -> None:
        fuzz(trainings(), lambda case: start(case, tmp_path / "case"), number, ROUND)

    number = for_a_time(SECONDS / 3, one_round)
    torch.set_num_threads(threads)
    print(f"{number} runs")


# Each of the first lines was found by the fuzz or in the trial of hostile cases.
COMMANDS: list[tuple[Sequence[str], int]] = [
    (["--num_threads", "1024"], 0),
    (["--num_threads", "100000"], 2),
    (["--temperature", "1e-40"], 2),
    (["--temperature", "0.001"], 0),
    (["--reward", "builtins.exit"], 2),
    (["--reward", "os.path.join"], 2),
]


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize(("words", "code"), COMMANDS, ids=lambda value: str(value))
def test_a_process_says_the_same(
    words: Sequence[str], code: int, tmp_path: Path, run_python: RunPython
) -> None:
    case = Case("train", [*TRAIN.split(), *words], dict(SOUND))
    with folder_of(case, tmp_path / "case"):
        done = run_python(
            "-m", "dupo.train", *case.words, "--max_steps", "1", "--max_completion_length", "4",
            cwd=tmp_path / "case",
        )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
