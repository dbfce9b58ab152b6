"""Puts our head where TRL's trainers look theirs up, and takes it away again.

TRL's GRPO, RLOO, DPO, KTO, SFT and AsyncGRPO call one function, which `dupo.integrations.trl.head` replaces.
CPO, ORPO, Online DPO and GKD compute whole logits; `dupo.integrations.trl.overrides` has a method for each.
"""

import importlib
import inspect
import warnings
from importlib.util import find_spec
from typing import Any, NamedTuple

from dupo.errors import UserError
from dupo.integrations.trl.head import head_for, refuse_zero3
from dupo.integrations.trl.overrides import OVERRIDES, Override

SEAM = "_ChunkedLogProbFunction"
# Where TRL 1.14 keeps a name of its own for the function.
CALLERS = ("trl.trainer.dpo_trainer", "trl.trainer.grpo_trainer", "trl.trainer.kto_trainer")
_FEW = "only trainers that call TRL's fused head get that of dupo (all of them from TRL 1.15 on)"


class Patch(NamedTuple):
    """What stands in the place of something of TRL.

    Attributes:
        where: dotted path, for people.
        owner: the module or class.
        stock: what TRL has there.
        ours: what stands there while it is installed.
    """

    where: str
    owner: Any
    name: str
    stock: Any
    ours: Any


_installed: list[Patch] = []


def install() -> list[str]:
    """Puts our loss head under the trainers of TRL, in this process.

    Trainers that exist already take it too: the head is looked up at every call. A second call changes
    nothing.

    Returns:
        Dotted paths of what is replaced.

    Raises:
        UserError: TRL is not installed, has no fused head, or another one than those of 1.9 to 1.16; or
            DeepSpeed's ZeRO-3 is on. Nothing is replaced then.
    """
    if not _installed:
        patches = _patches()
        for patch in patches:
            setattr(patch.owner, patch.name, patch.ours)
        _installed.extend(patches)
    return [patch.where for patch in _installed]


def uninstall() -> None:
    """Brings back what `install` has replaced; changes nothing where nothing is installed.

    Raises:
        UserError: somebody else has replaced the same since.
    """
    while _installed:
        patch = _installed.pop()
        # Somebody may have replaced it after us: to take that away is not ours.
        if vars(patch.owner).get(patch.name) is not patch.ours:
            _installed.append(patch)
            raise UserError(f"{patch.where}: expected what install() has put there, got a later replacement")
        setattr(patch.owner, patch.name, patch.stock)


def _patches() -> list[Patch]:
    """All that is to be replaced; nothing is replaced yet."""
    if find_spec("trl") is None:
        raise UserError("trl: expected TRL to be installed, got no package of that name; pip install trl")
    # Named in every refusal: the seam has had three forms within a year.
    version = importlib.import_module("trl").__version__
    refuse_zero3()
    utils = importlib.import_module("trl.trainer.utils")
    stock = getattr(utils, SEAM, None)
    ours = head_for(stock, version)
    patches = [Patch(f"trl.trainer.utils.{SEAM}", utils, SEAM, stock, ours)]
    # Before 1.15 TRL has nothing that adds a fused head to a model, which the others need.
    if hasattr(utils, "add_fused_lm_head"):
        patches += [_override(override, version) for override in OVERRIDES]
    else:
        callers = [module for name in CALLERS if hasattr(module := importlib.import_module(name), SEAM)]
        patches += [Patch(f"{module.__name__}.{SEAM}", module, SEAM, stock, ours) for module in callers]
        warnings.warn(f"trl {version}: {_FEW}", stacklevel=3)
    return patches


def _override(override: Override, version: str) -> Patch:
    with warnings.catch_warnings():
        # TRL warns of all that is experimental; whoever uses such a trainer has been told by its own import.
        warnings.simplefilter("ignore")
        trainer = getattr(importlib.import_module(override.module), override.trainer, None)
    stock = getattr(trainer, override.name, None)
    names = tuple(inspect.signature(stock).parameters) if callable(stock) else ()
    where = f"{override.module}.{override.trainer}.{override.name}"
    if names != override.arguments:
        expected, got = ", ".join(override.arguments), ", ".join(names)
        raise UserError(f"trl {version}: expected {where}({expected}), got ({got})")
    assert callable(stock)
    return Patch(where, trainer, override.name, stock, override.make(stock))
