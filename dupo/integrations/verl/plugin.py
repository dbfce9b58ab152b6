"""What verl loads in each of its processes: importing this module registers everything of dupo.

verl imports every entry point of the group `verl.plugins` and hides what fails, so a failure is printed here.
"""

import sys
from importlib import import_module

from dupo.integrations.verl.advantages import advantages
from dupo.integrations.verl.head import install_head
from dupo.integrations.verl.losses import policy_losses
from dupo.integrations.verl.seams import check_functions


def register() -> str:
    """Registers policy losses and advantages, and puts the head under verl's fused forward passes.

    Returns:
        One line that says what was registered.

    Raises:
        UserError: verl has other functions than this was written for; nothing is registered then.
    """
    version = str(import_module("verl").__version__)
    core = import_module("verl.trainer.ppo.core_algos")
    check_functions(core, version)
    put_head = install_head(version)
    # Every process of verl imports this once, and registers the same.
    losses, estimators = policy_losses(), advantages()
    for name, loss in losses.items():
        core.register_policy_loss(name)(loss)
    for name, estimator in estimators.items():
        core.register_adv_est(name)(estimator)
    put_head()
    names = f"policy losses {', '.join(losses)}; advantages {', '.join(estimators)}"
    return f"dupo: verl {version}: {names}; the head of fused kernels (torch)"


try:
    print(register(), file=sys.stderr)
except Exception as problem:  # whatever it is, verl would hide it
    print(f"dupo: {problem}; nothing is registered", file=sys.stderr)
    raise
