"""The inputs of a linear head: checked, cast, flattened, and in one record.

    logits = logit_scale (hidden weight^T + bias), then softcap and temperature as in logits/logprobs.py

The scale is folded into temperature and softcap here, so that nothing else knows it. The module does not know
chunks or losses.

Shape letters: N tokens, M tokens that count, V vocabulary (of this process), H hidden. "Tokens" is (N,) or
(B, T).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels._checks import (
    FLOATING,
    INDEX,
    INT64,
    REAL,
    check_bounds_on_host,
    check_bounds_shape,
    check_count,
    check_devices,
    check_flags,
    check_host_or_device,
    check_mask,
    check_row_indices,
    check_tensors,
)
from dupo_kernels._copies import to_device
from dupo_kernels._messages import refused
from dupo_kernels.hidden import sharding
from dupo_kernels.hidden.gemm import sum_dtype_of
from dupo_kernels.logits.logprobs import check_scaling
from dupo_kernels.tokens.layout import advantages_by_sequence, check_tokens, packed_layout
from dupo_kernels.tokens.policy_objective import TOKEN_INPUTS


class HeadInputs(NamedTuple):
    """The inputs of a linear head, one field for each argument of its custom ops.

    Attributes:
        hidden: (N, H); (M, H) after `take`.
        weight: (V, H). bias: (V,) or None. Both of the type of hidden.
        targets: (N,) int64, or (N, K) for K targets of each token; after `take` (M,) or (M, K), in the
            numbering of this process's vocabulary.
        inv_temperature: (N,), logit_scale / temperature of each token in the type of the sums; None where
            all tokens have the same.
        inv_temperature_of_all: logit_scale / temperature where inv_temperature is None: a number costs no
            launch.
        softcap: in units of hidden weight^T, before logit_scale; 0 means none.
        logits_dtype: of hidden, or float32 above a half type.
        dhidden_dtype: of hidden, or float32 above a half type where the backward pass of autograd casts.
        group: name of the process group that shares the vocabulary; "" means none.
        wants_dhidden, wants_dweight, wants_dbias: which gradients the backward pass needs.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: Tensor
    inv_temperature: Tensor | None
    inv_temperature_of_all: float
    softcap: float
    logits_dtype: torch.dtype
    dhidden_dtype: torch.dtype
    group: str
    wants_dhidden: bool
    wants_dweight: bool
    wants_dbias: bool

    @property
    def num_tokens(self) -> int:
        """N; M after `take`."""
        return self.targets.shape[0]

    @property
    def has_several_targets(self) -> bool:
        """Whether targets are (N, K)."""
        return self.targets.dim() == 2

    @property
    def wide(self) -> torch.dtype:
        """The type of sums, losses and statistics."""
        return torch.promote_types(self.hidden.dtype, torch.float32)

    @property
    def wants_gradient(self) -> bool:
        """Whether any of the three gradients is needed."""
        return self.wants_dhidden or self.wants_dweight or self.wants_dbias

    def take_hidden(self, row_index: Tensor | None) -> "HeadInputs":
        """Hidden states of the rows in `row_index` (M,), gathered; all else stays that of the N tokens."""
        return self if row_index is None else self._replace(hidden=self.hidden[row_index])

    def take(self, row_index: Tensor | None) -> "HeadInputs":
        """The inputs of the rows in `row_index` (M,), gathered; None means all rows."""
        # Targets of other processes fall outside [0, V), where logp is NaN; `combine` skips NaN.
        targets = self.targets
        if self.group:
            targets = targets - sharding.vocabulary_start(self.group, self.weight.shape[0])
        if row_index is None:
            return self._replace(targets=targets)
        of_tokens = self.inv_temperature
        return self._replace(
            hidden=self.hidden[row_index],
            targets=targets[row_index],
            inv_temperature=None if of_tokens is None else of_tokens[row_index],
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
    check: bool,
    several_targets: bool = False,
) -> HeadInputs:
    """Checks the inputs of `linear_token_logprobs`, casts them as autocast says, and flattens them.

    Args:
        several_targets: targets may be (*tokens, K).

    Raises:
        ValueError: shapes, dtypes or devices that do not match, or values out of range.
    """
    check_flags(check=check)
    check_tensors(FLOATING, ("hidden", "weight"), hidden=hidden, weight=weight, bias=bias)
    check_tensors(INT64, ("targets",), targets=targets)
    weight, bias = sharding.gathered(weight), sharding.gathered(bias)
    check_devices(hidden.device, "hidden", weight=weight, bias=bias, targets=targets)
    # A custom op is opaque to autocast, so the casts that torch.nn.functional.linear would get happen here.
    # float64 is left alone, as autocast does.
    device_type = hidden.device.type
    if device_type != "meta" and torch.is_autocast_enabled(device_type) and hidden.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device_type)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    tokens = first_targets(hidden, targets) if several_targets else targets
    _check_head(hidden, weight, tokens, bias, logits_dtype)
    check_scaling(hidden, tokens, temperature, softcap=softcap, logit_scale=logit_scale, check=check)
    if process_group is not None and not hasattr(process_group, "group_name"):
        raise refused("process_group", "a process group of torch.distributed, or None", process_group)
    N = tokens.numel()
    wide = torch.promote_types(hidden.dtype, torch.float32)
    # c tanh(s z / c) = s c' tanh(z / c') with c' = c / s: a scale before the softcap c is one after c'.
    inv_temperature, of_all = None, 1.0
    if isinstance(temperature, Tensor):
        inv_temperature = logit_scale * temperature.to(hidden.device, wide).reciprocal()
        inv_temperature = inv_temperature.expand(tokens.shape).reshape(N)
    else:
        of_all = float(logit_scale / temperature)
    grad_enabled = torch.is_grad_enabled()  # inside an autograd.Function grad mode is always off
    return HeadInputs(
        hidden=hidden.reshape(N, hidden.shape[-1]),
        weight=weight,
        bias=bias,
        targets=targets.reshape(N, *targets.shape[tokens.dim() :]),
        inv_temperature=inv_temperature,
        inv_temperature_of_all=of_all,
        softcap=(softcap or 0.0) / logit_scale,
        logits_dtype=wide if hidden.dtype.itemsize >= 4 else logits_dtype,
        dhidden_dtype=sum_dtype_of(hidden),
        group="" if process_group is None else process_group.group_name,
        wants_dhidden=grad_enabled and hidden.requires_grad,
        wants_dweight=grad_enabled and weight.requires_grad,
        wants_dbias=grad_enabled and bias is not None and bias.requires_grad,
    )


def first_targets(hidden: Tensor, targets: Tensor) -> Tensor:
    """The target of each token; the first of each where targets are (*tokens, K).

    Raises:
        ValueError: no targets.
    """
    # Only the number of dimensions tells (B, T) from (N, K).
    if hidden.dim() == 0 or targets.dim() != hidden.dim():
        return targets
    if targets.shape[-1] == 0:
        raise refused("targets", "shape (*tokens, K) with K > 0, or that of the tokens", targets.shape)
    return targets[..., 0]


def _check_head(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, logits_dtype: torch.dtype
) -> None:
    if hidden.dim() == 0 or hidden.shape[:-1] != targets.shape:
        raise refused(
            "hidden", f"shape (*tokens, H) with the tokens {tuple(targets.shape)} of targets", hidden.shape
        )
    H = hidden.shape[-1]
    if weight.dim() != 2 or weight.shape[1] != H or weight.shape[0] == 0:
        raise refused("weight", f"shape (V, H) with V > 0 and H = {H} of hidden", weight.shape)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise refused("bias", f"shape (V,) = ({weight.shape[0]},)", bias.shape)
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != hidden.dtype:
            raise refused(name, f"the type of hidden {hidden.dtype}", tensor.dtype)
    if not isinstance(logits_dtype, torch.dtype) or logits_dtype not in (torch.float32, hidden.dtype):
        raise refused("logits_dtype", f"torch.float32 or that of hidden {hidden.dtype}", logits_dtype)


def check_rows(
    targets: Tensor,
    mask: Any,
    rows: Any,
    *,
    save_budget: Any,
    chunk_tokens: Any,
    check: bool,
    like: str = "targets",
    **flags: Any,
) -> None:
    """Raises ValueError unless mask, rows, flags and the sizes of chunks can be used with these targets.

    Args:
        like: what the caller named the tensor whose tokens these are.
    """
    check_flags(**flags)
    check_tensors(REAL, mask=mask)
    check_tensors(INDEX, rows=rows)
    check_host_or_device(targets.device, like, mask=mask, rows=rows)
    if mask is not None and rows is not None:
        raise ValueError("mask and rows: expected at most one of them, got both")
    check_tokens(targets.shape, like, mask=mask)
    check_mask("mask", mask, check)
    if rows is not None:
        if rows.dim() != 1:
            raise refused("rows", "shape (M,)", rows.shape)
        check_row_indices(rows, targets.numel(), check)
    check_count("save_budget", save_budget, at_least=0)
    if chunk_tokens is not None:
        check_count("chunk_tokens", chunk_tokens, at_least=1)


def check_token_bounds(targets: Tensor, cu_seqlens: Any, check: bool) -> None:
    """Raises ValueError unless cu_seqlens is None, or bounds sequences of targets (N,)."""
    if cu_seqlens is None:
        return
    check_bounds_shape(cu_seqlens)
    check_host_or_device(targets.device, "targets", cu_seqlens=cu_seqlens)
    if targets.dim() != 1:
        raise refused("targets", "shape (N,) with cu_seqlens", targets.shape)
    # Whoever reads bounds on a device asserts them there.
    check_bounds_on_host(cu_seqlens, targets.numel(), check)


def flatten_per_token(
    per_token: Any,
    targets: Tensor,
    cu_seqlens: Tensor | None,
    *,
    for_policy: bool,
) -> dict[str, Tensor]:
    """The per-token inputs of an objective that are there, detached, (N,) each.

    Args:
        per_token: by name; tokens each, for a policy objective also advantages of sequences.
        targets, cu_seqlens: see `linear_objective`; cu_seqlens may be on the host.
        for_policy: the objective is a `PolicyObjective`, which knows its inputs by name.

    Raises:
        ValueError: an unknown name or a wrong shape; for a user's objective, an input that requires grad.
    """
    if not isinstance(per_token, Mapping) or not all(isinstance(name, str) for name in per_token):
        raise refused("per_token", "tensors by name", per_token)
    inputs = {name: x for name, x in per_token.items() if x is not None}
    if for_policy and (unknown := sorted(set(inputs) - set(TOKEN_INPUTS))):
        raise ValueError(f"per_token: expected names of {', '.join(TOKEN_INPUTS)}, got {', '.join(unknown)}")
    check_tensors(REAL, **inputs)
    check_devices(targets.device, "targets", **inputs)
    if for_policy:
        # Advantages of sequences need the layout before anything is flattened.
        advantages, S = inputs.get("advantages"), None if cu_seqlens is None else cu_seqlens.numel() - 1
        if advantages is not None and advantages_by_sequence(advantages, targets.shape, S):
            inputs["advantages"] = _of_tokens(advantages, targets, cu_seqlens)
    check_tokens(targets.shape, "targets", **inputs)
    # The objective runs in the forward pass of an autograd.Function: a gradient of these would be lost.
    if not for_policy and (learned := [name for name, x in inputs.items() if x.requires_grad]):
        raise ValueError(
            f"per_token: expected no requires_grad (it is not differentiated), got it in {', '.join(learned)}"
        )
    return {name: x.detach().reshape(-1) for name, x in inputs.items()}


def _of_tokens(advantages: Tensor, targets: Tensor, cu_seqlens: Tensor | None) -> Tensor:
    """The advantages of sequences, for each of their tokens."""
    if cu_seqlens is None:
        return advantages.reshape(-1, 1).expand(targets.shape)
    owner = packed_layout(to_device(cu_seqlens, targets.device), targets.numel()).owner
    return advantages[owner]
