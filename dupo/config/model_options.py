"""Options of the model and of its tokenizer."""

import dataclasses
import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from dupo.config.values import Options, option, show
from dupo.errors import UserError

BUILT_IN_MODEL = "tiny"


@dataclass(frozen=True)
class ModelOptions(Options):
    """Which model, which tokenizer, where and in which precision."""

    model_name_or_path: str = option(
        BUILT_IN_MODEL,
        "folder or Hub name of a causal language model; tiny: a small Qwen3 shape with random weights",
        is_path=True,
    )
    tokenizer_name: str | None = option(
        None, "folder or Hub name of the tokenizer; none: that of the model", is_path=True
    )
    pad_token: str | None = option(None, "padding token; none: that of the tokenizer")
    eos_token: str | None = option(None, "token that ends a completion; none: that of the tokenizer")
    compute_dtype: str = option(
        "auto",
        "precision of matrix products. Trained weights stay float32; with bfloat16 most weights beneath "
        "adapters are bfloat16; asked for by name, it also stores the weights of other models (a judge) in "
        "bfloat16; auto: bfloat16 on GPUs that support bfloat16, else float32",
        "auto|float32|bfloat16",
    )
    device: str = option(
        "auto",
        "device of the model; auto: a CUDA GPU if there is one, else the CPU; mps: a GPU of Apple, "
        "which nobody has tried yet",
        "auto|cpu|cuda|mps",
    )
    teach: bool = option(
        False, "teach the built-in model on this machine, also where its taught weights come with the package"
    )
    gradient_checkpointing: bool = option(
        False, "recompute activations in the backward pass: less memory, more time"
    )
    trust_remote_code: bool = option(False, "run the Python code that comes with a model")
    system_prompt: str | None = option(
        None,
        "system message of every prompt whose data bring none, such as `Put your final answer within "
        "\\boxed{}.`; dual prompts have it too. A system message of the data stands before primal prompts "
        "only. Needs a chat template; none: no message",
    )
    chat_template_kwargs: str | None = option(
        None,
        'arguments of the chat template, a JSON object: {"enable_thinking": false} turns the thinking of '
        "Qwen3 off; a template of another model (a judge) gets them as well",
        is_json=True,
    )
    chat_template_date: str | None = option(
        None, "date that a chat template shows if it shows one, YYYY-MM-DD; none: the day of the first start"
    )

    def check_together(self) -> None:
        """Checks that the date is one, and that no template argument is one that every prompt sets."""
        _date_of(self.chat_template_date)
        for name in ("messages", "add_generation_prompt"):
            if name in self.template_arguments:
                raise UserError(f"chat_template_kwargs: expected other arguments, got {name}")

    @property
    def template_arguments(self) -> dict[str, Any]:
        """The arguments of the chat template."""
        return json.loads(self.chat_template_kwargs or "{}")

    @property
    def day(self) -> date | None:
        """The date that chat templates show; None: today."""
        return _date_of(self.chat_template_date)

    def for_model(self, name: str) -> "ModelOptions":
        """The options for another model, which brings its own tokenizer; unchanged for the same name."""
        if name == self.model_name_or_path:
            return self
        # What was said of the tokenizer was said of the first model.
        fresh = dict(tokenizer_name=None, pad_token=None, eos_token=None)
        return dataclasses.replace(self, model_name_or_path=name, **fresh)


def _date_of(text: str | None) -> date | None:
    """Reads the date of chat templates, or raises UserError."""
    try:
        return None if text is None else datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise UserError(f"chat_template_date: expected a date, YYYY-MM-DD, got {show(text)}") from None
