"""Small models of other kinds, with random weights: with dropout, or of classes that must be refused."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from dupo.models import attention
from tests.helpers.worlds import tiny

TOKENS = 20  # those of the built-in arithmetic task
IDS = dict(vocab_size=TOKENS, bos_token_id=None, eos_token_id=1, pad_token_id=0)
SMALL = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, **IDS)
KINDS: dict[str, dict[str, Any]] = {
    "gpt2": dict(n_embd=32, n_layer=2, n_head=4, resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1, **IDS),
    "opt": dict(SMALL, ffn_dim=64, word_embed_proj_dim=32, dropout=0.1, attention_dropout=0.1, layerdrop=0.1),
    "biogpt": dict(SMALL, hidden_dropout_prob=0.1, activation_dropout=0.1),
    "llama": dict(SMALL, num_key_value_heads=2),
    "falcon": dict(SMALL),
    "mpt": dict(d_model=32, n_layers=2, n_heads=4, **IDS),
    "bloom": dict(hidden_size=32, n_layer=2, n_head=4, **IDS),
    "llama4_text": dict(SMALL, head_dim=8, num_key_value_heads=2, num_local_experts=2),
    "bert": dict(SMALL),
    "t5": dict(d_model=32, d_ff=64, d_kv=8, num_layers=2, num_heads=4, decoder_start_token_id=0, **IDS),
}


def model_of(kind: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """The model of a kind, with the attention of the package, in eval mode; `changes` of its config."""
    attention.register()
    torch.manual_seed(seed)
    shape = AutoConfig.for_model(kind, **(KINDS[kind] | changes))
    return AutoModelForCausalLM.from_config(shape, attn_implementation=attention.NAME).eval()


def save_kind(folder: Path, kind: str, **changes: Any) -> Path:
    """A folder with the model of a kind and the built-in tokenizer."""
    model_of(kind, **changes).save_pretrained(folder)
    return with_tokenizer(folder)


def save_shape(folder: Path, kind: str) -> Path:
    """A folder with the config.json of a kind and the built-in tokenizer, without weights."""
    AutoConfig.for_model(kind, **KINDS[kind]).save_pretrained(folder)
    return with_tokenizer(folder)


def with_tokenizer(folder: Path) -> Path:
    """Adds the built-in tokenizer to a folder, and returns the folder."""
    tiny().tokenizer.hf.save_pretrained(folder)
    return folder
