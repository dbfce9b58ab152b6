"""Which kernel computes a layer, and whether it is asked for what the layer wants. No GPU is needed."""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor

from dupo.models.attention_backends import (
    BACKENDS,
    BUCKETED,
    choose_backend,
    installed_kernels,
    packed_attention,
    wanted,
)
from dupo.models.bucketed_attention import AttentionOptions
from tests.helpers.attention_kernels import STAND_INS, torch_varlen_2_10
from tests.helpers.naive_attention import naive_attention

LENGTHS = [3, 9, 1, 9, 5]
SINKS = torch.tensor([0.5, -1.0, 2.0, 0.0])
PLAIN, WINDOW, SOFTCAP = AttentionOptions(0.3), AttentionOptions(0.3, 4), AttentionOptions(0.3, softcap=0.7)
BOTH, WITH_SINKS = AttentionOptions(0.3, 4, 0.7), AttentionOptions(0.3, 4, sinks_K=SINKS)


def inputs(kv_heads: int = 2, value_size: int = 8) -> list[Tensor]:
    torch.manual_seed(0)
    sizes = ((4, 8), (kv_heads, 8), (kv_heads, value_size))
    return [torch.randn(sum(LENGTHS), *size, requires_grad=True) for size in sizes]


def truth(qkv: list[Tensor], options: AttentionOptions) -> Tensor:
    scale = qkv[0].shape[-1] ** -0.5 if options.scale is None else options.scale
    return naive_attention(*qkv, LENGTHS, scale, options.window, options.softcap, options.sinks_K)


def call(name: str, kernel: Any, qkv: list[Tensor], options: AttentionOptions) -> Tensor:
    bounds = torch.tensor([0, *LENGTHS]).cumsum(0).int()
    return BACKENDS[name].call(kernel, *qkv, bounds, max(LENGTHS), options)


@pytest.mark.parametrize(
    ("name", "options", "value_size"),
    [
        *[(name, options, 8) for name in STAND_INS for options in (PLAIN, AttentionOptions(), WINDOW)],
        *[(name, options, 8) for name in ("flash_attn_2", "flash_attn_4") for options in (SOFTCAP, BOTH)],
        ("flash_attn_4", WITH_SINKS, 8),
        ("flash_attn_4", PLAIN, 16),
    ],
)
@pytest.mark.parametrize("kv_heads", [2, 4])
def test_a_kernel_is_asked_for_what_the_layer_wants(
    name: str, options: AttentionOptions, value_size: int, kv_heads: int
) -> None:
    qkv = inputs(kv_heads, value_size)
    assert (call(name, STAND_INS[name], qkv, options) - truth(qkv, options)).abs().max() < 1e-6


def test_torch_2_10_has_no_scale_and_no_groups() -> None:
    qkv = inputs(kv_heads=2)
    for options in (PLAIN, AttentionOptions()):
        assert (
            call("torch_varlen", torch_varlen_2_10, qkv, options) - truth(qkv, options)
        ).abs().max() < 1e-6


@pytest.mark.parametrize("name", BACKENDS)
def test_the_installed_package_has_the_arguments(name: str) -> None:
    kernel = installed_kernels().get(name)
    if kernel is None:
        pytest.skip(f"{name} is not installed")
    signature = inspect.signature(kernel)
    assert set(BACKENDS[name].arguments.values()) <= set(signature.parameters)
    calls = []

    def recorded(*args: Any, **kwargs: Any) -> Tensor:
        calls.append(signature.bind(*args, **kwargs))
        return torch.zeros(1)

    recorded.__signature__ = signature  # type: ignore[attr-defined]
    options = AttentionOptions(0.3, **{n: 1 for n in BACKENDS[name].arguments if n != "sinks_K"})
    call(name, recorded, inputs(), options)
    assert calls


@pytest.mark.parametrize(
    ("options", "heads", "name"),
    [
        (PLAIN, (64, 64), "flash_attn_2"),
        (WINDOW, (64, 64), "flash_attn_2"),
        (BOTH, (256, 256), "flash_attn_2"),
        (WITH_SINKS, (64, 64), "flash_attn_4"),
        (PLAIN, (192, 128), "flash_attn_4"),
        (PLAIN, (96, 64), "flash_attn_4"),
        (PLAIN, (20, 12), BUCKETED),
        (PLAIN, (512, 512), BUCKETED),
        (WITH_SINKS, (256, 256), BUCKETED),
        (AttentionOptions(dropout=0.1), (64, 64), BUCKETED),
        (AttentionOptions(mask_KTT=SINKS), (64, 64), BUCKETED),
    ],
)
def test_the_first_kernel_that_can_do_all_is_used(
    options: AttentionOptions, heads: tuple[int, int], name: str
) -> None:
    assert choose_backend(wanted(options), heads, STAND_INS) == name


def test_what_is_not_installed_or_too_old_is_passed_over() -> None:
    only_torch = {"torch_varlen": STAND_INS["torch_varlen"]}
    assert choose_backend(wanted(WINDOW), (64, 64), only_torch) == "torch_varlen"
    assert choose_backend(wanted(SOFTCAP), (64, 64), only_torch) == BUCKETED
    old = {"torch_varlen": torch_varlen_2_10}
    assert choose_backend(wanted(PLAIN), (64, 64), old) == "torch_varlen"
    assert choose_backend(wanted(WINDOW), (64, 64), old) == BUCKETED
    assert choose_backend(wanted(PLAIN), (64, 64), {}) == BUCKETED


def test_a_window_that_no_sequence_crosses_changes_no_bit() -> None:
    qkv, bounds = inputs(), torch.tensor([0, *LENGTHS]).cumsum(0).int()
    plain = packed_attention(*qkv, bounds, 9, PLAIN)
    assert torch.equal(plain, packed_attention(*qkv, bounds, 9, PLAIN._replace(window=9)))
    assert not torch.equal(plain, packed_attention(*qkv, bounds, 9, PLAIN._replace(window=8)))


def test_mixed_precision_under_autocast() -> None:
    q, k, v = inputs()
    bounds = torch.tensor([0, *LENGTHS]).cumsum(0).int()
    for options in (PLAIN, BOTH, WITH_SINKS):
        with torch.autocast("cpu", torch.bfloat16):
            mixed = packed_attention(q, k, v.bfloat16(), bounds, 9, options)
        assert mixed.dtype == torch.bfloat16
        assert (mixed - truth([q, k, v], options)).abs().max() < 3e-2
