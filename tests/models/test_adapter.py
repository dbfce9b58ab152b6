"""Adapters on a model: the formula, what stays as it was, what is written and read, and what is refused."""

import json
import math
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from dupo.config.lora_options import LoraOptions
from dupo.config.model_options import ModelOptions
from dupo.errors import UserError
from dupo.models.adapter import Adapter, plan_adapter
from dupo.models.adapter_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from dupo.models.fingerprints import weights_fingerprint
from dupo.models.load import Model, load_model, model_config
from dupo.models.objects import check_object, model_of, tokenizer_of
from dupo.models.own_forward import own_logprobs
from dupo.models.tokenizers import load_tokenizer
from dupo.models.weights import frozen_copy, update_average
from tests.helpers.shapes import model_of as model_of_kind
from tests.helpers.slow import with_slow
from tests.helpers.worlds import CPU, World, save_tiny, tiny

IDS = [[3, 9, 4, 17, 2, 11, 5], [7, 1, 12]]
LORA = LoraOptions(use_peft=True, lora_r=4, lora_alpha=6, lora_target_modules="q_proj,down_proj")
LAYER = "model.layers.1.self_attn.q_proj"


def logprobs(model: Model) -> Tensor:
    """By the forward pass of transformers alone."""
    return own_logprobs(model, IDS, "float32")


def trained(world: World, options: LoraOptions = LORA, seed: int = 0) -> Adapter:
    """Adapters that have moved from where they start."""
    adapter = Adapter(world.model, options, seed)
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in adapter.state_dict().values():
            weight.add_(torch.randn(weight.shape, generator=draws), alpha=0.1)
    return adapter


@pytest.fixture
def world() -> World:
    return tiny(spread=3.0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "model", 3)


@pytest.fixture(scope="module")
def saved(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor]:
    """The folder of an adapter without a tokenizer, and the log-probs of the model that trained it."""
    world = tiny("--model_name_or_path", str(base))
    folder = tmp_path_factory.mktemp("adapters") / "adapter"
    folder.mkdir()
    trained(world).save_pretrained(folder)
    return folder, logprobs(world.model)


# --- what an adapter computes ---


@pytest.mark.parametrize(("is_rooted", "scale"), [(False, 6 / 4), (True, 6 / math.sqrt(4))])
def test_a_layer_gives_w_x_plus_s_b_a_x(world: World, tmp_path: Path, is_rooted: bool, scale: float) -> None:
    before = world.model.get_submodule(LAYER).weight.detach().clone()
    options = LoraOptions(use_peft=True, lora_r=4, lora_alpha=6, use_rslora=is_rooted)
    trained(world, options).save_pretrained(tmp_path)
    file = load_file(tmp_path / ADAPTER_WEIGHTS)
    a, b = (file[f"base_model.model.{LAYER}.lora_{which}.weight"].double() for which in "AB")
    x = torch.randn(5, before.shape[1])
    expected = x.double() @ (before.double() + scale * b @ a).T
    layer = world.model.get_submodule(LAYER)
    assert torch.allclose(layer(x).double(), expected, atol=1e-5, rtol=0)
    assert b.abs().max() > 0.1  # else nothing was compared


def test_the_model_is_the_same_until_a_step_is_made_and_its_base_is_the_same_for_ever(world: World) -> None:
    plain, whole = logprobs(world.model), {n: p.clone() for n, p in world.model.named_parameters()}
    adapter = Adapter(world.model, LORA, 0)
    assert torch.equal(logprobs(world.model), plain)
    trained_names = {name for name, weight in world.model.named_parameters() if weight.requires_grad}
    assert len(trained_names) == 8 and all("lora_" in name for name in trained_names)
    with torch.no_grad():
        for weight in adapter.state_dict().values():
            weight.add_(0.1)
    assert (logprobs(world.model) - plain).abs().max() > 0.01
    assert torch.equal(logprobs(adapter.base), plain)
    assert all(torch.equal(weight, whole[name]) for name, weight in adapter.base.named_parameters())
    # No memory: the very tensors of the model.
    frozen = {weight.data_ptr() for weight in world.model.parameters() if not weight.requires_grad}
    assert {weight.data_ptr() for weight in adapter.base.parameters()} == frozen


def test_the_start_depends_on_the_seed_alone() -> None:
    first, again = (Adapter(tiny().model, LORA, 5).state_dict() for _ in range(2))
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    other = Adapter(tiny().model, LORA, 6).state_dict()
    assert not all(torch.equal(weight, other[name]) for name, weight in first.items())


def test_an_average_of_adapters_copies_no_frozen_weight(world: World) -> None:
    adapter = trained(world)
    average = frozen_copy(world.model)
    pairs = list(zip(average.parameters(), world.model.parameters(), strict=True))
    assert [old is not new for old, new in pairs] == [new.requires_grad for _, new in pairs]
    before = [old.clone() for old, _ in pairs]
    with torch.no_grad():
        for weight in adapter.state_dict().values():
            weight.add_(1.0)
    update_average(average, world.model, 0.75)
    for kept, (old, new) in zip(before, pairs, strict=True):
        assert torch.allclose(old, kept + 0.25 if new.requires_grad else kept, atol=1e-6)
        assert new.requires_grad or torch.equal(old, kept)


# --- what is planned ---


def test_the_plan_counts_without_weights() -> None:
    world = tiny()
    plan = plan_adapter(LORA, world.config.model, world.model.config)
    assert plan is not None
    # q_proj 128 -> 128 and down_proj 256 -> 128 in each of two layers, rank 4.
    expected = 2 * 4 * (128 + 128 + 256 + 128)
    assert (plan.layers, plan.trained) == (("q_proj", "down_proj"), expected)
    assert plan.total - plan.trained == sum(weight.numel() for weight in world.model.parameters())
    _, words = plan.row(LORA)
    assert words.startswith("LoRA of rank 4, times 1.5, on q_proj, down_proj: 5,120 of ")
    assert plan_adapter(LoraOptions(), world.config.model, world.model.config) is None


TARGETS = {
    "lm_head": "expected layers between the embeddings and the head, got lm_head",
    "q_proj,lm_head": "expected layers between the embeddings and the head, got lm_head",
    "embed_tokens": "expected layers between the embeddings and the head, got model.embed_tokens",
    "q_proj,nope": "expected ends of names of layers of Qwen3ForCausalLM, got nope",
    "nope": "no adapter on Qwen3ForCausalLM: .*Target modules {'nope'} not found",
    "norm": "no adapter on Qwen3ForCausalLM: .*not supported",
}


@pytest.mark.parametrize("targets", TARGETS)
def test_layers_that_cannot_have_an_adapter_are_one_line(targets: str) -> None:
    world = tiny()
    options = LoraOptions(use_peft=True, lora_target_modules=targets)
    with pytest.raises(UserError, match=TARGETS[targets]) as caught:
        plan_adapter(options, world.config.model, world.model.config)
    assert "\n" not in str(caught.value)


def test_a_class_that_peft_has_no_layers_for_needs_names() -> None:
    with pytest.raises(UserError, match=r"or all-linear, as peft names no layers of BioGptForCausalLM: "):
        plan_adapter(LoraOptions(use_peft=True), ModelOptions(), model_of_kind("biogpt").config)


def test_all_linear_leaves_the_head_out() -> None:
    model = model_of_kind("gpt2")  # layers of another class than nn.Linear, and a tied head
    plan = plan_adapter(
        LoraOptions(use_peft=True, lora_target_modules="all-linear"), ModelOptions(), model.config
    )
    assert plan is not None and "lm_head" not in plan.layers and "c_attn" in plan.layers


# --- what is written and read ---


def test_peft_reads_what_was_saved_and_every_program_reads_it_merged(base: Path, saved) -> None:
    folder, expected = saved
    assert sorted(file.name for file in folder.iterdir()) == [ADAPTER_CONFIG, ADAPTER_WEIGHTS]
    whole = model_of(base)
    assert (logprobs(whole) - expected).abs().max() > 0.01
    theirs = PeftModel.from_pretrained(model_of(base), str(folder)).get_base_model()
    assert torch.equal(logprobs(theirs), expected)
    options = ModelOptions(model_name_or_path=str(folder))
    tokenizer = load_tokenizer(options, None)  # that of the base, as the folder has none
    ours = load_model(options, model_config(options, tokenizer), CPU, 0)
    assert (logprobs(ours) - expected).abs().max() < 1e-5
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in whole.named_parameters()]
    assert all(weight.requires_grad for weight in ours.parameters())
    assert (logprobs(model_of(folder)) - expected).abs().max() < 1e-5
    assert tokenizer.hf.get_vocab() == tokenizer_of(base).get_vocab()


def test_an_adapter_is_merged_before_it_is_rounded(saved) -> None:
    options = ModelOptions(model_name_or_path=str(saved[0]), compute_dtype="bfloat16")
    shape = model_config(options, load_tokenizer(options, None))
    rounded, exact = load_model(options, shape, CPU, 0, frozen=True), model_of(saved[0])
    for half, whole in zip(rounded.parameters(), exact.parameters(), strict=True):
        assert half.dtype == torch.bfloat16 and torch.equal(half, whole.bfloat16())


def test_a_checkpoint_gives_the_bytes_back(base: Path, saved, tmp_path: Path) -> None:
    world = tiny("--model_name_or_path", str(base))
    adapter = Adapter(world.model, LORA, 0)
    adapter.read(saved[0])
    assert torch.equal(logprobs(world.model), saved[1])
    adapter.save_pretrained(tmp_path)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        assert (tmp_path / name).read_bytes() == (saved[0] / name).read_bytes()


def changed(folder: Path, copy: Path, settings: dict | None = None, **weights: Tensor | None) -> Path:
    """A copy of an adapter with other settings, and with its first weight changed or left out."""
    copy.mkdir()
    config = json.loads((folder / ADAPTER_CONFIG).read_text()) | (settings or {})
    (copy / ADAPTER_CONFIG).write_text(json.dumps(config))
    file = load_file(folder / ADAPTER_WEIGHTS)
    first = sorted(file)[0]
    for name, weight in weights.items():
        file.pop(first)
        if weight is not None:
            file[first if name == "first" else name] = weight
    save_file(file, copy / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    return copy


NAN = torch.full((4, 256), float("nan"))
WEIGHTS = {
    "missing": ({"first": None}, r"expected the weights of the adapter, got others: 1 missing"),
    "renamed": (
        {"other": torch.zeros(3)},
        r"1 missing \(.*; 1 not of this model",
    ),
    "shape": ({"first": torch.zeros(5, 256)}, r"1 of another shape|size mismatch"),
    "NaN": ({"first": NAN}, r"expected finite weights, got"),
}


@pytest.mark.parametrize("case", with_slow(WEIGHTS, quick=("missing", "NaN")))
def test_other_weights_are_refused_and_change_nothing(case: str, base: Path, saved, tmp_path: Path) -> None:
    weights, words = WEIGHTS[case]
    folder = changed(saved[0], tmp_path / "copy", **weights)
    world = tiny("--model_name_or_path", str(base))
    adapter = trained(world)
    before = logprobs(world.model)
    with pytest.raises(UserError, match=words):
        adapter.read(folder)
    assert torch.equal(logprobs(world.model), before)
    options = ModelOptions(model_name_or_path=str(folder))
    shape = model_config(options, load_tokenizer(options, None))
    with pytest.raises(UserError, match=words) as caught:
        load_model(options, shape, CPU, 0)
    assert "\n" not in str(caught.value)


SETTINGS = {
    "no base": ({"base_model_name_or_path": None}, "expected base_model_name_or_path"),
    "a base that is gone": ({"base_model_name_or_path": "/no/such/model"}, "which does not exist"),
    "another kind": ({"peft_type": "IA3"}, "expected the peft_type LORA, got 'IA3'"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_an_adapter_without_its_base_is_one_line(case: str, saved, tmp_path: Path) -> None:
    settings, words = SETTINGS[case]
    folder = changed(saved[0], tmp_path / "copy", settings)
    with pytest.raises(UserError, match=f"^model_name_or_path: .*{words}"):
        load_tokenizer(ModelOptions(model_name_or_path=str(folder)), None)
    (folder / ADAPTER_CONFIG).write_text("[")
    with pytest.raises(UserError, match="is no JSON object"):
        load_tokenizer(ModelOptions(model_name_or_path=str(folder)), None)


def test_adapters_are_not_stacked(saved, tmp_path: Path) -> None:
    folder = changed(saved[0], tmp_path / "second", {"base_model_name_or_path": str(saved[0])})
    with pytest.raises(
        UserError, match=r"expected a whole model beneath the adapter, got .* another adapter"
    ):
        load_tokenizer(ModelOptions(model_name_or_path=str(folder)), None)
    options = ModelOptions(model_name_or_path=str(saved[0]))
    shape = model_config(options, load_tokenizer(options, None))
    with pytest.raises(UserError, match=r"use_peft: expected a whole model .*--merge_lora makes it whole"):
        plan_adapter(LORA, options, shape)


def test_the_base_of_a_moved_run_is_the_one_beside_the_adapter(base: Path, saved, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-0").symlink_to(base)
    gone = {"base_model_name_or_path": "/no/such/run/checkpoint-0"}
    folder = changed(saved[0], tmp_path / "checkpoint-2", gone)
    assert (logprobs(model_of(folder)) - saved[1]).abs().max() < 1e-5


def test_a_fingerprint_is_of_contents_and_not_of_places(base: Path, saved, tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> dict[str, str]:
        return dict(weights_fingerprint("model", ModelOptions(model_name_or_path=str(folder))))

    first = fingerprint(saved[0])
    assert first.keys() == {"the weights of the model", "the weights of the base of the model"}
    (tmp_path / "link").symlink_to(base)
    place = {"base_model_name_or_path": str(tmp_path / "link")}
    assert fingerprint(changed(saved[0], tmp_path / "place", place)) == first
    alpha = fingerprint(changed(saved[0], tmp_path / "alpha", {"lora_alpha": 7}))
    assert [name for name in first if alpha[name] != first[name]] == ["the weights of the model"]
    other = {"base_model_name_or_path": str(save_tiny(tmp_path / "other", 4))}
    changed_base = fingerprint(changed(saved[0], tmp_path / "base", other))
    assert [n for n in first if changed_base[n] != first[n]] == ["the weights of the base of the model"]


def test_models_with_adapters_are_no_objects_to_hand_over() -> None:
    wrapped = get_peft_model(tiny().model, LoraConfig(target_modules=["q_proj"]))
    for model in (wrapped, wrapped.get_base_model()):
        with pytest.raises(UserError, match=r"^model: expected a model without adapters .* with adapters$"):
            check_object("model", model)
    check_object("model", tiny().model)
