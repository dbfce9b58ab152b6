"""Weights in 4 bits beneath adapters: what is refused, what transformers is asked for, and what it makes."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from dupo.config.command_line import parse
from dupo.config.lora_options import LoraOptions
from dupo.config.model_options import ModelOptions
from dupo.errors import UserError
from dupo.learning.logprobs import Compute
from dupo.learning.packed_check import check_packed
from dupo.models.adapter import Adapter
from dupo.models.four_bits import bytes_of_weight, check_four_bits, four_bit_settings, quantized_weights
from dupo.models.load import load_model, model_config
from dupo.models.own_forward import own_logprobs
from tests.helpers.model_kinds import model_of_kind
from tests.helpers.worlds import CPU, save_tiny, tiny

CUDA = torch.device("cuda")
FOUR_BITS = LoraOptions(use_peft=True, load_in_4bit=True, lora_target_modules="q_proj,down_proj")
IDS = [[3, 9, 4, 17, 2, 11, 5], [7, 1, 12]]

REFUSED = {
    "--load_in_4bit": "use_peft: expected true beside load_in_4bit true, got false",
    "--use_peft --bnb_4bit_quant_type fp4": "load_in_4bit: expected true beside bnb_4bit_quant_type fp4",
    "--use_peft --use_bnb_nested_quant": "load_in_4bit: expected true beside use_bnb_nested_quant true",
    "--use_peft --load_in_4bit --bnb_4bit_quant_type int4": "bnb_4bit_quant_type: ",
    "--use_peft --load_in_4bit --model_name_or_path m --engine vllm": "engine: expected builtin beside",
    "--use_peft --load_in_4bit --model_name_or_path tiny": "model_name_or_path: expected a model that",
}


@pytest.mark.parametrize("options", REFUSED)
def test_options_that_do_not_go_together_are_one_line(options: str) -> None:
    with pytest.raises(UserError, match=f"^{REFUSED[options]}"):
        parse(options.split())
    parse(["--use_peft", "--load_in_4bit", "--model_name_or_path", "m", "--merge_lora"])


def test_what_the_machine_lacks_is_one_line() -> None:
    check_four_bits(LoraOptions(use_peft=True), CPU, 2)
    if find_spec("bitsandbytes") is None:
        with pytest.raises(UserError, match="expected bitsandbytes, got none installed: pip install bitsand"):
            check_four_bits(FOUR_BITS, CUDA, 1)
        return
    check_four_bits(FOUR_BITS, CUDA, 1)
    with pytest.raises(UserError, match=r"^load_in_4bit: expected a CUDA GPU, got --device cpu$"):
        check_four_bits(FOUR_BITS, CPU, 1)
    with pytest.raises(UserError, match=r"^load_in_4bit: expected one process, got 2$"):
        check_four_bits(FOUR_BITS, CUDA, 2)


def test_transformers_is_asked_by_its_names() -> None:
    nested = LoraOptions(
        use_peft=True, load_in_4bit=True, bnb_4bit_quant_type="fp4", use_bnb_nested_quant=True
    )
    asked = {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.bfloat16}
    plain = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": False}
    assert four_bit_settings(FOUR_BITS, torch.bfloat16) == asked | plain
    other = {"bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True}
    assert four_bit_settings(nested, torch.bfloat16) == asked | other
    assert bytes_of_weight(FOUR_BITS) == 0.5 + 4 / 64
    assert bytes_of_weight(nested) == pytest.approx(0.5 + 1 / 64 + 4 / (64 * 256))


def test_all_linear_layers_but_the_head_are_quantized() -> None:
    for kind in ("llama", "gemma3_text"):
        model = model_of_kind(kind)
        quantized = {id(weight) for weight in quantized_weights(model)}
        names = {name for name, weight in model.named_parameters() if id(weight) in quantized}
        assert names == {name for name, _ in model.named_parameters() if "proj" in name}


@pytest.mark.slow
@pytest.mark.parametrize("nested", [False, True])
def test_codes_are_shared_and_compute_near_the_weights(nested: bool, tmp_path: Path) -> None:
    """On a CPU, where bitsandbytes is slow and dupo.train refuses it."""
    pytest.importorskip("bitsandbytes")
    lora = LoraOptions(
        use_peft=True, load_in_4bit=True, lora_target_modules="q_proj", use_bnb_nested_quant=nested
    )
    options = ModelOptions(model_name_or_path=str(save_tiny(tmp_path / "model")), compute_dtype="bfloat16")
    shape = model_config(options, tiny().tokenizer)
    model, whole = (load_model(options, shape, CPU, 0, lora=asked) for asked in (lora, None))
    codes = [weight for weight in model.parameters() if weight.dtype == torch.uint8]
    assert 2 * sum(code.numel() for code in codes) == sum(w.numel() for w in quantized_weights(whole))
    check_packed(model, Compute(1.0, "bfloat16", 1024))
    expected, actual = own_logprobs(whole, IDS, "bfloat16"), own_logprobs(model, IDS, "bfloat16")
    assert 0 < (actual - expected).abs().mean() < 0.5

    adapter = Adapter(model, lora, 0)
    assert {weight.dtype for weight in adapter.state_dict().values()} == {torch.float32}
    assert torch.equal(own_logprobs(adapter.base, IDS, "bfloat16"), actual)
    # Codes and scales of the judge and the reference are those of the policy.
    of_model, of_base = (
        {id(getattr(layer, "quant_state", None)) for layer in each.modules()}
        for each in (model, adapter.base)
    )
    assert of_model == of_base
    own = {id(weight) for weight in model.parameters()}
    assert all(id(weight) in own for weight in adapter.base.parameters())
