"""Small models of many kinds, with random weights that are large enough for differences to show."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from dupo.models import attention

TOKENS = 100
SMALL: dict[str, Any] = dict(
    vocab_size=TOKENS,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    pad_token_id=0,
    bos_token_id=None,
    eos_token_id=1,
)
LATENT: dict[str, Any] = SMALL | dict(  # heads of queries and keys have 24 numbers, those of values 16
    num_hidden_layers=4,
    num_key_value_heads=4,
    q_lora_rank=16,
    kv_lora_rank=16,
    qk_nope_head_dim=16,
    qk_rope_head_dim=8,
    v_head_dim=16,
    n_routed_experts=8,
    num_experts_per_tok=2,
    n_group=2,
    topk_group=1,
    moe_intermediate_size=32,
    first_k_dense_replace=1,
)
LONGROPE = dict(
    rope_type="longrope",
    rope_theta=1e4,
    short_factor=[1.0] * 8,
    long_factor=[4.0] * 8,
    original_max_position_embeddings=96,
)
MAMBA: dict[str, Any] = SMALL | dict(mamba_n_heads=8, mamba_d_head=16, mamba_d_state=16, mamba_n_groups=1)
HEAD: dict[str, Any] = SMALL | dict(head_dim=16)
FOUR: dict[str, Any] = HEAD | dict(num_hidden_layers=4)
KINDS: dict[str, dict[str, Any]] = {
    "llama": SMALL,
    "qwen3": HEAD,
    "gpt2": dict(vocab_size=TOKENS, n_embd=64, n_layer=2, n_head=4, eos_token_id=1, bos_token_id=None),
    "olmo": SMALL,
    "cohere": SMALL,
    "mixtral": SMALL | dict(num_local_experts=4),
    "gemma3_text": HEAD | dict(num_hidden_layers=12, sliding_window=64),
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "doge": SMALL,
    "phi3": SMALL
    | dict(num_key_value_heads=4, original_max_position_embeddings=96, rope_parameters=LONGROPE),
    "phimoe": SMALL | dict(sliding_window=128, num_local_experts=4),
    "qwen2_moe": SMALL
    | dict(sliding_window=128, use_sliding_window=True, max_window_layers=1, num_experts=4),
    "mistral": HEAD | dict(sliding_window=4),
    "qwen2": SMALL
    | dict(sliding_window=4, use_sliding_window=True, layer_types=["sliding_attention", "full_attention"]),
    "qwen3_moe": HEAD | dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32),
    "gpt_oss": HEAD
    | dict(
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=4,
        rope_parameters=dict(rope_type="default", rope_theta=1e4),
    ),
    # A cap so low that most scores come near it.
    "gemma2": HEAD | dict(sliding_window=4, attn_logit_softcapping=2.0),
    "bloom": dict(vocab_size=TOKENS, hidden_size=64, n_layer=2, n_head=4),
    "xglm": dict(vocab_size=TOKENS, d_model=64, ffn_dim=64, num_layers=2, attention_heads=4),
    "gpt_neox_japanese": SMALL,
    "mamba": dict(vocab_size=TOKENS, hidden_size=64, num_hidden_layers=2),
    "bamba": MAMBA | dict(attn_layer_indices=[1]),
    "jamba": SMALL | dict(num_hidden_layers=8, num_experts=4, use_mamba_kernels=False),
    "nemotron_h": {n: v for n, v in HEAD.items() if n != "num_hidden_layers"}
    | dict(
        layers_block_type=["mamba", "attention", "mamba"],
        mamba_num_heads=8,
        mamba_head_dim=16,
        ssm_state_size=16,
        n_groups=1,
    ),
    "lfm2": SMALL | dict(layer_types=["conv", "full_attention"]),
    "recurrent_gemma": HEAD | dict(num_hidden_layers=3, lru_width=64, attention_window_size=64),
    "qwen3_next": FOUR
    | dict(
        num_experts=4,
        num_experts_per_tok=2,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
    ),
}


def model_of_kind(kind: str, **changes: Any) -> PreTrainedModel:
    """The model of a kind, with the attention of the package, in eval mode; `changes` of its config."""
    attention.register()
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(KINDS[kind] | changes))
    return spread_out(AutoModelForCausalLM.from_config(config, attn_implementation=attention.NAME).eval())


def spread_out(model: PreTrainedModel) -> PreTrainedModel:
    """The model with weights so large that its log-probs differ by nats."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.2)
            else:
                weight.add_(torch.randn_like(weight), alpha=0.2)
    return model
