"""The same operations by other libraries, from where they are installed or unpacked.

    DUPO_PEER_TRL, DUPO_PEER_LIGER, DUPO_PEER_VERL, DUPO_PEER_CCE, DUPO_PEER_QUACK

Each names a folder that holds an unpacked wheel. No peer is a dependency; `.ci/peers` fetches them. Where its
library cannot work, a function below raises, and the measurement of the library says why. What the functions
return: see variants.py.
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

from bench.loss_head.inputs import HeadInputs, LogitsInputs
from bench.loss_head.variants import Function, Loss
from dupo_kernels import PolicyObjective

# Wheels are unpacked, not installed: several need versions of torch or triton that are not ours.
VARIABLES = {
    "trl": "DUPO_PEER_TRL",
    "liger_kernel": "DUPO_PEER_LIGER",
    "verl": "DUPO_PEER_VERL",
    "cut_cross_entropy": "DUPO_PEER_CCE",
    "quack": "DUPO_PEER_QUACK",
}
TRL_VOCABULARY_CHUNK = 32_768  # what its trainers use
VERL_PACKAGES = ["verl", "verl.plugin", "verl.utils", "verl.utils.kernel", "verl.utils.experimental"]
VERL_CHUNK = 512  # tokens, its default


# --- finding them ----------------------------------------------------------------------------------


def folder(package: str) -> Path:
    """The folder of a package: below the path of its variable, or where it is installed.

    Raises:
        LookupError: the package is in neither place.
    """
    parent = os.environ.get(VARIABLES[package])
    if parent:
        path = Path(parent).absolute() / package
        if not (path / "__init__.py").is_file():
            raise LookupError(f"{VARIABLES[package]} has no {package}/__init__.py")
        return path
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LookupError(f"{package} is not installed, and {VARIABLES[package]} names no folder with it")
    return Path(spec.submodule_search_locations[0])


def versions() -> dict[str, str]:
    """Versions of the peers that can be loaded, from the .dist-info folder beside each."""
    by_package = {}
    for package in VARIABLES:
        try:
            parent = folder(package).parent
        except LookupError:
            continue
        # The package is imported as quack and distributed as quack_kernels.
        name = {"quack": "quack_kernels"}.get(package, package)
        infos = sorted(path.name for path in parent.glob(f"{name}-*.dist-info"))
        by_package[package] = infos[-1].removesuffix(".dist-info").split("-", 1)[1] if infos else "unknown"
    return by_package


def load(package: str, module: str = "") -> ModuleType:
    """Imports package.module from the folder of the package."""
    parent = str(folder(package).parent)
    # Only for this import: other packages beside the peer must not replace installed ones later.
    sys.path.insert(0, parent)
    try:
        return importlib.import_module(f"{package}{module}")
    finally:
        sys.path.remove(parent)


def trl_kernels(module: str) -> ModuleType:
    """Imports a module of TRL's kernels."""
    # The kernels call one function of the trainer. The trainer needs packages that the kernels do not need.
    if "trl.trainer.utils" not in sys.modules:
        for name in ("trl.trainer", "trl.trainer.utils"):
            sys.modules[name] = ModuleType(name)
        sys.modules["trl.trainer.utils"].maybe_gather_lm_head_ctx = lambda *_: nullcontext()  # type: ignore
    return load("trl", f".kernels.{module}")


def verl_module(name: str) -> ModuleType:
    """Imports a module of verl, whose packages import a cluster's libraries that the module does not need."""
    top = folder("verl")
    for package in VERL_PACKAGES:
        if package not in sys.modules:
            stand_in = sys.modules[package] = ModuleType(package)
            # A package without its __init__: only its path, so that its modules are found.
            stand_in.__path__ = [str(top.parent.joinpath(*package.split(".")))]
    return importlib.import_module(name)


def needs_gpu(x: Tensor) -> None:
    """Raises NotImplementedError where `x` is on the CPU and Triton does not interpret."""
    if not x.is_cuda and not os.environ.get("TRITON_INTERPRET"):
        raise NotImplementedError("kernels for a GPU only")


# --- heads -----------------------------------------------------------------------------------------


def trl_head(targets: Tensor, entropy: bool) -> Function:
    """The head of TRL's trainers, a chunk of the vocabulary at a time."""
    function = trl_kernels("chunked_logprob").ChunkedLogProbFunction
    # TRL computes only the outputs that it is asked for.
    outputs = ("entropy",) if entropy else ()

    def head(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        chunk = min(TRL_VOCABULARY_CHUNK, weight.shape[0])
        return function.apply(hidden, weight, None, targets, 1.0, chunk, None, 1.0, outputs)[:2]

    return head


def liger_head(targets: Tensor, entropy: bool) -> Function:
    """Liger's cross-entropy from hidden states, per token."""
    ops = load("liger_kernel", ".ops.fused_linear_scaled_cross_entropy")
    function = ops.LigerFusedLinearScaledCrossEntropyFunction

    def head(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        # With entropy the function returns (loss, entropy), without it the loss alone.
        output = function.apply(hidden, weight, targets, 1.0, -100, 1, entropy)
        return (-output[0], output[1]) if entropy else (-output, None)

    return head


def verl_head(targets: Tensor, entropy: bool) -> Function:
    """verl's Triton kernel, which multiplies and sums at once. It always computes the entropy."""
    needs_gpu(targets)
    function = verl_module("verl.utils.kernel.linear_cross_entropy").linear_cross_entropy

    def head(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        logp, entropy_N = function(hidden, weight, targets, 1.0, "none")
        return logp, entropy_N if entropy else None

    return head


def verl_torch_head(targets: Tensor, entropy: bool) -> Function:
    """verl's head in torch, by chunks of tokens. It always computes the entropy."""
    function = verl_module("verl.utils.experimental.torch_functional").FusedLinearForPPOFunction

    def head(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        logp, entropy_N = function.apply(hidden, weight, targets, 1.0, VERL_CHUNK)
        return logp, entropy_N if entropy else None

    return head


def cce_head(targets: Tensor, entropy: bool) -> Function:
    """Cut cross-entropy from hidden states, per token."""
    needs_gpu(targets)
    if entropy:
        raise NotImplementedError("gives no entropy")
    function = load("cut_cross_entropy").linear_cross_entropy
    return lambda hidden, weight: (-function(hidden, weight, targets, reduction="none", impl="cce"), None)


def torch_head(targets: Tensor, entropy: bool) -> Function:
    """torch's own cross-entropy from hidden states, which new versions have."""
    # Looked up by name: the oldest torch that is supported does not have it.
    function = getattr(torch.nn.functional, "linear_cross_entropy", None)
    if function is None or entropy:
        raise NotImplementedError("gives no entropy" if entropy else "not in this version of torch")
    return lambda hidden, weight: (-function(hidden, weight, targets, reduction="none"), None)


HEADS: list[tuple[str, str, Callable[[Tensor, bool], Function]]] = [
    ("trl", "TRL ChunkedLogProbFunction", trl_head),
    ("liger", "Liger scaled cross-entropy", liger_head),
    ("verl", "verl linear_cross_entropy", verl_head),
    ("verl", "verl FusedLinearForPPO", verl_torch_head),
    ("cce", "cut_cross_entropy", cce_head),
    ("torch", "torch linear_cross_entropy", torch_head),
]


# --- losses from hidden states ---------------------------------------------------------------------


def liger_loss(head: HeadInputs, objective: PolicyObjective) -> Loss:
    """Liger's chunked GRPO, on sequences of equal length."""
    if objective.entropy_coef:
        raise NotImplementedError("has no entropy bonus")
    if head.setting.softcap:
        raise NotImplementedError("has no softcap")
    loss = load("liger_kernel", ".chunked_loss.grpo_loss").LigerFusedLinearGRPOLoss(
        beta=0.0,
        # On a CPU its compiler would take longer than the measurement.
        compiled=head.targets.is_cuda,
        # No reference model, as beta is 0.
        use_ref_model=False,
        epsilon_low=objective.epsilon,
        epsilon_high=objective.epsilon if objective.epsilon_high is None else objective.epsilon_high,
        loss_type=objective.loss_type,
        importance_sampling_level=objective.importance_sampling_level,
    )
    # Liger wants padded sequences; equal lengths need no padding.
    shape = -1, head.sequence_length
    ids, old = head.targets.view(shape), head.old_logprobs.view(shape)
    mask = (head.weights != 0).to(old).view(shape)
    advantages = head.advantages.view(shape)[:, 0].contiguous()
    return lambda hidden, weight: loss(
        hidden.view(*ids.shape, -1), weight, ids, mask, advantages, old_per_token_logps=old
    )[0]


def quack_loss(head: HeadInputs, use_scaled_exp: bool) -> Loss:
    """QuACK's plain cross-entropy, which does less than the objective asks for."""
    needs_gpu(head.targets)
    function = load("quack", ".linear_cross_entropy").chunked_linear_cross_entropy
    options = {"reduction": "mean", "use_scaled_exp": use_scaled_exp}
    return lambda hidden, weight: function(hidden, weight, head.targets, **options)


# --- the logits path -------------------------------------------------------------------------------


def trl_logits(inputs: LogitsInputs, entropy: bool) -> Function:
    """TRL's kernel. It always computes the entropy, whose gradient is left out unless `entropy`."""
    needs_gpu(inputs.targets)
    function = trl_kernels("logprob_entropy").selective_log_softmax_and_entropy

    def logprobs(logits: Tensor) -> tuple[Tensor, Tensor | None]:
        logp, entropy_N = function(logits, inputs.targets)
        return logp, entropy_N if entropy else None

    return logprobs


def quack_logits(inputs: LogitsInputs, entropy: bool) -> Function:
    """QuACK's cross-entropy of logits, per token."""
    needs_gpu(inputs.targets)
    if entropy:
        raise NotImplementedError("gives no entropy")
    function = load("quack", ".cross_entropy").cross_entropy
    return lambda logits: (-function(logits, inputs.targets, reduction="none"), None)


LOGITS: list[tuple[str, str, Callable[[LogitsInputs, bool], Function]]] = [
    ("trl", "TRL selective_log_softmax_and_entropy", trl_logits),
    ("quack", "QuACK cross_entropy", quack_logits),
]
