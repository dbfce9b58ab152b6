"""Seeds: every random draw depends on what is drawn, and on nothing that stands beside it.

    derive        (seed of the run, purpose, number of the rollout) -> seed of one call of an engine
    prompt_keys   (seed of the call, prompt) -> key of the prompt
    (`engines.draws` goes on:  key of the prompt, sample, token -> a uniform number)

So a completion is the same whichever prompts share its batch, and whichever process samples it.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence


def derive(seed: int, purpose: str, index: int = 0) -> int:
    """A seed of 56 bits for one purpose.

    Args:
        seed: `--seed` of the run.
        purpose: what is drawn: "primal", "dual", "order", ...
        index: number of the rollout, batch or step that draws.
    """
    text = f"{seed} {purpose} {index}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest())


def prompt_keys(
    seed: int, prompts: Sequence[Sequence[int]], times: Counter[tuple[int, ...]] | None = None
) -> list[int]:
    """A key of 63 bits for each prompt.

    The key depends on the seed and the ids of the prompt. A prompt that stands in the list several times has
    another key each time: equal problems of one rollout get different completions.

    Args:
        seed: of the call, as `derive` gave.
        prompts: token ids of each prompt.
        times: how often each prompt came before, where the prompts of a call come bit by bit; counts go on.
    """
    keys, times = [], Counter[tuple[int, ...]]() if times is None else times
    # Tuples can be counted; the ids are joined as text because bytes would depend on the machine.
    for ids in map(tuple, prompts):
        text = f"{seed} {times[ids]} {','.join(map(str, ids))}"
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        # 63 bits: torch has no unsigned 64-bit integers to compute with.
        keys.append(int.from_bytes(digest) >> 1)
        times[ids] += 1
    return keys
