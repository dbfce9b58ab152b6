"""A budget of thoughts: who is cut, by which ids, what is drawn behind them, and from which distribution."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dupo.config.command_line import parse
from dupo.engines import weight_handover
from dupo.engines.base import Engine, EngineFeatures, Sampling, with_thoughts
from dupo.engines.builtin import BuiltinEngine
from dupo.engines.continuous import ContinuousEngine
from dupo.engines.load import make_engine
from dupo.engines.thinking import ThinkingEngine, check_judge_thinking, check_thinking, thoughts_row
from dupo.engines.training_probe import probe_for_training
from dupo.engines.vllm import VllmEngine
from dupo.engines.vllm_instance import VllmInstance
from dupo.engines.vllm_server import VllmServerEngine
from dupo.errors import UserError
from dupo.records import Completion
from dupo.text.thoughts import closing_of_thoughts
from dupo.text.tokenizer import PromptTokenizer
from tests.helpers.fake_vllm import put_in_place
from tests.helpers.options import refusal
from tests.helpers.stub_server import serving
from tests.helpers.thinking import OPENED, Thinker, thinker, thinking_bytes
from tests.helpers.tokenizers_made import THINKING, chatml_bytes
from tests.helpers.vllm_stub import VllmStub

PROMPTS = ["1 + 1?", "How many pears are left?", "1 + 1?"]
BUDGET, LENGTH = 7, 16


@cache
def tokenizer_of(template: str) -> PromptTokenizer:
    return PromptTokenizer(thinking_bytes(template))


@cache
def plain_tokenizer() -> PromptTokenizer:
    """Of a model that does not think."""
    return PromptTokenizer(chatml_bytes(pad_token="<pad>", eos_token="<|im_end|>"))


# --- who is cut ---


class Scripted:
    """Says a text for each sample as far as the length lets it, and goes on where it stopped.

    Args:
        said: whole completions of the one prompt.
        answer: said behind a thought that was closed by force.
    """

    features = EngineFeatures(logprobs=True, distributions=False, new_weights=True)
    max_positions: int | None = None

    def __init__(self, tokenizer: PromptTokenizer, said: Sequence[str], answer: str = "") -> None:
        self.tokenizer, self.answer = tokenizer, answer
        self.said = [[*ids, *tokenizer.eos_ids] for ids in _byte_ids(tokenizer, said)]
        self.calls: list[tuple[list[list[int]], int, Sampling, int]] = []

    def sample(self, prompts: Any, n: int, sampling: Sampling, seed: int) -> list[list[Completion]]:
        self.calls.append((prompts, n, sampling, seed))
        if len(self.calls) == 1:
            return [[self._row(said, sampling.max_tokens) for said in self.said[:n]] for _ in prompts]
        start = len(self.calls[0][0][0])
        return [[self._row(self._rest(ids[start:]), sampling.max_tokens)] for ids in prompts]

    def _rest(self, so_far: list[int]) -> list[int]:
        if so_far[-1] == self.tokenizer.hf.convert_tokens_to_ids("</think>"):
            return [*_byte_ids(self.tokenizer, [self.answer])[0], *self.tokenizer.eos_ids]
        (whole,) = [said for said in self.said if said[: len(so_far)] == so_far]
        return whole[len(so_far) :]

    def _row(self, whole: list[int], most: int) -> Completion:
        row = whole[:most]
        (text,) = self.tokenizer.decode([row])
        return Completion(torch.tensor(row), -torch.arange(1.0, len(row) + 1), text, len(whole) > most)


def _byte_ids(tokenizer: PromptTokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [tokenizer.hf(text, add_special_tokens=False).input_ids for text in texts]


def scripted(
    tokenizer: PromptTokenizer, said: Sequence[str], answer: str = ""
) -> tuple[Scripted, ThinkingEngine]:
    engine = Scripted(tokenizer, said, answer)
    return engine, thinking(engine)  # type: ignore[arg-type]


def thinking(engine: Engine, budget: int = BUDGET) -> ThinkingEngine:
    closing = closing_of_thoughts(engine.tokenizer)
    assert closing is not None
    return ThinkingEngine(engine, budget, closing)


def test_only_thoughts_that_are_open_at_the_budget_are_closed() -> None:
    """A prompt with an open thought: one that goes on, one that has ended, and one whose completion has."""
    tokenizer = tokenizer_of(OPENED)
    engine, wrapped = scripted(tokenizer, ["abcdefghijkl", "klm</think> 27 pears", "so</think>"], "42")
    (group,) = wrapped.sample(["x"], 3, Sampling(1.0, 20), seed=5)
    assert [c.text for c in group] == ["abcdefg</think>42", "klm</think> 27 pears", "so</think>"]
    assert [c.truncated for c in group] == [False] * 3
    cut, others = group[0], group[1:]
    assert cut.forced is not None and cut.forced.tolist() == [False] * 7 + [True] + [False] * 3
    assert cut.logprobs.tolist() == [-1, -2, -3, -4, -5, -6, -7, 0, -1, -2, -3]
    assert all(c.forced is None and len(c.logprobs) == len(c.ids) for c in others)
    # Prompt, thought and mark are what the answer stands behind; 20 tokens hold all three.
    (first, *later) = engine.calls
    assert (first[1], first[2].max_tokens) == (3, BUDGET)
    assert [(n, sampling.max_tokens) for _, n, sampling, _ in later] == [(1, 12), (1, 13)]
    mark = tokenizer.hf.convert_tokens_to_ids("</think>")
    assert later[0][0] == [first[0][0] + cut.ids.tolist()[:7] + [mark]]
    assert len({seed for *_, seed in engine.calls}) == 3


def test_a_thought_that_the_model_opens_has_its_tokens_behind_the_mark() -> None:
    tokenizer = tokenizer_of(THINKING)
    said = ["<think>abcdefghijkl", "no thought at all", "<think>abc</think> 27", "7"]
    _, wrapped = scripted(tokenizer, said, "42")
    (group,) = wrapped.sample(["x"], 4, Sampling(1.0, 20), seed=5)
    assert group[0].text == "<think>abcdefg</think>42" and [c.text for c in group[1:]] == said[1:]
    assert [c.forced is not None for c in group] == [True, False, False, False]


def test_nothing_is_forced_behind_a_thought_that_is_closed() -> None:
    """The budget falls into an answer that speaks of the mark: the answer goes on as it was."""
    for template, said in ((OPENED, "a</think>b<think>cdefgh"), (THINKING, "<think>a</think>b<think>cdefgh")):
        _, wrapped = scripted(tokenizer_of(template), [said], "42")
        (group,) = wrapped.sample(["x"], 1, Sampling(1.0, 20), seed=5)
        assert (group[0].text, group[0].forced) == (said, None)


def test_an_answer_that_is_cut_behind_its_thought_is_truncated() -> None:
    tokenizer = tokenizer_of(OPENED)
    _, wrapped = scripted(tokenizer, ["abcdefghijkl"], "four thousand")
    (group,) = with_thoughts(wrapped, ["x"], wrapped.sample(["x"], 1, Sampling(1.0, 12), seed=5))
    assert (group[0].to_read, group[0].truncated) == ("<think>abcdefg</think>four", True)
    with pytest.raises(ValueError, match="max_tokens: 8 for a thought of 7 and an answer"):
        wrapped.sample(["x"], 1, Sampling(1.0, 8), seed=5)


# --- what is drawn, with a real model ---


@pytest.fixture(scope="module")
def opened() -> Thinker:
    return thinker()


@pytest.fixture
def short_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons of weights that are shorter than in earnest: stand-ins compute each token anew."""
    monkeypatch.setattr(weight_handover, "CHECKED_LENGTHS", (5,))
    monkeypatch.setattr(weight_handover, "CHECKED_TOKENS", 2)


def engine_of(world: Thinker, kind: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    if kind == "vllm":
        put_in_place(monkeypatch)
        instance = VllmInstance(world.model, world.config.vllm, dtype="float32", seed=0)
        return VllmEngine(world.model, world.tokenizer, instance)
    if kind == "transformers":
        return ContinuousEngine(world.model, world.tokenizer, dtype="float32", max_concurrent_sequences=8)
    return builtin(world, as_on_gpu=kind == "slots", measure_distributions=True)


def builtin(world: Thinker, **options: Any) -> BuiltinEngine:
    return BuiltinEngine(world.model, world.tokenizer, **options)


def own_logprobs(world: Thinker, prompt: list[int], ids: Tensor, temperature: float) -> Tensor:
    """(T, V) float64 by the forward pass of the model alone."""
    with torch.no_grad():
        logits = world.model(torch.tensor([prompt + ids.tolist()]), use_cache=False).logits[0].double()
    return (logits[len(prompt) - 1 : -1] / temperature).log_softmax(-1)


def check_both_parts(world: Thinker, engine: Engine) -> None:
    """Compares two rows of each prompt with a forward pass over all that stands before each token."""
    groups = thinking(engine).sample(PROMPTS, 2, Sampling(0.8, LENGTH), seed=3)
    mark = world.tokenizer.hf.convert_tokens_to_ids("</think>")
    num_cut = 0
    for prompt, group in zip(world.tokenizer.encode(PROMPTS), groups, strict=True):
        assert len(group) == 2
        for c in group:
            sampled = torch.ones(len(c.ids)).bool() if c.forced is None else ~c.forced
            if c.forced is not None:
                num_cut += 1
                assert c.forced.nonzero()[:, 0].tolist() == [BUDGET] and c.ids[BUDGET] == mark
            assert len(c.ids) == LENGTH if c.truncated else int(c.ids[-1]) in world.tokenizer.eos_ids
            assert c.text == world.tokenizer.decode([c.ids.tolist()])[0]
            logprobs_TV = own_logprobs(world, prompt, c.ids, 0.8)
            expected = logprobs_TV.gather(-1, c.ids.long()[:, None])[:, 0] * sampled
            torch.testing.assert_close(c.logprobs.double(), expected, atol=2e-5, rtol=0)
            if c.entropy is not None:
                entropy_T = -(logprobs_TV.exp() * logprobs_TV).sum(-1)
                certainty_T = -logprobs_TV.mean(-1) - torch.tensor(logprobs_TV.shape[1]).double().log()
                assert c.entropy == pytest.approx(entropy_T[sampled].mean().item(), abs=1e-5)
                assert c.self_certainty == pytest.approx(certainty_T[sampled].mean().item(), abs=1e-5)
    assert num_cut >= 4  # of six: random bytes hardly ever end a thought


@pytest.mark.parametrize(
    "kind",
    ["batches", "slots", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vllm", "transformers"))],
)
def test_every_engine_draws_both_parts_from_the_model(
    opened: Thinker, kind: str, short_checks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_both_parts(opened, engine_of(opened, kind, monkeypatch))


@pytest.mark.slow
def test_so_does_a_server_in_training(opened: Thinker, short_checks: None, tmp_path: Path) -> None:
    with serving(VllmStub(opened.model, str(tmp_path))) as stub:
        config = parse(["--engine", "server", "--base_url", stub.url])
        server = probe_for_training(config, opened.tokenizer, opened.model.config)
        engine = VllmServerEngine(opened.model, opened.tokenizer, server, dtype="float32", folder=None)
        check_both_parts(opened, engine)


def ids_of(groups: Sequence[Sequence[Completion]]) -> list[list[list[int]]]:
    return [[c.ids.tolist() for c in group] for group in groups]


@pytest.mark.slow
def test_draws_depend_on_prompt_and_sample_and_not_on_who_decodes(opened: Thinker) -> None:
    sampling = Sampling(1.0, LENGTH)
    groups = ids_of(thinking(builtin(opened)).sample(PROMPTS, 3, sampling, seed=3))
    rows = [row for group in groups for row in group]
    assert len({tuple(row) for row in rows}) == len(rows)  # the two equal prompts differ as well
    assert ids_of(thinking(builtin(opened, as_on_gpu=True)).sample(PROMPTS, 3, sampling, 3)) == groups
    narrow = thinking(builtin(opened, max_concurrent_sequences=4))
    assert ids_of(narrow.sample(PROMPTS, 3, sampling, seed=3)) == groups
    # As ids, in another order, and fewer of them.
    prompt_ids = opened.tokenizer.encode(PROMPTS[:2])
    turned = ids_of(thinking(builtin(opened)).sample(prompt_ids[::-1], 2, sampling, seed=3))
    assert turned == [groups[1][:2], groups[0][:2]]
    assert ids_of(thinking(builtin(opened)).sample(PROMPTS[:1], 1, sampling, seed=4)) != [groups[0][:1]]


class OneThought:
    """Samples as another engine, but thinks the likeliest thought."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.tokenizer, self.features = engine, engine.tokenizer, engine.features
        self.max_positions, self.num_calls = engine.max_positions, 0

    def sample(self, prompts: Any, n: int, sampling: Sampling, seed: int) -> list[list[Completion]]:
        self.num_calls += 1
        likeliest = replace(sampling, temperature=0.0)
        return self.engine.sample(prompts, n, likeliest if self.num_calls == 1 else sampling, seed)


def test_answers_behind_the_same_thought_are_drawn_apart(opened: Thinker) -> None:
    sampling = Sampling(1.0, LENGTH)
    (group,) = thinking(OneThought(builtin(opened))).sample(PROMPTS[:1], 6, sampling, seed=3)  # type: ignore[arg-type]
    rows = [c.ids.tolist() for c in group]
    assert {tuple(row[: BUDGET + 1]) for row in rows} == {tuple(rows[0][: BUDGET + 1])}
    assert len({tuple(row[BUDGET + 1 :]) for row in rows}) == 6


def test_without_a_thought_nothing_is_forced_and_the_length_is_the_same() -> None:
    world = thinker(THINKING)
    groups = thinking(builtin(world)).sample(PROMPTS, 3, Sampling(1.0, LENGTH), seed=3)
    for c in (c for group in groups for c in group):
        assert c.forced is None and (len(c.ids) == LENGTH) == c.truncated
    assert thinking(builtin(world)).sample([], 3, Sampling(1.0, LENGTH), seed=3) == []


def test_a_prompt_without_room_for_the_whole_is_refused_before_anything_is_sampled(opened: Thinker) -> None:
    engine, wrapped = scripted(opened.tokenizer, ["abc"])
    engine.max_positions = 30
    with pytest.raises(UserError, match=r"a completion of 16 need .* positions; the engine has 30"):
        wrapped.sample(PROMPTS, 1, Sampling(1.0, LENGTH), seed=3)
    assert engine.calls == []


# --- options ---

BUDGETED = ["--thinking_token_budget", "100", "--max_completion_length", "200"]


@pytest.mark.slow
def test_the_option_puts_the_budget_around_the_engine_and_no_option_leaves_it_bare(opened: Thinker) -> None:
    config = parse(BUDGETED)
    engine = make_engine(config, opened.model, opened.tokenizer)
    assert isinstance(engine, ThinkingEngine) and engine.budget == 100 and engine.features.exact
    assert isinstance(make_engine(parse([]), opened.model, opened.tokenizer), BuiltinEngine)
    # A judge that does not think stays as it is.
    assert isinstance(make_engine(config, opened.model, plain_tokenizer()), BuiltinEngine)
    (row,) = thoughts_row(config, opened.tokenizer)
    assert row == ("thoughts", "of at most 100 tokens, then '</think>' is written, which is not trained on")
    (row,) = thoughts_row(parse([]), opened.tokenizer)
    assert row[1].startswith(
        "as the chat template has them, within the 6 tokens of an answer; --chat_template_kw"
    )
    # Told to think or not to, by name; and a template that cannot be told.
    for told in (True, False):
        tokenizer = PromptTokenizer(thinking_bytes(OPENED), arguments={"enable_thinking": told})
        assert thoughts_row(parse([]), tokenizer) == []
    assert thoughts_row(parse([]), plain_tokenizer()) == thoughts_row(parse([]), None) == []


def message(check: Callable[[], None]) -> str:
    with pytest.raises(UserError) as caught:
        check()
    return str(caught.value)


def test_models_and_lengths_that_cannot_have_a_budget_are_refused(opened: Thinker) -> None:
    plain = plain_tokenizer()
    check_thinking(parse([]), "mine", plain)
    check_thinking(parse(BUDGETED), "mine", opened.tokenizer)
    assert message(lambda: check_thinking(parse(BUDGETED), "mine", plain)) == (
        "thinking_token_budget: expected none with mine, whose chat template and tokenizer know no </think>, "
        "got 100"
    )
    short = parse([*BUDGETED, "--max_completion_length", "102"])
    assert message(lambda: check_thinking(short, "mine", opened.tokenizer)) == (
        "max_completion_length: expected at least 103, for a thought of 100, its marks and an answer "
        "(thinking_token_budget), got 102"
    )
    short = parse([*BUDGETED, "--dual_max_completion_length", "50"])
    check_thinking(short, "mine", opened.tokenizer)
    assert "dual_max_completion_length: expected at least 103" in message(
        lambda: check_judge_thinking(short, opened.tokenizer)
    )
    # Without a length of their own, answers to duals have that of answers.
    default = parse([*BUDGETED, "--max_completion_length", "102"])
    assert "dual_max_completion_length: expected at least 103" in message(
        lambda: check_judge_thinking(default, opened.tokenizer)
    )
    check_judge_thinking(short, plain)
    check_judge_thinking(short, None)


def test_servers_that_give_texts_have_no_budget(tmp_path: Path) -> None:
    server = ["--engine", "server", "--base_url", "http://host:1/v1", *BUDGETED]
    assert refusal(*server, program="rerank").startswith("thinking_token_budget: expected none with --engine")
    assert parse(server).rollout.thinking_token_budget == 100  # a server in training takes ids
    pools = ["--pool_sizes", "4,2", "--pool_models", "mine,http://host:1/v1#theirs"]
    assert "pools at servers" in refusal(*BUDGETED, *pools, program="select")
    assert "thinking_token_budget: expected" in refusal("--thinking_token_budget", "0")
