"""A merged folder: what transformers and peft load from it, and one line where models do not go together."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from dupo.merge import main
from dupo.storage.checksums import broken_sums, write_sums
from tests.helpers.worlds import tiny


def write_model(folder: Path, seed: int, *, tied: bool = True, shards: str = "5GB") -> Path:
    world = tiny("--seed", str(seed))
    model = world.model
    if not tied:
        settings = model.config.to_dict() | {"tie_word_embeddings": False}
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(model.config.__class__.from_dict(settings))
    model.save_pretrained(folder, max_shard_size=shards)
    world.tokenizer.hf.save_pretrained(folder)
    return folder


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    # The second is in shards: names of files say nothing of what is merged.
    sizes = ["5GB", "200KB", "5GB"]
    return [str(write_model(tmp_path / f"model{k}", k, shards=size)) for k, size in enumerate(sizes)]


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_the_mean_is_what_transformers_loads(models: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([*models, "--output_dir", str(out), "--weights", "1,2,1", "--max_shard_size", "300KB"]) == 0
    merged, parts = weights(out), [weights(folder) for folder in models]
    for name, weight in merged.items():
        expected = sum(f * part[name].double() for f, part in zip((1, 2, 1), parts, strict=True)) / 4
        torch.testing.assert_close(weight.double(), expected, rtol=0, atol=1e-6)
    assert len(list(out.glob("model-*.safetensors"))) > 1
    assert AutoTokenizer.from_pretrained(out)("#1+2=").input_ids
    assert broken_sums(out, "config.json") is None
    record = json.loads((out / "merge.json").read_text())
    assert record["models"] == models and record["weights"] == [1.0, 2.0, 1.0]


def test_every_method_writes_a_model(models: list[str], tmp_path: Path) -> None:
    first, second, start = models
    extra = {"ema": ["--decay", "0.9"], "slerp": ["--t", "0.25"], "warp": ["--start", start]}
    seen = []
    for method, options in extra.items():
        out = tmp_path / method
        command = [first, second, "--output_dir", str(out), "--merge_method", method, "--dtype", "bfloat16"]
        assert main([*command, *options]) == 0
        loaded = AutoModelForCausalLM.from_pretrained(out)
        assert loaded.dtype == torch.bfloat16
        seen.append(loaded.get_input_embeddings().weight.float())
    a, b, origin = (weights(folder)["model.embed_tokens.weight"] for folder in models)
    torch.testing.assert_close(seen[0], 0.9 * a + 0.1 * b, rtol=0.01, atol=1e-3)
    assert not torch.equal(seen[1], seen[2])
    # Towards the start: nearer to it than both.
    far = min((a - origin).norm(), (b - origin).norm())
    assert (seen[2] - origin).norm() < far


def test_adapters_become_one_of_all_their_ranks(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", 5)
    ids, folders, changes = torch.tensor([[3, 9, 4, 1]]), list[str](), list[dict[str, torch.Tensor]]()
    for seed, (rank, alpha) in enumerate([(2, 8), (3, 3)]):
        model: Any = AutoModelForCausalLM.from_pretrained(base)
        layers = ["q_proj", "down_proj"]
        settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers, use_rslora=seed == 1)
        adapted = get_peft_model(model, settings)
        torch.manual_seed(seed)
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.3)
        folders.append(str(tmp_path / f"adapter{seed}"))
        adapted.save_pretrained(folders[-1])
        changes.append(adapted.merge_and_unload().state_dict())
    out = tmp_path / "out"
    assert main([*folders, "--output_dir", str(out), "--merge_method", "ema", "--decay", "0.25"]) == 0
    plain = AutoModelForCausalLM.from_pretrained(base)
    loaded: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out)
    assert loaded.peft_config["default"].r == 5
    merged = loaded.merge_and_unload()
    for name, weight in plain.state_dict().items():
        expected = weight + 0.25 * (changes[0][name] - weight) + 0.75 * (changes[1][name] - weight)
        torch.testing.assert_close(merged.state_dict()[name], expected, rtol=0, atol=1e-5)
    assert (merged(ids).logits - plain(ids).logits).abs().max() > 0.01
    assert broken_sums(out, "adapter_config.json") is None


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("error: ")
    return err


def test_options_that_do_not_go_together_are_refused(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    cases = {
        ("--decay", "0.9"): "decay: expected none for --merge_method mean, which does not read it",
        ("--merge_method", "warp"): "start: expected the model that all began from",
        ("--merge_method", "slerp", "--t", "0.2"): "t: expected none for 3 models",
        ("--weights", "1,2"): "weights: expected 3 numbers of at least 0, not all 0, got 1,2",
        ("--weights", "0,0,0"): "weights: expected 3 numbers",
        ("--weights", "1,nan,1"): "weights: expected 3 numbers",
        ("--merge_method", "ema", "--decay", "1.5"): "decay: expected a number from 0 to 1, got 1.5",
        ("--max_shard_size", "many"): "max_shard_size: expected a size",
    }
    for options, message in cases.items():
        assert message in refused(capsys, *models, "--output_dir", out, *options)
    assert "expected two models or more, got 1" in refused(capsys, models[0], "--output_dir", out)
    assert not Path(out).exists()


def test_models_that_do_not_go_together_are_refused(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    untied = str(write_model(tmp_path / "untied", 3, tied=False))
    message = refused(capsys, models[0], untied, "--output_dir", out)
    assert "lm_head.weight: expected in" in message and "got none in" in message
    other = Path(models[2])
    tensors = load_file(other / "model.safetensors")
    name = next(name for name in tensors if name.endswith("down_proj.weight"))
    save_file(tensors | {name: tensors[name][:, :-1].clone()}, other / "model.safetensors")
    assert f"{name}: expected the shape" in refused(capsys, models[0], str(other), "--output_dir", out)
    words = json.loads((Path(models[1]) / "tokenizer.json").read_text())
    vocab = words["model"]["vocab"]
    first, second = list(vocab)[3:5]
    vocab[first], vocab[second] = vocab[second], vocab[first]
    (Path(models[1]) / "tokenizer.json").write_text(json.dumps(words))
    message = refused(capsys, models[0], models[1], "--output_dir", out)
    assert "expected models with one vocabulary, got two" in message
    assert not Path(out).exists()


def test_damaged_and_missing_models_are_refused(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    message = refused(capsys, models[0], str(tmp_path / "nowhere"), "--output_dir", out)
    assert re.search(r"expected the folder of a model, with safetensors, got .*nowhere", message)
    write_sums(Path(models[0]))
    file = Path(models[0]) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    assert "cannot be merged" in refused(capsys, *models, "--output_dir", out)
    assert "not empty" in refused(capsys, *models[1:], "--output_dir", models[0])
    inside = str(Path(models[1]) / "merged")
    assert "output_dir: expected a folder outside of" in refused(capsys, *models[1:], "--output_dir", inside)


def test_adapters_and_models_are_not_mixed(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, out = str(tmp_path / "adapter"), str(tmp_path / "out")
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(models[0])
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(adapter)
    assert "models alone or adapters alone" in refused(capsys, models[0], adapter, "--output_dir", out)
    twice = [adapter, adapter, "--output_dir", out, "--merge_method"]
    assert "expected mean or ema for adapters, got slerp" in refused(capsys, *twice, "slerp")
