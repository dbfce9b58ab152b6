"""`transformers serve`: what it takes and ignores is found out, and never relied on.

Needs what `pip install 'transformers[serving]'` brings.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from dupo.config.command_line import parse
from dupo.duality.model_parts import read_parts
from dupo.engines.base import Sampling
from dupo.engines.server import ServerEngine
from dupo.errors import UserError
from dupo.methods.dupo import DuPO
from tests.helpers.worlds import save_tiny, tiny

NEEDED = ["fastapi", "uvicorn", "openai"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(find_spec, NEEDED)), reason="transformers[serving] is not installed"),
]
START = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"
PATIENCE = 200  # seconds
PROMPTS = ["#321+654=", "#100-200="]


class Served(NamedTuple):
    """A server that loads models by the names of their folders.

    Attributes:
        greedy: folder of a model whose settings say nothing of sampling.
        drawn: the same with `do_sample`.
    """

    url: str
    greedy: Path
    drawn: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    greedy, drawn = (save_tiny(folder / name) for name in ("greedy", "drawn"))
    world = tiny()
    world.model.generation_config.do_sample = True
    world.model.generation_config.save_pretrained(drawn)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", START, "serve", "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--device", "cpu"], stdout=output, stderr=output, start_new_session=True
        )
    try:
        until = time.monotonic() + PATIENCE
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.3)
        yield Served(f"http://127.0.0.1:{port}/v1", greedy, drawn)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def options(served: Served, model: Path) -> list[str]:
    where = ["--engine", "server", "--base_url", served.url, "--model_name_or_path", str(model)]
    return [*where, "--num_threads", "1", "--max_retries", "1"]


def engine_of(served: Served, model: Path) -> ServerEngine:
    config = parse([*options(served, model), "--server_route", "text"], "rerank")
    server = read_parts(config, str(model), None).server
    assert server is not None
    return ServerEngine(server, None)


def test_what_it_ignores_is_told_and_greedy_samples_are_refused(served: Served) -> None:
    engine = engine_of(served, served.greedy)
    lacks = "ids in: no, ids out: no, log-probs: no, n: ignored, each sample is a request"
    assert lacks in engine.server.describe() and "it is greedy" in engine.server.describe()
    with pytest.raises(UserError, match=r"got the same completion for every seed \(transformers serve needs"):
        engine.sample(PROMPTS, 2, Sampling(1.0, 6), 0)
    # Greedy duals are what it can answer.
    theirs = engine.sample(PROMPTS, 1, Sampling(0.0, 6), 0)
    own = tiny("--model_name_or_path", str(served.greedy)).engine.sample(PROMPTS, 1, Sampling(0.0, 6), 0)
    assert [group[0].text for group in theirs] == [group[0].text for group in own]


def test_with_do_sample_it_draws(served: Served) -> None:
    engine = engine_of(served, served.drawn)
    assert engine.server.abilities.draws and "log-probs: no" in engine.server.describe()
    (group,) = engine.sample(PROMPTS[:1], 6, Sampling(1.0, 6), 0)
    assert len({completion.text for completion in group}) > 1


def test_training_through_it_is_refused(served: Served, tmp_path: Path) -> None:
    arguments = [*options(served, served.greedy), "--output_dir", str(tmp_path), "--eval_size", "4"]
    message = r"^base_url: .* takes no token ids \(HTTP 4.*\): training needs ids of tokens, their log-probs"
    with pytest.raises(UserError, match=message):
        DuPO(parse(arguments))
