"""Checks of dupo.integrations.trl with models that a fused head may not serve, and of what stays on them.

Needs the packages of data sets as well, see .ci/peers. Whatever the model, TRL alone logs the same.
"""

import copy
import gc
import tempfile
import warnings
import weakref
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from typing import Any

import torch
from peft import LoraConfig
from transformers import (
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
)

from bench.training.trl_runs import SMALL, Row, logged, make_trainer, shape_of, worst
from tests.peers.peer_checks import Checks
from tests.peers.peer_trl_trainers import allowed, installed


def check_models_are_left_as_they_were() -> None:
    """A copy has weights of its own, nothing holds the model, and both compute through their own forward."""
    with tempfile.TemporaryDirectory() as folder:
        with installed() as computed:
            trainer = make_trainer("cpo", folder, steps=1)
            trainer.train()
        assert computed
        model, ids = trainer.model, torch.tensor([[5, 6, 7]])
        twin = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.mul_(1.5)
            assert not torch.equal(twin(ids).logits, model(ids).logits)
        assert "forward" not in vars(model)
        last = weakref.ref(model)
        del model, trainer, twin
        gc.collect()
        assert last() is None


def mixture_of_experts() -> Any:
    """Its config asks for the load-balancing loss, and gives that loss much weight."""
    torch.manual_seed(0)
    experts = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)
    routed = dict(output_router_logits=True, router_aux_loss_coef=0.5)
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**shape_of(SMALL), **experts, **routed))


def softcap_of_another_name() -> Any:
    torch.manual_seed(0)
    shape = {n: x for n, x in shape_of(SMALL).items() if n not in ("head_dim", "intermediate_size")}
    bounded = dict(logits_soft_cap=2.0, lru_width=shape["hidden_size"], intermediate_size=64)
    return RecurrentGemmaForCausalLM(RecurrentGemmaConfig(**{**shape, **bounded, "num_hidden_layers": 3}))


def adapter_on_the_head() -> Any:
    return LoraConfig(r=4, target_modules=["q_proj", "lm_head"], task_type="CAUSAL_LM")


def check_same_metrics(
    name: str, build: Callable[[], Any], make_adapter: Callable[[], Any] = lambda: None, *, is_plain: bool
) -> None:
    """Two steps in float32; every metric. A model whose head is more than a product is left to TRL, aloud."""

    def rows() -> list[Row]:
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
            options = dict(model=build(), peft_config=make_adapter())
            trainer = make_trainer(name, folder, steps=2, **options)
            trainer.train()
            return logged(trainer)

    stock = rows()
    with installed(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours = rows()
    assert any("TRL computes them" in str(warning.message) for warning in caught) != is_plain
    apart, where = worst(stock, ours, allowed)
    assert ours[0]["grad_norm"] > 0 and apart <= 1, f"{where} is {apart:.1f} times what is allowed apart"


CHECKS: Checks = {"models-are-left": check_models_are_left_as_they_were}
CHECKS |= {
    f"experts-{name}": partial(check_same_metrics, name, mixture_of_experts, is_plain=True)
    for name in ("cpo", "orpo", "gkd")
}
CHECKS |= {
    f"softcap-{name}": partial(check_same_metrics, name, softcap_of_another_name, is_plain=False)
    for name in ("orpo", "online_dpo", "gkd")
}
# GKD refuses such an adapter itself.
CHECKS |= {
    f"adapter-on-head-{name}": partial(
        check_same_metrics, name, lambda: None, adapter_on_the_head, is_plain=False
    )
    for name in ("cpo", "online_dpo")
}
