"""Programs whose model a server holds: they lose no answer, ask for none twice, and go on after a kill."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dupo import api
from dupo.audit import main as audit
from dupo.engines import connection, in_flight
from dupo.rerank import main as rerank
from dupo.select import main as select
from dupo.storage.names import ANSWERS, SERVER_ANSWERS
from dupo.tasks.arithmetic import Arithmetic
from dupo.train import main as train
from tests.helpers.project import ROOT
from tests.helpers.stub_server import KEY, MODEL, Reply, StubServer, fault, serving
from tests.helpers.worlds import rows, save_tiny, summary

SMALL = ["--num_threads", "1", "--max_retries", "1", "--quiet"]


def say(text: str, seed: int) -> str:
    """One of a few numbers: answers differ, and many duals are solved."""
    return f"\\boxed{{{random.Random(f'{seed} {text}').choice([3, 4, 5, 8])}}}"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubServer]:
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(in_flight, "GRACE", 1.0)
    with serving(StubServer(say)) as server:
        yield server


def questions(folder: Path, count: int) -> str:
    lines = [
        {"question": f"Ann has {k} apples and Bob has {k + 3} pears. How many more has Bob?", "answer": "3"}
        for k in range(10, 10 + count)
    ]
    file = folder / "questions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


def options(stub: StubServer, folder: Path, count: int, *more: str) -> list[str]:
    server = ["--engine", "server", "--base_url", stub.url]
    data = ["--task", "word_problems", "--dataset", questions(folder, count)]
    sizes = ["--num_generations", "2", "--generation_batch_size", "16"]
    return [*server, *data, *sizes, *SMALL, "--output_dir", str(folder / "run"), *more]


def kept(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / SERVER_ANSWERS).read_bytes().splitlines()]


def is_each_asked_once(stub: StubServer, folder: Path) -> bool:
    """Equal bodies are equal requests, as every sample has a seed of its own."""
    keys = [row["key"] for row in kept(folder)]
    return set(stub.counts().values()) == {1} and len(set(keys)) == len(keys) == len(stub.asked)


def loses_and_doubles_none(stub: StubServer, folder: Path, count: int, seconds: float) -> None:
    stub.seconds = seconds
    assert rerank(options(stub, folder, count, "--generation_batch_size", "128", "--max_retries", "8")) == 0
    assert is_each_asked_once(stub, folder)
    answered = rows(folder / "run", ANSWERS)
    assert [row["question"] for row in answered] == [
        json.loads(line)["question"] for line in Path(questions(folder, count)).read_text().splitlines()
    ]
    # A greedy answer and two samples of each problem, and each different answer put through each dual.
    duals = sum(row["duals"] * len(row["candidates"]) for row in answered)
    assert len(stub.asked) == 3 * count + duals
    assert stub.most_at_once <= 64


def test_rerank_loses_and_doubles_none(stub: StubServer, tmp_path: Path) -> None:
    loses_and_doubles_none(stub, tmp_path, 8, 0.005)


@pytest.mark.slow
def test_rerank_of_many_at_64_in_flight_loses_and_doubles_none(stub: StubServer, tmp_path: Path) -> None:
    """Every seventh request is told to come back."""
    numbers = iter(range(10**6))
    stub.before = lambda route, body: fault(429, "slow down") if next(numbers) % 7 == 0 else None
    loses_and_doubles_none(stub, tmp_path, 200, 0.2)
    assert stub.most_at_once > 48


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle(
    stub: StubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.before = lambda route, body: Reply(0, None) if len(stub.asked) >= 15 else None
    command = options(stub, tmp_path, 8, "--max_concurrent_requests", "4")
    assert rerank(command) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    num_kept = len(kept(tmp_path))
    run = re.escape(str(tmp_path / "run"))
    expected = (
        rf"error: {stub.url} does not answer: .* \(2 tries\); \d+ of \d+ answers of this batch had come, all "
    )
    expected += rf"{num_kept} are kept; the same command goes on, with its --output_dir {run}"
    assert re.match(expected, error), error
    assert num_kept == len(stub.asked) and 15 <= num_kept < 19
    # The last line torn, as by a power cut: that answer alone is asked for again.
    file = tmp_path / "run" / SERVER_ANSWERS
    file.write_bytes(file.read_bytes()[:-9])
    stub.before = lambda route, body: None
    assert rerank(command) == 0
    assert sorted(stub.counts().values())[-2:] == [1, 2]
    # Nor does a third start ask for anything; and a run that never stopped has the same answers.
    num_asked = len(stub.asked)
    assert rerank(command) == 0 and len(stub.asked) == num_asked
    (tmp_path / "other").mkdir()
    assert rerank(options(stub, tmp_path / "other", 8)) == 0
    assert rows(tmp_path / "other" / "run", ANSWERS) == rows(tmp_path / "run", ANSWERS)


@pytest.mark.slow
def test_a_killed_program_asks_for_nothing_twice(stub: StubServer, tmp_path: Path) -> None:
    stub.seconds = 0.1
    command = options(stub, tmp_path, 20, "--max_concurrent_requests", "4")
    program = subprocess.Popen([sys.executable, "-m", "dupo.rerank", *command], cwd=ROOT)
    until = time.monotonic() + 60
    while len(stub.asked) < 20 and time.monotonic() < until:
        time.sleep(0.02)
    program.send_signal(signal.SIGKILL)
    program.wait()
    assert len(stub.asked) >= 20 and not (tmp_path / "run" / "summary.json").exists()
    time.sleep(0.3)
    assert rerank(command) == 0
    # What was in flight when the kill came was asked for, and never kept.
    doubled = [number for number in stub.counts().values() if number > 1]
    assert len(doubled) <= 4 and len(kept(tmp_path)) == len(stub.counts())


def test_another_server_is_another_run(
    stub: StubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = options(stub, tmp_path, 2)
    assert rerank(command) == 0
    stub.models[0]["id"] = "other"
    assert rerank(command) == 2
    assert "the server of the model has changed since the run was started" in capsys.readouterr().err
    # How a server is asked may change from start to start.
    stub.models[0]["id"] = MODEL
    assert rerank([*command, "--request_timeout", "5", "--max_concurrent_requests", "2"]) == 0


def test_the_key_is_written_nowhere(
    stub: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    command = options(stub, tmp_path, 4)
    command.remove("--quiet")
    assert rerank(command) == 0
    stub.before = lambda route, body: fault(401, f"Incorrect API key: {KEY}")
    assert rerank([*command[:-1], str(tmp_path / "second")]) == 2
    written = "".join(capsys.readouterr())
    written += "".join(file.read_text() for file in tmp_path.rglob("*") if file.is_file())
    assert stub.headers_seen[0]["Authorization"] == f"Bearer {KEY}" and KEY not in written
    assert "refuses the key in OPENAI_API_KEY" in written


@pytest.mark.slow
def test_audit_and_select_and_another_judge(stub: StubServer, tmp_path: Path) -> None:
    assert audit([*options(stub, tmp_path, 6), "--num_problems", "6"]) == 0
    assert len(rows(tmp_path / "run", "audit.jsonl")) == 6
    num_asked = len(stub.asked)
    with serving(StubServer(say)) as judge:
        (tmp_path / "other").mkdir()
        command = options(stub, tmp_path / "other", 6, "--pool_sizes", "3,2", "--dual_model", judge.url)
        assert select([*command, "--pool_models", f"{stub.url}#{MODEL},{judge.url}#{MODEL}"]) == 0
        prompts = [body["messages"][-1]["content"] for body in stub.asked[num_asked:]]
        assert len(prompts) == 18 and all("step by step" in prompt for prompt in prompts)
        assert len(judge.asked) > len(prompts)
        assert len(summary(tmp_path / "other" / "run")["passes"]) == 2


def test_from_python(stub: StubServer, tmp_path: Path) -> None:
    result = api.rerank(
        model=MODEL,
        engine="server",
        base_url=stub.url,
        task="word_problems",
        dataset=[{"question": "Ann has 13 apples and Bob has 4. How many have both?"}],
        num_generations=2,
        num_threads=1,
        quiet=True,
        output_dir=str(tmp_path / "run"),
    )
    assert len(result.answers) == 1 and stub.asked


@pytest.mark.slow
@pytest.mark.full
def test_a_server_judges_in_training(
    stub: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Random weights write no number.
    monkeypatch.setattr(Arithmetic, "answer", lambda task, problem, text: text[:1] or "0")
    model = save_tiny(tmp_path / "model")
    words = ["--model_name_or_path", str(model), "--dual_model", f"{stub.url}#{MODEL}", *SMALL]
    words += ["--max_steps", "2", "--generation_batch_size", "8", "--eval_size", "2", "--save_steps", "1"]
    words += ["--output_dir", str(tmp_path / "run")]
    assert train(words) == 0
    assert stub.asked and all(body["temperature"] == 0 for body in stub.asked)
    # A server that dies ends the run with what was trained so far.
    stub.before = lambda route, body: fault(500, "out of memory")
    words[words.index("--max_steps") + 1] = "4"
    assert train([*words, "--resume_from_checkpoint", "latest"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "HTTP 500: out of memory" in error and "--resume_from_checkpoint latest" in error
    stub.before = lambda route, body: None
    assert train([*words, "--resume_from_checkpoint", "latest"]) == 0
