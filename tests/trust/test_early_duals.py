"""rerank, audit and select write the same bytes whether duals are asked beside answers or after them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from dupo.config.config import Config
from dupo.config.model_options import ModelOptions
from dupo.engines.base import Engine
from dupo.engines.builtin import BuiltinEngine
from dupo.engines.load import load_engine
from dupo.run.rows import LoadEngine
from dupo.tasks.arithmetic import Arithmetic
from dupo.text.tokenizer import PromptTokenizer
from dupo.trust.audit import audit
from dupo.trust.rerank import rerank
from dupo.trust.select import select
from tests.helpers.engines import FollowedEngine
from tests.helpers.worlds import save_tiny
from tests.trust.fakes import start

SMALL = "--num_threads 1 --num_generations 3 --generation_batch_size 12 --num_problems 5 --dual_samples 2"
SMALL += " --dual_temperature 1.0 --max_concurrent_sequences 5"
PROGRAMS: dict[str, tuple[Callable[..., Any], str, str]] = {
    "rerank": (rerank, "answers.jsonl", "--vote_samples 5"),
    "audit": (audit, "audit.jsonl", ""),
    "select": (select, "pass-1.jsonl", "--pool_sizes 3"),
}


def in_slots(engines: list[FollowedEngine], *, follows: bool) -> LoadEngine:
    def load(
        config: Config, options: ModelOptions, tokenizer: PromptTokenizer, device: torch.device
    ) -> Engine:
        engine = cast(BuiltinEngine, load_engine(config, options, tokenizer, device))
        engine.as_on_gpu = True
        engines.append(FollowedEngine(engine, follows=follows))
        return engines[-1]

    return load


@pytest.mark.slow
@pytest.mark.parametrize(
    "program", [pytest.param(p, marks=() if p == "rerank" else pytest.mark.full) for p in PROGRAMS]
)
def test_rows_are_those_of_two_calls(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Random text that can be read, and is recovered now and then.
    monkeypatch.setattr(Arithmetic, "answer", lambda task, problem, text: text[:1] or None)
    monkeypatch.setattr(Arithmetic, "distance", lambda task, dual, text: float(text[:1] > "4"))
    body, name, more = PROGRAMS[program]
    model = ["--model_name_or_path", str(save_tiny(tmp_path / "model"))]
    engines, written = list[FollowedEngine](), list[bytes]()
    for follows in (False, True):
        load = in_slots(engines, follows=follows)
        out = start(program, body, load, tmp_path / f"{follows}", *SMALL.split(), *more.split(), *model)
        written.append((out / name).read_bytes())
    assert written[0] == written[1]
    assert engines[0].num_followed == 0 < engines[1].num_followed
    assert len(engines[1].calls) < len(engines[0].calls)
