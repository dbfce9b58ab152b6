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
def sinks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gpt-oss: its attention sinks are unknown to the attention of the package."""
    folder, tokenizer = tmp_path_factory.mktemp("model"), tiny().tokenizer
    assert len(tokenizer) < TOKENS
    model_of_kind("gpt_oss").save_pretrained(folder)
    tokenizer.hf.save_pretrained(folder)
    return folder


def test_a_policy_or_a_pool(sinks: Path) -> None:
    config = parse(["--model_name_or_path", str(sinks)])
    with pytest.raises(UserError, match=r"GptOssForCausalLM cannot be sampled from.*s_aux"):
        load_engine(config, config.model, load_tokenizer(config.model, None), CPU)


def test_a_judge(sinks: Path) -> None:
    with pytest.raises(UserError, match=r"GptOssForCausalLM cannot be sampled from.*s_aux"):
        load_judge_engine(parse(["--dual_model", str(sinks)]), CPU)


def test_a_program_ends_in_one_line(sinks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--num_problems", "2", "--num_threads", "1", "--output_dir", str(tmp_path / "run")]
    assert rerank(["--model_name_or_path", str(sinks), *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: GptOssForCausalLM cannot be sampled from")
    sound = save_tiny(tmp_path / "sound")
    options = [*options, "--overwrite_output_dir", "--model_name_or_path", str(sound)]
    assert rerank([*options, "--dual_model", str(sinks)]) == 2
