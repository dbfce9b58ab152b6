"""The model that answers duals as it was before the first step of a TRL trainer."""

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from dupo.errors import UserError

# TRL's name for the copy that it keeps of an adapter that training continues, where beta is not 0.
REF = "ref"


@dataclass(frozen=True, slots=True)
class FrozenJudge:
    """Samples from the start of a trainer.

    Attributes:
        model: a copy of the model at the start; None where the start is the model that is trained, either
            without its adapter or with the copy that TRL keeps of the adapter.
    """

    model: Any

    @classmethod
    def of(cls, trainer: Any) -> "FrozenJudge":
        """The judge of a trainer that has made no step yet.

        Raises:
            UserError: the model is split over ranks, or the trainer has made steps and keeps no start.
        """
        model = trainer.accelerator.unwrap_model(trainer.model)
        if getattr(trainer, "is_fsdp_enabled", False) or getattr(trainer, "is_deepspeed_enabled", False):
            expected = "a model that is whole on every rank (not FSDP, not DeepSpeed)"
            raise UserError(f"judge: frozen expected {expected}; the address of a server takes its place")
        if REF in getattr(model, "peft_config", {}):
            return cls(None)
        # Whether an adapter was new at the start cannot be told later.
        if trainer.state.global_step:
            expected = "a trainer before its first step, whose model is the judge"
            got = f"one at step {trainer.state.global_step}"
            raise UserError(f"judge: frozen expected {expected}, got {got}; give the address of a server")
        if hasattr(model, "peft_config") and _is_new(model):
            return cls(None)
        frozen = copy.deepcopy(model).requires_grad_(False).eval()
        for module in frozen.modules():
            # Forwards that TRL and accelerate have wrapped would call the modules of the trained model.
            vars(module).pop("forward", None)
        return cls(frozen)

    @torch.no_grad()
    def sample(self, trainer: Any, prompt_ids: list[list[int]], temperature: float) -> list[list[int]]:
        """One completion of each prompt: token ids up to the end token.

        Args:
            temperature: 0 is greedy.
        """
        config, model = trainer.generation_config, self.model
        without = nullcontext()
        if model is None:
            model = trainer.accelerator.unwrap_model(trainer.model)
            name = REF if REF in model.peft_config else None
            without = import_module("trl.trainer.utils").use_adapter(model, adapter_name=name)
        # The last token of every prompt stands at the end, where the completions begin.
        was_training, longest = model.training, max(map(len, prompt_ids))
        padding = trainer.processing_class.pad_token_id
        rows = [[padding] * (longest - len(ids)) + list(ids) for ids in prompt_ids]
        mask = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompt_ids]
        inputs = {"input_ids": rows, "attention_mask": mask}
        tensors = {name: torch.tensor(row, device=model.device) for name, row in inputs.items()}
        model.eval()
        try:
            with without, trainer.accelerator.autocast():
                sampled = model.generate(**tensors, generation_config=at_temperature(config, temperature))
        finally:
            model.train(was_training)
        ends = {config.eos_token_id} if isinstance(config.eos_token_id, int) else set(config.eos_token_id)
        return [_until(ids, ends) for ids in sampled[:, longest:].tolist()]


def _is_new(model: Any) -> bool:
    """Whether an adapter changes nothing yet: LoRA begins with B = 0."""
    outer = [weight for name, weight in model.named_parameters() if "lora_B" in name]
    return bool(outer) and not any(bool(weight.any()) for weight in outer)


def at_temperature(config: Any, temperature: float) -> Any:
    """A copy of transformers' settings of generation with a temperature; 0 is greedy."""
    other = copy.deepcopy(config)
    if temperature == 0:
        # What chooses among tokens does nothing where none is drawn, and transformers warns of all of it.
        other.do_sample = False
        other.temperature = other.top_p = other.top_k = other.min_p = None
    else:
        other.do_sample, other.temperature = True, temperature
    return other


def _until(ids: list[int], ends: set[int]) -> list[int]:
    """The ids up to the first end, which is among them."""
    places = [place for place, token in enumerate(ids) if token in ends]
    return ids[: places[0] + 1] if places else ids
