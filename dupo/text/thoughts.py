"""How a thought begins and ends, by the tokenizer of a model and its chat template."""

from collections.abc import Sequence

from dupo.text.tokenizer import CLOSED_THOUGHT, OPEN_THOUGHT, PromptTokenizer, ends_in_mark

TAIL = 32  # last tokens of a prompt: <think> and the white space behind it, also where a byte is a token


def closing_of_thoughts(tokenizer: PromptTokenizer) -> list[int] | None:
    """The ids between a thought and the answer behind it, `</think>` among them.

    The chat template says what stands there: it is given an answer with its thought, `reasoning_content`. For
    Qwen3 this gives `\\n</think>\\n\\n`. A template that names `</think>` and shows no thought (DeepSeek-R1)
    gives the bare mark. So does a tokenizer without a template that has a token for the mark.

    Returns:
        None: the model does not think, or its thoughts have other marks.
    """
    template, hf = tokenizer.frames.template, tokenizer.hf
    if template is None:
        words = CLOSED_THOUGHT if CLOSED_THOUGHT in hf.get_vocab() else None
    elif CLOSED_THOUGHT in (between := template.behind_thought()):
        words = between
    else:
        words = CLOSED_THOUGHT if CLOSED_THOUGHT in template.source else None
    if words is None:
        return None
    ids = list(hf(words, add_special_tokens=False).input_ids)
    # A vocabulary without the characters of the mark would write something else, and close no thought.
    (written,) = hf.batch_decode([ids], skip_special_tokens=False)
    return ids if CLOSED_THOUGHT in written else None


def opening_of_thoughts(tokenizer: PromptTokenizer) -> list[int]:
    """The ids of `<think>`."""
    # More than one where the vocabulary has no token for the mark.
    return list(tokenizer.hf(OPEN_THOUGHT, add_special_tokens=False).input_ids)


def end_in_thought(tokenizer: PromptTokenizer, prompts: Sequence[list[int]]) -> list[bool]:
    """Of each prompt, whether its ids end with `<think>`; see `PromptTokenizer.opens_thought`."""
    if not prompts:  # transformers 5.5 decodes no prompts to one empty text
        return []
    # By text: a token may hold the mark and the white space behind it.
    tails = tokenizer.hf.batch_decode([ids[-TAIL:] for ids in prompts], skip_special_tokens=False)
    return [ends_in_mark(tail) for tail in tails]


def is_in_thought(text: str) -> bool:
    """Whether a text stops inside its first thought."""
    # The first alone: behind a thought that is closed, an answer may speak of the mark.
    _, mark, thought = text.partition(OPEN_THOUGHT)
    return bool(mark) and CLOSED_THOUGHT not in thought
