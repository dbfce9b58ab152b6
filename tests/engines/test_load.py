"""Every program gets its engines here: a model that would be sampled as another model never gets one."""

from pathlib import Path

import pytest

from dupo.config.command_line import parse
from dupo.engines.load import load_engine, load_judge_engine
from dupo.errors import UserError
from dupo.models.tokenizers import load_tokenizer
from dupo.rerank import main as rerank
from tests.helpers.model_kinds import TOKENS, model_of_kind
from tests.helpers.worlds import CPU, save_tiny, tiny


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An LFM2: the cache of its convolutions cannot follow several samples of a prompt."""
    folder, tokenizer = tmp_path_factory.mktemp("model"), tiny().tokenizer
    assert len(tokenizer) < TOKENS
    model_of_kind("lfm2").save_pretrained(folder)
    tokenizer.hf.save_pretrained(folder)
    return folder


def test_a_policy_or_a_pool(hybrid: Path) -> None:
    config = parse(["--model_name_or_path", str(hybrid)])
    with pytest.raises(UserError, match="Lfm2ForCausalLM cannot be sampled from"):
        load_engine(config, config.model, load_tokenizer(config.model, None), CPU)


def test_a_judge(hybrid: Path) -> None:
    with pytest.raises(UserError, match="Lfm2ForCausalLM cannot be sampled from"):
        load_judge_engine(parse(["--dual_model", str(hybrid)]), CPU)


def test_a_program_ends_in_one_line(hybrid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--num_problems", "2", "--num_threads", "1", "--output_dir", str(tmp_path / "run")]
    assert rerank(["--model_name_or_path", str(hybrid), *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"error: {hybrid}: Lfm2ForCausalLM cannot be sampled from")
    sound = save_tiny(tmp_path / "sound")
    options = [*options, "--overwrite_output_dir", "--model_name_or_path", str(sound)]
    assert rerank([*options, "--dual_model", str(hybrid)]) == 2
