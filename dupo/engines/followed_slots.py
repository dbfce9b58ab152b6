"""Prompts and what follows from them, decoded in the same slots (`dupo.engines.slots`).

Slots are made before anybody knows how long a further prompt is. One that does not fit is decoded after all
others, in slots of its own: nothing is cut, and its completions are the same.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from dupo.engines.base import Followed, FollowUps, Sampling
from dupo.engines.following import Following
from dupo.engines.slot_state import SlotOptions, SlotRoom
from dupo.engines.slots import SlotDecoding
from dupo.models.load import Model
from dupo.records import Completion, Prompt
from dupo.seeds import prompt_keys

ANSWER_ROOM = 256  # tokens that a further prompt may have beyond the longest prompt: as long as most answers
_Row = tuple[Tensor, Tensor]  # ids (T,) and measures (K, T) of a completion


class SlotCall(NamedTuple):
    """What an engine gives for a call.

    Attributes:
        encode: (prompts, most tokens of a completion) -> token ids, checked to have room.
        completions: from ids and measures of rows.
    """

    model: Model
    options: SlotOptions
    encode: Callable[[Sequence[Prompt] | Sequence[list[int]], int], list[list[int]]]
    completions: Callable[[Sequence[Tensor], Sequence[Tensor]], list[Completion]]

    def read(self, rows: Sequence[_Row]) -> list[Completion]:
        """The completions of a prompt."""
        return self.completions([ids for ids, _ in rows], [measures for _, measures in rows])


class _Late(NamedTuple):
    """A further prompt that no slot holds.

    Attributes:
        number: as `Following` counts.
    """

    number: int
    ids: list[int]
    key: int


def sample_in_slots(
    call: SlotCall,
    prompt_ids: Sequence[list[int]],
    n: int,
    sampling: Sampling,
    seed: int,
    follow: FollowUps,
) -> Followed:
    """Draws `n` completions of each prompt, and those of the prompts that follow; at least one prompt."""
    following = Following[_Row](len(prompt_ids), n, follow, call.read)
    decoding = SlotDecoding(call.model, call.options, _room(prompt_ids, n, sampling, follow))
    # Keys are made before the prompts are sorted: they must not depend on batches. Prompts of similar length
    # are read in one pass, so that few rows are padding.
    keys = prompt_keys(seed, prompt_ids)
    numbers = sorted(range(len(prompt_ids)), key=lambda number: len(prompt_ids[number]))
    decoding.add([prompt_ids[i] for i in numbers], [keys[i] for i in numbers], n, sampling)
    times, late = Counter[tuple[int, ...]](), list[_Late]()
    for request, sample, ids, measures in decoding.run():
        # Most rows complete no group.
        if not (prompts := following.take(numbers[request], sample, (ids, measures))):
            continue
        further_ids = call.encode(prompts, follow.sampling.max_tokens)
        first = len(prompt_ids) + following.num_further - len(further_ids)
        # Counted over the whole call: equal prompts have draws of their own, whenever they come.
        further_keys = prompt_keys(follow.seed, further_ids, times)
        for number, (ids, key) in enumerate(zip(further_ids, further_keys, strict=True), first):
            if decoding.fits(ids, follow.sampling):
                decoding.add([ids], [key], follow.n, follow.sampling)
                numbers.append(number)
            else:
                late.append(_Late(number, ids, key))
    del decoding  # its memory is that of the next one
    if late:
        sample_late(call, late, follow, following)
    return following.result()


def sample_late(call: SlotCall, late: Sequence[_Late], follow: FollowUps, following: Following[_Row]) -> None:
    """Decodes what did not fit."""
    tokens = max(len(prompt.ids) for prompt in late) + follow.sampling.max_tokens
    rows = len(late) * follow.n
    room = SlotRoom(tokens, follow.sampling.max_tokens, rows, follow.sampling.temperature)
    decoding = SlotDecoding(call.model, call.options, room)
    decoding.add([prompt.ids for prompt in late], [prompt.key for prompt in late], follow.n, follow.sampling)
    for request, sample, ids, measures in decoding.run():
        following.take(late[request].number, sample, (ids, measures))


def _room(prompt_ids: Sequence[list[int]], n: int, sampling: Sampling, follow: FollowUps) -> SlotRoom:
    """Slots for the prompts, and for further prompts of usual length."""
    # A slot for the longest answer inside a dual would hold two answers, and half as many slots would fit.
    further = min(sampling.max_tokens, ANSWER_ROOM) + follow.sampling.max_tokens
    # One temperature keeps a step as cheap as without further prompts; two cost an argmax of all rows.
    return SlotRoom(
        tokens=max(map(len, prompt_ids)) + max(sampling.max_tokens, further),
        max_tokens=max(sampling.max_tokens, follow.sampling.max_tokens),
        rows=max(len(prompt_ids) * n, follow.expected * follow.n),
        temperature=sampling.temperature if sampling.temperature == follow.sampling.temperature else None,
    )
