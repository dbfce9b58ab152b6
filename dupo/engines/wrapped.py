"""What every engine shares that is put around another one: all but its way to sample is that engine's."""

from dupo.engines.base import Engine
from dupo.models.load import Model
from dupo.text.tokenizer import PromptTokenizer


class WrappedEngine:
    """An engine around another one; see `dupo.engines.base.Engine`.

    Attributes:
        engine: the one within.
    """

    tokenizer: PromptTokenizer

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        if engine.features.ids:
            self.tokenizer = engine.tokenizer

    @property
    def max_positions(self) -> int | None:
        """Most tokens of a prompt and its completion; None: no limit."""
        return self.engine.max_positions

    def load_weights(self, model: Model) -> None:
        """Samples from the weights of `model` from now on."""
        self.engine.load_weights(model)

    def release_memory(self) -> None:
        """Gives up what `sample` allocates again."""
        self.engine.release_memory()


def unwrapped(engine: Engine) -> Engine:
    """The engine that samples, beneath what is put around it."""
    while isinstance(engine, WrappedEngine):
        engine = engine.engine
    return engine
