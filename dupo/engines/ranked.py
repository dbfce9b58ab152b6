"""An engine whose prompts are shared out over ranks: each is sampled on one rank, and then known to all."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch.distributed.tensor import DTensor

from dupo.distributed.ranks import Ranks, Wait
from dupo.engines.base import Engine, EngineFeatures, Sampling, ids_of
from dupo.engines.wrapped import WrappedEngine
from dupo.models.load import Model
from dupo.models.sharding import whole
from dupo.progress import also_listening
from dupo.records import Completion, Prompt

T = TypeVar("T")
SAMPLING = Wait("sampling")


class RankedEngine(WrappedEngine):
    """Samples with the engines of all ranks; see `dupo.engines.base.Engine`.

    Completions are those of one engine alone: a draw depends on its prompt and on nothing that stands beside
    it (`dupo.seeds`).

    Args:
        engine: of this rank; takes ids.
        copy: what `engine` samples from, whole on every rank; None: `engine` takes the weights that change.
    """

    def __init__(self, engine: Engine, ranks: Ranks, copy: Model | None = None) -> None:
        super().__init__(engine)
        self.ranks, self.copy = ranks, copy

    @property
    def features(self) -> EngineFeatures:
        """Of the engine of this rank; prompts cannot follow, as other ranks would not know them."""
        return self.engine.features._replace(follow_ups=False)

    def sample(
        self, prompts: Sequence[Prompt] | Sequence[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """Draws `n` completions of each prompt; see `Engine.sample`. Every rank has to ask for the same."""
        prompt_ids = ids_of(self.tokenizer, prompts)
        # Equal prompts go to one rank, in their order: the first of them has other draws than the second.
        owners = {
            ids: rank % self.ranks.size for rank, ids in enumerate(dict.fromkeys(map(tuple, prompt_ids)))
        }
        own = [i for i, ids in enumerate(prompt_ids) if owners[tuple(ids)] == self.ranks.rank]

        def sample() -> dict[int, list[Completion]]:
            groups = self.engine.sample([prompt_ids[i] for i in own], n, sampling, seed)
            return dict(zip(own, groups, strict=True))

        # A fault on any rank is raised on all of them here, so that none samples on alone.
        shares = self.ranks.together(signing(self.ranks, sample), SAMPLING)
        by_index = {i: group for groups in shares for i, group in groups.items()}
        return [by_index[i] for i in range(len(prompt_ids))]

    @torch.no_grad()
    def load_weights(self, model: Model) -> None:
        """Samples from the weights of `model`, which is sharded, from now on; every rank has to ask."""
        if self.copy is None:
            self.engine.load_weights(model)
            return
        # Weight by weight: a second whole model would not fit beside the copy.
        weights = dict(self.copy.named_parameters())
        for name, weight in model.named_parameters():
            if isinstance(weight, DTensor):  # the others are frozen beneath adapters
                weights[name].copy_(whole(weight.detach()))
        self.engine.load_weights(self.copy)


def signing(ranks: Ranks, work: Callable[[], T]) -> Callable[[], T]:
    """Work whose progress the waiting ranks see."""

    def work_with_signs() -> T:
        with also_listening(lambda *_: ranks.sign()):
            return work()

    return work_with_signs
