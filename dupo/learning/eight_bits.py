"""Moments of AdamW in 8 bits (torchao) as plain tensors, which a checkpoint holds, and back to the same bits.

    moment = map[code] * scale            a code for each number, a scale for each block of 256
    code   = nearest(map, moment / scale)

One process saves codes, scales and map. The blocks of a rank are those of its own part, and another number of
ranks has other parts. So several ranks save moments in float32, which any number of ranks quantizes anew, and
beside them the scales, with which as many ranks come back to the same codes. Without its scale a block whose
largest number is negative would come back changed: the map of means ends at -0.993 and at 1.

Where torchao keeps a part in float32 (below 4,096 numbers, or no multiple of 256), it stays in float32.
"""

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from dupo.models.sharding import local

MOMENTS = ("exp_avg", "exp_avg_sq")


def scale_of(moment: Tensor) -> Tensor | None:
    """The scale of each block of this rank's part of a moment; None where the part is in float32."""
    own = local(moment)
    return own.scale if _is_quantized(own) else None  # type: ignore[attr-defined]


def _is_quantized(tensor: Any) -> bool:
    # What torch asks of every tensor that is made of others; a weight of the average is one of another class.
    return hasattr(tensor, "__tensor_flatten__")


def plain_parts(moment: Any) -> Any:
    """Codes, scales and map of this rank's part of a moment, by name; all else as it is."""
    own = local(moment) if isinstance(moment, Tensor) else moment
    if not _is_quantized(own):
        return moment
    names, _ = own.__tensor_flatten__()  # type: ignore[attr-defined]
    return {name: getattr(own, name) for name in names}


def from_parts(key: str, parts: dict[str, Tensor]) -> Tensor:
    """The moment whose parts `plain_parts` gave.

    Args:
        key: `exp_avg` or `exp_avg_sq`.
    """
    from torchao.optim.subclass_8bit import OptimState8bit  # type: ignore[import-not-found]

    # Means of gradients have a sign, means of their squares have none.
    return OptimState8bit(**parts, signed=key == "exp_avg", dtype=torch.float32)


def in_float32(moment: Tensor) -> Tensor:
    """A moment in float32, shared out over ranks as the moment is."""
    own = local(moment)
    if not _is_quantized(own):
        return moment
    numbers = own.dequantize()  # type: ignore[attr-defined]
    if not isinstance(moment, DTensor):
        return numbers
    places, shape, stride = moment.placements, moment.shape, moment.stride()
    return DTensor.from_local(
        numbers, moment.device_mesh, places, run_check=False, shape=shape, stride=stride
    )


@torch.no_grad()
def in_eight_bits(
    optimizer: Any, weight: Tensor, key: str, numbers: Tensor, scale: Tensor | None = None
) -> Tensor:
    """What the optimizer keeps as a moment of a weight.

    Args:
        optimizer: of torchao.
        key: `exp_avg` or `exp_avg_sq`.
        numbers: the moment in float32, shared out as the weight is.
        scale: of each block of this rank's part, if the part was in 8 bits; else the blocks have new scales.
    """
    from torchao.optim.quant_utils import quantize_8bit_with_qmap  # type: ignore[import-not-found]

    # torchao alone knows which parts are too small for it.
    moment = optimizer._new_buffer(weight, key == "exp_avg")
    own: Any = local(moment)
    values = local(numbers).to(own.device)
    if not _is_quantized(own) or scale is None or scale.shape != own.scale.shape:
        own.copy_(values)
        return moment
    own.scale.copy_(scale)
    blocks = values.view(len(scale), -1) / own.scale[:, None]
    own.codes.copy_(quantize_8bit_with_qmap(blocks, own.qmap).view(own.codes.shape))
    return moment
