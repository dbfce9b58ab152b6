"""The one door for models: weights that match and are finite, classes that are computed right."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from dupo.config.model_options import ModelOptions
from dupo.errors import UserError
from dupo.models.class_check import check_class
from dupo.models.library_errors import library_call
from dupo.models.load import Model, end_tokens, load_model, model_config
from dupo.models.tokenizers import load_tokenizer
from dupo.models.weights import read_checkpoint_weights
from tests.helpers.shapes import save_kind, save_shape
from tests.helpers.worlds import CPU, save_tiny, tiny

Tensors = dict[str, torch.Tensor]
EMBEDDING, NORM = "model.embed_tokens.weight", "model.norm.weight"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("sound") / "model", 3)


def opened(folder: Path, **options: object) -> Model:
    """What every program does with a folder."""
    named = ModelOptions(model_name_or_path=str(folder), **options)  # type: ignore[arg-type]
    return load_model(named, model_config(named, load_tokenizer(named, None)), CPU, 0)


def refusal(folder: Path, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        opened(folder, **options)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def copied(sound: Path, folder: Path, change: Callable[[Tensors], Mapping[str, torch.Tensor]]) -> Path:
    """A copy of a folder with other tensors."""
    folder.mkdir()
    for file in sound.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = {name: tensor.contiguous() for name, tensor in change(load_file(sound / WEIGHTS)).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


WEIGHTS = "model.safetensors"
FIRST_FOUR = ["model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.gate_proj.weight"]
FIRST_FOUR += ["model.layers.0.mlp.up_proj.weight", "model.layers.0.self_attn.k_norm.weight"]


def prefixed(prefix: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


def with_one(value: float) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        tensors[NORM][5] = value
        return tensors

    return change


OTHER_WEIGHTS = {
    "renamed": (prefixed("foo."), ["25 missing (lm_head.weight", "24 not of this model (foo.model"]),
    "compiled": (prefixed("_orig_mod."), ["start with _orig_mod.", "torch.compile"]),
    "adapter": (prefixed("base_model.model."), ["start with base_model.model.", "PEFT"]),
    "parallel": (prefixed("module."), ["start with module.", "DDP"]),
    "four removed": (
        lambda tensors: {n: t for n, t in tensors.items() if n not in FIRST_FOUR},
        [f"got others: 4 missing ({', '.join(FIRST_FOUR[:3])}, ...)"],
    ),
    "one more": (
        lambda tensors: tensors | {"v_head.weight": torch.zeros(3)},
        ["1 not of this model (v_head.weight)"],
    ),
    "another shape": (
        lambda tensors: tensors | {EMBEDDING: tensors[EMBEDDING][:5]},
        [f"1 of another shape ({EMBEDDING} (5, 128) for (20, 128))"],
    ),
    "NaN": (with_one(float("nan")), [f"expected finite weights, got 1 with NaN or infinity ({NORM})"]),
    "infinity": (with_one(float("inf")), ["expected finite weights"]),
}


@pytest.mark.parametrize("name", OTHER_WEIGHTS)
def test_other_weights_than_those_of_the_model_are_refused(sound: Path, tmp_path: Path, name: str) -> None:
    change, words = OTHER_WEIGHTS[name]
    folder = copied(sound, tmp_path / "model", change)  # type: ignore[arg-type]
    line = refusal(folder)
    assert all(word in line for word in words), line
    # The weights of a checkpoint go through the same door, and leave the model as it was.
    model = tiny().model
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(UserError, match=r"resume_from_checkpoint: .*expected"):
        read_checkpoint_weights(model, folder)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_constants_that_older_versions_saved_are_ignored(sound: Path, tmp_path: Path) -> None:
    old = {f"model.layers.0.self_attn.{name}": torch.ones(2) for name in ("masked_bias", "rotary.inv_freq")}
    opened(copied(sound, tmp_path / "model", lambda tensors: tensors | old))


def test_the_library_says_nothing_twice_and_tied_weights_are_not_missing(sound: Path, capfd) -> None:
    model = opened(sound)
    assert model.get_parameter("lm_head.weight") is model.get_parameter(EMBEDDING)
    assert capfd.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "opt", "biogpt", "llama"])
def test_models_of_several_kinds_load(tmp_path: Path, kind: str) -> None:
    assert not opened(save_kind(tmp_path / kind, kind)).training


REFUSED_KINDS = {
    "falcon": "falcon takes no attention but its own",
    "mpt": "MptForCausalLM does not support scaled_dot_product_attention",
    "bloom": "BloomForCausalLM does not support scaled_dot_product_attention",
    "llama4_text": "Llama4ForCausalLM does not tell its language-model head from the model beneath",
    "bert": "BertLMHeadModel is not causal with this config.json",
    "t5": "expected a causal language model, got an encoder-decoder, t5",
}


@pytest.mark.parametrize("kind", REFUSED_KINDS)
def test_classes_that_would_be_computed_wrong_are_refused_before_their_weights(tmp_path, kind) -> None:
    # The folder has no weights, so the refusal comes before any is looked for.
    assert REFUSED_KINDS[kind] in refusal(save_shape(tmp_path / kind, kind))


CONFIGS = {
    "no heads": ({"num_attention_heads": 0}, "expected num_attention_heads of at least 1"),
    "no layers": ({"num_hidden_layers": 0, "layer_types": []}, "expected num_hidden_layers of at least 1"),
    "layers that differ": ({"num_hidden_layers": -1}, "config.json is not usable: Strict"),
    "a word for a number": ({"vocab_size": "x"}, "config.json is not usable: Strict"),
    "an unknown kind": ({"model_type": "nope"}, "nope"),
    "too large": ({"hidden_size": 10**12}, "not enough memory"),
    "a list of rope": ({"rope_parameters": [1]}, "rope_parameters"),
    "quantized": ({"quantization_config": {"quant_method": "bitsandbytes"}}, "got quantized weights"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_broken_config_is_one_line(sound: Path, tmp_path: Path, name: str) -> None:
    change, words = CONFIGS[name]
    folder = copied(sound, tmp_path / "model", dict)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert words in refusal(folder)


def test_an_adapter_without_a_base_is_named(sound: Path, tmp_path: Path) -> None:
    folder = copied(sound, tmp_path / "model", dict)
    (folder / "adapter_config.json").write_text("{}")
    assert "expected base_model_name_or_path, the model beneath the adapter, got none" in refusal(folder)


GEMMA_4 = dict(vocab_size=64, hidden_size=32, hidden_size_per_layer_input=8, vocab_size_per_layer_input=64)


def test_a_size_below_one_is_named() -> None:
    """transformers builds a model without layers from -1 layers, and says that 18 weights are not of it."""
    shape = AutoConfig.for_model("llama", num_hidden_layers=-1)
    with pytest.raises(
        UserError, match=r"m: expected num_hidden_layers of at least 1 in config\.json, got -1"
    ):
        check_class(shape, "m", trust_remote_code=False)
    with pytest.raises(UserError, match="expected num_hidden_layers of at least 1"):  # by another name
        check_class(AutoConfig.for_model("gpt2", n_layer=0), "m", trust_remote_code=False)


@pytest.mark.slow
def test_layers_that_differ_in_size_are_no_reason_to_refuse() -> None:
    """The config of Gemma 4 raises for the size of a head, which differs between layers."""
    check_class(AutoConfig.for_model("gemma4_text", **GEMMA_4), "m", trust_remote_code=False)


FILES = {
    "cut weights": (WEIGHTS, lambda data: data[: len(data) // 2], "SafetensorError"),
    "empty weights": (WEIGHTS, lambda data: b"", "SafetensorError"),
    "config that is no JSON": ("config.json", lambda data: data[:50], "config.json is not usable"),
    "config that is a list": ("config.json", lambda data: b"[]", "config.json is not usable"),
    "tokenizer of nothing": ("tokenizer.json", lambda data: b"{}", "KeyError: 'added_tokens'"),
    "tokenizer that is a list": ("tokenizer.json", lambda data: b"[]", "TypeError"),
    "tokenizer that is cut": ("tokenizer.json", lambda data: data[:200], "no tokenizer could be loaded"),
    "tokenizer of another time": (
        "tokenizer.json",
        lambda data: data.replace(b"WordLevel", b"WorldLevel"),
        "no tokenizer could be loaded",
    ),
    "no JSON for generation": (
        "generation_config.json",
        lambda data: data[:20],
        "generation_config.json is no",
    ),
    "deep settings": ("tokenizer_config.json", lambda data: b"[" * 10**5, "RecursionError"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_is_one_line(sound: Path, tmp_path: Path, name: str) -> None:
    file, damage, words = FILES[name]
    folder = copied(sound, tmp_path / "model", dict)
    (folder / file).write_bytes(damage((folder / file).read_bytes()))
    assert words in refusal(folder)


def test_end_tokens_that_are_no_ids_are_refused() -> None:
    model = tiny().model
    assert model.generation_config is not None
    for ids in ("x", [1, "x"], [1, None], [[1]], 1.5, True):
        model.generation_config.eos_token_id = ids
        with pytest.raises(UserError, match="expected token ids as eos_token_id"):
            end_tokens(model)


def test_a_folder_without_tokenizer_files_is_named(sound: Path, tmp_path: Path) -> None:
    """transformers makes up an empty tokenizer from the type of the model."""
    folder = copied(sound, tmp_path / "model", dict)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert "has an empty vocabulary: are its files there?" in refusal(folder)


def test_a_template_that_raises_is_one_line(sound: Path, tmp_path: Path) -> None:
    folder = copied(sound, tmp_path / "model", dict)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('needs system') }}")
    assert "its chat template cannot be used: TemplateError: needs system" in refusal(folder)


# --- calls into the library ---


def test_a_model_that_the_hub_does_not_give_is_told_in_our_words() -> None:
    """transformers raises an OSError about URLs from what huggingface_hub raised."""
    causes = [
        ("and the Hub cannot be reached: .* hf download a/b", LocalEntryNotFoundError),
        ("nor a model of the Hub that is open to you: hf auth login", RepositoryNotFoundError),
    ]
    for words, kind in causes:
        cause = kind.__new__(kind)  # its constructor wants what the Hub replied
        with pytest.raises(UserError, match=words) as caught, library_call("no tokenizer from a/b", "a/b"):
            raise OSError("see https://huggingface.co") from cause
        assert "https" not in str(caught.value)


class PanicException(BaseException):
    """As Rust code raises it."""


@pytest.mark.parametrize("error", [KeyError("a"), PanicException("index out of\nbounds"), RecursionError()])
def test_whatever_the_library_raises_is_one_line(error: BaseException) -> None:
    expected = f"^the folder m: {type(error).__name__}(: |$)"
    with pytest.raises(UserError, match=expected) as caught, library_call("the folder m"):
        raise error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_memory_that_is_not_there_is_called_so(error: Exception) -> None:
    with pytest.raises(UserError, match="the folder m: not enough memory"), library_call("the folder m"):
        raise error


def test_ctrl_c_stays_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt), library_call("the folder m"):
        raise KeyboardInterrupt


def test_warnings_of_the_library_are_seen_unless_it_raises() -> None:
    seen: list[str] = []

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    logger, recorder = logging.getLogger("transformers"), Recorder()
    logger.addHandler(recorder)
    try:
        with library_call("the folder m"):
            logging.getLogger("transformers.tokenizers").warning("a wrong pattern")
            assert not seen
        with pytest.raises(UserError), library_call("the folder m"):
            logging.getLogger("transformers.modeling_utils").warning("missing weights")
            raise KeyError("missing")
    finally:
        logger.removeHandler(recorder)
    assert seen == ["a wrong pattern"]
