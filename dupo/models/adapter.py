"""LoRA adapters on a model that is trained, through peft (arXiv 2106.09685).

    y = W x + s B A x       W (out, in) frozen;  A (r, in) and B (out, r) trained;  s = lora_alpha / r

B is zero at the start, so that the first policy is the model itself. The weights beneath never change, so the
model before training is always there, without a copy: `Adapter.base`.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PretrainedConfig

from dupo.config.lora_options import ALL_LINEAR, LoraOptions
from dupo.config.model_options import BUILT_IN_MODEL, ModelOptions
from dupo.errors import UserError
from dupo.models import attention
from dupo.models.adapter_files import (
    ADAPTER_CONFIG,
    check_names,
    quiet_peft,
    read_adapter_file,
    write_adapter,
)
from dupo.models.library_errors import library_call
from dupo.models.load import Model
from dupo.models.score_heads import model_class, score_head
from dupo.models.weights import copy_whole, frozen_copy
from dupo.seeds import derive


class AdapterPlan(NamedTuple):
    """What a model gets, known before its weights are loaded.

    Attributes:
        layers: the last parts of the names of the layers with an adapter.
        rank: rows of A, columns of B.
        trained: numbers in the adapters.
        total: numbers in the model and its adapters.
    """

    layers: tuple[str, ...]
    rank: int
    trained: int
    total: int

    def row(self, options: LoraOptions) -> tuple[str, str]:
        """The row of the start-up table."""
        share = f"{self.trained:,} of {self.total:,} weights are trained ({self.trained / self.total:.2%})"
        size = f"LoRA of rank {options.lora_r}, times {options.scale:g}, on {', '.join(self.layers)}"
        return "adapter", f"{size}: {share}"


def plan_adapter(
    options: LoraOptions, model: ModelOptions, shape: PretrainedConfig, *, scores: bool = False
) -> AdapterPlan | None:
    """Looks at the adapters in a model without weights; None where the options want none.

    Args:
        shape: the config of the model.
        scores: the model is a reward model, whose score is trained beside the adapters.

    Raises:
        UserError: the model is an adapter itself, no layer has such a name, or an adapter
            would not be trained where the options want it.
    """
    if not options.use_peft:
        return None
    name = model.model_name_or_path
    if (Path(name) / ADAPTER_CONFIG).is_file():
        whole = "a whole model beneath a new adapter"
        raise UserError(f"use_peft: expected {whole}, got the adapter {name}: --merge_lora makes it whole")
    attention.register()
    with library_call(f"model_name_or_path: {name} has no usable model"), torch.device("meta"):
        empty = model_class(scores=scores).from_config(
            shape, attn_implementation=attention.NAME, trust_remote_code=model.trust_remote_code
        )
    layers = put_adapters(empty, options)
    trained = sum(weight.numel() for weight in empty.parameters() if weight.requires_grad)
    total = sum(weight.numel() for weight in empty.parameters())
    # Two adapters on the tensors of one layer (experts) are wrapped around each other.
    ends = [layer.replace(".base_layer", "").rpartition(".")[2] for layer in layers]
    return AdapterPlan(tuple(dict.fromkeys(ends)), options.lora_r, trained, total)


def put_adapters(model: Model, options: LoraOptions) -> list[str]:
    """Freezes a model and puts adapters into it, in place; returns the names of the layers that have one.

    Raises:
        UserError: no layer has such a name, or an adapter would not be trained where the options want it.
    """
    model.requires_grad_(False)
    _wrapped(model, options)
    return _layers(model, options)


def _wrapped(model: Model, options: LoraOptions) -> Any:
    """Puts adapters into a model, whose layers are replaced; returns peft's model around it."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=options.lora_r,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules=options.targets,
        use_rslora=options.use_rslora,
        # peft trains the score of this kind as a whole, beside the adapters.
        task_type="CAUSAL_LM" if score_head(model) is None else "SEQ_CLS",
    )
    # peft raises where no layer has such a name, or where it knows no layers for the architecture.
    kind, asked = type(model).__name__, options.lora_target_modules
    what = f"lora_target_modules {asked}: no adapter on {kind}"
    if asked is None:
        what = f"lora_target_modules: expected names or {ALL_LINEAR}, as peft names no layers of {kind}"
    with library_call(what), quiet_peft():
        return get_peft_model(model, config)


def _layers(model: Model, options: LoraOptions) -> list[str]:
    """Names of the layers with an adapter.

    Raises:
        UserError: a name of the options fits no layer, or an adapter is on the head or an embedding.
    """
    from peft.tuners.lora import LoraLayer

    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    listed = options.targets if isinstance(options.targets, list) else []
    # peft is content if any of the names fits.
    missing = [end for end in listed if not any(f".{name}".endswith(f".{end}") for name in layers)]
    if missing:
        raise UserError(
            f"lora_target_modules: expected ends of names of layers of {type(model).__name__}, "
            f"got {', '.join(missing)}"
        )
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    for name, module in layers.items():
        # Log-probs are computed from the weight of the head, past whatever is wrapped around the head.
        if module in ends or len(module.lora_embedding_A):
            raise UserError(
                f"lora_target_modules: expected layers between the embeddings and the head, got {name}: "
                "log-probs are computed from the weight of the head, which an adapter there does not reach"
            )
    return list(layers)


class Adapter:
    """The adapters of a model in training.

    Args:
        model: gets the adapters; its own weights are frozen.
        seed: of the run; fixes the weights that adapters start from.

    Attributes:
        base: the model without its adapters. It has the same tensors and takes no memory of its own.
        base_name: folder or Hub name of the base, as the folder of the adapter tells it.
    """

    def __init__(self, model: Model, options: LoraOptions, seed: int) -> None:
        model.requires_grad_(False)
        # Before the layers are replaced: the copy shares all weights, as none is trained.
        self.base = frozen_copy(model)
        self.base_name = str(model.config.name_or_path)
        self._revision = getattr(model.config, "_commit_hash", None)
        # peft draws A from the global generator.
        torch.manual_seed(derive(seed, "adapter"))
        self._wrapped = _wrapped(model, options)
        _layers(model, options)

    def state_dict(self) -> dict[str, Tensor]:
        """The trained weights by the names of peft; they are the tensors that the optimizer changes."""
        from peft import get_peft_model_state_dict

        # Else peft asks the Hub whether the vocabulary has grown.
        return get_peft_model_state_dict(self._wrapped, save_embedding_layers=False)

    def save_pretrained(self, folder: Path, state_dict: Mapping[str, Tensor] | None = None) -> None:
        """Writes the folder that `PeftModel.from_pretrained` reads.

        Args:
            state_dict: what to write in place of the weights as they are, as of a model of transformers.
        """
        config = copy.deepcopy(self._wrapped.peft_config["default"])
        base = Path(self.base_name)
        # Absolute: whoever loads the adapter stands in another folder.
        is_folder = base.is_dir() and self.base_name != BUILT_IN_MODEL
        config.base_model_name_or_path = str(base.resolve()) if is_folder else self.base_name
        config.revision = None if is_folder else self._revision
        write_adapter(folder, config, self.state_dict() if state_dict is None else state_dict)

    @torch.no_grad()
    def read(self, folder: Path) -> None:
        """Reads the weights of a checkpoint, bit for bit.

        Raises:
            UserError: the folder cannot be read, or its weights are not those of the adapter or not finite;
                the adapter is then as it was.
        """
        where = f"resume_from_checkpoint: {folder}"
        saved, own = read_adapter_file(folder, where), self.state_dict()
        check_names(saved, own, where)
        if broken := [name for name, weight in saved.items() if not bool(torch.isfinite(weight).all())]:
            raise UserError(f"{where}: expected finite weights, got NaN or infinity in {broken[0]}")
        # Copied into the tensors that are there: optimizer and engine hold references to them.
        for name, weight in own.items():
            copy_whole(weight, saved[name])
