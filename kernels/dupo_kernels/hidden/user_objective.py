"""An objective that is a user's code: autograd differentiates it on tokens, the head does the rest.

The code sees log-probabilities and entropies as leaves, never logits. With scope "token" it sees the tokens
of one chunk; with scope "sequence" and padded tokens the sequences of one chunk, if sequences fit chunks;
otherwise all tokens at once in their layout. A callable cannot be an argument of a custom op, so
torch.compile breaks its graph here.

Shape letters: N tokens, M rows (tokens that count), C rows of one chunk, B padded sequences, b of them in one
chunk, T their length.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dupo_kernels._messages import refused
from dupo_kernels.hidden.chunk_loop import Evaluation, run_objective
from dupo_kernels.hidden.chunks import RowPlan, scatter_rows
from dupo_kernels.hidden.early_gradients import save_gradients, scaled_gradients
from dupo_kernels.hidden.inputs import HeadInputs
from dupo_kernels.hidden.segments import Segments, segments_of
from dupo_kernels.hidden.user_view import View, view_of_sequences
from dupo_kernels.logits.rows import RowStatistics
from dupo_kernels.tokens.layout import in_bounds
from dupo_kernels.tokens.statistics import reduce_stats

Objective = Callable[..., tuple[Tensor, dict[str, Tensor]]]


@dataclass
class UserCall:
    """One call of a user's objective; everything but the tensors that autograd must see.

    Attributes:
        head: the inputs of all N tokens; hidden, weight and bias are replaced by those that autograd passes.
        plan: which rows count, and their chunks.
        objective: (logprobs, entropy or None, **per_token) -> (loss, stats) of each token.
        weights: (N,). per_token: by name, (N,) each.
        shape: (B, T) or (N,), of the tokens before they were flattened.
        cu_seqlens: (S + 1,) bounds of packed sequences, or None.
        with_entropy: the objective gets the entropy.
        grad_scale: factor of the derivatives; 1 for none.
        stats: filled by the forward pass, scalars by name: an autograd.Function returns tensors only.
    """

    head: HeadInputs
    plan: RowPlan
    objective: Objective
    weights: Tensor
    per_token: dict[str, Tensor]
    shape: list[int]
    cu_seqlens: Tensor | None
    with_entropy: bool
    grad_scale: float
    stats: dict[str, Tensor] = field(default_factory=dict)

    def evaluator(self, row_index: Tensor | None) -> "UserRows":
        """The objective for the rows of this call."""
        bounds, device = self.plan.segment_bounds, self.weights.device
        return UserRows(self, row_index, None if bounds is None else segments_of(bounds, device))

    def reduce(self, stats: dict[str, Tensor], rows: "UserRows", dtype: torch.dtype) -> dict[str, Tensor]:
        """Scalars of what the rows reported."""
        return reduce_stats(stats, rows.active_M, dtype)


class UserRows:
    """A user's objective, to be called with the statistics of some rows."""

    def __init__(self, call: UserCall, row_index: Tensor | None, segments: Segments | None = None) -> None:
        self.call, self.row_index, self.segments = call, row_index, segments
        self.by_token = getattr(call.objective, "scope", "token") == "token"
        active_N = in_bounds(call.weights, call.cu_seqlens)
        self.active_M = self._take(active_N)
        self.active_N = active_N
        if row_index is not None:
            self.active_N = scatter_rows(self.active_M, call.weights.numel(), row_index)

    @property
    def by_chunk(self) -> bool:
        """Whether the rows of a chunk are enough."""
        return self.by_token or self.segments is not None

    def __call__(self, statistics: RowStatistics, rows: slice) -> Evaluation:
        """The weighted loss of the rows and its derivatives, by autograd."""
        call = self.call
        # Leaves of a small graph on tokens: grad mode is off in a forward pass, and logits must stay outside.
        leaves = [statistics.logp.clone().requires_grad_()]
        if call.with_entropy:
            leaves.append(statistics.entropy.clone().requires_grad_())
        view = self._view(rows)
        with torch.enable_grad():
            shown = [view.from_rows(x) for x in leaves]
            weights = view.from_tokens(call.weights)
            per_token = {name: view.from_tokens(x) for name, x in call.per_token.items()}
            result = call.objective(shown[0], shown[1] if call.with_entropy else None, **per_token)
            loss, stats = _checked(result, weights)
            # A weight of 0 times an infinite loss must not spoil the sum.
            total = (loss * weights).where(weights != 0, 0.0).sum()
        # An objective may ignore the entropy, or everything: then there is no slope.
        slopes: tuple[Tensor | None, ...] = (None,)
        if total.requires_grad:
            slopes = torch.autograd.grad(total, leaves, allow_unused=True)
        if self.by_token:
            # An infinite loss of weight 0 has a slope of NaN. In a sequence such a token may move the others.
            slopes = tuple(x if x is None else x.where(weights != 0, 0.0) for x in slopes)
        dlogp, dentropy = (None if x is None else x * call.grad_scale for x in (*slopes, None)[:2])
        dlogp = torch.zeros_like(leaves[0]) if dlogp is None else dlogp
        flat = {name: x.detach().expand(weights.shape).flatten() for name, x in stats.items()}
        flat = {name: view.to_rows(x) for name, x in flat.items()}
        return Evaluation(total.detach(), dlogp, dentropy, flat)

    def _take(self, values_N: Tensor) -> Tensor:
        return values_N if self.row_index is None else values_N[self.row_index]

    def _view(self, rows: slice) -> View:
        """Where the code finds the tokens of a chunk; those that do not count are 0: they may hold NaN."""
        if self.by_token:
            token = None if self.row_index is None else self.row_index[rows]
            active_C = self.active_M[rows]
            return View(active_C.shape, active_C, None, rows if token is None else token)
        # Where one chunk holds all rows, the code sees what it would see without chunks.
        if self.segments is None or rows.stop - rows.start == self.active_M.numel():
            return View(self.call.shape, self.active_N, self.row_index, slice(None))
        return view_of_sequences(self.segments, rows, self.row_index, self.active_M, self.call.shape[1])


class UserObjective(torch.autograd.Function):
    """The loss of a `UserCall` or a `GroupCall`, differentiable once in hidden, weight and bias."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, call):
        """Runs the objective and makes the gradients."""
        head = call.head._replace(hidden=hidden, weight=weight, bias=bias)
        N = head.targets.numel()
        row_index, chunks = call.plan.resolve(N)
        evaluate = call.evaluator(row_index)
        loss, stats, gradients = run_objective(
            head.take(row_index),
            chunks,
            evaluate,
            with_entropy=call.with_entropy,
            by_chunk=evaluate.by_chunk,
        )
        call.stats.update(call.reduce(stats, evaluate, loss.dtype))
        results = gradients.result(N, row_index)
        save_gradients(ctx, results, head, grad_scale=call.grad_scale, num_inputs=4)
        return loss

    @staticmethod
    def backward(ctx, grad):
        """Scales the gradients."""
        return scaled_gradients(ctx, grad)


def _checked(result: Any, weights: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise ValueError(f"objective: expected (loss, stats) as its result, got {type(result).__name__}")
    loss, stats = result
    if not isinstance(loss, Tensor) or loss.shape != weights.shape:
        raise refused(
            "objective", f"a loss for each token {tuple(weights.shape)}", getattr(loss, "shape", loss)
        )
    if loss.is_complex():
        raise refused("objective", "losses that are real numbers", loss.dtype)
    for name, x in stats.items():
        shapes = zip(x.shape[::-1], weights.shape[::-1], strict=False) if isinstance(x, Tensor) else [(0, 1)]
        # Sizes are compared from the last one on, as broadcasting does.
        if any(n not in (1, m) for n, m in shapes) or x.dim() > weights.dim():
            expected = f"a tensor that broadcasts to the tokens {tuple(weights.shape)}"
            raise refused(f"stats[{name!r}] of the objective", expected, x)
    return loss, stats
