"""Checks against Liger-Kernel's chunked DPO, CPO, SimPO, ORPO and KTO, in plain PyTorch.

Twice: as functions of sums of log-probabilities, which keep to float64; and from hidden states to the
gradients of both factors, where Liger's softmax is that of float32. Liger's batches are TRL's, all chosen
sequences and then all rejected ones; in ours the two of a pair stand together.
"""

import importlib
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from dupo_kernels import linear_objective, linear_token_logprobs, preference_loss, preference_objective
from tests.peers.peer_checks import EXACT, SINGLE, Checks, H, V, assert_apart, assert_close, differentiated

PAIRS, LONGEST = 5, 9
S = 2 * PAIRS
PROMPTS = torch.tensor([0, 2, 3, 1, 0, 0, 2, 3, 1, 0])
ENDS = torch.tensor([9, 7, 5, 4, 1, 9, 5, 8, 2, 6])
TOKENS = ENDS - PROMPTS
MASK = (torch.arange(LONGEST) >= PROMPTS[:, None]) & (torch.arange(LONGEST) < ENDS[:, None])
DESIRABLE = torch.tensor([True, False, True, True, False, False, True, False, True, True])
PAIRED = torch.arange(S).view(2, PAIRS).t().flatten()  # chosen and rejected side by side
BETA, NLL = 0.2, 0.7

# Of Liger's DPO, by the name of the loss there and here.
DPO: dict[str, dict[str, Any]] = {
    "sigmoid": {},
    "hinge": {},
    "exo_pair": {"label_smoothing": 0.001},
    "nca_pair": {},
    "robust": {"label_smoothing": 0.1},
    "bco_pair": {},
    "sppo_hard": {},
    "apo_zero": {},
    "apo_down": {},
    "discopop": {"discopop_tau": 0.2},
}
# Module of Liger, its options, ours.
UNREFERENCED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "cpo": ("CPO", {}, {"loss_type": "sigmoid", "reference_free": True}),
    "cpo-smoothed": (
        "CPO",
        {"label_smoothing": 0.2},
        {"loss_type": "sigmoid", "reference_free": True, "label_smoothing": 0.2},
    ),
    "simpo": ("SimPO", {"gamma": 0.7}, {"loss_type": "simpo", "simpo_gamma": 0.7}),
    "simpo-smoothed": (
        "SimPO",
        {"gamma": 0.7, "label_smoothing": 0.2},
        {"loss_type": "simpo", "simpo_gamma": 0.7, "label_smoothing": 0.2},
    ),
    "orpo": ("ORPO", {}, {"loss_type": "orpo"}),
}


def function(name: str) -> Any:
    """The loss of Liger's chunk: a function of log-probabilities of sequences."""
    module = importlib.import_module(f"liger_kernel.chunked_loss.{name.lower()}_loss")
    return getattr(module, f"LigerFusedLinear{name}Function").preference_loss_fn


def module(name: str, **options: Any) -> Any:
    """Liger's loss, as torch runs it."""
    losses = importlib.import_module("liger_kernel.chunked_loss")
    return getattr(losses, f"LigerFusedLinear{name}Loss")(compiled=False, **options)


# --- losses as functions of log-probabilities, in float64 --------------------------------------------


def batch() -> tuple[Tensor, Tensor]:
    """Log-probs of all tokens (S, LONGEST), and sums of the reference that are not far off."""
    generator = torch.Generator().manual_seed(2)
    logprobs = -0.01 - torch.rand(S, LONGEST, generator=generator).double()
    reference = (logprobs * MASK).sum(1) + torch.rand(S, generator=generator) - 0.5
    return logprobs.requires_grad_(), reference


def beside_function(
    name: str, theirs: dict[str, Any], *, averaged: bool = False, with_reference: bool = False, **ours: Any
) -> tuple[list[Tensor], list[Tensor]]:
    """[loss, dlogprobs] of pairs, ours and Liger's."""
    logprobs, reference = batch()
    sums = (logprobs * MASK).sum(1)
    scale = TOKENS if averaged else 1
    if with_reference:
        pair = ("ref_chosen_logps", "ref_rejected_logps")
        theirs = theirs | dict(zip(pair, (reference / scale).chunk(2), strict=True))
    # Of the targets Liger reads how many there are.
    loss = function(name)(*(sums / scale).chunk(2), MASK, beta=BETA, **theirs)[0]
    refs = {"ref_logps": reference} if with_reference else {}
    own, _ = preference_loss(logprobs, mask=MASK, beta=BETA, **refs, **ours)
    return differentiated(own, logprobs), differentiated(loss, logprobs)


def functions() -> None:
    for kind, options in DPO.items():
        found = beside_function(
            "DPO", {"loss_type": kind} | options, with_reference=True, loss_type=kind, **options
        )
        # Liger's epsilon is a float32 tensor.
        assert_close(*found, 1e-7 if kind == "exo_pair" else EXACT, kind)
    found = beside_function("DPO", {}, averaged=True, with_reference=True, loss_type="sigmoid_norm")
    assert_close(*found, EXACT, "average_log_prob is sigmoid_norm")
    for kind, (name, theirs, ours) in UNREFERENCED.items():
        assert_close(*beside_function(name, theirs, averaged=name != "CPO", **ours), EXACT, kind)


def kto_function() -> None:
    for kl in (torch.tensor(0.0).double(), torch.tensor(0.4).double()):
        logprobs, reference = batch()
        sums = (logprobs * MASK).sum(1)
        theirs = function("KTO")(sums, DESIRABLE, MASK, reference, beta=BETA, kl=kl)[0]
        ours, _ = preference_loss(
            logprobs, mask=MASK, loss_type="kto", beta=BETA, ref_logps=reference, desirable=DESIRABLE, kl=kl
        )
        assert_close(differentiated(ours, logprobs), differentiated(theirs, logprobs), EXACT, kl)


# --- from hidden states to the gradients of both factors: theirs in float32, ours in float64 ----------


class Head(NamedTuple):
    """A policy or a reference, with what masked tokens hold.

    Attributes:
        hidden: (S, LONGEST, H), leaf. weight: (V, H), leaf. bias: (V,), leaf.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor

    @classmethod
    def make(cls, dtype: torch.dtype, reference: bool = False, masked: float = 1.0) -> Self:
        """The values are those of float32; a reference is near the policy, so that log-ratios are."""
        policy, other = (
            [torch.randn(shape, generator=generator) * 0.5 for shape in ((S, LONGEST, H), (V, H), (V,))]
            for generator in (torch.Generator().manual_seed(seed) for seed in (3, 7))
        )
        if reference:
            policy = [a + 0.1 * b for a, b in zip(policy, other, strict=True)]
        policy[0] = policy[0].where(MASK[..., None], masked)
        return cls(*(x.to(dtype).requires_grad_() for x in policy))


IDS = torch.randint(0, V, (S, LONGEST), generator=torch.Generator().manual_seed(5))
GROUPS = torch.arange(PAIRS).repeat_interleave(2)
CHUNK_TOKENS = 20  # two pairs, or three single sequences


def reference_sums() -> Tensor:
    head = Head.make(torch.float64, reference=True)
    logp, _ = linear_token_logprobs(head.hidden, head.weight, IDS, mask=MASK, bias=head.bias)
    return (logp.detach() * MASK).sum(1)


def our_linear(
    options: dict[str, Any],
    inputs: dict[str, Tensor] | None = None,
    *,
    mask: Tensor = MASK,
    masked: float = 1.0,
) -> list[Tensor]:
    """Loss and gradients; the sequences of a pair stand together."""
    head = Head.make(torch.float64, masked=masked)
    objective = preference_objective(beta=BETA, **options)
    order, groups = (PAIRED, GROUPS) if objective.sequences == 2 else (torch.arange(S), None)
    loss, _ = linear_objective(
        head.hidden[order],
        head.weight,
        IDS[order],
        objective,
        {name: x[order] if x.dim() else x for name, x in (inputs or {}).items()},
        groups=groups,
        mask=mask[order],
        bias=head.bias,
        chunk_tokens=CHUNK_TOKENS,
    )
    return differentiated(2.5 * loss, *head)


def their_linear(
    name: str,
    chunk_size: int,
    options: dict[str, Any],
    *,
    mask: Tensor = MASK,
    masked: float = 1.0,
    **inputs: Tensor,
) -> list[Tensor]:
    """Loss and gradients; a reference where options say `use_ref_model`."""
    head = Head.make(torch.float32, masked=masked)
    if options.get("use_ref_model"):
        reference = (x.detach() for x in Head.make(torch.float32, reference=True))
        inputs |= dict(zip(("ref_input", "ref_weight", "ref_bias"), reference, strict=True))
    # By name: the order is another one in its KTO.
    inputs |= {"_input": head.hidden, "lin_weight": head.weight, "bias": head.bias}
    inputs["target"] = IDS.masked_fill(~mask, -100)
    return differentiated(2.5 * module(name, beta=BETA, chunk_size=chunk_size, **options)(**inputs)[0], *head)


def check_linear(
    name: str, theirs: dict[str, Any], ours: dict[str, Any], inputs: dict[str, Tensor] | None = None
) -> None:
    """Whatever Liger's chunks, of which the last may be shorter."""
    mine = our_linear(ours, inputs)
    for chunk_size in (1, 2, PAIRS):
        found = their_linear(name, chunk_size, theirs | {"use_ref_model": True} if inputs else theirs)
        assert_close(mine, found, SINGLE, (name, theirs, chunk_size))


def linear_dpo() -> None:
    inputs = {"ref_logps": reference_sums()}
    for kind, options in DPO.items():
        check_linear("DPO", {"loss_type": kind} | options, {"loss_type": kind} | options, inputs)
    check_linear("DPO", {"average_log_prob": True}, {"loss_type": "sigmoid_norm"}, inputs)
    ours = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1, NLL]}
    check_linear("DPO", {"compute_nll_loss": True, "alpha": NLL}, ours, inputs)


def linear_without_reference() -> None:
    """With the NLL, which is there by default, and without."""
    for name, theirs, ours in UNREFERENCED.values():
        check_linear(name, theirs | {"compute_nll_loss": False}, ours)
        check_linear(name, theirs, ours | {"loss_type": [ours["loss_type"], "sft"]})


def beside_kto(kl: Tensor, chunk_size: int) -> tuple[list[Tensor], list[Tensor]]:
    inputs = {"ref_logps": reference_sums(), "desirable": DESIRABLE, "kl": kl.double()}
    theirs = their_linear("KTO", chunk_size, {"use_ref_model": True}, preference_labels=DESIRABLE, kl=kl)
    return our_linear({"loss_type": "kto"}, inputs), theirs


def linear_kto() -> None:
    for chunk_size in (1, 3, S):
        assert_close(*beside_kto(torch.tensor(0.4), chunk_size), SINGLE, chunk_size)


# --- where they differ -------------------------------------------------------------------------------


def smoothing_of_sigmoid() -> None:
    """Liger's DPO promises cDPO and ignores label_smoothing for sigmoid; its CPO does not (`functions`)."""
    options = {"loss_type": "sigmoid", "label_smoothing": 0.2}
    assert_apart(*beside_function("DPO", options, with_reference=True, **options), 1e-2, "cDPO")


def no_ipo() -> None:
    try:
        module("DPO", loss_type="ipo")
    except ValueError:
        return
    raise AssertionError("Liger has IPO now: compare it")


def nll_of_simpo() -> None:
    """By default Liger adds the NLL of CPO to SimPO, whose paper has none."""
    assert_apart(our_linear({"loss_type": "simpo"}), their_linear("SimPO", 1, {}), 0.5, "SimPO")


def divergence_of_sequences() -> None:
    """Its KTO documents kl of shape (sequences,), and cuts all but kl into chunks: each of S chunks adds up
    the losses of its sequence for every kl, so that loss and gradients are S times as large."""
    kl = torch.full((S,), 0.4)
    for chunk_size, factor in ((1, S), (S, 1)):
        mine, theirs = beside_kto(kl, chunk_size)
        assert_close([x * factor for x in mine], theirs, SINGLE, chunk_size)


def odds_of_certain_answers() -> None:
    """log1p(-exp(log p)) is -inf where p rounds to 1; ours is finite."""
    logprobs = torch.tensor([[-1e-9], [-1.0]], requires_grad=True)
    theirs = function("ORPO")(*logprobs.flatten().chunk(2), torch.zeros(2, 1), beta=BETA)[0]
    ours, _ = preference_loss(logprobs, loss_type="orpo", beta=BETA)
    assert_apart(differentiated(ours, logprobs), differentiated(theirs, logprobs), 1.0, "orpo")


def masked_tokens_that_are_not_finite() -> None:
    """Liger multiplies by the mask, and 0 times NaN is NaN; ours reads nothing that is masked."""
    mine = our_linear({"reference_free": True}, masked=torch.nan)
    assert_close(mine, our_linear({"reference_free": True}), EXACT, "ours")
    theirs = their_linear("DPO", 1, {"use_ref_model": False}, masked=torch.nan)
    assert_apart(mine, theirs, 1.0, "NaN where masked")


def sequences_without_tokens() -> None:
    """Liger's mean of no token is 0 / 0; ours is 0."""
    mask = MASK & (torch.arange(S) != 3)[:, None]
    for name, kind in (("SimPO", "simpo"), ("ORPO", "orpo")):
        theirs = their_linear(name, 1, {"compute_nll_loss": False}, mask=mask)
        assert_apart(our_linear({"loss_type": kind}, mask=mask), theirs, 1.0, name)


FUNCTIONS = (functions, kto_function, linear_dpo, linear_without_reference, linear_kto)
DIFFERENCES = (
    smoothing_of_sigmoid,
    no_ipo,
    nll_of_simpo,
    divergence_of_sequences,
    odds_of_certain_answers,
    masked_tokens_that_are_not_finite,
    sequences_without_tokens,
)
CHECKS: Checks = {check.__name__: check for check in (*FUNCTIONS, *DIFFERENCES)}
