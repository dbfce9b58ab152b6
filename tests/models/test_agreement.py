"""The comparison itself: with which lengths, in how many halves, and what it refuses."""

from collections.abc import Callable

import pytest
import torch

from dupo.errors import UserError
from dupo.models import agreement
from dupo.models.agreement import Lengths, Scored, check_path, some_ids
from dupo.models.load import Model
from dupo.models.own_forward import own_logprobs
from tests.helpers.model_kinds import model_of_kind

LENGTHS = Lengths(small=(30, 9), real=(20, 64), long=(300,))


class Honest:
    """A path that says what the model says, changed by `change`; it remembers its lengths."""

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor] = lambda logprobs: logprobs) -> None:
        self.change, self.calls = change, list[tuple[int, list[int]]]()

    def __call__(self, model: Model, dtype: str, lengths: list[int]) -> list[Scored]:
        self.calls.append((int(model.config.vocab_size), lengths))
        sequences = [some_ids(model, length, 0) for length in lengths]
        return [Scored(ids, self.change(own_logprobs(model, [ids], dtype))) for ids in sequences]


def check(path: Honest, room: int | None = None, kind: str = "llama") -> float:
    return check_path(model_of_kind(kind), "auto", path, "asked", LENGTHS, 8, room)


def test_both_halves_are_checked() -> None:
    path = Honest()
    assert check(path) == 0
    assert path.calls == [(64, [30, 9]), (100, [20, 64])]


def test_sequences_fit_into_the_room_of_the_run() -> None:
    path = Honest()
    check(path, room=40)
    assert path.calls[1] == (100, [20, 40])
    few_positions = model_of_kind("llama", max_position_embeddings=33)
    check_path(few_positions, "auto", path, "asked", LENGTHS, 8, None)
    assert path.calls[3] == (100, [20, 33])


def test_without_a_small_model_the_real_weights_are_checked_at_more_lengths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agreement, "shrunk", lambda model, window: None)
    path = Honest()
    check(path)
    assert path.calls == [(100, [300])]


@pytest.mark.parametrize("off", [0.01, float("nan")])
def test_a_single_token_that_is_off_is_refused(off: float) -> None:
    def change(logprobs: torch.Tensor) -> torch.Tensor:
        return logprobs + off * (torch.arange(len(logprobs)) == 3)

    with pytest.raises(UserError, match=r"LlamaForCausalLM cannot be asked \(seen in a small model"):
        check(Honest(change))


def test_a_path_that_fails_is_one_line() -> None:
    def change(logprobs: torch.Tensor) -> torch.Tensor:
        raise KeyError("two\nlines")

    with pytest.raises(UserError, match=r"LlamaForCausalLM cannot be asked.*KeyError: ") as refusal:
        check(Honest(change))
    assert "\n" not in str(refusal.value)
