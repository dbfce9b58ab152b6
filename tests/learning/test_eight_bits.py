"""Moments of 8 bits in float32 and back: the same codes with their scales, whatever the numbers."""

import pytest
import torch

from dupo.config.options import OptimizerOptions
from dupo.learning import eight_bits
from dupo.learning.optimizer import make_optimizer
from tests.helpers.worlds import tiny

BLOCKS = 300


@pytest.mark.parametrize("key", eight_bits.MOMENTS)
def test_codes_come_back_with_the_scales_of_their_blocks(key: str) -> None:
    pytest.importorskip("torchao")
    draws = torch.Generator().manual_seed(0)
    # Blocks of every size that a float32 gradient has.
    sizes = torch.logspace(-20, 3, BLOCKS)[:, None]
    numbers = (torch.randn(BLOCKS, 256, generator=draws) * sizes).view(BLOCKS // 2, 512)
    numbers = numbers if key == "exp_avg" else numbers.square()
    weight = torch.zeros_like(numbers)
    optimizer = make_optimizer(tiny().model, OptimizerOptions(optim="adamw_torch_8bit"))
    moment = eight_bits.in_eight_bits(optimizer, weight, key, numbers)
    scale, values = eight_bits.scale_of(moment), eight_bits.in_float32(moment)
    assert scale is not None and type(values) is torch.Tensor
    again = eight_bits.in_eight_bits(optimizer, weight, key, values.clone(), scale.clone())
    for one, other in zip(again.__tensor_flatten__()[0], moment.__tensor_flatten__()[0], strict=True):
        assert one == other and torch.equal(getattr(again, one), getattr(moment, one)), one
    # The map of means ends at -0.993: of many blocks the largest number is negative, and comes back smaller.
    anew = eight_bits.scale_of(eight_bits.in_eight_bits(optimizer, weight, key, values))
    assert torch.equal(anew, scale) == (key == "exp_avg_sq")


def test_a_part_that_torchao_leaves_in_float32_stays() -> None:
    pytest.importorskip("torchao")
    optimizer = make_optimizer(tiny().model, OptimizerOptions(optim="adamw_torch_8bit"))
    for count in (0, 256, 4096 + 128):
        numbers = torch.randn(count)
        moment = eight_bits.in_eight_bits(optimizer, torch.zeros(count), "exp_avg", numbers)
        assert eight_bits.scale_of(moment) is None
        assert torch.equal(moment, numbers) and eight_bits.in_float32(moment) is moment
