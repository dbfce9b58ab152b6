"""Under TRL's trainers: our loss head (`install`, `uninstall`).

Importing this package imports no TRL and changes nothing.
"""

from dupo.integrations.trl.patches import install, uninstall

__all__ = ["install", "uninstall"]
