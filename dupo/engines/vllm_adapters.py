"""Adapters in vLLM: a model whose base stays there, and an adapter that goes over alone after every update.

vLLM reads adapters from folders of peft. A request of vLLM names its adapter; without a name it gets the
base, which is the judge and the reference of a run with adapters.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import torch

from dupo.engines.weight_handover import writing_weights
from dupo.errors import UserError, in_one_line
from dupo.models.adapter import AdapterPlan
from dupo.models.adapter_files import write_adapter_of
from dupo.models.load import Model

MERGE = "--vllm_merge_adapters sends whole weights in their place"
# Policy and average may both have an adapter. They answer in turn: a batch has one of them.
ADAPTERS_HELD = 2
TRIAL = 0.3  # what an adapter of the trial adds to its layer, as a share of the input of the layer


def lora_settings(plan: AdapterPlan) -> dict[str, Any]:
    """What `vllm.LLM` needs to be told to make room for an adapter.

    Raises:
        UserError: the rank is above all that vLLM has.
    """
    from vllm.config.lora import MaxLoRARanks  # type: ignore[import-not-found]

    ranks = sorted(get_args(MaxLoRARanks))
    fitting = [rank for rank in ranks if rank >= plan.rank]
    if not fitting:
        raise UserError(f"lora_r: expected at most {ranks[-1]}, as in vLLM, got {plan.rank}; {MERGE}")
    return {
        "enable_lora": True,
        "max_loras": 1,
        "max_cpu_loras": ADAPTERS_HELD,
        "max_lora_rank": fitting[0],
    }


def check_layers(llm: Any, plan: AdapterPlan, kind: str) -> None:
    """Checks that vLLM has room for an adapter on every layer that gets one.

    Args:
        kind: the class of the model, for the error.

    Raises:
        UserError: names the layers on which vLLM takes none.
    """
    (ends,) = llm.apply_model(adapter_ends)
    if missing := [layer for layer in plan.layers if layer not in ends]:
        raise UserError(
            f"lora_target_modules: expected layers of {kind} on which vLLM takes adapters "
            f"({', '.join(sorted(ends))}), got {', '.join(missing)}; {MERGE}"
        )


def adapter_ends(model: Any) -> set[str]:
    """Ends of the names, in transformers, of the layers of a vLLM model that take adapters."""
    wrapped = {
        name.rpartition(".")[2] for name, module in model.named_modules() if hasattr(module, "set_lora")
    }
    # vLLM joins layers that read the same input: qkv_proj holds q_proj, k_proj and v_proj.
    packed = getattr(model, "packed_modules_mapping", {})
    return {end for name in wrapped for end in packed.get(name, [name])}


def send_adapter(llm: Any, model: Model, number: int, old: Any) -> Any:
    """Hands the adapters of a model over, as they are now.

    Args:
        llm: `vllm.LLM`.
        number: that no adapter has had in this vLLM.
        old: what stood for the adapters before, which are removed; None: nothing did.

    Returns:
        The `LoRARequest` that stands for the adapters.

    Raises:
        UserError: vLLM cannot take the adapters.
        RuntimeError: vLLM has other adapters than it was told.
    """
    from vllm.lora.request import LoRARequest  # type: ignore[import-not-found]

    engine = llm.llm_engine
    if old is not None:
        engine.remove_lora(old.lora_int_id)
    with tempfile.TemporaryDirectory(prefix="dupo-adapter-") as folder:
        with writing_weights(folder, "TMPDIR names a folder with room for the adapter"):
            write_adapter_of(model, Path(folder))
        request = LoRARequest(f"adapter-{number}", number, folder)
        try:
            # Read now, as the folder does not stay.
            engine.add_lora(request)
        except Exception as error:
            reason = in_one_line(error, kind=True)
            raise UserError(f"use_peft: vLLM cannot take the adapter: {reason}; {MERGE}") from error
    held = engine.list_loras()
    if number not in held or (old is not None and old.lora_int_id in held):
        raise RuntimeError(f"vLLM was handed adapter {number} in place of {old}, and has {sorted(held)}")
    return request


@contextmanager
def trial_adapter(model: Model) -> Iterator[None]:
    """Inside the block the adapters of a model do something; after it they are as they were, bit for bit.

    Before the first update B is zero, and an engine without the adapter would say the same.
    """
    layers = dict(model.named_modules())
    names = [name for name, _ in model.named_parameters() if ".lora_B." in name]
    weights = {name: model.get_parameter(name) for name in names}
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in weights.items():
            scale = layers[name.partition(".lora_B.")[0]].scaling["default"]  # type: ignore[index]
            # A x is about as large as x; a row of B adds `rank` of its entries.
            size = TRIAL / (abs(scale) * weight.shape[1] ** 0.5)
            weight.copy_(size * torch.randn(weight.shape, generator=draws))
        try:
            yield
        finally:
            for name, weight in weights.items():
                weight.copy_(before[name])
