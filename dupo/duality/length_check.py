"""Before any weight is loaded: do the prompts and their completions fit the model and its tokenizer?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dupo.config.config import Config
from dupo.errors import UserError
from dupo.models.positions import position_limit, window_of
from dupo.records import Problem, Prompt
from dupo.tasks.base import Task
from dupo.text.tokenizer import PromptTokenizer

MOST_UNKNOWN = 0.01  # of the tokens: a rare character is no fault of the data


@dataclass(frozen=True, slots=True)
class Lengths:
    """Most tokens that a run uses.

    Attributes:
        completion: of a primal completion.
        dual_completion: of the answer to a dual; None where no dual is asked.
        token_budget: of a micro-batch, which holds at least one prompt and its completion.
    """

    completion: int
    dual_completion: int | None
    token_budget: int


def lengths_of(config: Config) -> Lengths:
    """Most tokens of the prompts, completions and duals that the options ask for."""
    completion = config.rollout.max_completion_length
    dual = config.duals.dual_max_completion_length or completion
    asks_duals = config.reward.needs("duals")
    return Lengths(completion, dual if asks_duals else None, config.optimizer.token_budget)


def check_lengths(
    task: Task, problems: Iterable[Problem], tokenizer: PromptTokenizer, shape: Any, lengths: Lengths
) -> None:
    """Checks the size of the tokenizer, and the length of every prompt and dual prompt.

    Args:
        shape: the transformers config of the model.

    Raises:
        UserError: the model has no embeddings for some tokens, the tokenizer does not know the texts, a
            prompt has no ids, or a problem leaves no room for a completion.
    """
    check_vocabulary(tokenizer, shape)
    problems = list(problems)
    check_known(tokenizer, [(problem.id, task.prompt(problem)) for problem in problems])
    positions = most_positions(shape, lengths.token_budget)
    most_tokens = min(positions, lengths.token_budget)
    for problem in problems:
        check_prompt(tokenizer, problem.id, "prompt", task.prompt(problem), lengths.completion, most_tokens)
        if lengths.dual_completion is None:
            continue
        for dual in task.duals(problem):
            # The answer is not known yet; a short one stands in for it.
            prompt = task.dual_prompt(problem, dual, "0")
            check_prompt(tokenizer, problem.id, "dual prompt", prompt, lengths.dual_completion, positions)


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


def most_positions(shape: Any, token_budget: int) -> int:
    """Most tokens of a sequence that the model can read; `token_budget` where the model names no limit."""
    # The packed path has no sliding window, so no sequence may be longer than the window.
    limits = [limit for limit in (position_limit(shape), window_of(shape)) if limit is not None]
    return min(limits, default=token_budget)


def check_prompt(
    tokenizer: PromptTokenizer, id: str, kind: str, prompt: Prompt, completion: int, most_tokens: int
) -> None:
    """Checks that a prompt has ids and, with a completion of `completion` tokens, at most `most_tokens`.

    Raises:
        UserError: the prompt is too long, or has no ids; `id` and `kind` name it.
    """
    # A model predicts the token after another one: after nothing there is nothing to sample from.
    if not tokenizer.has_ids(prompt):
        start = tokenizer.framed(prompt)[:60]
        raise UserError(f"{id}: expected a {kind} of tokens, got one of none: {start!r}")
    tokens = tokens_of_long(tokenizer, prompt, completion, most_tokens)
    if tokens is not None:
        raise UserError(
            f"{id}: its {kind} of {tokens} tokens and a completion of {completion} need "
            f"{tokens + completion}; the model and token_budget allow {most_tokens}"
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
