"""token_weights against loops over sequences, and the sums that must not depend on how a batch is cut."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import token_weights
from tests.helpers.numerics import NoSync

LENGTHS = [5, 1, 0, 3]
MASK = torch.arange(6)[None] < torch.tensor(LENGTHS)[:, None]
CU_SEQLENS = torch.tensor([0, 5, 6, 6, 9], dtype=torch.int32)
LOSSES = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
BY_SEQUENCE = ["grpo", "sapo", "dr_grpo", "luspo"]
LOSS_TYPES = [*BY_SEQUENCE, "dapo", "bnpo", "cispo", "vespo"]
MAX_LENGTH = 7


def by_hand(loss_type: str) -> float:
    """The loss as the formulas of the papers read; sequences without tokens are counted, as in TRL."""
    rows = [LOSSES[b, :n].tolist() for b, n in enumerate(LENGTHS)]
    if loss_type in ("grpo", "sapo"):
        return sum(sum(row) / max(len(row), 1) for row in rows) / len(rows)
    items = {"dr_grpo": len(rows) * MAX_LENGTH, "luspo": len(rows)}
    return sum(map(sum, rows)) / items.get(loss_type, sum(map(len, rows)))


def weights(loss_type: str, *args: Any, **options: Any) -> Tensor:
    return token_weights(loss_type, *args, max_completion_length=MAX_LENGTH, dtype=torch.float64, **options)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_padded_is_the_formula(loss_type: str, dtype: torch.dtype) -> None:
    w = weights(loss_type, MASK.to(dtype))
    assert (LOSSES * w).sum().item() == pytest.approx(by_hand(loss_type), rel=1e-12)
    assert not w[~MASK].any()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_packed_equals_padded(loss_type: str, dtype: torch.dtype) -> None:
    packed = weights(loss_type, cu_seqlens=CU_SEQLENS.to(dtype))
    torch.testing.assert_close(packed, weights(loss_type, MASK)[MASK], rtol=1e-15, atol=0)
    longer = weights(loss_type, cu_seqlens=CU_SEQLENS + 2, num_tokens=14)
    torch.testing.assert_close(longer[2:11], packed, rtol=0, atol=0)
    assert not longer[:2].any()
    assert not longer[11:].any()


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_packed_with_a_mask_equals_padded(loss_type: str, dtype: torch.dtype) -> None:
    """Holes within the sequences; one that holds tokens of which none counts; tokens outside the bounds."""
    holes = MASK & (torch.arange(24).view(4, 6) % 3 != 1)
    holes[3] = False
    assert 0 < holes[0].sum() < LENGTHS[0]
    padded = weights(loss_type, holes)
    outside = torch.tensor([True, True])
    mask = torch.cat([outside, holes[MASK], outside]).to(dtype)
    packed = weights(loss_type, mask, CU_SEQLENS + 2)
    torch.testing.assert_close(packed[2:-2], padded[MASK], rtol=1e-15, atol=0)
    assert not packed[:2].any()
    assert not packed[-2:].any()
    assert packed[2:-2][holes[MASK]].all()
    everything = torch.ones(9, dtype=dtype)
    found, expected = weights(loss_type, everything, CU_SEQLENS), weights(loss_type, cu_seqlens=CU_SEQLENS)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_a_flat_mask_has_no_sequences(loss_type: str) -> None:
    """It is enough where only tokens are counted."""
    if loss_type in BY_SEQUENCE:
        with pytest.raises(ValueError, match=rf"cu_seqlens: expected bounds, .*'{loss_type}'"):
            weights(loss_type, torch.ones(3))
    else:
        assert weights(loss_type, torch.tensor([1, 0, 1])).tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_any_split_sums_to_the_whole(loss_type: str, as_tensor: bool) -> None:
    items = len(LENGTHS) if loss_type in BY_SEQUENCE else sum(LENGTHS)
    num_items = torch.tensor(items) if as_tensor else items
    for cut in range(5):
        parts = [weights(loss_type, MASK[at], num_items=num_items) for at in (slice(cut), slice(cut, 4))]
        assert (LOSSES * torch.cat(parts)).sum().item() == pytest.approx(by_hand(loss_type), rel=1e-12)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_nothing_active_weighs_nothing(loss_type: str) -> None:
    assert not weights(loss_type, torch.zeros(2, 3)).any()
    assert weights(loss_type, torch.zeros(0, 3)).shape == (0, 3)
    assert weights(loss_type, cu_seqlens=torch.tensor([0])).shape == (0,)
    assert token_weights("dapo", torch.ones(3)).tolist() == pytest.approx([1 / 3] * 3)
    assert token_weights("dapo", torch.ones(3)).dtype == torch.float32


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_never_waits_for_the_device(loss_type: str) -> None:
    nine = torch.tensor(9)
    with NoSync():
        assert weights(loss_type, MASK, num_items=nine).shape == (4, 6)
        assert weights(loss_type, cu_seqlens=CU_SEQLENS, num_tokens=9).shape == (9,)
        assert weights(loss_type, torch.ones(9), CU_SEQLENS).shape == (9,)
    with NoSync(allowed=1) as mode:  # N is read from the last bound if nothing else tells it
        assert weights(loss_type, cu_seqlens=CU_SEQLENS).shape == (9,)
    assert mode.allowed == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"loss_type": "ppo", "mask": MASK},
            "loss_type: expected one of grpo, bnpo, dr_grpo, dapo, cispo, sapo, luspo, vespo, got 'ppo'",
        ),
        ({"loss_type": "grpo"}, "mask and cu_seqlens: expected one of them, got neither"),
        (
            {"loss_type": "grpo", "mask": MASK, "cu_seqlens": CU_SEQLENS},
            r"mask: expected shape \(N,\) .* got \(4, 6\)",
        ),
        ({"loss_type": "dr_grpo", "mask": MASK}, "max_completion_length: expected .*'dr_grpo', got None"),
        (
            {"loss_type": "dr_grpo", "mask": MASK, "max_completion_length": 0},
            "max_completion_length: expected .* got 0",
        ),
        (
            {"loss_type": "dapo", "mask": MASK, "num_items": 0},
            "num_items: expected a positive number of .*, got 0",
        ),
        ({"loss_type": "grpo", "mask": torch.ones(3)}, r"tokens of shape \(B, T\), .*'grpo'.* got .*\(3,\)"),
        (
            {"loss_type": "grpo", "cu_seqlens": torch.ones(3)},
            r"cu_seqlens: expected a dense tensor of integers, got torch.float32",
        ),
        (
            {"loss_type": "grpo", "cu_seqlens": torch.tensor([4])},
            "mask and cu_seqlens|cu_seqlens: expected two bounds or more, .* got",
        ),
    ],
)
def test_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        token_weights(**arguments)
