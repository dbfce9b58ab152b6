"""A run whose sampler is not its learner: one warning, or a stop that loses nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dupo.config.command_line import parse
from dupo.engines.base import Sampling
from dupo.errors import UserError
from dupo.methods import policy
from dupo.methods.dupo import DuPO
from dupo.records import Completion
from dupo.train import main
from tests.helpers.runs import SMALL, loop
from tests.helpers.worlds import rows, summary


class Foreign:
    """An engine with the text of one policy and the log-probs of another."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.tokenizer = engine, engine.tokenizer
        self.features, self.max_positions = engine.features, engine.max_positions

    def sample(self, prompts: Any, n: int, sampling: Sampling, seed: int) -> list[list[Completion]]:
        groups = self.engine.sample(prompts, n, sampling, seed)
        return [[Completion(c.ids, c.logprobs - 0.1, c.text, c.truncated) for c in g] for g in groups]

    def load_weights(self, model: Any) -> None: ...

    def release_memory(self) -> None: ...


class ForeignDuPO(DuPO):
    """DuPO with such an engine from step `since` on."""

    since = 0

    def next_batch(self, step: int) -> Any:
        if step == self.since:
            self.engine = Foreign(self.engine)
        return super().next_batch(step)


def config_of(untrained: Path, out: Path, *options: str) -> Any:
    model = ["--model_name_or_path", str(untrained), "--output_dir", str(out), "--reward", "random"]
    return parse([*SMALL, *model, "--max_steps", "3", "--eval_size", "4", *options])


@pytest.mark.slow
def test_a_run_warns_once(untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(untrained, tmp_path / "run")
    loop(config, ForeignDuPO(config))
    assert capsys.readouterr().err.count("not on policy") == 1
    assert summary(tmp_path / "run")["steps"] == 3


@pytest.mark.slow
def test_a_run_shows_what_loading_warns_of(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(policy, "check_saving", lambda model, hf: ["its settings are cut down"])
    config = config_of(untrained, tmp_path / "run")
    loop(config, DuPO(config))
    assert capsys.readouterr().err.count("warning: its settings are cut down\n") == 1


@pytest.mark.slow
def test_a_sound_run_warns_of_nothing(untrained: Path, tmp_path: Path, capsys: Any) -> None:
    options = [*SMALL, "--model_name_or_path", str(untrained), "--output_dir", str(tmp_path / "run")]
    assert main([*options, "--max_steps", "2", "--reward", "random", "--strict"]) == 0
    assert "arning" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_strict_run_stops_with_all_saved(untrained: Path, tmp_path: Path, capsys: Any) -> None:
    config = config_of(untrained, tmp_path / "run", "--strict", "--save_steps", "50")
    method = ForeignDuPO(config)
    method.since = 1
    with pytest.raises(UserError, match="strict: the first step of a rollout is not on policy"):
        loop(config, method)
    assert [row["step"] for row in rows(tmp_path / "run")] == [1]
    assert (tmp_path / "run/checkpoint-1/model.safetensors").is_file()
    assert "resume_from_checkpoint latest" in capsys.readouterr().out
    # The weights of the step that was refused did not move.
    saved = DuPO(config.changed(model_name_or_path=str(tmp_path / "run/checkpoint-1")))
    saved.load()
    for name, weight in method.model.state_dict().items():
        assert torch.equal(weight, saved.model.state_dict()[name]), name
