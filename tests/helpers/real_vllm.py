"""The real vLLM on a CPU: where it is, a model that it can run, and its server in a process of its own.

`DUPO_VLLM_PYTHON` names the Python of an environment with vLLM, which `.ci/vllm FOLDER` makes.
"""

import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3ForCausalLM

from dupo.engines.training_probe import EXTENSION, PROCESSED
from tests.helpers.project import ROOT
from tests.helpers.worlds import tiny

PYTHON = os.environ.get("DUPO_VLLM_PYTHON")
needs_vllm = pytest.mark.skipif(not PYTHON, reason="DUPO_VLLM_PYTHON names no environment with vLLM")
# vLLM's own variables: a cache of 1 GB, threads that no core is bound to.
VARIABLES = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
# The class of the workers is found by the folder of the package alone: nothing of dupo is installed there.
SERVER_VARIABLES = {**VARIABLES, "PYTHONPATH": str(ROOT), "VLLM_SERVER_DEV_MODE": "1"}
SERVER_VARIABLES |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
FLAGS = [*PROCESSED.split(), *EXTENSION.split(), "--dtype", "float32", "--enforce-eager"]
FLAGS += ["--max-model-len", "128", "--max-num-seqs", "16"]
PATIENCE = 300  # seconds that a start may take on a loaded machine


def save_model(folder: Path) -> Path:
    """The built-in model with heads of 32, as vLLM has no attention for its heads of 16 on a CPU."""
    world = tiny()
    shape: Any = world.model.config
    shape.head_dim, shape.num_attention_heads, shape.num_key_value_heads = 32, 4, 4
    torch.manual_seed(0)
    Qwen3ForCausalLM(shape).save_pretrained(folder)
    world.tokenizer.hf.save_pretrained(folder)
    return folder


class RealServer:
    """`vllm serve` on a free port, which it keeps when it is started again."""

    def __init__(self, model: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.model, self.log = model, log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        # What `vllm serve` runs; the command itself asks for the version of a package that the build for CPUs
        # does not bear the name of.
        command = [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.model)]
        command += ["--host", "127.0.0.1", "--port", str(self.port), *FLAGS]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **SERVER_VARIABLES},
                stdout=log,
                stderr=log,
                start_new_session=True,  # with its workers it is one group, which `kill` ends
            )
        until = time.monotonic() + PATIENCE
        while not self._answers():
            ended = self._process.poll() is not None
            assert not ended and time.monotonic() < until, self.log.read_text()[-3000:]
            time.sleep(0.5)

    def kill(self) -> None:
        """Ends the server and its workers at once."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def num_answered(self) -> int:
        """Requests that the server has answered since its start, by its own count; each of `n` counts."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/metrics", timeout=60) as reply:
            text = reply.read().decode()
        return int(sum(map(float, re.findall(r"(?m)^vllm:request_success_total\{.*\} (\S+)$", text))))

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url.removesuffix("/v1") + "/health", timeout=5):
                return True
        except (OSError, urllib.error.URLError):
            return False


@contextmanager
def real_server(model: Path, log: Path) -> Iterator[RealServer]:
    """A server that is ended whatever happens."""
    server = RealServer(model, log)
    try:
        server.start()
        yield server
    finally:
        server.kill()
