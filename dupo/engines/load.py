"""From options to an engine: the tokenizer, the model and the engine around them."""

import torch

from dupo.config.config import Config
from dupo.config.options import ModelOptions
from dupo.engines.builtin import BuiltinEngine
from dupo.models.load import end_tokens, load_model, model_config
from dupo.models.tokenizers import load_tokenizer
from dupo.text.tokenizer import PromptTokenizer


def load_engine(
    config: Config, options: ModelOptions, tokenizer: PromptTokenizer, device: torch.device
) -> BuiltinEngine:
    """Loads the model that `options` name and puts an engine around it.

    The end tokens of the model join those of the tokenizer.

    Args:
        config: of the run; its own model may be another one.

    Raises:
        UserError: there is no such model, or its weights cannot be loaded.
    """
    model = load_model(options, model_config(options, tokenizer), device, config.run.seed)
    # Chat models end a turn with a token that their tokenizer does not call its end token.
    tokenizer.eos_ids |= end_tokens(model)
    return BuiltinEngine(
        model,
        tokenizer,
        dtype=options.dtype,
        max_concurrent_sequences=config.rollout.max_concurrent_sequences,
        measure_distributions=config.reward.needs("distributions"),
    )


def load_judge_engine(config: Config, device: torch.device) -> BuiltinEngine:
    """The engine of the model that `dual_model` names by its folder or Hub name; no optimizer changes it."""
    # Another model brings its own tokenizer, so dual prompts are encoded anew for it.
    options = config.model.for_model(config.duals.dual_model)
    engine = load_engine(config, options, load_tokenizer(options, None), device)
    engine.model.requires_grad_(False)
    return engine
