"""The inputs of a linear head: checked, cast, flattened, and in one record.

    logits = logit_scale (hidden weight^T + bias), then softcap and temperature as in logits/logprobs.py

The scale is folded into temperature and softcap here, so that nothing else knows it. The module does not know
chunks or losses.

Shape letters: N tokens, M tokens that count, V vocabulary (of this process), H hidden. "Tokens" is (N,) or
(B, T).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels.hidden import sharding
from dupo_kernels.logits.logprobs import check_scaling
from dupo_kernels.tokens.layout import advantages_per_token, check_tokens, token_layout
from dupo_kernels.tokens.policy_objective import TOKEN_INPUTS


class HeadInputs(NamedTuple):
    """The inputs of a linear head, one field for each argument of its custom ops.

    Attributes:
        hidden: (N, H); (M, H) after `take`.
        weight: (V, H). bias: (V,) or None. Both of the type of hidden.
        targets: (N,) int64; after `take` (M,), in the numbering of this process's vocabulary.
        inv_temperature: (N,) or (1,), in the type of the sums; logit_scale is part of it.
        softcap: in units of hidden weight^T, before logit_scale; 0 means none.
        logits_dtype: of hidden, or float32 above a half type.
        group: name of the process group that shares the vocabulary; "" means none.
        wants_dhidden, wants_dweight, wants_dbias: which gradients the backward pass needs.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: Tensor
    inv_temperature: Tensor
    softcap: float
    logits_dtype: torch.dtype
    group: str
    wants_dhidden: bool
    wants_dweight: bool
    wants_dbias: bool

    @property
    def wants_gradient(self) -> bool:
        """Whether any of the three gradients is needed."""
        return self.wants_dhidden or self.wants_dweight or self.wants_dbias

    def take(self, row_index: Tensor | None) -> "HeadInputs":
        """The inputs of the rows in `row_index` (M,), gathered; None means all rows."""
        # Targets of other processes fall outside [0, V), where logp is NaN; `combine` skips NaN.
        targets = self.targets
        if self.group:
            targets = targets - sharding.vocabulary_start(self.group, self.weight.shape[0])
        if row_index is None:
            return self._replace(targets=targets)
        shared = self.inv_temperature.numel() == 1
        return self._replace(
            hidden=self.hidden[row_index],
            targets=targets[row_index],
            inv_temperature=self.inv_temperature if shared else self.inv_temperature[row_index],
        )


def prepare_head(
    hidden: Tensor,
    weight: Any,
    targets: Tensor,
    bias: Any,
    *,
    temperature: float | Tensor,
    logit_scale: float,
    softcap: float | None,
    logits_dtype: torch.dtype,
    process_group: Any,
) -> HeadInputs:
    """Checks the inputs of `linear_token_logprobs`, casts them as autocast says, and flattens them.

    Raises:
        ValueError: shapes, dtypes or devices that do not match, or values out of range.
    """
    weight, bias = sharding.gathered(weight), sharding.gathered(bias)
    # A custom op is opaque to autocast, so the casts that torch.nn.functional.linear would get happen here.
    # float64 is left alone, as autocast does.
    device_type = hidden.device.type
    if torch.is_autocast_enabled(device_type) and hidden.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device_type)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    _check_head(hidden, weight, targets, bias, logits_dtype)
    check_scaling(targets.shape, temperature, softcap)
    if not logit_scale > 0:
        raise ValueError(f"logit_scale must be positive, got {logit_scale}")
    N = targets.numel()
    wide = torch.promote_types(hidden.dtype, torch.float32)
    # c tanh(s z / c) = s c' tanh(z / c') with c' = c / s: a scale before the softcap c is one after c'.
    if isinstance(temperature, Tensor):
        inv_temperature = logit_scale * temperature.to(hidden.device, wide).reciprocal()
        inv_temperature = inv_temperature.expand(targets.shape).reshape(N)
    else:
        inv_temperature = torch.full((1,), logit_scale / temperature, dtype=wide, device=hidden.device)
    grad_enabled = torch.is_grad_enabled()  # inside an autograd.Function grad mode is always off
    return HeadInputs(
        hidden=hidden.reshape(N, hidden.shape[-1]),
        weight=weight,
        bias=bias,
        targets=targets.reshape(N),
        inv_temperature=inv_temperature,
        softcap=(softcap or 0.0) / logit_scale,
        logits_dtype=wide if hidden.dtype.itemsize >= 4 else logits_dtype,
        group="" if process_group is None else process_group.group_name,
        wants_dhidden=grad_enabled and hidden.requires_grad,
        wants_dweight=grad_enabled and weight.requires_grad,
        wants_dbias=grad_enabled and bias is not None and bias.requires_grad,
    )


def _check_head(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, logits_dtype: torch.dtype
) -> None:
    tokens = tuple(targets.shape)
    if hidden.shape[:-1] != targets.shape or hidden.dim() == 0:
        raise ValueError(
            f"hidden must be (*tokens, H), targets (*tokens); got {(*hidden.shape,)} and {tokens}"
        )
    if weight.dim() != 2 or weight.shape[1] != hidden.shape[-1] or weight.shape[0] == 0:
        got = tuple(weight.shape)
        raise ValueError(f"weight must be (V, H), V > 0, with H = {hidden.shape[-1]} of hidden, got {got}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be (V,) = ({weight.shape[0]},), got {tuple(bias.shape)}")
    if targets.dtype != torch.int64:
        raise ValueError(f"targets must be int64, got {targets.dtype}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != hidden.dtype:
            raise ValueError(f"{name} must have the type of hidden {hidden.dtype}, got {tensor.dtype}")
    for name, tensor in (("weight", weight), ("bias", bias), ("targets", targets)):
        if tensor is not None and tensor.device != hidden.device:
            raise ValueError(f"{name} must be on {hidden.device} like hidden, got {tensor.device}")
    if not hidden.is_floating_point() or logits_dtype not in (torch.float32, hidden.dtype):
        raise ValueError(f"logits_dtype must be float32 or that of hidden {hidden.dtype}, got {logits_dtype}")


def check_tensors(required: Sequence[str] = ("hidden", "weight", "targets"), **inputs: Any) -> None:
    """Raises ValueError for an input that is no tensor; None is allowed unless the input is `required`."""
    for name, x in inputs.items():
        if not isinstance(x, Tensor) and (x is not None or name in required):
            raise ValueError(f"{name} must be a tensor, got {type(x).__name__}")


def check_rows(
    targets: Tensor, mask: Tensor | None, rows: Tensor | None, save_budget: int, chunk_tokens: int | None
) -> None:
    """Raises ValueError unless mask, rows and the sizes of chunks can be used with these targets."""
    if mask is not None and rows is not None:
        raise ValueError("mask or rows may be given, got both")
    if mask is not None and mask.shape != targets.shape:
        raise ValueError(
            f"mask must have the shape of targets {tuple(targets.shape)}, got {tuple(mask.shape)}"
        )
    if rows is not None and (rows.dim() != 1 or rows.dtype not in (torch.int64, torch.int32)):
        raise ValueError(f"rows must be integers of shape (M,), got {rows.dtype} of {tuple(rows.shape)}")
    if save_budget < 0:
        raise ValueError(f"save_budget must not be negative (bytes), got {save_budget}")
    if chunk_tokens is not None and chunk_tokens < 1:
        raise ValueError(f"chunk_tokens must be positive, got {chunk_tokens}")


def flatten_per_token(
    per_token: Mapping[str, Tensor | None],
    targets: Tensor,
    mask: Tensor | None,
    cu_seqlens: Tensor | None,
    *,
    for_policy: bool,
) -> dict[str, Tensor]:
    """The per-token inputs of an objective that are there, detached, (N,) each.

    Args:
        per_token: by name; tokens each, for a policy objective also advantages of sequences.
        targets, mask, cu_seqlens: see `linear_objective`.
        for_policy: the objective is a `PolicyObjective`, which knows its inputs by name.

    Raises:
        ValueError: an unknown name or a wrong shape; for a user's objective, an input that requires grad.
    """
    inputs = {name: x for name, x in per_token.items() if x is not None}
    if for_policy:
        if unknown := set(inputs) - set(TOKEN_INPUTS):
            raise ValueError(
                f"per_token may hold {', '.join(TOKEN_INPUTS)}, got {', '.join(sorted(unknown))}"
            )
        # Advantages of sequences need the layout before anything is flattened.
        advantages = inputs.get("advantages")
        if advantages is not None and advantages.shape != targets.shape:
            layout = token_layout(targets, "targets", mask, cu_seqlens)
            inputs["advantages"] = advantages_per_token(advantages, layout)
    check_tokens(targets.shape, "targets", **inputs)
    # The objective runs in the forward pass of an autograd.Function: a gradient of these would be lost.
    if not for_policy and (learned := [name for name, x in inputs.items() if x.requires_grad]):
        raise ValueError(f"per_token is not differentiated, got requires_grad in {', '.join(learned)}")
    return {name: x.detach().reshape(-1) for name, x in inputs.items()}
