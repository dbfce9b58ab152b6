"""Our losses and heads beside a peer: `python -m tests.peers.peer_checks trl` (or liger, verl, each with
_triton; trl and liger with _preferences).

Runs in a process of its own, see test_peers.py; the checks are in peer_<name>.py, which import their peer
only when they run. Prints the outcome of each check; the exit status is the number of those that failed.

Where a peer is wrong or has another convention, a check asserts that we disagree: it fails when they change.
"""

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

import torch
from torch import Tensor

from dupo_kernels import linear_token_logprobs, policy_loss
from tests.helpers.policy_cases import CASES, MASK, B, T, batch, mismatch_weight

V, H, TEMPERATURE = 37, 8, 0.9
PER_SEQUENCE = torch.tensor([1.3, -0.7, 0.4, 0.9, 0.0, -1.1, -2.1], dtype=torch.float64)
EXACT = 1e-12  # both sides in float64
# The peer in float32: a log-probability of 6 is off by up to 5e-7, and a ratio by as much; 7e-7 was seen
SINGLE = 2e-6
Checks = dict[str, Callable[[], None]]


def inputs(name: str, per_sequence: bool = False) -> dict[str, Tensor]:
    """The batch of a case; entropies that float32 holds; if asked, one advantage for each sequence."""
    t = batch(name)
    t["entropy"] = t["entropy"].float().double()
    if per_sequence:
        t["advantages"] = PER_SEQUENCE[:, None].expand(B, T).clone()
    return t


def weight_of(t: dict[str, Tensor], o: dict[str, Any]) -> Tensor | None:
    """The mismatch weights, which the peers are given."""
    if "sampling_logprobs" not in t or not o.get("vllm_importance_sampling_correction", True):
        return None
    return mismatch_weight(t["old_logprobs"], t["sampling_logprobs"], o)


def names_of(loss_type: str, cases: Iterable[tuple[str, str]] = CASES) -> list[str]:
    return [name for kind, name in cases if kind == loss_type]


def differentiated(loss: Tensor, *leaves: Tensor) -> list[Tensor]:
    """The loss and its gradients, in float64."""
    found = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return [loss.detach().double(), *(g.double() for g in found)]


def ours(t: dict[str, Tensor], **options: Any) -> list[Tensor]:
    """Loss, dlogprobs, dentropy."""
    leaves = t["logprobs"].detach().requires_grad_(), t["entropy"].detach().requires_grad_()
    loss, _ = policy_loss(**(t | {"logprobs": leaves[0], "entropy": leaves[1]}), mask=MASK, **options)
    return differentiated(loss, *leaves)


def apart(one: list[Tensor], other: list[Tensor]) -> float:
    """The largest difference within a tensor, relative to its largest number; within a loss, which is a mean
    of numbers around 1 and may cancel, to at least 1."""
    found = [0.0]
    for a, b in zip(one, other, strict=True):
        assert a.shape == b.shape
        if not torch.equal(a, b):
            largest = a.abs().max().clamp(min=1.0 if a.dim() == 0 else 1e-300)
            found.append(((a - b).abs().max() / largest).item())
    return max(found, key=lambda x: (x != x, x))  # NaN is the largest


def assert_close(one: list[Tensor], other: list[Tensor], tolerance: float, what: object) -> None:
    found = apart(one, other)
    assert found <= tolerance, f"{what}: {found:.1e} apart, {tolerance:.0e} allowed"


def assert_apart(mine: list[Tensor], theirs: list[Tensor], least: float, what: object) -> None:
    """A peer that is wrong may be NaN, ours may not."""
    assert all(x.isfinite().all() for x in mine), f"{what}: ours is not finite"
    found = apart(mine, theirs)
    as_written = found >= least or found != found
    assert as_written, f"{what}: {found:.1e} apart; it was {least} or more when this was written"


# --- heads -----------------------------------------------------------------------------------------

Head = Callable[[Tensor, Tensor, Tensor, float | None, float], tuple[Tensor, Tensor]]


def head_inputs(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """(hidden, head, ids) of B T tokens; their values are those of float32."""
    generator = torch.Generator().manual_seed(3)
    h = torch.randn(B * T, H, generator=generator)
    W = torch.randn(V, H, generator=generator) * 0.7
    ids = torch.randint(0, V, (B * T,), generator=generator)
    return h.to(dtype).requires_grad_(), W.to(dtype).requires_grad_(), ids


def our_head(h: Tensor, W: Tensor, ids: Tensor, softcap: float | None, scale: float) -> tuple[Tensor, Tensor]:
    logp, entropy = linear_token_logprobs(
        h, W, ids, temperature=TEMPERATURE, logit_scale=scale, softcap=softcap, entropy=True
    )
    assert entropy is not None
    return logp, entropy


def check_head(theirs: Head, scalings: list[tuple[float | None, float]]) -> None:
    """Log-probabilities, entropies, both gradients: theirs in float32, ours in float64 and in float32."""
    a, b = torch.randn(2, B * T, generator=torch.Generator().manual_seed(4))

    def run(head: Head, dtype: torch.dtype, scaling: tuple[float | None, float]) -> list[Tensor]:
        h, W, ids = head_inputs(dtype)
        logp, entropy = head(h, W, ids, *scaling)
        gradients = differentiated((logp * a + entropy * b).sum(), h, W)[1:]
        return [logp.detach().double(), entropy.detach().double(), *gradients]

    for scaling in scalings:
        found = run(theirs, torch.float32, scaling)
        for dtype in (torch.float64, torch.float32):
            assert_close(run(our_head, dtype, scaling), found, SINGLE, (scaling, dtype))


# --- the process -----------------------------------------------------------------------------------

# Large packages for data sets and clusters, that a peer imports: all of them, unless they are installed.
UNUSED = {"trl": {"datasets", "pandas", "pyarrow"}}
UNUSED |= {"others": {"addict", "deepspeed", "flash_attn", "pylatexenc", "torchdata"}}
UNUSED |= {"verl": {"codetiming", "omegaconf", "orjson", "ray", "tensordict"}}


class Unused(MetaPathFinder, Loader):
    """Finds modules of the given packages that have every name, each a class that nobody can instantiate."""

    def __init__(self, packages: set[str]) -> None:
        self.packages = packages

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        known = fullname.split(".")[0] in self.packages
        return ModuleSpec(fullname, self, is_package=True) if known else None

    def exec_module(self, module: ModuleType) -> None:
        def refuse(*_: Any, **__: Any) -> NoReturn:
            raise NotImplementedError(f"{module.__name__} is not installed")

        def name(name: str) -> type:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {"__init__": refuse})

        module.__dict__["__getattr__"] = name


def run_checks(peer: str) -> int:
    import transformers  # noqa: F401  (looks at what is installed)

    sys.meta_path.append(Unused(UNUSED.get(peer.partition("_")[0], set())))
    checks: Checks = importlib.import_module(f"tests.peers.peer_{peer}").CHECKS
    failed = 0
    for name, check in checks.items():
        try:
            check()
            print(f"{peer} {name}: as expected")
        except Exception:  # whatever it is, it belongs to this check alone
            failed += 1
            print(f"{peer} {name}: WRONG\n{traceback.format_exc()}")
    return failed


if __name__ == "__main__":
    sys.exit(run_checks(sys.argv[1]))
