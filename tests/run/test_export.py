"""An exported folder: the model that was saved, whatever its shards, and one line where that cannot be."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from dupo.config.layers import assemble
from dupo.config.yaml_files import to_yaml
from dupo.export import main
from dupo.models.own_forward import own_logprobs
from dupo.storage.checksums import broken_sums, write_sums
from dupo.storage.names import first_line
from tests.helpers.runs import start
from tests.helpers.worlds import tiny

IDS = [[3, 9, 4, 17, 2, 11, 5], [7, 1, 12]]


def run_of(folder: Path, *, tied: bool) -> Path:
    """What a run leaves that an export reads: settings, and two checkpoints with other weights."""
    for step in (2, 4):
        world = tiny("--seed", str(step))
        model = world.model
        if not tied:
            config = model.config.__class__.from_dict(model.config.to_dict() | {"tie_word_embeddings": False})
            model = AutoModelForCausalLM.from_config(config)
        checkpoint = folder / f"checkpoint-{step}"
        model.save_pretrained(checkpoint)
        world.tokenizer.hf.save_pretrained(checkpoint)
        for name in ("state.pt", "ema.safetensors"):
            (checkpoint / name).write_bytes(name.encode())
        write_sums(checkpoint)
    (folder / "latest").write_text("checkpoint-4\n")
    (folder / "config.yaml").write_text(first_line("train") + to_yaml(assemble({})))
    return folder


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("export") / "run", tied=request.param)


def weights(folder: Path, **options: object) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder, **options).state_dict()


def same_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    names = first.keys() == second.keys()
    return names and all(
        first[n].dtype == second[n].dtype and torch.equal(first[n], second[n]) for n in first
    )


@pytest.mark.parametrize("number", [None, 2])
def test_transformers_loads_what_was_saved(run: Path, number: int | None, tmp_path: Path, capsys) -> None:
    words = [] if number is None else ["--checkpoint", str(number)]
    out = tmp_path / "new" / "out"
    assert main([str(run), "--output_dir", str(out), "--max_shard_size", "400KB", *words]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    source = run / f"checkpoint-{number or 4}"
    assert same_weights(weights(out), weights(source))
    assert not same_weights(weights(out), weights(run / f"checkpoint-{6 - (number or 4)}"))
    assert len(list(out.glob("model-*.safetensors"))) > 1
    assert all(file.stat().st_size < 500_000 for file in out.glob("*.safetensors"))
    assert not {"state.pt", "ema.safetensors"} & {file.name for file in out.iterdir()}
    assert broken_sums(out, "config.json", "tokenizer.json") is None
    theirs, ours = (AutoTokenizer.from_pretrained(folder) for folder in (source, out))
    assert theirs.get_vocab() == ours.get_vocab()


def test_bfloat16_is_the_rounded_model_and_loads_as_that(run: Path, tmp_path: Path) -> None:
    assert main([str(run), "--output_dir", str(tmp_path / "out"), "--dtype", "bfloat16"]) == 0
    rounded = AutoModelForCausalLM.from_pretrained(run / "checkpoint-4").to(torch.bfloat16).state_dict()
    assert same_weights(weights(tmp_path / "out"), rounded)
    half = (tmp_path / "out/model.safetensors").stat().st_size
    assert half < 0.6 * (run / "checkpoint-4/model.safetensors").stat().st_size


def damage(run: Path) -> None:
    file = run / "checkpoint-4/model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


FAULTS = {
    "a flipped bit": (damage, [], "cannot be exported: model.safetensors is not what was saved"),
    "no sums": (lambda run: (run / "checkpoint-4/SHA256SUMS").unlink(), [], "it has no SHA256SUMS"),
    "no such step": (None, ["--checkpoint", "3"], "checkpoint: expected one that .* has \\(2, 4\\), got 3"),
    "no adapter": (None, ["--merge_lora"], "merge_lora: expected a run of adapters"),
    "no size": (None, ["--max_shard_size", "5"], "max_shard_size: expected a size such as 5GB"),
    "size 0": (None, ["--max_shard_size", "0GB"], "max_shard_size: expected a size such as 5GB"),
    "no run": (lambda run: (run / "config.yaml").unlink(), [], "expected the folder of a run of dupo.train"),
    "no dtype": (None, ["--dtype", "int8"], "argument --dtype: invalid choice"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_exported_is_told_in_one_line(fault: str, run: Path, tmp_path: Path, capsys) -> None:
    change, words, message = FAULTS[fault]
    run = Path(shutil.copytree(run, tmp_path / "run"))
    if change:
        change(run)
    assert main([str(run), "--output_dir", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()


def test_a_run_holds_no_export_of_itself(run: Path, capsys) -> None:
    for name in ("checkpoint-100", "merged", "checkpoint-1/model"):
        assert main([str(run), "--output_dir", str(run / name)]) == 2
        assert "output_dir: expected a folder outside of the run" in capsys.readouterr().err
        assert not (run / "checkpoint-100").exists()


def test_nothing_is_overwritten(run: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert main([str(run), "--output_dir", str(tmp_path)]) == 2
    assert "is not empty: nothing is overwritten" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_an_adapter_is_exported_as_such_and_merged(untrained: Path, tmp_path: Path, capsys) -> None:
    options = [
        "--use_peft",
        "--lora_r",
        "4",
        "--learning_rate",
        "0.01",
        "--reward",
        "random",
        "--max_steps",
        "2",
    ]
    run = start(untrained, tmp_path / "run", *options)
    adapter, whole, half = (tmp_path / name for name in ("adapter", "whole", "half"))
    assert main([str(run), "--output_dir", str(adapter)]) == 0
    assert main([str(run), "--output_dir", str(whole), "--merge_lora", "--max_shard_size", "500KB"]) == 0
    assert main([str(run), "--output_dir", str(half), "--merge_lora", "--dtype", "bfloat16"]) == 0
    assert len(list(whole.glob("model-*.safetensors"))) > 1
    base = AutoModelForCausalLM.from_pretrained(untrained)
    before = own_logprobs(base, IDS, "float32")
    beneath = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert beneath == str(untrained.resolve())
    expected = own_logprobs(PeftModel.from_pretrained(base, str(adapter)).get_base_model(), IDS, "float32")
    merged = AutoModelForCausalLM.from_pretrained(whole)
    assert (own_logprobs(merged, IDS, "float32") - expected).abs().max() < 1e-5
    assert (before - expected).abs().max() > 1e-3
    assert same_weights(weights(half), merged.to(torch.bfloat16).state_dict())
    assert broken_sums(whole) is None and broken_sums(half) is None and broken_sums(adapter) is None


@pytest.mark.slow
def test_the_base_in_the_run_is_found_and_checked(hardly_taught: Path, tmp_path: Path, capsys) -> None:
    options = ["--use_peft", "--learning_rate", "0.01", "--reward", "random", "--max_steps", "2"]
    run = start(hardly_taught / "checkpoint-0", tmp_path / "first", *options)
    # As a run with a teaching has it: the base beside the adapter, and both have moved.
    shutil.copytree(hardly_taught / "checkpoint-0", run / "checkpoint-0")
    run = run.rename(tmp_path / "moved")
    assert main([str(run), "--output_dir", str(tmp_path / "adapter")]) == 0
    beneath = json.loads((tmp_path / "adapter/adapter_config.json").read_text())["base_model_name_or_path"]
    assert beneath == str(run.resolve() / "checkpoint-0")
    assert main([str(run), "--output_dir", str(tmp_path / "whole"), "--merge_lora"]) == 0
    (run / "checkpoint-0/model.safetensors").write_bytes(b"")
    capsys.readouterr()
    for words in ([], ["--merge_lora"]):
        assert main([str(run), "--output_dir", str(tmp_path / "broken"), *words]) == 2
        assert "checkpoint-0 beneath it: model.safetensors is not what was saved" in capsys.readouterr().err
    assert not (tmp_path / "broken").exists()
