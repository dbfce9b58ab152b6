"""Who answers the duals, and how they are asked."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from dupo.config.options import Config
from dupo.engines.builtin import Sampler
from dupo.models import load as policy
from dupo.models.tokenizers import load_tokenizer
from dupo.records import Completion, Prompt
from dupo.text.tokenizer import PromptTokenizer


def ask_duals(sampler: Sampler, prompts: Sequence[Prompt], seed: int) -> list[list[Completion]]:
    """`dual_samples` answers to every dual prompt."""
    c = sampler.config
    return sampler(prompts, c.dual_samples, c.dual_temperature, seed, c.dual_max_completion_length)


def load_sampler(config: Config, device: torch.device, tokenizer: PromptTokenizer | None = None) -> Sampler:
    """The model and tokenizer that the settings name, end tokens of both known. `tokenizer`: if loaded."""
    tokenizer = tokenizer or load_tokenizer(config)
    model = policy.load_model(config, policy.model_config(config, tokenizer), device)
    tokenizer.eos_ids |= policy.end_tokens(model)
    return Sampler(model, tokenizer, config)


def another(config: Config, name: str) -> Config:
    """The same settings for another model, which brings its own tokenizer."""
    own = dict(tokenizer_name=None, pad_token=None, eos_token=None)
    return config if name == config.model_name_or_path else replace(config, model_name_or_path=name, **own)


def other_model(config: Config, device: torch.device) -> Sampler:
    """The model that `dual_model` names by its path; no optimizer will touch it."""
    sampler = load_sampler(another(config, config.dual_model), device)
    sampler.model.requires_grad_(False)
    return sampler
