"""Who answers the duals: another model brings its own tokenizer, and a typing error is no model."""

from dataclasses import replace

import pytest
import torch

from dupo.config.command_line import parse
from dupo.duality.judge import another, ask_duals, load_sampler, other_model
from dupo.errors import UserError
from dupo.train import main
from tests.helpers.worlds import rows, save_tiny

SMALL = ["--num_threads", "1", "--eval_size", "20", "--generation_batch_size", "16", "--max_steps", "2"]


def test_the_other_model_answers_with_its_own_weights_and_tokenizer(tmp_path):
    ours, theirs = save_tiny(tmp_path / "ours", 0), save_tiny(tmp_path / "theirs", 1, "--task", "conlang")
    config = parse(["--model_name_or_path", str(ours), "--dual_model", str(theirs), "--dual_samples", "2",
                    "--dual_temperature", "1"])  # fmt: skip
    judge = other_model(config, torch.device("cpu"))
    alone = load_sampler(replace(config, model_name_or_path=str(theirs)), torch.device("cpu"))
    assert len(judge.tokenizer) != len(load_sampler(config, torch.device("cpu")).tokenizer)
    assert ask_duals(judge, ["ana kesh"], 5) == alone(["ana kesh"], 2, 1.0, 5)
    assert not any(p.requires_grad for p in judge.model.parameters())


def test_the_same_model_keeps_the_tokenizer_that_was_asked_for():
    config = parse(["--tokenizer_name", "tiny", "--model_name_or_path", "m"])
    assert another(config, "m") is config
    given = replace(config, pad_token="<pad>", eos_token="<eos>")
    own = another(given, "n")
    assert (own.tokenizer_name, own.pad_token, own.eos_token, own.model_name_or_path) == (
        None,
        None,
        None,
        "n",
    )


def test_training_asks_it(tmp_path, monkeypatch):
    ours, theirs = save_tiny(tmp_path / "ours", 0), save_tiny(tmp_path / "theirs", 1)
    asked = []

    def recorded(sampler, prompts, seed):
        asked.append(next(sampler.model.parameters()).detach().clone())
        return ask_duals(sampler, prompts, seed)

    monkeypatch.setattr("dupo.run.training.ask_duals", recorded)
    options = [*SMALL, "--model_name_or_path", str(ours), "--output_dir", str(tmp_path / "run")]
    assert main([*options, "--dual_model", str(theirs)]) == 0
    weights = load_sampler(parse(["--model_name_or_path", str(theirs)]), torch.device("cpu")).model
    assert asked and all(torch.equal(seen, next(weights.parameters())) for seen in asked)
    assert len(rows(tmp_path / "run")) == 2


def test_a_folder_without_a_model_is_refused_before_training(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    run = tmp_path / "run"
    ours = save_tiny(tmp_path / "ours", 0)
    options = [*SMALL, "--model_name_or_path", str(ours), "--output_dir", str(run)]
    assert main([*options, "--dual_model", str(tmp_path / "empty")]) == 2
    error = capsys.readouterr().err
    assert "empty" in error and error.count("\n") == 1
    with pytest.raises(UserError, match="did you mean policy"):
        parse(["--dual_model", "polcy"])
