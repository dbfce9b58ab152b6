"""Objects that a call brings: they lie in the folder of the run, which is compared by content."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from dupo import api
from dupo.api.given import GivenThings
from dupo.errors import UserError
from dupo.storage.names import GIVEN
from dupo.text.builtin_tokenizers import raw_bytes
from dupo.train import main
from tests.helpers import python_runs
from tests.helpers.python_runs import ROWS, SMALL, same_run, variety


def made() -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """A model and a tokenizer that never were on a disk."""
    tokenizer = raw_bytes()
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config), tokenizer


def closure() -> Any:
    def local(completions: list[str], **_: Any) -> list[float]:
        return variety(completions)

    return local


def test_functions_are_named_by_their_path_or_kept() -> None:
    class Scorer:
        def __call__(self, completions: list[str], **_: Any) -> list[float]:
            return variety(completions)

    first, second = (lambda **_: []), (lambda **_: [])
    things, scorer = GivenThings(), Scorer()
    assert things.add_functions("reward", ["dual", variety]) == f"dual,{python_runs.__name__}.variety"
    assert things.functions == {} and things.options_of_functions == []
    names = "dupo.given.lambda,dupo.given.lambda_2,dupo.given.lambda,dupo.given.Scorer"
    assert things.add_functions("reward", [first, second, first, scorer]) == names
    assert things.functions["dupo.given.lambda_2"] is second and things.options_of_functions == ["reward"]


def test_a_model_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(UserError, match="tokenizer: expected one beside a model that is an object, got none"):
        api.train(model=made()[0])


@pytest.mark.slow
def test_a_model_object_trains_as_its_folder_does_and_stays_as_it_was(here: Path) -> None:
    model, tokenizer = made()
    model.save_pretrained("saved")
    tokenizer.save_pretrained("saved")
    model.train()
    # Settings that transformers loads and refuses to save.
    model.generation_config.do_sample, model.generation_config.temperature = False, 0.5
    weights, config = copy.deepcopy(model.state_dict()), copy.deepcopy(vars(model.config))
    options = SMALL | dict(dataset=ROWS, reward=variety, learning_rate=1e-3)
    result = api.train(model=model, tokenizer=tokenizer, output_dir="object", **options)
    api.train(model="saved", output_dir="folder", **options)
    assert same_run(here / "object", here / "folder")
    assert model.training and vars(model.config) == config
    assert model.generation_config.temperature == 0.5
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    trained = result.model
    assert type(trained) is Qwen3ForCausalLM and not trained.training
    assert any(not torch.equal(weights[name], value) for name, value in trained.state_dict().items())
    ids = torch.tensor([result.tokenizer("Ann").input_ids])
    assert trained.generate(ids, max_new_tokens=2, do_sample=False).shape[1] <= ids.shape[1] + 2


@pytest.mark.slow
@pytest.mark.full
def test_a_stopped_run_goes_on_to_the_same_bytes(here: Path) -> None:
    model, tokenizer = made()
    objects = dict(
        model=model, tokenizer=tokenizer, dataset=ROWS[2:], eval_dataset=ROWS[:2], reward=closure()
    )
    whole = api.train(output_dir="whole", **objects, **SMALL)
    stop = [lambda step, _: api.STOP if step == 2 else None]
    stopped = api.train(output_dir="run", callbacks=stop, **objects, **SMALL)
    assert stopped.stopped and "stopped after step 2" in repr(stopped)
    kept = sorted(path.name for path in (here / "run" / GIVEN).iterdir())
    # Other contents are refused, and leave the folder as it was.
    others = objects | dict(dataset=ROWS[3:])
    with pytest.raises(UserError, match="the data set has changed since the run was started"):
        api.train(output_dir="run", resume_from_checkpoint="latest", **others, **SMALL)
    assert kept == sorted(path.name for path in (here / "run" / GIVEN).iterdir())
    # The command line has all but the function.
    assert main(["--output_dir", "run", "--resume_from_checkpoint", "latest"]) == 2
    resumed = api.train(output_dir="run", resume_from_checkpoint=True, **objects, **SMALL)
    assert same_run(whole.folder, resumed.folder) and not resumed.stopped
    assert kept == sorted(path.name for path in (here / "run" / GIVEN).iterdir())


@pytest.mark.slow
def test_config_yaml_reproduces_a_run_with_rows(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = api.train(dataset=ROWS, reward=variety, **SMALL)
    assert main(["--config", str(run.folder / "config.yaml"), "--output_dir", "again"]) == 0
    assert same_run(run.folder, here / "again")
    capsys.readouterr()
    lost = api.train(dataset=ROWS, reward=closure(), **SMALL)
    assert main(["--config", str(lost.folder / "config.yaml"), "--output_dir", "lost"]) == 2
    error = capsys.readouterr().err
    assert "reward: expected the function local again" in error and "dupo.api.train(reward=..." in error


@pytest.mark.slow
@pytest.mark.full
def test_a_run_that_is_replaced_leaves_no_rows_of_the_old_one(here: Path) -> None:
    api.train(dataset=ROWS, reward=variety, output_dir="run", **SMALL)
    api.train(dataset=ROWS[1:], reward=variety, output_dir="run", overwrite_output_dir=True, **SMALL)
    (folder,) = (here / "run" / GIVEN).iterdir()
    file = folder / "dataset.python.jsonl"
    lines = file.read_text()
    assert len(lines.splitlines()) == len(ROWS) - 1
    # Rows that were edited on the disk are those of the call again.
    file.write_text(lines.replace("Ann", "Eve"))
    api.train(dataset=ROWS[1:], reward=variety, output_dir="run", resume_from_checkpoint="latest", **SMALL)
    assert file.read_text() == lines


@pytest.mark.slow
def test_reward_functions_get_numbers_as_numbers() -> None:
    seen: list[Any] = []

    def reward(completions: list[str], answer: list[int], level: list[Any], **_: Any) -> list[float]:
        seen.extend(zip(answer, level, strict=True))
        return [0.0 for _ in completions]

    api.train(dataset=ROWS, reward=reward, **(SMALL | dict(max_steps=1)))
    rows = [(row["answer"], row["level"]) for row in ROWS]
    assert seen and all(pair in rows for pair in seen)
