"""From options to an engine: the only place where a kind of engine is chosen."""

import torch

from dupo.config.config import Config
from dupo.config.engine_options import TRANSFORMERS, VLLM
from dupo.config.model_options import ModelOptions
from dupo.distributed.ranks import ALONE, Ranks
from dupo.engines.base import Engine
from dupo.engines.builtin import BuiltinEngine
from dupo.engines.continuous import ContinuousEngine
from dupo.engines.sampled_check import check_sampled
from dupo.engines.thinking import with_thinking_budget
from dupo.engines.training_probe import TrainingServer
from dupo.engines.vllm import VllmEngine
from dupo.engines.vllm_instance import VllmInstance
from dupo.engines.vllm_server import VllmServerEngine
from dupo.engines.wrapped import unwrapped
from dupo.models.adapter import AdapterPlan
from dupo.models.load import Model, end_tokens, load_model, model_config
from dupo.models.tokenizers import load_tokenizer
from dupo.text.tokenizer import PromptTokenizer


def check_builtin(config: Config, model: Model) -> None:
    """Checks the built-in engine, where it samples; the other engines check themselves.

    Raises:
        UserError: see `dupo.engines.sampled_check.check_sampled`.
    """
    if config.engine.engine not in (VLLM, TRANSFORMERS):
        check_sampled(model, config.model.compute_dtype)


def make_engine(
    config: Config, model: Model, tokenizer: PromptTokenizer, adapter: AdapterPlan | None = None
) -> Engine:
    """Puts an engine of this process around a model that is loaded, and `thinking_token_budget` around it.

    Args:
        adapter: what the model gets before it is trained; None: no adapters.
    """
    return with_thinking_budget(config, _bare_engine(config, model, tokenizer, adapter))


def _bare_engine(
    config: Config, model: Model, tokenizer: PromptTokenizer, adapter: AdapterPlan | None
) -> Engine:
    if config.engine.engine == VLLM:
        dtype, sent = config.model.compute_dtype, adapter if config.sends_adapters else None
        instance = VllmInstance(model, config.vllm, dtype=dtype, seed=config.run.seed, adapter=sent)
        return VllmEngine(model, tokenizer, instance)
    if config.engine.engine == TRANSFORMERS:
        return ContinuousEngine(
            model,
            tokenizer,
            dtype=config.model.compute_dtype,
            max_concurrent_sequences=config.rollout.max_concurrent_sequences,
        )
    return BuiltinEngine(
        model,
        tokenizer,
        dtype=config.model.compute_dtype,
        max_concurrent_sequences=config.rollout.max_concurrent_sequences,
        measure_distributions=config.reward.needs("distributions"),
    )


def make_copy_engine(config: Config, copy: Model, engine: Engine) -> Engine:
    """Puts an engine around a copy of a model that is trained: its past, or its average.

    Args:
        engine: of the model that is trained.
    """
    # Copies of a model with adapters share the weights beneath, and vLLM has these once.
    bare = unwrapped(engine)
    if isinstance(bare, VllmEngine) and bare.instance.adapter:
        return with_thinking_budget(config, bare.beside(copy))
    return make_engine(config, copy, engine.tokenizer)


def make_policy_engine(
    config: Config,
    model: Model,
    tokenizer: PromptTokenizer,
    adapter: AdapterPlan | None,
    server: TrainingServer | None,
    ranks: Ranks = ALONE,
) -> Engine:
    """Puts an engine around a model that is trained.

    Args:
        adapter: what the model gets before it is trained; None: no adapters.
        server: that samples from the model; None: this process does.
        ranks: the processes that train the model; their first alone asks the server.
    """
    if server is None:
        return make_engine(config, model, tokenizer, adapter)
    folder, dtype = config.engine.weight_folder, config.model.compute_dtype
    engine = VllmServerEngine(model, tokenizer, server, dtype=dtype, folder=folder, ranks=ranks)
    return with_thinking_budget(config, engine)


def load_engine(
    config: Config, options: ModelOptions, tokenizer: PromptTokenizer, device: torch.device
) -> Engine:
    """Loads the model that `options` name and puts an engine around it; no optimizer changes the model.

    The end tokens of the model join those of the tokenizer.

    Args:
        config: of the run; the model of the run may be another one.

    Raises:
        UserError: there is no such model, its weights cannot be loaded, or it cannot be sampled from.
    """
    shape = model_config(options, tokenizer)
    model = load_model(options, shape, device, config.run.seed, frozen=True)
    # A judge or a pool that samples as another model would leave no trace but its answers.
    check_builtin(config, model)
    # Chat models end a turn with a token that their tokenizer does not call its end token.
    tokenizer.eos_ids |= end_tokens(model)
    return make_engine(config, model, tokenizer)


def load_judge_engine(config: Config, device: torch.device) -> Engine:
    """The engine of the model that `dual_model` names by its folder or Hub name."""
    # Another model brings its own tokenizer, so dual prompts are encoded anew for it.
    options = config.model.for_model(config.duals.dual_model)
    return load_engine(config, options, load_tokenizer(options, None, is_judge=True), device)
