"""What is compared with what: one function for each kind of comparison.

Shape letters: N tokens, V vocabulary, H hidden size.
"""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import torch

from bench.loss_head import peers, variants
from bench.loss_head.harness import Call, Comparison
from bench.loss_head.inputs import HeadInputs, LogitsInputs, Setting
from bench.loss_head.measurement import Case, Shape
from bench.loss_head.truth import ErrorsOf
from dupo_kernels import PolicyObjective, policy_objective

PASSES = {False: "forward", True: "forward+backward"}
Build = Callable[..., Any]


def case_of(op: str, setting: str, backward: bool, shape: Shape, dtype: torch.dtype) -> Case:
    """The case by the types of torch."""
    return Case(op, setting, PASSES[backward], shape, str(dtype).removeprefix("torch."))


def token_logprobs(
    inputs: LogitsInputs, entropy: bool, backward: bool, libraries: Collection[str], errors: ErrorsOf
) -> Comparison:
    """From logits: a copy of as many bytes is the floor."""
    (logits_NV,) = inputs.leaves
    N, V = logits_NV.shape
    setting, floor = _words("entropy" if entropy else "logp", inputs.setting), "copy of the same bytes"
    case = case_of("token_logprobs", setting, backward, (N, V, 0), logits_NV.dtype)
    # One read of the logits; backward one more read and one write of the gradient.
    moved = logits_NV.numel() * logits_NV.element_size() * (3 if backward else 1)
    comparison = Comparison(case, moved, "GB/s", floor, errors)
    call = partial(variants.call, inputs=inputs, backward=backward)
    comparison.add(floor, variants.without_result, variants.bare_copy, inputs, backward)
    comparison.add("ours", call, variants.our_logits, inputs, entropy=entropy)
    if backward:
        # In place the gradient overwrites the logits, so each run needs fresh ones.
        in_place = {"entropy": entropy, "inplace_backward": True}
        call_on_copies = partial(call, overwrites=True)
        comparison.add("ours, in place", call_on_copies, variants.our_logits, inputs, **in_place)
    _add_torch(comparison, libraries, call, partial(variants.eager_logits, inputs, entropy))
    for key, name, make in peers.LOGITS:
        if key in libraries:
            comparison.add(name, call, make, inputs, entropy)
    return comparison


def fused(
    inputs: LogitsInputs, objective: PolicyObjective, libraries: Collection[str], errors: ErrorsOf
) -> Comparison:
    """From logits to the loss and its gradient: a copy, one read and one write, is the floor."""
    (logits_NV,) = inputs.leaves
    floor = "copy, one read and one write"
    setting = _words(_loss_words(objective), inputs.setting)
    case = case_of("fused_policy_loss", setting, True, (*logits_NV.shape, 0), logits_NV.dtype)
    moved = 2 * logits_NV.numel() * logits_NV.element_size()
    comparison = Comparison(case, moved, "GB/s", floor, errors)
    call = partial(variants.loss_call, inputs=inputs, backward=True)
    overwriting = partial(call, overwrites=True)
    comparison.add(floor, variants.without_result, variants.one_copy, inputs)
    # One launch on a GPU; what one launch replaces is the last of ours.
    comparison.add("ours", call, variants.our_fused_loss, inputs, objective)
    comparison.add("ours, in place", overwriting, variants.our_fused_loss, inputs, objective, inplace=True)
    two_kernels = partial(variants.our_two_kernels, inputs, objective, inplace_backward=True)
    comparison.add("ours, token_logprobs and policy_loss", overwriting, two_kernels)
    entropy = objective.entropy_coef != 0

    def scored(make: Build) -> Build:
        return lambda: variants.loss_of(make(inputs, entropy), inputs, objective)

    _add_torch(comparison, libraries, call, scored(variants.eager_logits))
    for key, name, make in peers.LOGITS:
        if key in libraries:
            comparison.add(name, call, scored(make))
    return comparison


def linear(
    head: HeadInputs,
    objective: PolicyObjective | None,
    entropy: bool,
    backward: bool,
    libraries: Collection[str],
    errors: ErrorsOf,
) -> Comparison:
    """From hidden states: `linear_objective`, or `linear_token_logprobs` without an objective."""
    comparison, call, ours = _linear(head, objective, entropy, backward, errors)
    dtype = head.leaves[0].dtype
    comparison.add("ours", call, ours)
    if head.rows is not None:
        # A mask on the device instead of a list of rows on the host: the host waits for their number.
        comparison.add("ours, mask", call, ours, rows=None, mask=head.weights != 0)
    if dtype != torch.float32:
        # Half the bytes of logits, at the precision that docs/loss_head.md states.
        comparison.add("ours, half logits", call, ours, logits_dtype=dtype)
    if objective is None:
        # Recomputes all logits in the backward pass: four GEMMs, the least memory.
        comparison.add("ours, save_budget=0", call, ours, save_budget=0)

    def scored(make: Build) -> Build:
        """What the call wants of a head: the head, or the loss on top of the head."""
        if objective is None:
            return make
        return lambda *args: variants.loss_of(make(*args), head, objective)

    _add_torch(comparison, libraries, call, partial(scored(variants.eager_head), head, entropy))
    for key, name, make in peers.HEADS:
        # No head of another library has a softcap in common with the others.
        if key in libraries and not head.setting.softcap:
            comparison.add(name, call, scored(make), head.targets, entropy)
    if objective is not None and "liger" in libraries:
        comparison.add("Liger chunked GRPO", call, peers.liger_loss, head, objective)
    if objective is not None and "quack" in libraries:
        # Its value is another loss, so only its time is compared.
        def timed(function: Build) -> Call:
            return variants.without_result(call(function).run)

        name = "QuACK cross-entropy, no RL loss"
        comparison.add(name, timed, peers.quack_loss, head, False)
        comparison.add(f"{name}, scaled exp", timed, peers.quack_loss, head, True)
    return comparison


def memory(head: HeadInputs) -> Iterator[Comparison]:
    """The options that trade memory for time: bytes of logits that are kept, rows of logits at once."""
    N, V, _ = head.shape
    logits_bytes = N * V * 4
    chunks = [{"chunk_tokens": N // number} for number in (2, 4, 8)]
    budgets = [{"save_budget": logits_bytes // share} for share in (1, 2, 4)] + [{"save_budget": 0}]
    for objective in (policy_objective("dapo"), None):
        comparison, call, ours = _linear(head, objective, False, True, lambda _: {})
        comparison.case = comparison.case._replace(setting="memory")
        # A token objective makes its gradients in the forward pass: no logits are kept, whatever the budget.
        choices = chunks if objective else [*budgets, *({"save_budget": 0} | chunk for chunk in chunks)]
        for options in [{}, *choices]:
            name = ", ".join(["ours", *(f"{option}={_short(value)}" for option, value in options.items())])
            comparison.add(name, call, ours, **options)
        if not objective:
            comparison.add("TRL ChunkedLogProbFunction", call, peers.trl_head, head.targets, False)
        yield comparison


def gemms(head: HeadInputs) -> Comparison:
    """Each product alone: what a float32 result, a float32 sum and strided rows cost."""
    hidden_NH, weight_VH = head.plain
    N, V, H = head.shape
    mm, wide = variants.product, partial(variants.product, out_dtype=torch.float32)
    float32_NV = torch.empty(N, V, dtype=torch.float32, device=hidden_NH.device)
    # As dlogits lie in float32 logits: a row of half precision fills the first half of its float32 row.
    strided_NV = float32_NV.view(hidden_NH.dtype)[:, :V]
    dense_NV = strided_NV.copy_(hidden_NH @ weight_VH.t()).contiguous()
    total_VH = torch.zeros_like(weight_VH, dtype=torch.float32)
    summed = partial(wide, total=total_VH)
    case = case_of("gemm", "one product", False, head.shape, hidden_NH.dtype)
    comparison = Comparison(case, 2 * N * V * H, "TFLOP/s", "logits")
    for name, product in {
        "logits": partial(mm, hidden_NH, weight_VH.t()),
        "logits, float32": partial(wide, hidden_NH, weight_VH.t()),
        "dhidden": partial(mm, dense_NV, weight_VH),
        "dhidden, float32": partial(wide, dense_NV, weight_VH),
        "dhidden, rows apart": partial(mm, strided_NV, weight_VH),
        "dweight": partial(mm, dense_NV.t(), hidden_NH),
        "dweight, rows apart": partial(mm, strided_NV.t(), hidden_NH),
        "dweight, float32": partial(wide, dense_NV.t(), hidden_NH),
        "dweight, float32 sum": partial(summed, dense_NV.t(), hidden_NH),
        "dweight, float32 sum, rows apart": partial(summed, strided_NV.t(), hidden_NH),
    }.items():
        comparison.add(name, variants.without_result, partial, product)
    return comparison


# --- shared by the comparisons above ---------------------------------------------------------------


def _linear(
    head: HeadInputs, objective: PolicyObjective | None, entropy: bool, backward: bool, errors: ErrorsOf
) -> tuple[Comparison, Build, Build]:
    """A comparison with its floor, what makes calls, and what makes the variant of dupo_kernels."""
    (N, V, H), dtype = head.shape, head.leaves[0].dtype
    if objective is None:
        op, setting = "linear_token_logprobs", _words("entropy" if entropy else "logp", head.setting)
        call: Build = partial(variants.call, inputs=head, backward=backward)
        ours = partial(variants.our_head, head, entropy=entropy)
    else:
        op, setting = "linear_objective", _words(_loss_words(objective), head.setting)
        call = partial(variants.loss_call, inputs=head, backward=backward)
        ours = partial(variants.our_loss, head, objective)
    floor = "three bare GEMMs" if backward else "one bare GEMM"
    # A multiplication and an addition count as two operations; a token that does not count needs none.
    rows = N if head.rows is None else head.rows.numel()
    flop = 2 * rows * V * H * (3 if backward else 1)
    case = case_of(op, setting, backward, head.shape, dtype)
    comparison = Comparison(case, flop, "TFLOP/s", floor, errors)
    bare = partial(variants.bare_gemms, head, backward)
    comparison.add(floor, variants.without_result, bare)
    # A CPU has no product of bf16 into float32: it would time the casts.
    if dtype != torch.float32 and head.targets.is_cuda:
        name = f"{floor}, float32 logits"
        comparison.add(name, variants.without_result, bare, out_dtype=torch.float32)
    return comparison, call, ours


def _add_torch(comparison: Comparison, libraries: Collection[str], call: Build, make: Build) -> None:
    if "torch" in libraries:
        comparison.add("eager torch", call, make)
    if "compile" in libraries:
        comparison.add("torch.compile", call, lambda: variants.compiled(make()))


def _loss_words(objective: PolicyObjective) -> str:
    level = "gspo, " if objective.importance_sampling_level == "sequence" else ""
    beta = f", beta={objective.beta:g}" if objective.beta else ""
    return f"{level}{objective.loss_type}, entropy_coef={objective.entropy_coef:g}{beta}"


def _words(first: str, setting: Setting) -> str:
    return ", ".join([first, *setting.words])


def _short(value: int) -> str:
    return f"{value >> 20} MiB" if value >= 1 << 20 else str(value)
