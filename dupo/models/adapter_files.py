"""The folder of an adapter, as peft writes it: what it is, which model it belongs to, and the two merged.

    adapter_config.json           the layers, the rank, and the base: `base_model_name_or_path`
    adapter_model.safetensors     the trained weights

A program that does not train adapters reads such a folder as the whole model: base and adapter, merged in
float32.
"""

import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dupo.config.lora_options import check_peft
from dupo.errors import UserError, quoted
from dupo.models.library_errors import library_call
from dupo.models.weight_checks import check_match

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FIRST_CHECKPOINT = "checkpoint-0"  # of a run with a teaching: the weights beneath its adapters


class AdapterFolder(NamedTuple):
    """A folder that holds an adapter.

    Attributes:
        base: folder or Hub name of the model that the adapter belongs to.
        revision: of the base on the Hub; None: the newest, or a folder.
        scores: the two together are a reward model, whose score stands with the adapter.
    """

    folder: Path
    base: str
    revision: str | None
    scores: bool = False


def adapter_folder(option: str, name: str) -> AdapterFolder | None:
    """The adapter that a name stands for; None where the name stands for a whole model.

    Args:
        option: what names the folder, for the error.

    Raises:
        UserError: peft is not installed, the folder names no base, or the base is not there.
    """
    folder = Path(name)
    file = folder / ADAPTER_CONFIG
    if not file.is_file():
        return None
    check_peft(f"{option}: expected the adapter {name} to be read")
    with library_call(f"{option}: {file} is no JSON object"):
        settings = dict(json.loads(file.read_text(encoding="utf-8")))
    base, where = settings.get("base_model_name_or_path"), f"{option}: {file}"
    if not isinstance(base, str) or not base:
        raise UserError(f"{where}: expected base_model_name_or_path, the model beneath the adapter, got none")
    # The run of a taught model may have been moved, and its base with it.
    if Path(base).name == FIRST_CHECKPOINT and (folder.parent / FIRST_CHECKPOINT).is_dir():
        base = str(folder.parent / FIRST_CHECKPOINT)
    is_place = Path(base).is_absolute() or base.startswith(".") or base.count("/") > 1
    if is_place and not Path(base).is_dir():
        raise UserError(
            f"{where}: expected the model beneath the adapter as base_model_name_or_path, "
            f"got {base}, which does not exist"
        )
    if (Path(base) / ADAPTER_CONFIG).is_file():
        raise UserError(f"{where}: expected a whole model beneath the adapter, got {base}, another adapter")
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise UserError(f"{where}: expected the peft_type LORA, got {quoted(kind)}")
    revision = None if Path(base).is_dir() else settings.get("revision")
    return AdapterFolder(folder, base, revision, settings.get("task_type") == "SEQ_CLS")


def merged(model: Any, adapter: AdapterFolder, where: str) -> Any:
    """The model with an adapter merged into its weights: W + s B A.

    Args:
        model: the base, float32; it is changed.
        where: for the error.

    Raises:
        UserError: the adapter cannot be read, or its weights are not those that its config asks for.
    """
    from peft import PeftModel, get_peft_model_state_dict

    saved = read_adapter_file(adapter.folder, where)
    with library_call(f"{where} could not be loaded"), quiet_peft():
        wrapped = PeftModel.from_pretrained(model, str(adapter.folder))
        # Names that the file lacks were drawn at random, with a warning at most.
        check_names(saved, get_peft_model_state_dict(wrapped, save_embedding_layers=False), where)
        return wrapped.merge_and_unload()


def read_adapter_file(folder: Path, where: str) -> dict[str, Tensor]:
    """The weights of an adapter by the names of peft, on the CPU."""
    with library_call(f"{where}: {ADAPTER_WEIGHTS} could not be read"):
        return load_file(folder / ADAPTER_WEIGHTS)


def write_adapter(folder: Path, config: Any, weights: Mapping[str, Tensor]) -> None:
    """Writes the folder that `PeftModel.from_pretrained` reads.

    Args:
        config: of peft; it stays as it is.
        weights: by the names of peft.
    """
    config = copy.deepcopy(config)
    config.inference_mode = True
    # A set has another order in every process, and a resumed run writes the same bytes.
    config.target_modules = sorted(config.target_modules)
    config.save_pretrained(str(folder))
    stored = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    save_file(stored, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def write_adapter_of(model: Any, folder: Path) -> None:
    """Writes the adapters of a model as they are now, for a reader that has the base already."""
    from peft import get_peft_model_state_dict

    # peft names the weights from the wrapper, which the model does not know.
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    named = {f"base_model.model.{name}": weight for name, weight in weights.items()}
    write_adapter(folder, model.peft_config["default"], named)


def check_names(saved: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str) -> None:
    """Refuses weights of a file that are not exactly those of the adapter.

    Raises:
        UserError: names the first that are missing, too many, or of another shape.
    """
    both = saved.keys() & own.keys()
    shapes = [(name, saved[name].shape, own[name].shape) for name in both]
    report = {
        "missing_keys": own.keys() - saved.keys(),
        "unexpected_keys": saved.keys() - own.keys(),
        "mismatched_keys": [shape for shape in shapes if shape[1] != shape[2]],
    }
    check_match(report, where, "adapter")


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Drops the warnings of peft: what matters of them is an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def whole_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights of a model by their names without adapters, one after the other: W, or W + s B A.

    Nothing is merged in place, as rounding would move the weights beneath a little further each time.
    """
    layers = dict(model.named_modules())
    for name, weight in model.state_dict().items():
        layer, _, end = name.rpartition(".base_layer.")
        if layer:
            delta: Any = layers[layer].get_delta_weight if end == "weight" else None
            yield f"{layer}.{end}", weight + delta("default") if delta else weight
        elif ".lora_" not in name:
            yield name, weight


def base_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights beneath the adapters by their names without adapters, one after the other: W."""
    for name, weight in model.state_dict().items():
        if ".lora_" not in name:
            yield name.replace(".base_layer.", "."), weight


def has_adapters(model: nn.Module) -> bool:
    """Whether any layer of a model is one of peft."""
    return any(type(module).__module__.startswith("peft.") for module in model.modules())
