"""An engine whose samples are kept as they come, so that a run that is killed samples the missing ones alone.

    an engine that takes follow-ups    each group is kept as it ends
    any other                          all groups of a call are kept when the call ends

A group is kept under the key of its prompt (`dupo.seeds.prompt_keys`), which the seed of the call and the
place among equal prompts decide. So what is sampled later has the draws that it would have had.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

from dupo.distributed.ranks import Ranks
from dupo.engines.base import Engine, Followed, FollowingEngine, FollowUps, Sampling, ids_of
from dupo.engines.first_rank import FirstRankEngine
from dupo.engines.wrapped import WrappedEngine
from dupo.records import Completion, Prompt
from dupo.seeds import prompt_keys

Group = list[Completion]


class Groups(Protocol):
    """Where groups are kept. What is kept under a name is whole."""

    def get(self, name: str) -> list[Group] | None:
        """The groups of that name; None where there are none."""
        ...

    def put(self, name: str, groups: Sequence[Group]) -> None:
        """Keeps groups under a name."""
        ...


class RankedGroups:
    """Groups that the first rank keeps, and all ranks read alike; see `Groups`.

    Args:
        groups: None on all ranks but the first.
    """

    def __init__(self, groups: Groups | None, ranks: Ranks) -> None:
        self.groups, self.ranks = groups, ranks

    def get(self, name: str) -> list[Group] | None:
        """The groups of that name; every rank has to ask."""
        return self.ranks.on_first(lambda: self.groups.get(name) if self.groups else None)

    def put(self, name: str, groups: Sequence[Group]) -> None:
        """Keeps groups; every rank has to ask."""
        self.ranks.on_first(lambda: self.groups.put(name, groups) if self.groups else None)


class KeptEngine(WrappedEngine):
    """Samples what is not kept yet; see `dupo.engines.base.Engine`.

    Args:
        engine: takes ids.
    """

    def __init__(self, engine: Engine, groups: Groups) -> None:
        super().__init__(engine)
        self.groups, self.features = groups, engine.features

    def sample(
        self, prompts: Sequence[Prompt] | Sequence[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[Group]:
        """Draws `n` completions of each prompt; see `Engine.sample`."""
        if self.features.follow_ups and prompts:
            # A limit of one token: nothing follows, so no room is set aside for what follows.
            nothing = FollowUps(lambda *_: [], 1, Sampling(sampling.temperature, 1), seed, "samples", 0)
            return self.sample_and_follow(prompts, n, sampling, seed, nothing).groups
        prompt_ids = ids_of(self.tokenizer, prompts)
        # The whole call or nothing: other batches may give other last digits.
        name = _name_of_call(prompt_keys(seed, prompt_ids))
        known = self.groups.get(name)
        if known is None:
            known = self.engine.sample(prompt_ids, n, sampling, seed)
            self.groups.put(name, known)
        return known

    def sample_and_follow(
        self,
        prompts: Sequence[Prompt] | Sequence[list[int]],
        n: int,
        sampling: Sampling,
        seed: int,
        follow: FollowUps,
    ) -> Followed:
        """As `sample`, with prompts that follow; these are sampled again. See `FollowingEngine`."""
        engine: FollowingEngine = self.engine  # type: ignore[assignment]
        prompt_ids = ids_of(self.tokenizer, prompts)
        names = [f"{key:016x}" for key in prompt_keys(seed, prompt_ids)]
        known = {i: groups[0] for i, name in enumerate(names) if (groups := self.groups.get(name))}
        # The second of equal prompts would be drawn as the first of them, if it were asked alone.
        open_ids = {tuple(ids) for i, ids in enumerate(prompt_ids) if i not in known}
        missing = [i for i, ids in enumerate(prompt_ids) if tuple(ids) in open_ids]
        known = {i: group for i, group in known.items() if i not in set(missing)}
        # All that follows goes through one call, in which equal prompts are told apart.
        waiting = list[Any](prompt for i, group in known.items() for prompt in follow.after(i, group))

        def after(number: int, group: Group) -> Sequence[Prompt] | Sequence[list[int]]:
            self.groups.put(names[missing[number]], [group])
            before, waiting[:] = list(waiting), []
            return [*before, *follow.after(missing[number], group)]  # type: ignore[list-item]

        # Nothing ends any more that could bring in what follows.
        if not missing:
            further = engine.sample(waiting, follow.n, follow.sampling, follow.seed) if waiting else []
            return Followed([known[i] for i in range(len(prompt_ids))], further)
        sampled = engine.sample_and_follow(
            [prompt_ids[i] for i in missing], n, sampling, seed, follow._replace(after=after)
        )
        groups = known | dict(zip(missing, sampled.groups, strict=True))
        return Followed([groups[i] for i in range(len(prompt_ids))], sampled.further)


def keeping(engine: Engine, groups: Groups | None) -> Engine:
    """The engine with its samples kept; as it is where nobody keeps them, or where it takes no ids."""
    if groups is None or not engine.features.ids:
        return engine
    # The rank that asks keeps each group as it ends: it may not wait for the others in between.
    if isinstance(engine, FirstRankEngine) and isinstance(groups, RankedGroups):
        return FirstRankEngine(keeping(engine.engine, groups.groups), engine.ranks, engine.copy)
    return KeptEngine(engine, groups)


def _name_of_call(keys: Sequence[int]) -> str:
    return hashlib.blake2b(",".join(map(str, keys)).encode(), digest_size=16).hexdigest()
