"""Seeds: every random draw of a run depends on the seed of the run, a purpose and a number, and nothing else."""

import hashlib


def derive(seed: int, purpose: str, index: int = 0) -> int:
    """A seed of 56 bits for one purpose.

    Args:
        seed: `--seed` of the run.
        purpose: what is drawn: "primal", "dual", "order", ...
        index: number of the rollout, batch or step that draws.
    """
    text = f"{seed} {purpose} {index}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest())
