"""Options of low-rank adapters (LoRA, arXiv 2106.09685): W + s B A, of which B and A alone are trained."""

import math
from dataclasses import dataclass, fields
from importlib.util import find_spec

from dupo.config.values import Options, listed, option, show
from dupo.errors import UserError, quoted

ALL_LINEAR = "all-linear"
INSTALL = "pip install peft"


@dataclass(frozen=True)
class LoraOptions(Options):
    """Which weights get an adapter, and of which size. Names and meanings are TRL's."""

    use_peft: bool = option(
        False,
        "train low-rank adapters (LoRA) and leave the weights of the model as they are; needs peft. "
        "A checkpoint then holds the adapter alone",
    )
    lora_r: int = option(16, "rank of an adapter", at_least=1, at_most=2**16)
    lora_alpha: int = option(32, "an adapter is multiplied by lora_alpha / lora_r", at_least=1, at_most=2**20)
    lora_dropout: float = option(
        0.0, "dropout before an adapter, of --method sft alone: sampling has none", at_least=0, below=1
    )
    lora_target_modules: str | None = option(
        None,
        "ends of the names of the layers that get an adapter, comma-separated, or all-linear: all linear "
        "layers but the head; none: those that peft names for the architecture",
    )
    use_rslora: bool = option(False, "multiply by lora_alpha / sqrt(lora_r) instead")
    load_in_4bit: bool = option(
        False,
        "hold the weights beneath the adapters in 4 bits (QLoRA), on one CUDA GPU; needs bitsandbytes. "
        "Nobody has tried it yet",
    )
    bnb_4bit_quant_type: str = option("nf4", "values that 4 bits stand for, with load_in_4bit", "nf4|fp4")
    use_bnb_nested_quant: bool = option(
        False, "hold the scales of 4-bit weights in 8 bits, with load_in_4bit"
    )
    merge_lora: bool = option(
        False,
        "write RUN/merged at the end: the whole model with the adapter merged into its weights; a finished "
        "run writes it when it is resumed with this option",
    )

    @property
    def targets(self) -> list[str] | str | None:
        """The layers as peft takes them."""
        text = self.lora_target_modules
        # peft reads one text as a regular expression, and a list as ends of names.
        return text if text is None or text == ALL_LINEAR else listed(text)

    @property
    def scale(self) -> float:
        """The factor of B A."""
        return self.lora_alpha / (math.sqrt(self.lora_r) if self.use_rslora else self.lora_r)

    def check_together(self) -> None:
        """Checks the names, and that nothing is said of adapters where there are none."""
        names = listed(self.lora_target_modules or ALL_LINEAR)
        if not all(names) or len(set(names)) < len(names) or (ALL_LINEAR in names and len(names) > 1):
            expected = f"different names with commas between them, or {ALL_LINEAR}"
            actual = quoted(self.lora_target_modules)
            raise UserError(f"lora_target_modules: expected {expected}, got {actual}")
        # transformers would read such settings and round nothing.
        for name in ("bnb_4bit_quant_type", "use_bnb_nested_quant"):
            value, default = getattr(self, name), LoraOptions.__dataclass_fields__[name].default
            if value != default and not self.load_in_4bit:
                raise UserError(f"load_in_4bit: expected true beside {name} {show(value)}, got false")
        if self.use_peft:
            return
        # Whoever says how large an adapter is does not expect all weights to be trained.
        for spec in fields(self):
            value = getattr(self, spec.name)
            if value != spec.default:
                raise UserError(f"use_peft: expected true beside {spec.name} {show(value)}, got false")


def check_peft(who: str) -> None:
    """Refuses to go on without peft.

    Args:
        who: needs peft, for the message.

    Raises:
        UserError: names what to install.
    """
    if find_spec("peft") is None:
        raise UserError(f"{who} by peft, got none installed: {INSTALL}")
