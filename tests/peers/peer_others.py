"""Checks of docs/other_trainers.md with the trainers themselves, where they can be imported.

OpenRLHF and axolotl: the code of the page runs as it stands.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.helpers.doc_blocks import blocks_of
from tests.helpers.project import ROOT
from tests.peers.judged_problem import PROBLEMS, say, tokenizer
from tests.peers.peer_checks import Checks

PAGE = ROOT / "docs/other_trainers.md"


@contextmanager
def block(trainer: str) -> Iterator[dict[str, Any]]:
    """The names of the code of a trainer, which runs in a folder with problems."""
    (text,) = (b.text for b in blocks_of(PAGE) if b.language == "python" and b.needs == trainer)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        Path("problems.jsonl").write_text(PROBLEMS)
        names: dict[str, Any] = {"__name__": "block"}
        exec(compile(text, str(PAGE), "exec"), names)
        yield names


def check_openrlhf() -> None:
    """The executor's own single turn, with an engine that answers from a function."""
    from openrlhf.utils.agent import AgentExecutorBase

    tok, asked = tokenizer(), list[str]()

    class Engine:
        async def generate(self, prompt_ids: Any, params: Any, multi_modal_data: Any = None) -> Any:
            asked.append(tok.decode(prompt_ids))
            ids = [*tok.encode(say(asked[-1])), tok.eos_token_id]
            output = SimpleNamespace(token_ids=ids, finish_reason="stop", logprobs=None)
            return SimpleNamespace(outputs=[output])

    with block("OpenRLHF") as names:
        executor = names["AgentExecutor"]()
        assert isinstance(executor, AgentExecutorBase)
        prompt = names["duals"].prompts[0]
        framed = tok.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        params = SimpleNamespace(max_tokens=64, logprobs=None)
        row = asyncio.run(executor.execute(framed, prompt, params, 4096, tok, Engine()))
    assert (row["reward"], row["scores"], row["prompt"]) == (1.0, 1.0, framed)
    assert len(asked) == 3 and asked[0] == framed
    assert tok.decode(row["observation_tokens"], skip_special_tokens=True) == framed + say(framed)


def check_axolotl() -> None:
    """The hook of the plugin puts the head under TRL."""
    from axolotl.integrations.base import BasePlugin
    from trl.trainer import utils

    from dupo.integrations.trl import uninstall

    stock = utils._ChunkedLogProbFunction
    with block("axolotl") as names:
        plugin = names["DupoPlugin"]()
        assert isinstance(plugin, BasePlugin) and utils._ChunkedLogProbFunction is stock
        plugin.pre_model_load(None)
        assert utils._ChunkedLogProbFunction is not stock
        uninstall()


CHECKS: Checks = {"openrlhf": check_openrlhf, "axolotl": check_axolotl}
