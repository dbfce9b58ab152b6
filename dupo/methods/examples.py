"""Examples of supervised training as token ids, without those that are too long for the model."""

from collections.abc import Sequence

import torch

from dupo.data.examples import Example
from dupo.duality.length_check import Limit, TooLong
from dupo.duality.overlong import ERROR, TRUNCATE, Tally, longest_end
from dupo.errors import UserError
from dupo.records import ChatPrompt, Prompt, Trajectory
from dupo.text.tokenizer import SYSTEM, PromptTokenizer


def encode_examples(tokenizer: PromptTokenizer, examples: Sequence[Example]) -> list[Trajectory]:
    """Token ids of each example: the prompt in its chat template, the completion with an end token.

    Raises:
        UserError: the chat template does not take the messages before a prompt.
    """
    prompts = [_prompt_of(example) for example in examples]
    try:
        prompt_ids = tokenizer.encode(prompts)
    except UserError as problem:
        raise UserError(f"{_first_refused(tokenizer, examples)}: {problem}") from None
    completions = tokenizer.encode_completions([example.completion for example in examples])
    # Slices of two tensors: a small tensor for each example would take longer than its tokens.
    lengths = [len(ids) for ids in completions]
    ids_M = torch.tensor([i for ids in completions for i in ids], dtype=torch.int32)
    # Advantage and sampled log-probs are not read by the supervised loss.
    return [
        Trajectory(prompt, ids, logprobs, 0.0, problem=example.id)
        for example, prompt, ids, logprobs in zip(
            examples, prompt_ids, ids_M.split(lengths), torch.zeros(len(ids_M)).split(lengths), strict=True
        )
    ]


def fitting_examples(
    tokenizer: PromptTokenizer, examples: Sequence[Example], limit: Limit, overlong: str, what: str
) -> tuple[list[Example], list[Trajectory], list[str]]:
    """The examples of at most `limit` tokens, their ids, and what was left out, in words.

    With `truncate_left` an example loses its earliest turns, then words at the start of its prompt. Its
    system message and its completion stay whole.

    Args:
        overlong: `--overlong`.
        what: "examples" or "held-out examples".

    Raises:
        UserError: an example has a prompt of no tokens, or none fits.
    """
    left_out, cut = Tally(f"{what} left out"), Tally(f"{what} cut at their start")
    fitting, encoded, first = list[Example](), list[Trajectory](), ""
    for example, ids in zip(examples, encode_examples(tokenizer, examples), strict=True):
        if not ids.prompt_ids:  # the first token of a completion is predicted from the prompt
            raise UserError(f"{example.id}: expected a prompt of tokens, got one of none")
        shorter, shorter_ids = example, ids
        if len(ids.prompt_ids) + len(ids.completion_ids) > limit.tokens:
            case = TooLong("prompt", len(ids.prompt_ids), len(ids.completion_ids), limit)
            first = first or case.complaint(example.id)
            if overlong == ERROR:
                raise UserError(f"{first} (--overlong drop leaves such examples out)")
            most_of_prompt = limit.tokens - len(ids.completion_ids)
            shorter = _shortened(tokenizer, example, most_of_prompt) if overlong == TRUNCATE else None
            (left_out if shorter is None else cut).add(example.id, case)
            if shorter is None:
                continue
            (shorter_ids,) = encode_examples(tokenizer, [shorter])
        fitting.append(shorter)
        encoded.append(shorter_ids)
    if examples and not fitting:
        raise UserError(f"{first}; no other of the {len(examples):,} {what} fits")
    return fitting, encoded, [*left_out.notes(len(examples)), *cut.notes(len(examples))]


def _prompt_of(example: Example) -> Prompt:
    return ChatPrompt((example.prompt,), example.history) if example.history else example.prompt


def _first_refused(tokenizer: PromptTokenizer, examples: Sequence[Example]) -> str:
    """The id of the first example whose messages the chat template does not take."""
    for example in examples:
        try:
            tokenizer.frame_of(_prompt_of(example))
        except UserError:
            return example.id
    return examples[0].id


def _shortened(tokenizer: PromptTokenizer, example: Example, most_tokens: int) -> Example | None:
    """The example with a prompt of at most `most_tokens` tokens; None where it cannot be cut so."""

    def fits(candidate: Example) -> bool:
        return 0 < len(tokenizer.encode([_prompt_of(candidate)])[0]) <= most_tokens

    system = tuple(message for message in example.history if message.role == SYSTEM)
    turns = [message for message in example.history if message.role != SYSTEM]
    while turns:
        # Up to the next message of the user: templates want the roles in turn.
        starts = [k for k, message in enumerate(turns) if k and message.role == "user"]
        turns = turns[starts[0] :] if starts else []
        example = example._replace(history=(*system, *turns))
        if fits(example):
            return example
    text = longest_end(example.prompt, lambda end: fits(example._replace(prompt=end)))
    return None if text is None else example._replace(prompt=text)
