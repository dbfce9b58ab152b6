"""Where models come from: a folder, the Hub, or the built-in shape with random weights. The only door."""

import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig, PretrainedConfig, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME
from transformers.utils import logging as transformers_logging

from dupo.config.lora_options import LoraOptions
from dupo.config.model_options import BUILT_IN_MODEL, ModelOptions
from dupo.errors import UserError
from dupo.models import attention
from dupo.models.adapter_files import adapter_folder, merged
from dupo.models.class_check import check_class, kind_of
from dupo.models.devices import compute_dtype
from dupo.models.four_bits import reading_arguments
from dupo.models.frozen_base import halve_base
from dupo.models.library_errors import library_call
from dupo.models.score_heads import CLASS_END, is_reward_model, model_class
from dupo.models.tiny import tiny_config
from dupo.models.tokenizers import check_model_name
from dupo.models.weight_checks import check_finite, check_match
from dupo.progress import telling
from dupo.text.tokenizer import PromptTokenizer

Model = PreTrainedModel  # the policy, the judge of its duals, the reference


def model_config(options: ModelOptions, tokenizer: PromptTokenizer | None) -> PretrainedConfig:
    """The shape of the model without its weights: enough to check lengths before any weight is loaded.

    Args:
        tokenizer: read for the built-in model alone.

    Raises:
        UserError: the folder or the Hub has no model of that name, or none that can be sampled and trained.
    """
    name = options.model_name_or_path
    if name == BUILT_IN_MODEL:
        assert tokenizer is not None
        return tiny_config(tokenizer)
    shape, is_scorer = _read_config(options)
    if is_scorer:
        raise UserError(f"model_name_or_path: expected a language model, got the reward model {name}")
    check_class(shape, name, trust_remote_code=options.trust_remote_code)
    return shape


def scorer_config(
    options: ModelOptions, tokenizer: PromptTokenizer | None, *, is_trained: bool = False
) -> PretrainedConfig:
    """The shape of a reward model, or that which a language model has as a reward model.

    Args:
        tokenizer: None: nobody scores with this shape, its size alone is asked for.
        is_trained: the model must have a score, as none is trained.

    Raises:
        UserError: as `model_config`; or the model tells several classes apart.
    """
    name = options.model_name_or_path
    if name == BUILT_IN_MODEL:
        assert tokenizer is not None
        # The built-in shape has a vocabulary of its own, and never a score before it is trained.
        shape, is_scorer = tiny_config(tokenizer), False
    else:
        shape, is_scorer = _read_config(options)
    if is_trained and not is_scorer:
        raise UserError(f"model_name_or_path: expected a reward model, got {name}, {kind_of(shape)}")
    if is_reward_model(shape) and shape.num_labels != 1:
        got = f"{shape.num_labels} of a classifier"
        raise UserError(f"model_name_or_path: {name}: expected one label, the score, got {got}")
    if not is_reward_model(shape):
        shape.num_labels = 1
        if tokenizer is not None:
            # Which token of a padded sequence is the last one: transformers asks the config.
            shape.get_text_config().pad_token_id = tokenizer.pad_id
    check_class(shape, name, trust_remote_code=options.trust_remote_code, scores=True)
    return shape


def holds_score(options: ModelOptions) -> bool:
    """Whether a model that is read is a reward model.

    Raises:
        UserError: the folder or the Hub has no model of that name.
    """
    return _read_config(options)[1]


def _read_config(options: ModelOptions) -> tuple[PretrainedConfig, bool]:
    """The config of a model that is read, or of that beneath an adapter; and whether it is a reward model."""
    name = options.model_name_or_path
    check_model_name("model_name_or_path", name)
    arguments: dict[str, Any] = {"trust_remote_code": options.trust_remote_code}
    if adapter := adapter_folder("model_name_or_path", name):
        name, arguments["revision"] = adapter.base, adapter.revision
    with library_call(f"model_name_or_path: {name} has no usable model", name):
        shape = AutoConfig.from_pretrained(name, **arguments)
    return shape, is_reward_model(shape) or (adapter is not None and adapter.scores)


def load_model(
    options: ModelOptions,
    shape: PretrainedConfig,
    device: torch.device,
    seed: int,
    *,
    frozen: bool = False,
    lora: LoraOptions | None = None,
    scores: bool = False,
) -> Model:
    """Loads the model in eval mode (no dropout) on `device`.

    Args:
        shape: what `model_config` gave, or `scorer_config`.
        seed: fixes the random weights of the built-in model, and those of a new score.
        frozen: no optimizer changes the model. Its weights need no gradient, and `--compute_dtype bfloat16`
            may hold them in bfloat16. Weights that are trained are float32, whatever the options say.
        lora: adapters that the model will get. Of a model that is read, most weights are then bfloat16 where
            matrix products are, or codes of 4 bits; see `dupo.models.frozen_base` and `four_bits`.
        scores: load a reward model. A language model gets a new score in the place of its head.

    Raises:
        UserError: the weights cannot be loaded, do not match the model, or are not finite.
    """
    attention.register()
    transformers_logging.disable_progress_bar()  # two bars would overwrite each other
    # Random weights come from the global generator.
    torch.manual_seed(seed)
    # An optimizer adds updates of the size of the learning rate, which bfloat16 weights round away.
    dtype = torch.bfloat16 if frozen and options.compute_dtype == "bfloat16" else torch.float32
    arguments: dict[str, Any] = {"dtype": dtype, "attn_implementation": attention.NAME}
    name = options.model_name_or_path
    if name == BUILT_IN_MODEL:
        model = model_class(scores=scores).from_config(shape, **arguments)
    else:
        if not frozen and getattr(shape, "quantization_config", None) is not None:
            raise UserError(f"model_name_or_path: {name}: expected weights to train, got quantized weights")
        arguments["trust_remote_code"] = options.trust_remote_code
        if lora is not None and lora.load_in_4bit:
            arguments |= reading_arguments(lora, compute_dtype(device, options.compute_dtype), device)
        model = read_model("model_name_or_path", name, scored=shape if scores else None, **arguments)
    if scores:
        # Of what it is now: a checkpoint without the score must not be read as a language model.
        model.config.architectures = [type(model).__name__]
    if options.gradient_checkpointing and not frozen:
        recompute_activations(model)
    is_half = compute_dtype(device, options.compute_dtype) is torch.bfloat16
    # The built-in model is taught as a whole before it gets adapters. Read in float32 and rounded on the way
    # to the device: norms keep their bits, and a GPU never holds more than it will need.
    if lora is not None and lora.use_peft and is_half and name != BUILT_IN_MODEL:
        halve_base(model)
    with library_call(f"model_name_or_path: {name} does not fit on {device}"):
        if lora is None or not lora.load_in_4bit:  # what was read in 4 bits is there already
            model.to(device)  # type: ignore[arg-type]
    if name != BUILT_IN_MODEL:
        check_finite(model, f"model_name_or_path: {name}")
    if frozen:
        model.requires_grad_(False)
    return model.eval()


def read_model(option: str, name: str, *, scored: PretrainedConfig | None = None, **arguments: Any) -> Model:
    """Reads a whole model, or an adapter and the model beneath it, and gives one model.

    Args:
        option: what names the folder, for the error.
        scored: the shape of a reward model that is read; None: a language model is read.
        arguments: of `from_pretrained`.

    Raises:
        UserError: as `read_weights`; or the adapter or its base cannot be read.
    """
    adapter, read_class = adapter_folder(option, name), model_class(scores=scored is not None)
    if scored is not None:
        arguments["config"] = scored
    if adapter is None:
        _check_generation_config(Path(name))
        return read_weights(read_class, option, name, **arguments)
    _check_generation_config(Path(adapter.base))
    # Merged before it is rounded: an adapter may be smaller than the last digit of a bfloat16 weight.
    dtype = arguments.pop("dtype", torch.float32)
    arguments |= {"dtype": torch.float32, "revision": adapter.revision}
    model = read_weights(read_class, option, adapter.base, **arguments)
    model = merged(model, adapter, f"{option}: {name}").to(dtype)
    model.config.name_or_path = name
    return model.requires_grad_(True)  # peft has frozen what is now a model like any other


def recompute_activations(model: Model) -> None:
    """Lets the backward pass of a model that learns compute activations again, instead of keeping them."""
    # transformers renamed the method within version 5.
    new_name = hasattr(model, "activation_checkpointing_enable")
    enable = model.activation_checkpointing_enable if new_name else model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def read_weights(model_class: Any, option: str, folder: str, **arguments: Any) -> Model:
    """Reads a model and checks that the folder had exactly the weights that the model has.

    Args:
        model_class: a class with `from_pretrained` of transformers.
        option: what names the folder, for the error.
        arguments: of `from_pretrained`.

    Raises:
        UserError: the folder cannot be read, or its weights are not those of the model.
    """
    where = f"{option}: {folder}"
    with library_call(f"{where} could not be loaded", folder), _weights_counted(), _no_report():
        # Other shapes are told with the missing names, in our line and not in a table of the library.
        model, report = model_class.from_pretrained(
            folder, output_loading_info=True, ignore_mismatched_sizes=True, **arguments
        )
        if CLASS_END in type(model).__name__ and not is_reward_model(arguments["config"]):
            report = _with_new_score(report)
        check_match(report, where)
    return model


def _with_new_score(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report of `from_pretrained`, without the head that a language model loses and the score it gets."""
    missing = {name for name in report["missing_keys"] if not name.startswith("score.")}
    unexpected = {name for name in report["unexpected_keys"] if not name.startswith("lm_head.")}
    return {**report, "missing_keys": missing, "unexpected_keys": unexpected}


@contextmanager
def _no_report() -> Iterator[None]:
    """Drops the table of missing weights that transformers logs, as `check_match` tells what is wrong."""
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(_is_no_report)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_report)


def _is_no_report(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()


@contextmanager
def _weights_counted() -> Iterator[None]:
    """Tells how many weights transformers has read, where its version can be asked for that."""
    set_hook = getattr(transformers_logging, "set_tqdm_hook", None)
    if set_hook is None:
        yield
        return
    before = set_hook(_counted)
    try:
        yield
    finally:
        set_hook(before)


def _counted(bar: Callable[..., Any], arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """What transformers gets in the place of a bar: the same items, each told; any other bar as it is."""
    items = arguments[0] if arguments else None
    if not isinstance(items, Collection):
        return bar(*arguments, **options)
    return telling("weights", items)


def end_tokens(model: Model) -> set[int]:
    """Ids that end a text by the generation settings of the model, which may name more than the tokenizer.

    Raises:
        UserError: the settings name something else than token ids.
    """
    ids = getattr(model.generation_config, "eos_token_id", None)
    if ids is None:
        return set()
    listed: list[Any] = list(ids) if isinstance(ids, list | tuple) else [ids]
    # transformers keeps whatever the file says; a word among the ids would fail in the first rollout.
    if any(type(token_id) is not int for token_id in listed):
        expected = f"token ids as eos_token_id in {GENERATION_CONFIG_NAME}"
        raise UserError(f"model_name_or_path: {model.config.name_or_path}: expected {expected}, got {ids!r}")
    return set(listed)


def share_end_tokens(model: Model, tokenizer: PromptTokenizer) -> None:
    """Lets training and the checkpoints of the model end a text by the same ids: those of either.

    Raises:
        UserError: as `end_tokens`.
    """
    before = end_tokens(model)
    tokenizer.eos_ids |= before
    # A tokenizer with another end token than the settings: `generate` would go on behind what training ends.
    if tokenizer.eos_ids != before:
        if model.generation_config is None:
            model.generation_config = GenerationConfig(pad_token_id=tokenizer.pad_id)
        ids = sorted(tokenizer.eos_ids)
        model.generation_config.eos_token_id = ids if len(ids) > 1 else ids[0]


def _check_generation_config(folder: Path) -> None:
    """Refuses generation settings that are no JSON: transformers makes up others without a word.

    Raises:
        UserError: names the file. A folder without such a file is fine.
    """
    file = folder / GENERATION_CONFIG_NAME
    if file.is_file():
        with library_call(f"model_name_or_path: {file} is no JSON"):
            json.loads(file.read_text(encoding="utf-8"))
