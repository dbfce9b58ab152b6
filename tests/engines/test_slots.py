"""Decoding in slots: the completions of batches, whatever shares the slots, in steps that a graph holds."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache

from dupo.engines.base import Sampling
from dupo.engines.builtin import BuiltinEngine
from dupo.engines.reading import Reader
from dupo.engines.sampled_check import check_sampled
from dupo.engines.slot_cache import SHARE, most_slots, token_bytes, why_no_slots, width_for
from dupo.engines.slot_state import FLAG_EVERY, SlotOptions, SlotRoom
from dupo.engines.slots import SlotDecoding
from dupo.engines.waits import Watch
from dupo.models import attention
from dupo.progress import listening
from dupo.records import Completion
from dupo.seeds import prompt_keys
from tests.helpers.model_kinds import model_of_kind
from tests.helpers.worlds import World, tiny

PROMPTS = ["#321+654=", "@?+654=9750:", "#1", "#001-100=", "#1"]
SAMPLED = Sampling(0.7, 40)


def in_slots(world: World, most: int = 1024, **options: Any) -> BuiltinEngine:
    return BuiltinEngine(
        world.model, world.tokenizer, max_concurrent_sequences=most, as_on_gpu=True, **options
    )


def assert_equal(expected: list[list[Completion]], completions: list[list[Completion]]) -> None:
    assert [len(group) for group in expected] == [len(group) for group in completions]
    for first, second in zip(expected, completions, strict=True):
        for c, d in zip(first, second, strict=True):
            assert (c.ids.tolist(), c.text, c.truncated) == (d.ids.tolist(), d.text, d.truncated)
            torch.testing.assert_close(c.logprobs, d.logprobs, rtol=0, atol=1e-5)
            assert c.ids.dtype == d.ids.dtype and c.logprobs.dtype == d.logprobs.dtype


def decoding_of(
    world: World, prompts: list[list[int]], n: int, sampling: Sampling, most: int
) -> SlotDecoding:
    options = SlotOptions(sorted(world.tokenizer.eos_ids), world.tokenizer.pad_id, most, False)
    tokens = max(map(len, prompts)) + sampling.max_tokens
    room = SlotRoom(tokens, sampling.max_tokens, n * len(prompts), sampling.temperature)
    decoding = SlotDecoding(world.model, options, room)
    decoding.add(prompts, prompt_keys(3, prompts), n, sampling)
    return decoding


@pytest.mark.parametrize(
    ("most", "temperature", "n"),
    [
        (3, 0.7, 2),
        (1024, 0.0, 2),
        *(
            pytest.param(most, temperature, n, marks=pytest.mark.slow)
            for most in (1, 3, 7, 1024)
            for temperature, n in ((0.7, 4), (1.0, 1), (0.0, 2))
        ),
    ],
)
def test_completions_are_those_of_batches(most: int, temperature: float, n: int) -> None:
    world, sampling = tiny(spread=2.0), Sampling(temperature, 40)
    expected = world.engine.sample(PROMPTS, n, sampling, seed=3)
    lengths = {len(c.ids) for group in expected for c in group}
    assert temperature == 0 or (min(lengths) < FLAG_EVERY < max(lengths))
    assert_equal(expected, in_slots(world, most).sample(PROMPTS, n, sampling, seed=3))


def test_the_order_of_the_queue_changes_nothing() -> None:
    world = tiny(spread=2.0)
    prompts = world.tokenizer.encode(PROMPTS[:4])
    sampling = Sampling(0.7, 20)
    expected = world.engine.sample(prompts, 2, sampling, seed=3)
    order = [3, 1, 0, 2]
    ended = decoding_of(world, [prompts[i] for i in order], 2, sampling, most=3).run()
    ids = {(order[prompt], sample): row.tolist() for prompt, sample, row, _ in ended}
    assert len(ids) == 8
    for (prompt, sample), row in ids.items():
        assert row == expected[prompt][sample].ids.tolist()


def test_measures_of_distributions_are_those_of_batches() -> None:
    world = tiny("--reward", "entropy,self_certainty", spread=2.0)
    sampling = Sampling(0.7, 6)
    groups = in_slots(world, 3, measure_distributions=True).sample(PROMPTS, 2, sampling, seed=1)
    for expected, group in zip(world.engine.sample(PROMPTS, 2, sampling, seed=1), groups, strict=True):
        for c, d in zip(expected, group, strict=True):
            assert (c.entropy, c.self_certainty) == pytest.approx((d.entropy, d.self_certainty), abs=1e-5)


def test_no_prompts_and_the_shortest_completions() -> None:
    world = tiny(spread=2.0)
    assert in_slots(world).sample([], 2, SAMPLED, seed=0) == []
    assert_equal(
        *(e.sample(PROMPTS, 3, Sampling(1.0, 1), seed=0) for e in (world.engine, in_slots(world, 4)))
    )


def passes_of(world: World) -> list[tuple[bool, int, int]]:
    """Notes of every pass of the model: whether it reads prompts, rows and tokens of a row."""
    passes = list[tuple[bool, int, int]]()

    def note(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        is_reading = isinstance(kwargs.get("cache", kwargs.get("past_key_values")), DynamicCache)
        passes.append((is_reading, *kwargs["input_ids"].shape))

    world.model.register_forward_pre_hook(note, with_kwargs=True)
    return passes


def test_a_prompt_is_read_once_for_all_its_completions() -> None:
    world = tiny(spread=2.0)
    passes = passes_of(world)
    prompts = [[3, 4, 5, 6, 7], [5, 6, 7, 8, 9, 10, 11]]
    in_slots(world, 2).sample(prompts, 5, Sampling(1.0, 4), seed=0)
    # One token tells the shapes of the cache; the last token of a prompt is read by the first step.
    assert [shape for is_reading, *shape in passes if is_reading] == [[1, 1], [1, 4], [1, 6]]


@pytest.mark.slow
def test_a_slot_is_filled_again_while_a_long_row_goes_on() -> None:
    world = tiny(spread=2.0)
    passes = passes_of(world)
    (group,) = in_slots(world, 4).sample(["#1"], 24, Sampling(1.0, 80), seed=3)
    rows = [rows for is_reading, rows, _ in passes if not is_reading]
    lengths = [len(c.ids) for c in group]
    # Each completion takes its tokens, and less than `FLAG_EVERY` steps until its end is seen.
    assert sum(rows) <= sum(lengths) + FLAG_EVERY * len(lengths)
    assert sum(rows) < sum(4 * max(lengths[start : start + 4]) for start in range(0, len(lengths), 4))
    # In the tail a step has fewer rows.
    assert rows[0] == 4 and rows == sorted(rows, reverse=True) and rows[-1] <= 2


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for the device, or gives a shape that only the device knows."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        for word in ("_local_scalar_dense", "nonzero", "item", "masked_select", "unique", "equal.default"):
            assert word not in name, name
        if "index" in name and isinstance(args[1], list | tuple):
            assert all(index is None or index.dtype == torch.int64 for index in args[1]), name
        return func(*args, **(kwargs or {}))


@contextmanager
def watched_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, ...]]]:
    """Refuses waits between two readings of the flags, and notes addresses and shapes of every step."""
    seen: list[tuple[Any, ...]] = []
    advance, step = SlotDecoding._advance, SlotDecoding._step

    def watched_advance(self: SlotDecoding, steps: int) -> None:
        seen.append(("flags", steps))
        with NoWaiting():
            advance(self, steps)

    def watched_step(self: SlotDecoding) -> None:
        step(self)
        layers = [(layer.keys.data_ptr(), layer.values.data_ptr()) for layer in self.layers]
        state = [(values.data_ptr(), values.shape) for values in self.state]
        seen.append(("step", self.rows, self.layers[0].width, *layers, *state, self.turn_1.data_ptr()))

    monkeypatch.setattr(SlotDecoding, "_advance", watched_advance)
    monkeypatch.setattr(SlotDecoding, "_step", watched_step)
    yield seen


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_a_step_waits_for_nothing_and_keeps_its_addresses(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = tiny(spread=2.0)
    with watched_steps(monkeypatch) as seen:
        in_slots(world, 3, measure_distributions=True).sample(
            PROMPTS[:3], 2, Sampling(temperature, 24), seed=3
        )
    steps = [row for row in seen if row[0] == "step"]
    flags = [row[1] for row in seen if row[0] == "flags"]
    assert sum(flags) == len(steps) and max(flags) == FLAG_EVERY
    # Of all that a step reads and writes, only the number of rows and the width ever differ.
    assert len({row[3:] for row in steps}) == 1
    assert {row[2] for row in steps} == {48}  # 12 + 24 tokens, aligned to 16


def test_waits_of_a_step_are_noticed() -> None:
    numbers = torch.arange(5)
    for wait in (lambda: numbers.nonzero(), lambda: numbers[numbers > 2], lambda: int(numbers.sum())):
        with Watch() as watch:
            wait()
        assert watch.waits
    with Watch() as watch:
        (numbers + 1).sort().values.cumsum(0)
    assert not watch.waits


def test_logits_that_are_not_finite_stop_the_sampling() -> None:
    with pytest.raises(FloatingPointError, match="logits"):
        in_slots(tiny(spread=float("nan"))).sample(["#1"], 2, Sampling(1.0, 6), seed=0)


def test_progress_counts_completions() -> None:
    world, heard = tiny(), list[tuple[str, int, int]]()
    with listening(lambda *words: heard.append(words)):
        in_slots(world, 4).sample(PROMPTS, 2, Sampling(1.0, 6), seed=0)
    assert heard == [("samples", done, 10) for done in range(1, 11)]


# --- memory ---


def test_slots_are_as_many_as_fit() -> None:
    # Qwen3-4B: 36 layers, 8 heads of 128 for keys and values, bf16; 40 GB, 32,768 columns.
    token = 2 * 36 * 8 * 128 * 2
    assert token == 147_456
    row = 32_768 * token + 5 * 4 * 151_936
    assert most_slots(40_000_000_000, 32_768, token, 151_936) == math.floor(SHARE * 40e9 / row) == 7
    assert most_slots(1, 32_768, token, 151_936) == 1


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("qwen3", 2 * 2 * 2 * 16 * 4), ("gpt2", 2 * 2 * 4 * 16 * 4)],  # keys and values, layers, heads, numbers
)
def test_bytes_of_a_token_are_those_of_the_cache(kind: str, expected: int) -> None:
    reader = Reader(model_of_kind(kind), DynamicCache())
    with torch.no_grad():
        reader.read([[3]], 0)
        assert token_bytes(reader.cache) == expected
        with torch.autocast("cpu", torch.bfloat16):
            assert token_bytes(reader.cache) == expected // 2


def test_widths_are_few() -> None:
    assert [width_for(longest, 1000) for longest in (1, 128, 129, 513, 1000)] == [128, 128, 256, 1000, 1000]
    assert width_for(5, 50) == 50


# --- models ---


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gemma3_text", "qwen3"])
def test_windows_and_groups_of_heads_are_right(kind: str) -> None:
    check_sampled(model_of_kind(kind), "auto", as_on_gpu=True)


IN_CI = {("llama", "bfloat16"), ("deepseek_v3", "float32"), ("qwen2_moe", "float32"), ("gpt2", "float32")}
SERVED = ["llama", "gpt2", "olmo", "cohere", "mixtral", "deepseek_v2", "deepseek_v3", "phimoe", "qwen2_moe"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        pytest.param(kind, dtype, marks=() if (kind, dtype) in IN_CI else pytest.mark.full)
        for kind in SERVED
        for dtype in ("float32", "bfloat16")
    ],
)
def test_models_are_sampled_from_as_they_are(kind: str, dtype: str) -> None:
    model = model_of_kind(kind)
    assert why_no_slots(model) is None
    for is_frozen in (True, False):
        check_sampled(model.requires_grad_(not is_frozen), dtype, as_on_gpu=True)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("phi3", "Phi3ForCausalLM has rotary angles of the type longrope"),
        ("bloom", "BloomForCausalLM counts the positions itself"),
    ],
)
def test_what_no_slot_can_serve_is_named_and_decodes_in_batches(kind: str, reason: str) -> None:
    model, tokenizer = model_of_kind(kind), tiny().tokenizer
    assert (why_no_slots(model) or "").startswith(reason)
    prompts = [[3, 4, 5], [6, 7]]
    expected, named = (BuiltinEngine(model, tokenizer, as_on_gpu=as_on_gpu) for as_on_gpu in (False, True))
    with pytest.warns(UserWarning, match=reason):
        groups = named.sample(prompts, 2, Sampling(1.0, 5), seed=0)
    assert_equal(expected.sample(prompts, 2, Sampling(1.0, 5), seed=0), groups)


def test_another_attention_and_another_cache_are_named() -> None:
    model = model_of_kind("llama")
    model.set_attn_implementation("eager")
    assert why_no_slots(model) == "LlamaForCausalLM has the attention eager"
    linear = model_of_kind("bamba")
    assert (why_no_slots(linear) or "").startswith("BambaForCausalLM has the cache LinearAttention")


def test_the_mask_of_rows_has_the_window_of_the_model() -> None:
    def is_seen(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (key > query - 3)

    mask = attention.attention_mask(q_offset=torch.tensor([0, 4]), kv_length=6, mask_function=is_seen)
    assert mask is not None and mask.shape == (2, 1, 1, 6)
    assert mask.int().flatten(1).tolist() == [[1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0]]
