"""Before any weight is loaded: do the prompts and their completions fit the model and its tokenizer?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from dupo.config.config import Config
from dupo.errors import UserError
from dupo.models.positions import position_limit
from dupo.records import Prompt
from dupo.text.tokenizer import PromptTokenizer

MOST_UNKNOWN = 0.01  # of the tokens: a rare character is no fault of the data


@dataclass(frozen=True, slots=True)
class Lengths:
    """Most tokens that a run uses.

    Attributes:
        completion: of a primal completion.
        dual_completion: of the answer to a dual; None where no dual is asked.
        token_budget: of a micro-batch, which holds at least one prompt and its completion.
        group_size: sequences that a micro-batch must hold together.
    """

    completion: int
    dual_completion: int | None
    token_budget: int
    group_size: int = 1


def lengths_of(config: Config) -> Lengths:
    """Most tokens of the prompts, completions and duals that the options ask for."""
    completion = config.rollout.max_completion_length
    dual = config.duals.dual_max_completion_length or completion
    asks_duals = config.reward.needs("duals")
    budget, group_size = config.optimizer.token_budget, config.group_size
    return Lengths(completion, dual if asks_duals else None, budget, group_size)


class Limit(NamedTuple):
    """Most tokens of a sequence.

    Attributes:
        holder: who sets the limit: a model, or `--token_budget`.
    """

    tokens: int
    holder: str

    @classmethod
    def of(
        cls, positions: int | None, token_budget: int, group_size: int = 1, holder: str = "the model"
    ) -> Self:
        """The limit of a sequence that a micro-batch holds: the least of `positions` and its share of tokens.

        Args:
            positions: as of `TokenLimits`.
            group_size: sequences that the micro-batch must hold together.
        """
        if positions is not None and positions <= token_budget // group_size:
            return cls(positions, holder)
        share = f"a share of 1 / {group_size} of " if group_size > 1 else ""
        return cls(token_budget // group_size, f"{share}--token_budget")


class TooLong(NamedTuple):
    """A prompt that leaves no room for its completion.

    Attributes:
        kind: "prompt" or "dual prompt".
        tokens: of the prompt.
        completion: most tokens of the completion.
        limit: of both together.
        option: changes `completion`; none where the data say what the completion is.
    """

    kind: str
    tokens: int
    completion: int
    limit: Limit
    option: str = ""

    def __str__(self) -> str:
        together = f"{self.kind} of {self.tokens:,} tokens and a completion of {self.completion:,}"
        return f"{together}; {self.limit.holder} allows {self.limit.tokens:,}"

    def complaint(self, id: str) -> str:
        """What an error says of the problem or example `id`."""
        option = f" ({self.option})" if self.option else ""
        together = f"its {self.kind} of {self.tokens} tokens and a completion of {self.completion}{option}"
        need = self.tokens + self.completion
        return f"{id}: {together} need {need}; {self.limit.holder} allows {self.limit.tokens}"


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """How long prompts may be, by one tokenizer and one model.

    Attributes:
        tokenizer: None where a server frames the prompts: nobody here can count their tokens.
        positions: most tokens of a sequence that the model reads; None where the model names no limit.
        holder: what the model is called.
    """

    tokenizer: PromptTokenizer | None
    lengths: Lengths
    positions: int | None
    holder: str = "the model"

    @classmethod
    def of(cls, tokenizer: PromptTokenizer, shape: Any, lengths: Lengths, holder: str = "the model") -> Self:
        """The limits that a model sets.

        Args:
            shape: the transformers config of the model.
        """
        return cls(tokenizer, lengths, position_limit(shape), holder)

    def prompt(self, id: str, prompt: Prompt) -> TooLong | None:
        """What is too long about a primal prompt; None where it fits.

        Raises:
            UserError: the prompt has no ids, or its chat template does not take it; `id` names it.
        """
        lengths = self.lengths
        limit = Limit.of(self.positions, lengths.token_budget, lengths.group_size, self.holder)
        return self._too_long(
            id, prompt, TooLong("prompt", 0, self.lengths.completion, limit, "--max_completion_length")
        )

    def dual_prompt(self, id: str, prompt: Prompt) -> TooLong | None:
        """The same for a dual prompt, which is in no micro-batch."""
        assert self.lengths.dual_completion is not None
        limit = Limit.of(None, self.lengths.token_budget)
        if self.positions is not None:
            limit = Limit(self.positions, "the model that answers duals")
        completion = self.lengths.dual_completion
        return self._too_long(
            id, prompt, TooLong("dual prompt", 0, completion, limit, "--dual_max_completion_length")
        )

    def _too_long(self, id: str, prompt: Prompt, case: TooLong) -> TooLong | None:
        """The case with the tokens of the prompt; None where the prompt fits."""
        if self.tokenizer is None:
            return None
        try:
            has_ids = self.tokenizer.has_ids(prompt)
        except UserError as problem:
            raise UserError(f"{id}: {problem}") from None
        # A model predicts the token after another one: after nothing there is nothing to sample from.
        if not has_ids:
            start = self.tokenizer.framed(prompt)[:60]
            raise UserError(f"{id}: expected a {case.kind} of tokens, got one of none: {start!r}")
        tokens = tokens_of_long(self.tokenizer, prompt, case.completion, case.limit.tokens)
        return None if tokens is None else case._replace(tokens=tokens)


def check_vocabulary(tokenizer: PromptTokenizer, shape: Any) -> None:
    """Checks that the model has an embedding for every token.

    Args:
        shape: the transformers config of the model.

    Raises:
        UserError: the tokenizer has more tokens than the model, or a token with an id beyond them.
    """
    size = shape.get_text_config().vocab_size
    if len(tokenizer) > size:
        raise UserError(f"tokenizer: expected at most the model's {size:,} tokens, got {len(tokenizer):,}")
    # A vocabulary may have holes, and so an id above its size.
    token, highest = tokenizer.highest_token()
    if highest >= size:
        expected = f"ids below {size:,}, the number of the model's embeddings"
        raise UserError(f"tokenizer: expected {expected}, got {highest:,} for {token!r}")


def check_known(tokenizer: PromptTokenizer, texts: Sequence[tuple[str, str]]) -> None:
    """Checks that the tokenizer knows the texts: a model that reads unknown tokens learns to guess.

    Args:
        texts: (where a text stands, the text) pairs.

    Raises:
        UserError: more than `MOST_UNKNOWN` of the tokens are unknown.
    """
    unknown = tokenizer.hf.unk_token_id
    # Tokenizers of bytes know every text, and most have no unknown token.
    if not isinstance(unknown, int):
        return
    ids = tokenizer.encode_completions([text for _, text in texts])
    # The end token is left out: some tokenizers have one token for the end and for what is unknown.
    counts = [row[:-1].count(unknown) for row in ids]
    total = sum(map(len, ids)) - len(ids)
    if sum(counts) > MOST_UNKNOWN * total:
        place = next(where for (where, _), count in zip(texts, counts, strict=True) if count)
        raise UserError(
            f"tokenizer: expected to know the texts, got {sum(counts):,} unknown tokens of {total:,}, "
            f"first in {place}: its vocabulary is of another kind of text"
        )


def tokens_of_long(
    tokenizer: PromptTokenizer, prompt: Prompt, completion: int, most_tokens: int
) -> int | None:
    """Tokens of a prompt that has more than `most_tokens` with its completion; None where it has not."""
    # Most prompts are so short that they need no counting.
    if tokenizer.most_tokens(prompt) + completion <= most_tokens:
        return None
    tokens = len(tokenizer.encode([prompt])[0])
    return tokens if tokens + completion > most_tokens else None
