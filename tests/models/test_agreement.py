"""The comparison itself: with which lengths, in how many halves, and what it refuses."""

from collections.abc import Callable

import pytest
import torch

from dupo.errors import UserError
from dupo.models import agreement
from dupo.models.agreement import CheckLengths, Scored, check_agreement, random_ids
from dupo.models.load import Model
from dupo.models.own_forward import own_logprobs
from tests.helpers.model_kinds import model_of_kind

LENGTHS = CheckLengths(small=(30, 9), real=(20, 64), long=(300,))


class Honest:
    """A route that says what the model says, changed by `change`; it remembers its lengths."""

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor] = lambda logprobs: logprobs) -> None:
        self.change, self.calls = change, list[tuple[int, list[int]]]()

    def __call__(self, model: Model, dtype: str, lengths: list[int]) -> list[Scored]:
        self.calls.append((int(model.config.vocab_size), lengths))
        sequences = [random_ids(model, length, 0) for length in lengths]
        return [Scored(ids, self.change(own_logprobs(model, [ids], dtype))) for ids in sequences]


def check(route: Honest, most_tokens: int | None = None, kind: str = "llama") -> float:
    return check_agreement(model_of_kind(kind), "auto", route, "asked", LENGTHS, 8, most_tokens)


def test_both_halves_are_checked() -> None:
    route = Honest()
    assert check(route) == 0
    assert route.calls == [(64, [30, 9]), (100, [20, 64])]


def test_sequences_fit_into_the_room_of_the_run() -> None:
    route = Honest()
    check(route, most_tokens=40)
    assert route.calls[1] == (100, [20, 40])
    few_positions = model_of_kind("llama", max_position_embeddings=33)
    check_agreement(few_positions, "auto", route, "asked", LENGTHS, 8, None)
    assert route.calls[3] == (100, [20, 33])


def test_without_a_small_model_the_real_weights_are_checked_at_more_lengths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agreement, "shrunk", lambda model, window: None)
    route = Honest()
    check(route)
    assert route.calls == [(100, [300])]


@pytest.mark.parametrize("off", [0.01, float("nan")])
def test_a_single_token_that_is_off_is_refused(off: float) -> None:
    def change(logprobs: torch.Tensor) -> torch.Tensor:
        return logprobs + off * (torch.arange(len(logprobs)) == 3)

    with pytest.raises(UserError, match=r"LlamaForCausalLM cannot be asked \(seen in a small model"):
        check(Honest(change))


@pytest.mark.parametrize(
    ("kind", "off", "is_borne"),
    [
        ("mixtral", {3: 0.4}, True),  # two experts with equal scores changed places
        ("mixtral", {3: 0.4, 7: 0.4}, False),
        ("mixtral", {3: float("nan")}, False),
        ("llama", {3: 0.4}, False),
    ],
)
def test_one_token_of_a_model_with_experts_may_differ(
    monkeypatch: pytest.MonkeyPatch, kind: str, off: dict[int, float], is_borne: bool
) -> None:
    monkeypatch.setattr(agreement, "shrunk", lambda model, window: None)

    def change(logprobs: torch.Tensor) -> torch.Tensor:
        return logprobs + torch.tensor([off.get(token, 0.0) for token in range(len(logprobs))])

    if is_borne:
        assert check(Honest(change), kind=kind) == 0
    else:
        with pytest.raises(UserError, match=r"its log-probs differ by .* use another model"):
            check(Honest(change), kind=kind)


@pytest.mark.slow
def test_the_model_is_named() -> None:
    """With a judge or several pools, the class alone does not tell which model is meant."""
    model = model_of_kind("llama")
    model.config.name_or_path = "folder/of/judge"
    with pytest.raises(UserError, match=r"^folder/of/judge: LlamaForCausalLM cannot be asked"):
        check_agreement(model, "auto", Honest(lambda logprobs: logprobs - 1), "asked", LENGTHS, 8, None)


def test_a_route_without_memory_is_no_fault_of_the_class() -> None:
    def change(logprobs: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match=r"not enough memory$"):
        check(Honest(change))


def test_a_route_that_fails_is_one_line() -> None:
    def change(logprobs: torch.Tensor) -> torch.Tensor:
        raise KeyError("two\nlines")

    with pytest.raises(UserError, match=r"LlamaForCausalLM cannot be asked.*KeyError: ") as refusal:
        check(Honest(change))
    assert "\n" not in str(refusal.value)
