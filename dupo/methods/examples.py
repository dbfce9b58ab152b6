"""Examples of training as token ids, without those that are too long for the model."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

import torch

from dupo.data.examples import Example
from dupo.duality.length_check import Limit, TooLong
from dupo.duality.overlong import ERROR, TRUNCATE, Tally, longest_end
from dupo.errors import UserError
from dupo.records import ChatPrompt, Prompt, Trajectory
from dupo.text.tokenizer import SYSTEM, PromptTokenizer


def encode_examples(
    tokenizer: PromptTokenizer, examples: Sequence[Example], *, in_chats: bool = False
) -> list[Trajectory]:
    """Token ids of each example: the prompt in its chat template, the completion with an end token.

    Args:
        in_chats: completions end as in a chat that is over; see `PromptTokenizer.encode_answers`.

    Raises:
        UserError: the chat template does not take the messages before a prompt.
    """
    prompts = [_prompt_of(example) for example in examples]
    try:
        prompt_ids = tokenizer.encode(prompts)
    except UserError as problem:
        raise UserError(f"{_first_refused(tokenizer, examples)}: {problem}") from None
    encode = tokenizer.encode_answers if in_chats else tokenizer.encode_completions
    completions = encode([example.completion for example in examples])
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


class Fitting(NamedTuple):
    """Groups of examples that fit; an example of a group has the prompt of the others.

    Attributes:
        groups: the examples.
        encoded: their ids.
        places: where each group stood among those that were given.
        notes: what was left out, in words.
    """

    groups: list[tuple[Example, ...]]
    encoded: list[tuple[Trajectory, ...]]
    places: list[int]
    notes: list[str]


def fitting_groups(
    tokenizer: PromptTokenizer,
    groups: Sequence[tuple[Example, ...]],
    limit_of: Callable[[int], Limit],
    overlong: str,
    what: str,
    *,
    in_chats: bool = False,
) -> Fitting:
    """The groups whose examples all fit.

    With `truncate_left` a group loses its earliest turns, then words at the start of its prompt. Its system
    message and its completions stay whole.

    Args:
        limit_of: number of examples of a group -> most tokens of each.
        overlong: `--overlong`.
        what: "examples" or "held-out examples".
        in_chats: as of `encode_examples`.

    Raises:
        UserError: a group has a prompt of no tokens, or none fits.
    """
    left_out, cut = Tally(f"{what} left out"), Tally(f"{what} cut at their start")
    fitting, encoded, places = list[tuple[Example, ...]](), list[tuple[Trajectory, ...]](), list[int]()
    first = ""
    examples = [example for group in groups for example in group]
    all_ids = iter(encode_examples(tokenizer, examples, in_chats=in_chats))
    for place, group in enumerate(groups):
        ids, id = tuple(islice(all_ids, len(group))), group[0].id
        if not ids[0].prompt_ids:  # the first token of a completion is predicted from the prompt
            raise UserError(f"{id}: expected a prompt of tokens, got one of none")
        # A group has one prompt, so its longest completion says how much of the prompt can stay.
        longest, limit = max(len(t.completion_ids) for t in ids), limit_of(len(group))
        if len(ids[0].prompt_ids) + longest > limit.tokens:
            case = TooLong("prompt", len(ids[0].prompt_ids), longest, limit)
            first = first or case.complaint(id)
            if overlong == ERROR:
                raise UserError(f"{first} (--overlong drop leaves such examples out)")
            shorter = None
            if overlong == TRUNCATE:
                shorter = _shortened(tokenizer, group[0], limit.tokens - longest)
            (left_out if shorter is None else cut).add(id, case)
            if shorter is None:
                continue
            group = tuple(e._replace(prompt=shorter.prompt, history=shorter.history) for e in group)
            ids = tuple(encode_examples(tokenizer, group, in_chats=in_chats))
        fitting.append(group)
        encoded.append(ids)
        places.append(place)
    if groups and not fitting:
        raise UserError(f"{first}; no other of the {len(groups):,} {what} fits")
    return Fitting(fitting, encoded, places, [*left_out.notes(len(groups)), *cut.notes(len(groups))])


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
