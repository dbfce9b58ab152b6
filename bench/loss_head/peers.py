"""The same operations by other libraries, from where they are installed or unpacked.

    DUPO_PEER_TRL, DUPO_PEER_LIGER, DUPO_PEER_CCE, DUPO_PEER_QUACK     folders that hold an unpacked wheel

None of them is a dependency; `.ci/peers` fetches two. Each function below raises what keeps it from working
here, which becomes the row of that library. What they return: see variants.py.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from bench.loss_head.inputs import Head, Logits
from bench.loss_head.variants import Function, Loss
from dupo_kernels import PolicyObjective

VARIABLES = {
    "trl": "DUPO_PEER_TRL",
    "liger_kernel": "DUPO_PEER_LIGER",
    "cut_cross_entropy": "DUPO_PEER_CCE",
    "quack": "DUPO_PEER_QUACK",
}
TRL_VOCABULARY_CHUNK = 32_768  # what its trainers use


# --- finding them ----------------------------------------------------------------------------------


def folder(package: str) -> Path:
    named = os.environ.get(VARIABLES[package])
    if named:
        found = Path(named).absolute() / package
        if not (found / "__init__.py").is_file():
            raise LookupError(f"{VARIABLES[package]} has no {package}/__init__.py")
        return found
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LookupError(f"{package} is not installed, and {VARIABLES[package]} names no folder with it")
    return Path(spec.submodule_search_locations[0])


def versions() -> dict[str, str]:
    """Of the peers that are there, from the .dist-info beside each."""
    found = {}
    for package in VARIABLES:
        try:
            beside = folder(package).parent
        except LookupError:
            continue
        name = {"quack": "quack_kernels"}.get(package, package)
        infos = sorted(path.name for path in beside.glob(f"{name}-*.dist-info"))
        found[package] = infos[-1].removesuffix(".dist-info").split("-", 1)[1] if infos else "unknown"
    return found


def load(package: str, module: str = "") -> ModuleType:
    """package.module, from its folder; what else lies in there is not preferred afterwards."""
    beside = str(folder(package).parent)
    sys.path.insert(0, beside)
    try:
        return importlib.import_module(f"{package}{module}")
    finally:
        sys.path.remove(beside)


def trl_kernels(module: str) -> ModuleType:
    """They want one function of the trainer, which wants packages that they do not: it gets a stand-in."""
    found = load("trl", f".kernels.{module}")
    if "trl.trainer.utils" not in sys.modules:
        for name in ("trl.trainer", "trl.trainer.utils"):
            sys.modules[name] = ModuleType(name)
        sys.modules["trl.trainer.utils"].maybe_gather_lm_head_ctx = lambda *_: nullcontext()  # type: ignore
    return found


def needs_gpu(x: Tensor) -> None:
    if not x.is_cuda and not os.environ.get("TRITON_INTERPRET"):
        raise NotImplementedError("kernels for a GPU only")


# --- heads -----------------------------------------------------------------------------------------


def trl_head(targets: Tensor, entropy: bool) -> Function:
    function = trl_kernels("chunked_logprob").ChunkedLogProbFunction
    outputs = ("entropy",) if entropy else ()

    def head(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        chunk = min(TRL_VOCABULARY_CHUNK, weight.shape[0])
        return function.apply(hidden, weight, None, targets, 1.0, chunk, None, 1.0, outputs)[:2]

    return head


def liger_head(targets: Tensor, entropy: bool) -> Function:
    ops = load("liger_kernel", ".ops.fused_linear_scaled_cross_entropy")
    function = ops.LigerFusedLinearScaledCrossEntropyFunction

    def head(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        found = function.apply(hidden, weight, targets, 1.0, -100, 1, entropy)
        return (-found[0], found[1]) if entropy else (-found, None)

    return head


def cce_head(targets: Tensor, entropy: bool) -> Function:
    needs_gpu(targets)
    if entropy:
        raise NotImplementedError("gives no entropy")
    function = load("cut_cross_entropy").linear_cross_entropy
    return lambda hidden, weight: (-function(hidden, weight, targets, reduction="none", impl="cce"), None)


def torch_head(targets: Tensor, entropy: bool) -> Function:
    function = getattr(torch.nn.functional, "linear_cross_entropy", None)
    if function is None or entropy:
        raise NotImplementedError("gives no entropy" if entropy else "not in this version of torch")
    return lambda hidden, weight: (-function(hidden, weight, targets, reduction="none"), None)


HEADS: list[tuple[str, str, Callable[[Tensor, bool], Function]]] = [
    ("trl", "TRL ChunkedLogProbFunction", trl_head),
    ("liger", "Liger scaled cross-entropy", liger_head),
    ("cce", "cut_cross_entropy", cce_head),
    ("torch", "torch linear_cross_entropy", torch_head),
]


# --- losses from hidden states ---------------------------------------------------------------------


def liger_loss(head: Head, objective: PolicyObjective) -> Loss:
    """Its chunked GRPO, on sequences of equal length."""
    if objective.entropy_coef:
        raise NotImplementedError("has no entropy bonus")
    loss = load("liger_kernel", ".chunked_loss.grpo_loss").LigerFusedLinearGRPOLoss(
        beta=0.0,
        compiled=head.targets.is_cuda,
        use_ref_model=False,
        epsilon_low=objective.epsilon,
        epsilon_high=objective.epsilon if objective.epsilon_high is None else objective.epsilon_high,
        loss_type=objective.loss_type,
    )
    shape = -1, head.sequence
    ids, old, mask = head.targets.view(shape), head.old.view(shape), torch.ones_like(head.old).view(shape)
    advantages = head.advantages.view(shape)[:, 0].contiguous()
    return lambda hidden, weight: loss(
        hidden.view(*ids.shape, -1), weight, ids, mask, advantages, old_per_token_logps=old
    )[0]


def quack_loss(head: Head, use_scaled_exp: bool) -> Loss:
    """Plain cross-entropy: less than the objective asks for."""
    needs_gpu(head.targets)
    function = load("quack", ".linear_cross_entropy").chunked_linear_cross_entropy
    options = {"reduction": "mean", "use_scaled_exp": use_scaled_exp}
    return lambda hidden, weight: function(hidden, weight, head.targets, **options)


# --- the logits path -------------------------------------------------------------------------------


def trl_logits(given: Logits, entropy: bool) -> Function:
    """Gives the entropy always; it has no gradient where none comes back."""
    needs_gpu(given.targets)
    function = trl_kernels("logprob_entropy").selective_log_softmax_and_entropy
    return lambda logits: (lambda logp, H: (logp, H if entropy else None))(*function(logits, given.targets))


def quack_logits(given: Logits, entropy: bool) -> Function:
    needs_gpu(given.targets)
    if entropy:
        raise NotImplementedError("gives no entropy")
    function = load("quack", ".cross_entropy").cross_entropy
    return lambda logits: (-function(logits, given.targets, reduction="none"), None)


LOGITS: list[tuple[str, str, Callable[[Logits, bool], Function]]] = [
    ("trl", "TRL selective_log_softmax_and_entropy", trl_logits),
    ("quack", "QuACK cross_entropy", quack_logits),
]
