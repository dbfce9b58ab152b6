"""An engine that the first rank alone asks, as that of a server: all ranks then know the completions.

new weights    are gathered by all ranks and sent by the first
prompts        all of them are asked by the first: a server batches whatever comes together
follow-ups     are asked by the first; the others then repeat what followed from which completions
"""

from collections.abc import Sequence

from dupo.distributed.ranks import Ranks, Wait
from dupo.engines.base import Engine, EngineFeatures, Followed, FollowingEngine, FollowUps, Sampling
from dupo.engines.ranked import RankedEngine, signing
from dupo.engines.server import ServerEngine
from dupo.engines.vllm_server import VllmServerEngine
from dupo.engines.wrapped import unwrapped
from dupo.models.load import Model
from dupo.records import Completion, Prompt


class FirstRankEngine(RankedEngine):
    """Samples with the engine of the first rank; see `dupo.engines.base.Engine`.

    Args:
        engine: of a server; that of the first rank alone samples.
        copy: as that of `RankedEngine`.
    """

    def __init__(self, engine: Engine, ranks: Ranks, copy: Model | None = None) -> None:
        super().__init__(engine, ranks, copy)
        self._sender = server if isinstance(server := unwrapped(engine), VllmServerEngine) else None
        self._wait = server_wait(server)

    @property
    def features(self) -> EngineFeatures:
        """Of the engine of the first rank."""
        return self.engine.features

    def sample(
        self, prompts: Sequence[Prompt] | Sequence[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """Draws `n` completions of each prompt; see `Engine.sample`. Every rank has to ask for the same."""
        self._send_weights()
        sample = signing(self.ranks, lambda: self.engine.sample(prompts, n, sampling, seed))
        return self.ranks.on_first(sample, self._wait)

    def sample_and_follow(
        self,
        prompts: Sequence[Prompt] | Sequence[list[int]],
        n: int,
        sampling: Sampling,
        seed: int,
        follow: FollowUps,
    ) -> Followed:
        """As `sample`, with prompts that follow; see `FollowingEngine.sample_and_follow`."""
        self._send_weights()
        engine: FollowingEngine = self.engine  # type: ignore[assignment]
        order = list[int]()

        def after(number: int, group: list[Completion]) -> Sequence[Prompt] | Sequence[list[int]]:
            order.append(number)
            return follow.after(number, group)

        def sample() -> tuple[Followed, list[int]]:
            asked = follow._replace(after=after)
            return engine.sample_and_follow(prompts, n, sampling, seed, asked), order

        followed, ended = self.ranks.on_first(signing(self.ranks, sample), self._wait)
        # Whoever asks notes what followed, in this order; on the first rank that is done.
        if not self.ranks.is_first:
            for number in ended:
                follow.after(number, followed.groups[number])
        return followed

    def _send_weights(self) -> None:
        if self._sender is not None:
            self._sender.renew()


def is_of_server(engine: Engine) -> bool:
    """Whether a server holds the model that an engine samples from."""
    return isinstance(unwrapped(engine), ServerEngine | VllmServerEngine)


def server_wait(engine: Engine) -> Wait:
    """How the other ranks wait for the first, which waits for the server of an engine."""
    assert isinstance(engine, ServerEngine | VllmServerEngine)
    server = engine.server
    return Wait(f"answers of {server.address.url}", server.connection.longest_wait())
