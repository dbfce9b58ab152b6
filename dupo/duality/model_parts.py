"""What is read of a model before its weights, or the server that holds it: enough for all checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dupo.config.config import Config
from dupo.config.model_options import ModelOptions
from dupo.distributed.ranks import ALONE, Ranks
from dupo.duality.length_check import Lengths, TokenLimits, check_vocabulary
from dupo.engines.probe import Server, address_of, probe, probe_wait
from dupo.errors import UserError
from dupo.models.fingerprints import model_fingerprints, tokenizer_fingerprints
from dupo.models.load import model_config
from dupo.models.tokenizers import load_tokenizer
from dupo.text.tokenizer import PromptTokenizer


@dataclass(frozen=True, slots=True)
class ModelParts:
    """A model of this machine, or of a server.

    Attributes:
        tokenizer: None where the server frames the prompts.
        shape: the transformers config; None for a model of a server.
        server: None for a model of this machine.
    """

    options: ModelOptions
    tokenizer: PromptTokenizer | None
    shape: Any = None
    server: Server | None = None

    def limits(self, lengths: Lengths) -> TokenLimits:
        """How long prompts may be."""
        if self.server is None:
            assert self.tokenizer is not None
            return TokenLimits.of(self.tokenizer, self.shape, lengths)
        return TokenLimits(self.tokenizer, lengths, self.server.max_positions)

    def fingerprints(self, kind: str) -> Mapping[str, str]:
        """Name -> fingerprint of everything that is read; of a server its address, as its weights are hidden.

        Args:
            kind: what the model is to the run: "model", "judge".
        """
        if self.server is None:
            assert self.tokenizer is not None
            return model_fingerprints(kind, self.options, self.tokenizer, self.shape)
        own = {f"the server of the {kind}": str(self.server.address)}
        return own if self.tokenizer is None else {**own, **tokenizer_fingerprints(kind, self.tokenizer)}


def read_parts(
    config: Config, name: str, vocabulary: Sequence[str] | None, ranks: Ranks = ALONE
) -> ModelParts:
    """Reads tokenizer and shape of a model, or asks its server what it can do.

    Args:
        name: folder, Hub name or address of a server.
        vocabulary: tokens of the built-in tokenizer; None: one token for each byte.
        ranks: the processes that use the model together; their first alone asks a server.

    Raises:
        UserError: there is no such model, or it does not fit its tokenizer; names no option.
        ServerError: the server does not answer.
    """
    options = config.model.for_model(name)
    is_other = options is not config.model
    if server_address := address_of(name, config):
        option, address = server_address
        # Without the name of a tokenizer the server frames the prompts, as nothing here knows how.
        # It belongs to the model of the run, so a judge of another server is sent messages.
        names_tokenizer = not is_other and options.tokenizer_name is not None
        tokenizer = load_tokenizer(options, vocabulary) if names_tokenizer else None
        server = ranks.on_first(
            lambda: probe(option, address, config.engine, options, tokenizer),
            probe_wait(address, config.engine),
        )
        return ModelParts(options, tokenizer, server=server)
    # The tokenizer comes first: the shape of the built-in model depends on its vocabulary.
    tokenizer = load_tokenizer(options, vocabulary, is_judge=is_other)
    shape = model_config(options, tokenizer)
    try:
        check_vocabulary(tokenizer, shape)
    except UserError as problem:
        raise UserError(f"{name}: {problem}" if is_other else str(problem)) from None
    return ModelParts(options, tokenizer, shape)
