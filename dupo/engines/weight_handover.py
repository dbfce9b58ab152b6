"""Which weights an engine with a copy of its own samples from, and whether the copy has them.

A policy that is one update behind looks like a policy. So a weight that changed without being handed over is
an error, and at the start and after the first update the log-probs of copy and learner are compared.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dupo.engines.base import Sampling
from dupo.errors import DISK_FAULTS, StorageError, os_error_number
from dupo.models.agreement import Scored, compare_with_own, random_ids
from dupo.models.load import Model
from dupo.records import Completion

CHECKED_LENGTHS, CHECKED_TOKENS = (9, 33, 65), 8
# (prompts, samples of each, sampling, seed) -> completions of each prompt; of the copy as it is.
SampleCopy = Callable[[list[list[int]], int, Sampling, int], list[list[Completion]]]


class WeightHandover:
    """Keeps account of the weights that one engine was told to sample from.

    Args:
        dtype: `--compute_dtype`.
        engine: what `--engine` calls the engine, for errors.
        max_length: most tokens of a sequence; None: no limit.

    Attributes:
        model: holds the weights.
        is_due: whether the copy has other weights.
    """

    def __init__(self, model: Model, dtype: str, engine: str, max_length: int | None) -> None:
        self.dtype, self.engine, self.max_length = dtype, engine, max_length
        self._checks_left = 2
        self.note(model)

    def note(self, model: Model) -> None:
        """The copy is to have the weights of `model` as they are now."""
        self.model, self._stamp, self.is_due = model, _stamp(model), True

    def check_noted(self) -> None:
        """Checks that no weight changed since `note`; cheap, as no weight is read.

        Raises:
            RuntimeError: a weight changed.
        """
        if _stamp(self.model) != self._stamp:
            raise RuntimeError("the weights of the model changed, and load_weights was not called after it")

    def done(self, sample_copy: SampleCopy) -> None:
        """The copy was handed the weights; the first two times its log-probs are compared.

        Raises:
            UserError: the copy computes other log-probs than the model.
        """
        self.is_due = False
        # After the first update too: weights that never arrive again would look right until then.
        if not self._checks_left:
            return
        self._checks_left -= 1
        compare_copy(self.model, self.dtype, self.engine, self.max_length, sample_copy)


def compare_copy(
    model: Model, dtype: str, engine: str, max_length: int | None, sample_copy: SampleCopy
) -> None:
    """Compares the log-probs of an engine with those of the model, on a few completions of ids at random.

    Args: as those of `WeightHandover`.

    Raises:
        UserError: the engine computes other log-probs than the model.
    """
    longest = max_length or max(CHECKED_LENGTHS)
    lengths = sorted({min(length, longest) for length in CHECKED_LENGTHS})

    def scored(model: Model, dtype: str, lengths: list[int]) -> list[Scored]:
        num_tokens = min(CHECKED_TOKENS, min(lengths) - 1)
        # Prompts and completions together have the lengths: no model has room for more.
        prompts = [random_ids(model, length - num_tokens, k) for k, length in enumerate(lengths)]
        # Two of each prompt: samples of one prompt may share what they have read.
        groups = sample_copy(prompts, 2, Sampling(1.0, num_tokens), 0)
        return [
            Scored(prompt + completion.ids.tolist(), completion.logprobs)
            for prompt, group in zip(prompts, groups, strict=True)
            for completion in group
        ]

    failure = f"engine: {engine} cannot sample {type(model).__name__}"
    compare_with_own(model, dtype, scored, lengths, failure)


@contextmanager
def writing_weights(where: str, advice: str) -> Iterator[None]:
    """Turns a failure of the disk inside the block into one line for the user; other errors pass.

    Args:
        where: weights are written, for the error.
        advice: what the user can do.

    Raises:
        StorageError: the disk is full, or cannot be written.
    """
    try:
        yield
    except Exception as problem:  # safetensors has errors of its own for a full disk
        number = os_error_number(problem)
        if number not in DISK_FAULTS:
            raise
        raise StorageError(f"{where}: {os.strerror(number or 0)}: {advice}") from None


def _stamp(model: Model) -> tuple[int, ...]:
    """Changes whenever a weight is written in place, as an optimizer does."""
    # torch counts the writes of every tensor for autograd.
    return tuple(weight._version for weight in model.parameters())
