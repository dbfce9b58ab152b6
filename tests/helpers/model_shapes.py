"""Tiny models of many types with random weights, as folders, and what their own forward pass says.

A shape is a model type with the settings that bring out every kind of layer that its real models have. The
settings that all types share stand in `GENERAL`; a type takes those that its config knows.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from dupo.config.command_line import parse
from dupo.engines.base import Engine
from dupo.engines.load import make_engine
from dupo.engines.sampled_check import check_sampled
from dupo.errors import UserError
from dupo.learning.logprobs import Compute
from dupo.learning.packed_check import check_packed
from dupo.models.load import load_model, model_config
from dupo.models.positions import position_limit
from dupo.models.tokenizers import load_tokenizer
from tests.helpers.tokenizers_made import chatml_bytes
from tests.helpers.worlds import CPU

WINDOW, BORDER = (
    16,
    32,
)  # tokens: what a layer with a window sees; where the angles of some rotary embeddings change
SPREAD = 0.1  # of the noise on every weight: what starts at 0 or 1 (a bias, a sink, a scale) must count
TOKENIZER = chatml_bytes(pad_token="<pad>", eos_token="<|im_end|>")
COMPUTE = Compute(temperature=1.0, dtype="auto", token_budget=1024)

GENERAL: dict[str, Any] = {
    "vocab_size": len(TOKENIZER),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "sliding_window": WINDOW,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ABSENT = ...  # in the settings of a shape: the general setting must not be handed over

BOTH_KINDS = {"layer_types": ["sliding_attention", "full_attention"]}
NO_WINDOW = {"sliding_window": None}
WINDOW_USED = {"use_sliding_window": True, **BOTH_KINDS}
ONE_DENSE = {"first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "n_shared_experts": 1}
SCALED = {
    "embedding_multiplier": 2.0,
    "logits_scaling": 3.0,
    "residual_multiplier": 0.5,
    "attention_multiplier": 0.25,
}
# Multi-head latent attention: heads of queries and keys have 12 numbers, heads of values 6.
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 6,
    "num_key_value_heads": 4,
    "head_dim": ABSENT,
}
SOFTCAP = {**BOTH_KINDS, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
PER_LAYER_INPUT = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": len(TOKENIZER)}
LINEAR = {"layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2}
LINEAR |= {"linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
CONVOLUTION = {"layer_types": ["conv", "full_attention"]}


def rope(kind: str, **settings: Any) -> dict[str, Any]:
    """The setting of rotary embeddings of a kind that transformers knows."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, **settings}}


class Shape(NamedTuple):
    """A model type and its settings beside the general ones."""

    model_type: str
    settings: dict[str, Any]


def shapes(plain: str, **changed: dict[str, Any]) -> dict[str, Shape]:
    """Shapes by name: those of general settings alone, and others. A name is TYPE or TYPE__VARIANT."""
    return {name: Shape(name.split("__")[0], changed.get(name, {})) for name in [*plain.split(), *changed]}


# Sequences of any length are right.
SOUND = shapes(
    "apertus arcee aria_text biogpt bitnet ctrl diffllama ernie4_5 ernie4_5_moe exaone flex_olmo fuyu "
    "gemma glm glm4 gpt2 gpt_bigcode gpt_neox helium hunyuan_v1_dense hunyuan_v1_moe hy_v3 "
    "hyperclovax internlm3 iquestcoder jais2 llama minimax_m2 nanochat olmo olmo2 olmoe persimmon phi "
    "qwen2 qwen3 sarvam_moe seed_oss",
    cohere={"logit_scale": 0.25},
    codegen={"rotary_dim": 4},
    dbrx={
        "d_model": 32,
        "n_heads": 4,
        "n_layers": 2,
        "max_seq_len": 64,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32},
    },
    glm4_moe=ONE_DENSE,
    gptj={"rotary_dim": 4},
    granite=SCALED,
    granitemoe=SCALED,
    granitemoeshared={**SCALED, "shared_intermediate_size": 16},
    jetmoe={"kv_channels": 8, "num_attention_heads": ABSENT, "num_local_experts": 2},
    llama__linear=rope("linear", factor=2.0),
    llama__yarn=rope("yarn", factor=2.0, original_max_position_embeddings=BORDER),
    llama__llama3=rope(
        "llama3",
        factor=2.0,
        original_max_position_embeddings=BORDER,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
    ),
    mistral=NO_WINDOW,
    mixtral=NO_WINDOW,
    opt={"ffn_dim": 48, "word_embed_proj_dim": 32},
    phi3=NO_WINDOW,
    phimoe=NO_WINDOW,
    qwen2_moe={"mlp_only_layers": [0]},
    qwen3_moe={"mlp_only_layers": [0]},
    solar_open=ONE_DENSE,
    smollm3={"no_rope_layers": [1, 0]},
    starcoder2=NO_WINDOW,
    deepseek_v2={**LATENT, **ONE_DENSE},
    deepseek_v3={**LATENT, **ONE_DENSE},
    doge=NO_WINDOW,
    glm4_moe_lite={**LATENT, **ONE_DENSE, "mlp_layer_types": ["dense", "sparse"]},
    minicpm3={**LATENT, "dim_model_base": 32},
    sarvam_mla={**LATENT, **ONE_DENSE},
    youtu=LATENT,
    # Sequences cross the window.
    afmoe=BOTH_KINDS,
    cohere2=BOTH_KINDS,
    cohere2_moe=BOTH_KINDS,
    cwm=BOTH_KINDS,
    dots1={**BOTH_KINDS, **ONE_DENSE},
    exaone4=BOTH_KINDS,
    exaone_moe=BOTH_KINDS,
    gemma3_text=BOTH_KINDS,
    gemma4_text={**BOTH_KINDS, **PER_LAYER_INPUT},
    gemma4_unified_text={**BOTH_KINDS, **PER_LAYER_INPUT},
    laguna=BOTH_KINDS,
    mellum=BOTH_KINDS,
    ministral=BOTH_KINDS,
    ministral3={},
    mistral__window={},
    mixtral__window={},
    olmo3=BOTH_KINDS,
    phi3__window={},
    qwen2__window=WINDOW_USED,
    qwen3__window=WINDOW_USED,
    starcoder2__window={},
    # Softcap or sinks, and windows beside them.
    flint={},
    gemma2=SOFTCAP,
    gpt_oss=BOTH_KINDS,
    granite_swa={},
    granitemoe_swa={},
    mimo_v2_flash={"v_head_dim": 6},
    vaultgemma=SOFTCAP,
)

# Right up to the window or the border; a run that can cross it is refused.
BOUNDED = shapes(
    "",
    llama__dynamic={"max_position_embeddings": BORDER, **rope("dynamic", factor=2.0)},
    phi3__longrope={
        **NO_WINDOW,
        "original_max_position_embeddings": BORDER,
        **rope(
            "longrope",
            short_factor=[1.0] * 4,
            long_factor=[4.0] * 4,
            original_max_position_embeddings=BORDER,
        ),
    },
    # Their layers are not told of the window, which stands in their mask alone.
    phimoe__window={},
    qwen2_moe__window={**WINDOW_USED, "mlp_only_layers": [0]},
)

# Refused whatever the lengths are.
REFUSED = shapes(
    "bloom gpt_neox_japanese modernbert-decoder nemotron openai-gpt xglm",
    bamba={"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "attn_layer_indices": [1]},
    falcon={"alibi": False, "head_dim": ABSENT},
    falcon__alibi={"alibi": True, "head_dim": ABSENT},
    falcon_h1={"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8},
    falcon_mamba={"state_size": 4},
    gpt_neo={"attention_types": [[["global", "local"], 1]], "window_size": WINDOW},
    granitemoehybrid={
        "layer_types": ["mamba", "attention"],
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_d_state": 8,
        "shared_intermediate_size": 16,
    },
    jamba={
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 4,
        "mamba_dt_rank": 4,
    },
    lfm2=CONVOLUTION,
    lfm2_moe={**CONVOLUTION, "num_dense_layers": 1},
    lfm3={},
    llama4_text={
        "attention_chunk_size": WINDOW,
        "num_hidden_layers": 4,
        "intermediate_size_mlp": 48,
        "interleave_moe_layer_step": 2,
        "layer_types": [*["chunked_attention"] * 3, "full_attention"],
    },
    mamba={"state_size": 4},
    minimax={"layer_types": ["linear_attention", "full_attention"], "block_size": 8},
    moshi={},  # its mask has no window, the cache of transformers drops what lies beyond its window
    mpt={"max_seq_len": 64},
    nemotron_h={
        "layers_block_type": ["mamba", "attention", "moe"],
        "mamba_num_heads": 4,
        "mamba_head_dim": 8,
        "ssm_state_size": 8,
        "n_groups": 1,
    },
    olmo_hybrid={**LINEAR, "linear_num_key_heads": 4},
    qwen3_5_text=LINEAR,
    qwen3_next=LINEAR,
    recurrent_gemma={
        "block_types": ["recurrent", "attention"],
        "attention_window_size": WINDOW,
        "lru_width": 32,
    },
    rwkv={"attention_hidden_size": 32},
    stablelm={"use_qkv_bias": True},
)


def config_of(shape: Shape) -> PretrainedConfig:
    """The transformers config of a shape."""
    known = AutoConfig.for_model(shape.model_type)
    inner = known.get_text_config()
    general = {name: value for name, value in GENERAL.items() if has(inner, name)}
    settings = {k: v for k, v in {**general, **shape.settings}.items() if v is not ABSENT}
    if inner is known:
        return AutoConfig.for_model(shape.model_type, **settings)
    # A model of several modalities keeps the settings of its language model in a config of their own.
    ends = {name: value for name, value in settings.items() if name.endswith("token_id")}
    return AutoConfig.for_model(shape.model_type, text_config=settings, **ends)


def has(config: PretrainedConfig, name: str) -> bool:
    """Whether a config knows a setting, by its own name for it or by the general one."""
    return name in config.attribute_map or name in vars(config)


def save_model(shape: Shape, folder: Path) -> Path:
    """Writes a folder that `--model_name_or_path` takes; the weights are the same in every run."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(shape), dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=SPREAD)
    model.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return folder


class Opened(NamedTuple):
    """A model that came in through the door, and the engine around it."""

    model: PreTrainedModel
    engine: Engine


def open_and_check(folder: Path, longest: int) -> Opened:
    """Opens a folder as a run does whose sequences have at most `longest` tokens.

    Raises:
        UserError: the run would be refused.
    """
    config = parse(["--num_threads", "1", "--model_name_or_path", str(folder)])
    tokenizer = load_tokenizer(config.model, None)
    shape = model_config(config.model, tokenizer)
    most_tokens = position_limit(shape)
    if most_tokens is not None and longest > most_tokens:
        raise UserError(f"sequences of {longest} tokens; the positions of the model allow {most_tokens}")
    model = load_model(config.model, shape, CPU, 0)
    check_packed(model, COMPUTE._replace(token_budget=longest))
    check_sampled(model, "auto")
    return Opened(model, make_engine(config, model, tokenizer))


def own_model(folder: Path) -> PreTrainedModel:
    """The model as transformers runs it by itself, with the attention that its authors wrote out."""
    arguments: dict[str, Any] = {"attn_implementation": "eager", "dtype": torch.float32}
    return AutoModelForCausalLM.from_pretrained(folder, **arguments).eval()


@torch.no_grad()
def own_logprobs(own: PreTrainedModel, ids: list[int]) -> Tensor:
    """Log-probs (T - 1,) float64 of every token but the first, from one pass over the sequence alone."""
    input_ids = torch.tensor([ids])
    logits = own(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False).logits
    return logits[0, :-1].double().log_softmax(-1).gather(-1, input_ids[0, 1:, None])[:, 0]
