"""A policy objective on rows of a head: statistics of some rows in, their losses and derivatives out.

Rows are tokens in another order and without those that do not count. An objective that knows sequences sees
the whole sequences of a chunk. Where chunks cut sequences, it must see all tokens in their layout: then rows
are scattered into the layout and derivatives gathered again. The module does not know logits.

Shape letters: N tokens, M rows (tokens that count), C rows of one chunk, S packed sequences.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dupo_kernels.hidden.chunk_loop import Evaluation
from dupo_kernels.hidden.chunks import scatter_rows
from dupo_kernels.hidden.runs import Runs
from dupo_kernels.logits.rows import RowStatistics
from dupo_kernels.tokens.layout import Layout, in_bounds, token_layout
from dupo_kernels.tokens.policy_objective import TOKEN_INPUTS, PolicyObjective
from dupo_kernels.tokens.token_form import as_tokens, scope_as_tokens
from dupo_kernels.tokens.token_inputs import TokenInputs
from dupo_kernels.tokens.token_objective import TokenObjective, token_objective


class PolicyTokens(NamedTuple):
    """What a policy objective reads beside the head, one field for each argument of its custom op.

    Attributes:
        weights: (N,), of each token.
        advantages, old_logprobs, ref_logprobs, sampling_logprobs: (N,), or None where an input is not there.
        shape: (B, T) or (N,), of the tokens before they were flattened.
        cu_seqlens: (S + 1,) bounds of packed sequences, or None.
        with_entropy: the objective reads or reports the entropy.
        grad_scale: factor of the derivatives; 1 for none.
        is_fused: one kernel computes log-probabilities, objective and dlogits; the scope `as_tokens` is
            "token".
    """

    weights: Tensor
    advantages: Tensor | None
    old_logprobs: Tensor | None
    ref_logprobs: Tensor | None
    sampling_logprobs: Tensor | None
    shape: list[int]
    cu_seqlens: Tensor | None
    with_entropy: bool
    grad_scale: float
    is_fused: bool

    def inputs(self) -> dict[str, Tensor]:
        """The per-token inputs that are there, by name."""
        named = {name: getattr(self, name) for name in TOKEN_INPUTS}
        return {name: x for name, x in named.items() if x is not None}


def _all_tokens(tokens: PolicyTokens, row_index: Tensor | None) -> Layout:
    N, device = tokens.weights.numel(), tokens.weights.device
    active = torch.ones(N, dtype=torch.bool, device=device)
    if row_index is not None:
        active = torch.zeros_like(active).index_fill_(0, row_index, True)
    active = active.view(tokens.shape)
    return token_layout(active, "targets", active, tokens.cu_seqlens)


def _as_tokens(
    objective: PolicyObjective, tokens: PolicyTokens, layout: Layout
) -> tuple[PolicyObjective, dict[str, Tensor], Tensor]:
    """`as_tokens` of a call; inputs and weights are (N,)."""
    inputs = {name: x.view(tokens.shape) for name, x in tokens.inputs().items()}
    objective, inputs, weights = as_tokens(objective, inputs, tokens.weights.view(tokens.shape), layout)
    return objective, {name: x.reshape(-1) for name, x in inputs.items()}, weights.reshape(-1)


def kernel_objective(
    objective: PolicyObjective, tokens: PolicyTokens, row_index: Tensor | None
) -> TokenObjective:
    """The objective as kernels take it: they read the token of a row by its index, so nothing is gathered."""
    inputs, weights = tokens.inputs(), tokens.weights
    if objective.scope(inputs) != "token":
        objective, inputs, weights = _as_tokens(objective, tokens, _all_tokens(tokens, row_index))
    N, cu_seqlens = weights.numel(), tokens.cu_seqlens
    # The rows of a chunk begin at 0, but bounds count from the first token.
    if row_index is None and cu_seqlens is not None:
        row_index = torch.arange(N, device=weights.device)
    return token_objective(
        objective,
        TokenInputs(
            weights=weights.contiguous(),
            index=row_index,
            cu_seqlens=cu_seqlens,
            sequences=0 if cu_seqlens is None else cu_seqlens.numel() - 1,
            num_tokens=N,
            **{name: x.contiguous() for name, x in inputs.items()},
        ),
        has_entropy=tokens.with_entropy,
        grad_scale=tokens.grad_scale,
    )


class PolicyRows:
    """A policy objective of one call, to be called with the statistics of some rows.

    Attributes:
        layout: of all tokens, for an objective that must see them; None if the rows of a chunk are enough.
        active_M: bool, which rows lie within cu_seqlens.
    """

    def __init__(
        self,
        objective: PolicyObjective,
        tokens: PolicyTokens,
        row_index: Tensor | None,
        runs: Runs | None = None,
    ) -> None:
        self.objective, self.tokens, self.row_index, self.runs = objective, tokens, row_index, runs
        self.layout: Layout | None = None
        inputs, weights = tokens.inputs(), tokens.weights
        if runs is None and objective.scope(inputs) != "token":
            layout = _all_tokens(tokens, row_index)
            if scope_as_tokens(objective, inputs) == "token":
                self.objective, inputs, weights = _as_tokens(objective, tokens, layout)
            else:
                self.layout = layout
        # Tokens outside cu_seqlens may be rows (a packed batch with a tail of padding): their loss is 0.
        self.active_M = self._take(in_bounds(tokens.weights, tokens.cu_seqlens))
        if self.layout is None:
            self.weights = self._take(weights).where(self.active_M, 0.0)
            self.inputs = {name: self._take(x) for name, x in inputs.items()}
        else:
            self.weights = weights.view(tokens.shape).where(self.layout.active, 0.0)
            self.inputs = {name: x.view(tokens.shape) for name, x in inputs.items()}

    def __call__(self, statistics: RowStatistics, rows: slice) -> Evaluation:
        """The weighted loss of the rows and its derivatives; with a layout, `rows` must be all rows."""
        logp = statistics.logp
        entropy = statistics.entropy if self.tokens.with_entropy else None
        if self.layout is None:
            weights, inputs = self.weights[rows], {name: x[rows] for name, x in self.inputs.items()}
            active = self.active_M[rows]
            # Without runs lengths are never read: no token has a sequence.
            layout = Layout(active, weights, 1) if self.runs is None else self.runs.layout(rows, active)
        else:
            weights, inputs, layout = self.weights, self.inputs, self.layout
            logp = self._scatter(logp)
            entropy = None if entropy is None else self._scatter(entropy)
        # Closed forms, no autograd: inside an op there is no graph.
        terms = self.objective.terms(logp, entropy, weights, layout, **inputs)
        dlogp = self._gather(terms.dlogp)
        # Without a coefficient the entropy has no gradient, and the kernel need not read it.
        dentropy = terms.dentropy if self.objective.entropy_coef else None
        dentropy = None if dentropy is None else self._gather(dentropy)
        stats = {name: self._gather(x.expand(logp.shape)) for name, x in terms.stats.items()}
        # Before the gradients are rounded to float16, where small ones would vanish.
        grad_scale = self.tokens.grad_scale
        if grad_scale != 1:
            dlogp = dlogp * grad_scale
            dentropy = None if dentropy is None else dentropy * grad_scale
        return Evaluation((terms.loss * weights).sum(), dlogp, dentropy, stats)

    def _take(self, values_N: Tensor) -> Tensor:
        return values_N if self.row_index is None else values_N[self.row_index]

    def _scatter(self, values_M: Tensor) -> Tensor:
        N = self.tokens.weights.numel()
        return scatter_rows(values_M, N, self.row_index).view(self.tokens.shape)

    def _gather(self, values: Tensor) -> Tensor:
        return values if self.layout is None else self._take(values.flatten())
