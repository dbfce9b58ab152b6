"""What dupo registers in verl, as far as it can be called without verl; tests/peers/ has the rest."""

import asyncio
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from dupo.errors import UserError
from dupo.integrations.verl import head, scores
from dupo.integrations.verl.advantages import advantages
from dupo.integrations.verl.head import forward, install_head
from dupo.integrations.verl.losses import PolicyLoss, policy_losses
from tests.helpers.stub_server import MODEL, StubServer, serving

PROBLEMS = '{"question": "Ann has 12 pens and buys 30 more. How many pens has Ann now?"}\n'


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "problems.jsonl"
    path.write_text(PROBLEMS)
    return {"task": "word_problems", "dataset": str(path), "eval_size": 0}


def asked(
    options: dict[str, Any], text: str, prompt: str | None = None
) -> tuple[str, str, str, dict[str, Any]]:
    known = scores.shared_duals(tuple(sorted(options.items()))).prompts[0]
    return "data", text, "", {"prompt": known if prompt is None else prompt, "index": 3}


def test_equal_answers_have_equal_numbers(options: dict[str, Any]) -> None:
    texts = [r"\boxed{42}", r"so \boxed{42.0}", r"\boxed{41}", "no idea"]
    numbers = [scores.answer_score(*asked(options, text), **options) for text in texts]
    assert numbers[0] == numbers[1] != numbers[2]
    assert numbers[3] == 0 < min(numbers[:3])
    # fp32 holds them, and every process gives the same.
    assert torch.tensor(numbers).double().tolist() == numbers
    assert all(number == round(number) for number in numbers)


def test_the_number_of_an_answer_is_that_of_every_process(options: dict[str, Any]) -> None:
    # The first 8 bytes of SHA-256 of "42", modulo the largest number.
    digest = 0x73475CB40A568E8D
    assert (
        scores.answer_score(*asked(options, r"\boxed{42}"), **options) == 1 + digest % scores.LARGEST_NUMBER
    )


def say(prompt: str, seed: int) -> str:
    hidden = {"12", "30"} - set(re.findall(r"\d+", prompt))
    return rf"\boxed{{{hidden.pop()}}}" if "42" in prompt and hidden else "no idea"


def test_the_score_is_the_dual_reward_of_the_router(options: dict[str, Any]) -> None:
    async def all_at_once(address: str) -> list[dict[str, float]]:
        texts = [r"\boxed{42}", r"\boxed{41}", "no idea"]
        calls = [
            scores.dual_score(*asked(options, text), reward_router_address=address, **options)
            for text in texts
        ]
        return await asyncio.gather(*calls)

    with serving(StubServer(say)) as server:
        address = server.url.removeprefix("http://").removesuffix("/v1")
        found = asyncio.run(all_at_once(address))
    assert found == [{"score": value, "dual/reward": value} for value in (1.0, 0.0, 0.0)]
    # The server was asked once what it can do, by the calls that came together.
    assert len(server.asked) == 4


def test_a_thought_that_the_template_opened_is_no_answer(options: dict[str, Any]) -> None:
    texts = [r"try \boxed{42}", r"so</think> \boxed{42}"]
    opened = options | {"opens_thought": True}
    numbers = [scores.answer_score(*asked(options, text), **opened) for text in texts]
    assert numbers == [0, scores.answer_score(*asked(options, texts[0]), **options)]

    async def scored(address: str) -> list[float]:
        calls = [
            scores.dual_score(*asked(options, text), reward_router_address=address, **opened)
            for text in texts
        ]
        return [row["score"] for row in await asyncio.gather(*calls)]

    with serving(StubServer(say)) as server:
        assert asyncio.run(scored(server.url.removeprefix("http://").removesuffix("/v1"))) == [0, 1]


def test_a_named_judge_comes_before_the_router(options: dict[str, Any]) -> None:
    with serving(StubServer(say)) as server:
        named = options | {"dual_model": f"{server.url}#{MODEL}"}
        score = scores.dual_score(
            *asked(options, r"\boxed{42}"), reward_router_address="127.0.0.1:9", **named
        )
        assert asyncio.run(score)["score"] == 1


@pytest.mark.parametrize(
    ("extra_info", "got"),
    [({"index": 3, 4: 5}, r"the keys \['4', 'index'\]"), (None, "'None'"), ({"prompt": None}, "the keys")],
)
def test_data_without_a_prompt_are_refused(options: dict[str, Any], extra_info: Any, got: str) -> None:
    for further in (options, {}):
        with pytest.raises(UserError, match=rf"^extra_info: expected the prompt.*got {got}"):
            scores.answer_score("data", "42", "", extra_info, **further)
    with pytest.raises(UserError, match=rf"^extra_info: expected the prompt.*got {got}"):
        asyncio.run(scores.dual_score("data", "42", "", extra_info, **options))


# --- losses ---


class ActorConfig(dict[str, Any]):
    """verl's, as far as losses read it."""

    clip_ratio, clip_ratio_low, clip_ratio_high = 0.2, None, 0.28
    global_batch_info: ClassVar[dict[str, Any]] = {}


@pytest.fixture
def summed_losses(monkeypatch: pytest.MonkeyPatch) -> dict[str, PolicyLoss]:
    """The losses with a stand-in for verl's sum."""
    name = "verl.trainer.ppo.core_algos"
    module = ModuleType(name)
    vars(module)["agg_loss"] = lambda losses, mask, mode: (losses * mask).sum()
    monkeypatch.setitem(sys.modules, name, module)
    return policy_losses()


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_an_advantage_of_a_token_moves_that_token_alone(summed_losses: dict[str, PolicyLoss]) -> None:
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    old, advantages = drawn((2, 4), 1), drawn((2, 4), 2)
    logp = (old + 0.1 * drawn((2, 4), 3)).masked_fill(mask == 0, torch.nan).requires_grad_()
    value, metrics = summed_losses["dupo_gspo"](old, logp, advantages, mask, config=ActorConfig())
    log_ratio = (logp.detach() - old).where(mask.bool(), 0)
    ratio = (log_ratio.sum(1, keepdim=True) / mask.sum(1, keepdim=True)).exp().expand(2, 4)
    assert ratio.min() > 0.8 and ratio.max() < 1.28  # no clip
    truth = torch.where(mask.bool(), -advantages * ratio, 0)
    torch.testing.assert_close(value, truth.sum())
    # Of r = sg(sequence) * logp / sg(logp), the derivative by the log-probability is r.
    torch.testing.assert_close(torch.autograd.grad(value, logp)[0], truth)
    assert metrics["actor/ppo_kl"] == pytest.approx(-log_ratio.sum().item() / 5)


@pytest.mark.parametrize("name", ["dupo", "dupo_gspo", "dupo_sapo", "dupo_vespo"])
def test_every_loss_has_the_metrics_of_verl(summed_losses: dict[str, PolicyLoss], name: str) -> None:
    old = torch.zeros(1, 2)
    _, metrics = summed_losses[name](old, old + 30, old + 1, old + 1, config=ActorConfig())
    is_clipped = name in ("dupo", "dupo_gspo")
    # verl holds log-ratios of tokens at 20.
    kl = -30.0 if name == "dupo_gspo" else -20.0
    clipped = {"actor/pg_clipfrac": float(is_clipped), "actor/pg_clipfrac_lower": 0.0}
    assert metrics == clipped | {"actor/ppo_kl": kl}


@pytest.mark.parametrize("name", ["dupo", "dupo_gspo"])
def test_a_dual_clip_of_every_token_is_refused(summed_losses: dict[str, PolicyLoss], name: str) -> None:
    one = torch.ones(1, 1)
    with pytest.raises(UserError, match=r"^clip_ratio_c: expected more than 1, as in verl, got 1.0$"):
        summed_losses[name](one, one, one, one, config=ActorConfig(clip_ratio_c=1.0))


# --- advantages ---


@pytest.fixture
def core_algos(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A stand-in for verl's module: GRPO that keeps what it was given, and gives rewards back."""
    calls: list[Any] = []

    def grpo(rewards: Tensor, mask: Tensor, index: Any, **settings: Any) -> tuple[Tensor, Tensor]:
        calls.append((index.tolist(), settings))
        return rewards, rewards

    name = "verl.trainer.ppo.core_algos"
    module = ModuleType(name)
    vars(module)["compute_grpo_outcome_advantage"] = grpo
    monkeypatch.setitem(sys.modules, name, module)
    return calls


INDEX = np.array(["a", "b", "a", "b", "a", "b"], dtype=object)  # groups that are not together
NUMBERS = [7.0, 5.0, 7.0, 0.0, 9.0, 5.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dupo_majority", [1, 1, 1, 0, 0, 1]),
        ("dupo_soft_vote", [2 / 3, 2 / 3, 2 / 3, 0, 1 / 3, 2 / 3]),
    ],
)
def test_votes_are_counted_within_a_group(core_algos: list[Any], name: str, expected: list[float]) -> None:
    rewards = torch.zeros(6, 4)
    rewards[torch.arange(6), torch.tensor([3, 2, 1, 3, 0, 2])] = torch.tensor(NUMBERS)
    config = {"norm_adv_by_std_in_grpo": False}
    found, _ = advantages()[name](rewards, torch.ones(6, 4), INDEX, config=config)
    torch.testing.assert_close(found.sum(-1), torch.tensor(expected, dtype=torch.float32))
    assert core_algos == [(INDEX.tolist(), {"norm_adv_by_std_in_grpo": False})]


@pytest.mark.parametrize("wrong", [[0.5] * 6, [-1.0] * 6, [2.0**24] * 6, [float("nan")] * 6])
def test_scores_that_are_no_answers_are_refused(core_algos: list[Any], wrong: list[float]) -> None:
    with pytest.raises(UserError, match=r"rewards: expected the scores of dupo.integrations.verl.scores"):
        advantages()["dupo_majority"](torch.tensor(wrong)[:, None], torch.ones(6, 1), INDEX)


# --- the head ---


def test_the_head_takes_a_temperature_for_each_token() -> None:
    generator = torch.Generator().manual_seed(1)
    hidden, weight = (torch.randn(*shape, 4, generator=generator) for shape in ((1, 5), (9,)))
    ids, temperatures = torch.randint(9, (1, 5)), torch.rand(1, 5, generator=generator) + 0.5
    logits = hidden.double() @ weight.double().t()
    for temperature, divisor in ((0.7, 0.7), (temperatures, temperatures[..., None])):
        logprobs, entropy = forward(None, hidden, weight, ids.int(), temperature)
        truth = (logits / divisor).log_softmax(-1)
        own = truth.gather(-1, ids[..., None])[..., 0]
        torch.testing.assert_close(logprobs.double(), own, atol=4e-6, rtol=0)
        torch.testing.assert_close(entropy.double(), -(truth.exp() * truth).sum(-1), atol=4e-6, rtol=0)


def test_another_head_is_refused_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(self: Any, hidden_states: Any, weight: Any) -> None: ...

    module = ModuleType(head.MODULE)
    vars(module)[head.OWNER] = SimpleNamespace(forward=changed)
    monkeypatch.setitem(sys.modules, head.MODULE, module)
    with pytest.raises(
        UserError, match=r"verl 9\.9: expected FusedLinearForPPO\.forward\(self, .*got \(self, hid"
    ):
        install_head("9.9")
