"""Answers of models that think first: what is thought is never the answer, also where the prompt opens it."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from dupo.config.task_options import TaskOptions
from dupo.duality.judge import Judge
from dupo.duality.reconstruct import reconstruct
from dupo.engines.base import Sampling, sample_answers
from dupo.rewards.refusals import refusal_metrics
from dupo.tasks.word_problems import WordProblems
from dupo.text.thoughts import closing_of_thoughts, end_in_thought
from dupo.text.tokenizer import PromptTokenizer
from tests.helpers.engines import FakeEngine
from tests.helpers.thinking import OPENED, SHOWN, thinking_bytes
from tests.helpers.tokenizers_made import QWEN3, THINKING, chatml_bytes

PLAIN = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"


def tokenizer(template: str, *, special: bool = False, **arguments: Any) -> PromptTokenizer:
    return PromptTokenizer(thinking_bytes(template, special=special), arguments=arguments)


@pytest.mark.slow
@pytest.mark.parametrize("special", [False, True])
def test_a_template_may_open_a_thought(special: bool) -> None:
    assert tokenizer(OPENED, special=special).opens_thought("1 + 1?")
    assert tokenizer(OPENED, special=special).opens_thought(("1 +", " 1?"))
    # Thinking off closes the thought at once; the template of Qwen3 leaves it to the model to open one.
    assert not tokenizer(OPENED, special=special, enable_thinking=False).opens_thought("1 + 1?")
    assert not tokenizer(THINKING, special=special).opens_thought("1 + 1?")
    # The question of a user opens nothing.
    assert not tokenizer(THINKING, special=special).opens_thought("1 + 1? <think>")


def test_the_marks_of_a_thought_stay_in_the_text_and_other_special_tokens_do_not() -> None:
    text = "<think>so</think> 7<|im_end|>"
    for special in (False, True):
        made = tokenizer(THINKING, special=special)
        ids = made.hf(text, add_special_tokens=False).input_ids
        assert made.decode([ids, []]) == ["<think>so</think> 7", ""]


SAID = [r"so \boxed{1}", r"so \boxed{1}</think> It is \boxed{2}", r"\boxed{1}</think>", "</think>3"]


def task(tmp_path: Path) -> WordProblems:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "Ann has 12 pears and eats 5. How many are left?"}\n')
    return WordProblems(TaskOptions(task="word_problems", dataset=str(file), eval_size=0), seed=0)


def engine(opens: bool) -> FakeEngine:
    """Says `SAID`; its chat template opens a thought, or does not."""
    made = FakeEngine(lambda prompt, k: SAID[k])
    made.tokenizer.opens_thought = lambda prompt: opens
    return made


def test_a_completion_that_is_cut_in_its_thought_has_no_answer(tmp_path: Path) -> None:
    words = task(tmp_path)
    rollout = sample_answers(engine(True), words, words.train, 4, Sampling(1.0, 50), seed=0)
    assert rollout.answers == [[None, "2", None, "3"]]
    assert refusal_metrics(words, rollout) == {"completions/refused/unreadable": 0.5}
    # What people and reward functions see is what was sampled.
    assert [completion.text for completion in rollout.completions[0]] == SAID
    # Without a thought of the prompt, the first text is an answer.
    rollout = sample_answers(engine(False), words, words.train, 4, Sampling(1.0, 50), seed=0)
    assert rollout.answers == [["1", "2", None, "3"]]


@pytest.mark.parametrize(
    ("opens", "expected"), [(True, [None, 1.0, None, 1.0]), (False, [1.0, 1.0, None, 1.0])]
)
def test_so_it_is_with_the_answer_to_a_dual(
    tmp_path: Path, opens: bool, expected: list[float | None]
) -> None:
    words = task(tmp_path)
    judge = Judge(engine(opens), 4, Sampling(1.0, 50))
    (by_answer,) = reconstruct(words, words.train, [["7"]], judge.asking(0))
    assert [row.distances for row in by_answer["7"]] == [expected] * 2


# --- how a thought ends ---


@pytest.mark.parametrize(
    ("template", "words", "special"), [(OPENED, "</think>", True), (SHOWN, "\n</think>\n\n", False)]
)
def test_the_template_says_how_a_thought_ends(template: str, words: str, special: bool) -> None:
    tokenizer = PromptTokenizer(thinking_bytes(template, special=special))
    closing = closing_of_thoughts(tokenizer)
    assert closing is not None and closing.count(tokenizer.hf.convert_tokens_to_ids("</think>")) == 1
    assert tokenizer.hf.decode(closing, skip_special_tokens=False) == words


def test_without_a_template_the_vocabulary_says_it() -> None:
    hf = thinking_bytes(OPENED)
    hf.chat_template = None
    mark = hf.convert_tokens_to_ids("</think>")
    assert closing_of_thoughts(PromptTokenizer(hf)) == [mark]


@pytest.mark.parametrize("template", [None, PLAIN])
def test_a_model_that_does_not_think_has_no_end_of_thoughts(template: str | None) -> None:
    hf = chatml_bytes(pad_token="<pad>", eos_token="<|im_end|>")
    hf.chat_template = template
    assert closing_of_thoughts(PromptTokenizer(hf)) is None


def test_a_vocabulary_that_cannot_write_the_mark_has_no_end_of_thoughts() -> None:
    vocabulary = {"<unk>": 0, "<pad>": 1, "<eos>": 2, "think": 3}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    hf = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>"
    )
    hf.chat_template = OPENED
    assert closing_of_thoughts(PromptTokenizer(hf)) is None


@pytest.mark.slow
@pytest.mark.skipif(not QWEN3.is_dir(), reason="needs the tokenizer of Qwen3")
def test_qwen3_ends_its_thoughts_as_its_template_shows_them() -> None:
    from transformers import AutoTokenizer

    hf = AutoTokenizer.from_pretrained(QWEN3)
    closing = closing_of_thoughts(PromptTokenizer(hf))
    assert closing is not None and hf.decode(closing) == "\n</think>\n\n" and len(closing) == 3


@pytest.mark.parametrize(("template", "arguments"), [(OPENED, {}), (OPENED, {"enable_thinking": False})])
def test_the_ids_of_a_prompt_tell_what_its_template_tells(template: str, arguments: dict[str, Any]) -> None:
    tokenizer = PromptTokenizer(thinking_bytes(template), arguments=arguments)
    prompts = ["1 + 1?", "<think>", "so </think> <think>\n"]
    expected = [tokenizer.opens_thought(prompt) for prompt in prompts]
    assert end_in_thought(tokenizer, tokenizer.encode(prompts)) == expected
