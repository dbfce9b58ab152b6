"""Under TRL's trainers: the loss head (`install`), duals (`dual_rollout`) and rewards (`as_reward`).

Importing this package imports no TRL and changes nothing.
"""

from dupo.integrations.trl.dual_rollout import dual_rollout
from dupo.integrations.trl.patches import install, uninstall
from dupo.integrations.trl.rewards import as_reward

__all__ = ["as_reward", "dual_rollout", "install", "uninstall"]
