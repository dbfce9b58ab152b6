"""Whether the weights of a file are those that a model has. transformers fills gaps with random numbers."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from dupo.errors import UserError

# Wrappers whose names stand before those of the model when a wrapped model is saved.
FOREIGN_PREFIXES = {
    "_orig_mod.": "torch.compile",
    "base_model.model.": "PEFT, whose adapter stands in a folder with adapter_config.json",
    "module.": "DataParallel or DDP",
    "_fsdp_wrapped_module.": "FSDP",
    "pretrained_model.": "a model with a value head",
}
# Constants that older versions of transformers saved with the weights; models compute them now. Not every
# class says that it ignores them.
OLD_CONSTANTS = re.compile(r"\.(masked_bias|causal_mask|inv_freq|position_ids)$")
SHOWN = 3  # names in the line


def check_match(report: Mapping[str, Any], where: str, whose: str = "model") -> None:
    """Checks what `from_pretrained(output_loading_info=True)` reports.

    Tied weights, and the names that the class of the model ignores, are no longer in the report.

    Args:
        whose: the weights are, for the error.

    Raises:
        UserError: a weight of the model is missing in the file, has another shape there, or the file has a
            weight that the model lacks; names the first few and counts them.
    """
    unexpected = sorted(name for name in report["unexpected_keys"] if not OLD_CONSTANTS.search(name))
    shapes = sorted((name, tuple(file), tuple(own)) for name, file, own in report["mismatched_keys"])
    complaints = [
        _counted(sorted(report["missing_keys"]), "missing"),
        _counted(unexpected, "not of this model"),
        _counted([f"{name} {file} for {own}" for name, file, own in shapes], "of another shape"),
        _counted(report.get("error_msgs") or [], "refused"),
    ]
    if any(complaints):
        told = "; ".join(complaint for complaint in complaints if complaint)
        raise UserError(
            f"{where}: expected the weights of the {whose}, got others: {told}{_cause(unexpected)}"
        )


def check_finite(model: nn.Module, where: str) -> None:
    """Checks every weight and every saved buffer.

    Raises:
        UserError: names the first tensor that holds NaN or an infinity, and counts such tensors.
    """
    # Quantized weights are integers, which are always finite.
    broken = [
        name
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
    if broken:
        told = _counted(broken, "with NaN or infinity")
        raise UserError(f"{where}: expected finite weights, got {told}")


def _counted(names: list[str], what: str) -> str:
    """`4 missing (a, b, c, ...)`; empty for no names."""
    if not names:
        return ""
    shown = names[:SHOWN]
    if len(names) > SHOWN:
        shown = [*shown, "..."]
    return f"{len(names):,} {what} ({', '.join(shown)})"


def _cause(unexpected: list[str]) -> str:
    """Ends the line with the wrapper that all unexpected names point to; empty if none does."""
    for prefix, wrapper in FOREIGN_PREFIXES.items():
        if unexpected and all(name.startswith(prefix) for name in unexpected):
            return f"; the names start with {prefix}: probably saved from a wrapped model ({wrapper})"
    return ""
