"""What is compared with what, and in what order.

Shape letters: N tokens, V vocabulary, H hidden.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from bench.loss_head import inputs, peers, truth, variants
from bench.loss_head.harness import Group, Result, Row, Session, reason
from bench.loss_head.inputs import Head, Logits, Shape
from dupo_kernels import PolicyObjective, policy_objective

ENTROPY_COEF = 0.01
PASSES = {False: "forward", True: "forward+backward"}

GPU_SHAPES = [(8192, 151_936, 4096), (16_384, 128_256, 4096), (16_384, 248_320, 2048), (4096, 32_000, 2048)]
CPU_SHAPE, CPU_LOGITS, CPU_MEMORY = (128, 32_000, 256), (64, 151_936, 0), (256, 32_000, 64)
LIBRARIES = ("torch", "trl", "liger", "cce", "quack")
Errors = Callable[[Result], dict[str, float]]
Build = Callable[..., Any]


@dataclass(frozen=True)
class Step:
    """One operation at one shape, measured in one go.

    Attributes:
        op: linear_objective, linear_token_logprobs, token_logprobs, memory (of both linear ones), gemms.
        who: variants beside ours and the floor: LIBRARIES, "compile".
        entropy: without, with; of a linear_objective, an entropy bonus.
        backward: with, without.
    """

    op: str
    shape: Shape
    dtype: str = "bfloat16"
    who: Collection[str] = LIBRARIES
    entropy: Sequence[bool] = (False, True)
    backward: Sequence[bool] = (True, False)

    @property
    def name(self) -> str:
        kind = "-compile" if self.who == ("compile",) else "" if True in self.backward else "-forward"
        return f"{self.op}{kind}-{'x'.join(str(n) for n in self.shape if n)}-{self.dtype}"

    def rows(self, session: Session) -> Iterator[list[Row]]:
        """A group at a time. What has no room for its inputs is a group of one row, which says so."""
        try:
            for group in self.groups(session.device):
                yield session.measure(group)
        except torch.OutOfMemoryError as error:
            about = _about(self.op, "all", True, self.shape, getattr(torch, self.dtype))
            row = about | {"variant": "inputs and truth", "reason": reason(error)}
            yield [row]

    def groups(self, device: torch.device) -> Iterator[Group]:
        dtype = getattr(torch, self.dtype)
        if self.op == "token_logprobs":
            given = inputs.make_logits(self.shape, dtype, device)
            for entropy in self.entropy:
                errors = truth.logits_errors(given, entropy)
                for backward in self.backward:
                    yield token_logprobs(given, entropy, backward, self.who, errors)
            return
        head = inputs.make_head(self.shape, dtype, device)
        if self.op == "gemms":
            yield gemms(head)
        elif self.op == "memory":
            yield from memory(head)
        else:
            known = truth.sums(head)
            for entropy in self.entropy:
                objective = policy_objective("dapo", entropy_coef=ENTROPY_COEF if entropy else 0.0)
                if self.op == "linear_objective":
                    loss, *slopes = truth.objective_slopes(head, known, objective)
                else:
                    objective, loss, slopes = None, None, [s.double() for s in head.slopes]
                errors = truth.head_errors(head, known, slopes[0], slopes[1] if entropy else None, loss)
                for backward in self.backward:
                    yield linear(head, objective, entropy, backward, self.who, errors)


def gpu_steps(shapes: Sequence[Shape] = GPU_SHAPES) -> list[Step]:
    """The most important first: what they promise at the first two shapes, then the rest."""
    first, second, *others = shapes
    forward, both_passes, plain = (False,), (True,), (False,)
    steps = [Step("gemms", first), Step("gemms", second)]
    steps += [Step("linear_objective", shape, backward=both_passes) for shape in (first, second)]
    steps += [Step("token_logprobs", first), Step("memory", first)]
    steps += [Step("linear_token_logprobs", first, backward=both_passes), Step("token_logprobs", second)]
    steps += [Step("linear_objective", shape, backward=both_passes) for shape in others]
    steps += [
        Step(op, first, who=("compile",), backward=both_passes, entropy=plain)
        for op in ("linear_objective", "token_logprobs", "linear_token_logprobs")
    ]
    steps += [Step("linear_token_logprobs", shape, backward=both_passes) for shape in shapes[1:]]
    steps += [Step("token_logprobs", shape) for shape in others]
    steps += [
        Step(op, shape, backward=forward)
        for op in ("linear_objective", "linear_token_logprobs")
        for shape in shapes
    ]
    return steps


def cpu_steps() -> list[Step]:
    """The torch path, beside what is not much slower than it on a CPU."""
    who, both_passes = ("torch", "trl"), (True,)
    steps = []
    for dtype in ("bfloat16", "float32"):
        steps += [Step("linear_objective", CPU_SHAPE, dtype, who, (False,), both_passes)]
        steps += [Step("linear_token_logprobs", CPU_SHAPE, dtype, who, (True,), both_passes)]
        steps += [Step("token_logprobs", CPU_LOGITS, dtype, who, (True,))]
    return [*steps, Step("memory", CPU_MEMORY, "float32")]


# --- one group each --------------------------------------------------------------------------------


def token_logprobs(
    given: Logits, entropy: bool, backward: bool, who: Collection[str], errors: Errors
) -> Group:
    (logits,) = given.leaves
    setting, floor = "entropy" if entropy else "logp", "copy of the same bytes"
    about = _about("token_logprobs", setting, backward, (*logits.shape, 0), logits.dtype)
    moved = logits.numel() * logits.element_size() * (3 if backward else 1)
    group = Group(about, moved, "GB/s", floor, errors)
    call = partial(variants.call, given=given, backward=backward)
    group.add(floor, variants.untold, variants.bare_copy, given, backward)
    group.add("ours", call, variants.our_logits, given, entropy=entropy)
    if backward:
        in_place = {"entropy": entropy, "inplace_backward": True}
        group.add("ours, in place", partial(call, consumed=True), variants.our_logits, given, **in_place)
    _add_torch(group, who, call, partial(variants.eager_logits, given, entropy))
    for key, name, make in peers.LOGITS:
        if key in who:
            group.add(name, call, make, given, entropy)
    return group


def linear(
    head: Head,
    objective: PolicyObjective | None,
    entropy: bool,
    backward: bool,
    who: Collection[str],
    errors: Errors,
) -> Group:
    """linear_objective, or without an objective linear_token_logprobs."""
    group, call, ours = _linear(head, objective, entropy, backward, errors)
    dtype = head.leaves[0].dtype
    group.add("ours", call, ours)
    if dtype != torch.float32:
        group.add("ours, half logits", call, ours, logits_dtype=dtype)
    if objective is None:
        group.add("ours, save_budget=0", call, ours, save_budget=0)

    def scored(make: Build) -> Build:
        """A head as what the call wants: itself, or the loss by it."""
        return make if objective is None else lambda *a: variants.loss_of(make(*a), head, objective)

    _add_torch(group, who, call, partial(scored(variants.eager_head), head, entropy))
    for key, name, make in peers.HEADS:
        if key in who:
            group.add(name, call, scored(make), head.targets, entropy)
    if objective is not None and "liger" in who:
        group.add("Liger chunked GRPO", call, peers.liger_loss, head, objective)
    if objective is not None and "quack" in who:
        for name, scaled in ("", False), (", scaled exp", True):
            other = lambda function: variants.untold(call(function).run)  # noqa: E731
            group.add(f"QuACK cross-entropy, no RL loss{name}", other, peers.quack_loss, head, scaled)
    return group


def memory(head: Head) -> Iterator[Group]:
    """The knobs: bytes of logits that are kept, and rows of logits that exist at once."""
    N, V, _ = head.shape
    whole = N * V * 4
    chunks = [{"chunk_tokens": N // parts} for parts in (2, 4, 8)]
    kept = [{"save_budget": whole // parts} for parts in (1, 2, 4)] + [{"save_budget": 0}]
    for objective in (policy_objective("dapo"), None):
        group, call, ours = _linear(head, objective, False, True, lambda _: {})
        group.about["setting"] = "memory"
        for options in [{}, *chunks] if objective else [{}, *kept, *({"save_budget": 0} | c for c in chunks)]:
            name = ", ".join(["ours", *(f"{option}={_short(value)}" for option, value in options.items())])
            group.add(name, call, ours, **options)
        if not objective:
            group.add("TRL ChunkedLogProbFunction", call, peers.trl_head, head.targets, False)
        yield group


def gemms(head: Head) -> Group:
    """Each product by itself: what a float32 result, a float32 sum and rows that lie apart cost."""
    hidden, weight = head.plain
    N, V, H = head.shape
    mixed: dict[str, Any] = {"out_dtype": torch.float32}
    wide = torch.empty(N, V, dtype=torch.float32, device=hidden.device)
    apart = wide.view(hidden.dtype)[:, :V]  # as dlogits lies in float32 logits
    close = apart.copy_(hidden @ weight.t()).contiguous()
    total = torch.zeros_like(weight, dtype=torch.float32)
    mm, addmm = torch.mm, partial(torch.addmm, total, out=total, **mixed)
    about = _about("gemm", "one product", False, head.shape, hidden.dtype)
    group = Group(about, 2 * N * V * H, "TFLOP/s", "logits")
    for name, product in {
        "logits": partial(mm, hidden, weight.t()),
        "logits, float32": partial(mm, hidden, weight.t(), **mixed),
        "dhidden": partial(mm, close, weight),
        "dhidden, rows apart": partial(mm, apart, weight),
        "dweight": partial(mm, close.t(), hidden),
        "dweight, rows apart": partial(mm, apart.t(), hidden),
        "dweight, float32": partial(mm, close.t(), hidden, **mixed),
        "dweight, float32 sum": partial(addmm, close.t(), hidden),
        "dweight, float32 sum, rows apart": partial(addmm, apart.t(), hidden),
    }.items():
        group.add(name, variants.untold, partial, product)
    return group


# --- what they share -------------------------------------------------------------------------------


def _about(op: str, setting: str, backward: bool, shape: Sequence[int], dtype: torch.dtype) -> Row:
    about = {"op": op, "setting": setting, "pass": PASSES[backward], "shape": list(shape)}
    return about | {"dtype": str(dtype).removeprefix("torch.")}


def _linear(
    head: Head, objective: PolicyObjective | None, entropy: bool, backward: bool, errors: Errors
) -> tuple[Group, Build, Build]:
    """A group with its floor, what makes calls, and what makes ours."""
    (N, V, H), dtype = head.shape, head.leaves[0].dtype
    if objective is None:
        op, setting = "linear_token_logprobs", "entropy" if entropy else "logp"
        call: Build = partial(variants.call, given=head, backward=backward)
        ours = partial(variants.our_head, head, entropy=entropy)
    else:
        op, setting = "linear_objective", f"dapo, entropy_coef={objective.entropy_coef:g}"
        call = partial(variants.loss_call, head=head, backward=backward)
        ours = partial(variants.our_loss, head, objective)
    floor = "three bare GEMMs" if backward else "one bare GEMM"
    flop = 2 * N * V * H * (3 if backward else 1)
    group = Group(_about(op, setting, backward, head.shape, dtype), flop, "TFLOP/s", floor, errors)
    bare = partial(variants.bare_gemms, head, backward)
    group.add(floor, variants.untold, bare)
    if dtype != torch.float32 and head.targets.is_cuda:
        group.add(f"{floor}, float32 logits", variants.untold, bare, out_dtype=torch.float32)
    return group, call, ours


def _add_torch(group: Group, who: Collection[str], call: Build, make: Build) -> None:
    if "torch" in who:
        group.add("eager torch", call, make)
    if "compile" in who:
        group.add("torch.compile", call, lambda: variants.compiled(make()))


def _short(value: int) -> str:
    return f"{value >> 20} MiB" if value >= 1 << 20 else str(value)
