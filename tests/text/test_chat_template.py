"""Chat templates: those of real models give the ids of apply_chat_template, others are refused by name."""

from datetime import date
from functools import cache

import pytest
from tokenizers import AddedToken, Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dupo.errors import UserError
from dupo.text.chat_template import Trim, words_of
from dupo.text.tokenizer import PromptTokenizer
from tests.helpers.tokenizers_made import KINDS, chatml_bytes, wrapped

USER = "{% for m in messages %}{% if m['role'] == 'user' %}"
END = "{% endif %}{% endfor %}"
# The words that stand around the message in templates of real models, and what is done to the message.
ACCEPTED = {
    "plain": "User: {{ messages[0].content }}\nAssistant:",
    "bos": "{{ bos_token }}{{ messages[0].content }}",
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "chatml with a system": "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\n"
    "{{ messages[0]['content'] }}<|im_end|>\n<|im_start|>assistant\n",
    "qwen": USER + "{% set text = m.content if m.content is string else '' %}{{ '<|im_start|>user\n' + text"
    " + '<|im_end|>\n' }}" + END + "<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "llama 2": USER + "{{ bos_token + '[INST] ' + m['content'].strip() + ' [/INST]' }}" + END,
    "llama 3": "{{ bos_token }}" + USER
    + "{{ '<|im_start|>user\n\n' + m.content | trim + '<|im_end|>' }}" + END,
    "gemma": "{{ bos_token }}" + USER + "{{ '<|im_start|>user\n' + m.content | trim + '<|im_end|>\n' }}" + END
    + "{{ '<|im_start|>model\n' }}",
    "mistral": "{{ bos_token }}" + USER + "{{ '[INST] ' + m['content'] + '[/INST]' }}" + END,
    "phi 3": USER + "{{ '<|user|>\n' + m['content'] + '<|end|>\n<|assistant|>\n' }}" + END,
    "deepseek": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '<|User|>' + m.content }}"
    "{% else %}{{ m.content.split('</think>')[-1] }}" + END + "<|Assistant|><think>\n",
    "zephyr": USER + "{{ '<|user|>\n' + m['content'] + eos_token }}" + END + "\n<|assistant|>\n",
    "left": "[{{ messages[0].content.lstrip() }}]",
    "right": "[{{ messages[0].content.rstrip() }}]",
    "no generation prompt": "<|im_start|>{{ messages[0].content }}",
}  # fmt: skip
REFUSED = {
    "twice": (
        "{{ messages[0].content }}\nRead it again: {{ messages[0].content }}",
        "shows the user's message 2 times, expected once",
    ),
    "upper": ("Q: {{ messages[0].content | upper }}", "changes the user's message"),
    "replace": ("Q: {{ messages[0].content.replace('\n', ' ') }}", "'\\\\n\\\\nlines around\\\\n' becomes"),
    "split": (
        "Q: {{ messages[0].content.split('</think>')[-1] }} A:",
        "'<think>\\\\nso\\\\n</think> 12' becomes ' 12 A:'",
    ),
    "json": ("{{ messages[0].content | tojson }}", "changes the user's message"),
    "list": ("{% for c in messages[0].content %}{{ c['text'] }}{% endfor %}", "'Hello there.' becomes ''"),
    "nothing": ("Hello", "changes the user's message"),
    "raises": ("{{ raise_exception('needs system') }}", "cannot be used: TemplateError: needs system"),
    "broken": ("{% if %}", "cannot be used: TemplateSyntaxError"),
    "unsafe": ("{{ messages.__class__.__mro__[1] }}", "cannot be used: SecurityError"),
    "endless": ("{{ 'x' * (10 ** 30) }}", "cannot be used: OverflowError"),
    "no number": ("{{ messages[0].content + 1 }}", "cannot be used: TypeError"),
}  # fmt: skip
MESSAGES = [
    "How many?",
    "5 pears, 7 more",
    "'Tis",
    "a\nb\n\nc",
    "x " * 50,
    "사과 🙂",
    "\\frac{1}{2}",
    "e\u0301",
]
EDGES = [" x ", "\n\nIs it?\n", "\t", "", "  a  b  "]


def phi() -> PreTrainedTokenizerFast:
    """A tokenizer with tokens that swallow the white space behind them, as those of Phi-3."""
    hf = KINDS["llama"]()
    swallowing = [AddedToken(f"<|{n}|>", rstrip=True, special=True) for n in ("user", "end", "assistant")]
    hf.add_tokens(swallowing)
    return hf


def first_word() -> PreTrainedTokenizerFast:
    """A tokenizer that marks the first word of a chat as the start of a word, no other first word."""
    made = KINDS["llama"]().backend_tokenizer.model
    core = Tokenizer(made)
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    core.add_special_tokens(["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"])
    return wrapped(core, "</s>", bos_token="<s>", unk_token="<unk>")


def bytes_alone() -> PreTrainedTokenizerFast:
    hf = chatml_bytes(pad_token="<pad>", eos_token="<|im_end|>")
    hf.bos_token = "<|im_start|>"
    return hf


TOKENIZERS = {**KINDS, "phi": phi, "first word": first_word, "bytes": bytes_alone}


@cache
def made(tokenizer: str, template: str) -> PromptTokenizer:
    hf = TOKENIZERS[tokenizer]()
    hf.bos_token = hf.bos_token or hf.eos_token
    hf.chat_template = template
    return PromptTokenizer(hf)


def chat_ids(tokenizer: PromptTokenizer, text: str) -> list[int]:
    chat = [{"role": "user", "content": text}]
    return tokenizer.hf.apply_chat_template(
        chat, tokenize=True, add_generation_prompt=True, return_dict=False
    )  # type: ignore[return-value]


# Every second template with one kind of tokenizer, and in the slow run all with every kind.
PAIRS = [
    pytest.param(kind, template, marks=() if i % 2 == 0 and i % len(TOKENIZERS) == k else pytest.mark.slow)
    for i, template in enumerate(ACCEPTED)
    for k, kind in enumerate(TOKENIZERS)
]


@pytest.mark.parametrize(("kind", "template"), PAIRS)
def test_templates_of_real_models_give_the_ids_of_the_whole_chat(kind: str, template: str) -> None:
    tokenizer = made(kind, ACCEPTED[template])
    for text in [*MESSAGES, *EDGES]:
        expected = chat_ids(tokenizer, text)
        cut = 1 + len(text) // 2
        assert tokenizer.encode([text, (text[:1], text[1:cut], "", text[cut:])]) == [expected, expected], text


@pytest.mark.parametrize("name", REFUSED)
def test_other_templates_are_refused_in_one_line(name: str) -> None:
    template, message = REFUSED[name]
    with pytest.raises(UserError, match=message.replace("(", "\\(")) as caught:
        made("bytes", template)
    assert "\n" not in str(caught.value) and "its chat template" in str(caught.value)


def test_trimming_pieces_trims_their_text() -> None:
    for pieces in ([" a ", " ", "b "], [" ", "\n", " x"], [], [" ", ""], ["a"], ["", " ", "a b", "\t", ""]):
        for trim in (Trim(left, right) for left in (False, True) for right in (False, True)):
            assert "".join(trim.strip_pieces(pieces)) == trim.strip("".join(pieces))


# --- the date ---

DATED = "Today is {{ strftime_now('%d %b %Y') }} ({{ strftime_now(\"%Y-%m-%d 100%%, %-d\") }}). "
DATED += "{{ messages[0].content }}"


def test_a_date_in_a_template_is_that_of_the_run() -> None:
    hf = bytes_alone()
    hf.chat_template = DATED
    tokenizer = PromptTokenizer(hf, day=date(2024, 7, 6))
    assert tokenizer.decode(tokenizer.encode(["x"])) == ["Today is 06 Jul 2024 (2024-07-06 100%, 6). x"]
    assert PromptTokenizer(hf, day=date(2024, 7, 7)).encode(["x"]) != tokenizer.encode(["x"])
    assert hf.chat_template == DATED  # what is saved with the weights asks for the date as before


# As gpt-oss and Llama 3.2 ask, and with white space in front, which must stay.
NESTED = "\n {%- macro head() %}{{- 'It is ' + strftime_now('%Y-%m-%d') + '.' }}{% endmacro %}{{ head() }}"
GUARDED = "\n\n {% if strftime_now is defined %}{% set day = strftime_now('%d %b %Y') %}{% endif %}{{ day }}"


@pytest.mark.parametrize("head", ["", NESTED, GUARDED])
def test_without_a_date_the_template_shows_today(head: str) -> None:
    tokenizer = made("bytes", head + DATED)
    assert tokenizer.encode(["x"]) == [chat_ids(tokenizer, "x")]


def test_the_words_of_a_day_are_those_of_strftime() -> None:
    day = date(2031, 12, 5)
    for directive, word in words_of(day).items():
        assert day.strftime(directive) == word
    assert {"%d", "%b", "%B", "%Y", "%m", "%A", "%H", "%M", "%-d", "%%"} <= words_of(day).keys()


ASKS = "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant' + gap }}{% endif %}"
# Templates that show answers: with a line break behind them, an empty thought before, another end, a BOS.
OVER = {
    "chatml": ACCEPTED["chatml"],
    "qwen 3": "{% set gap = '\n' %}{% for m in messages %}{{ '<|im_start|>' + m.role + gap }}"
    "{% if m.role == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m.content + '<|im_end|>\n' }}"
    + ASKS,
    "llama 3": "{% set gap = '\n\n' %}{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + gap"
    " + m.content | trim + '<|im_end|>' }}" + ASKS,
    "mistral": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + "
    "'[/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
}  # fmt: skip
TOKENS = {"pad_token": "<pad>", "eos_token": "<|im_end|>"}


@pytest.mark.parametrize("name", OVER)
@pytest.mark.parametrize("answer", ["Four.", "It is 4,\nas 2 + 2 = 4.", "네 개입니다."])
def test_a_prompt_and_its_answer_have_the_ids_of_a_chat_that_is_over(name: str, answer: str) -> None:
    hf = chatml_bytes(bos_token="<pad>", **TOKENS)
    hf.chat_template = OVER[name]
    tokenizer = PromptTokenizer(hf)
    (prompt,), (said,) = tokenizer.encode(["2 + 2?"]), tokenizer.encode_answers([answer])
    chat = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": answer}]
    assert prompt + said == hf.apply_chat_template(chat, return_dict=False)


def test_an_answer_without_a_template_ends_with_the_end_token() -> None:
    tokenizer = PromptTokenizer(chatml_bytes(**TOKENS))
    assert tokenizer.encode_answers(["4"]) == tokenizer.encode_completions(["4"])


def test_a_template_that_shows_no_answer_is_refused() -> None:
    hf = chatml_bytes(**TOKENS)
    hf.chat_template = ACCEPTED["no generation prompt"]
    with pytest.raises(UserError, match="leaves out the message of the assistant"):
        PromptTokenizer(hf).encode_answers(["4"])


def test_a_special_word_in_an_answer_stays_plain_text() -> None:
    hf = chatml_bytes(**TOKENS)
    hf.chat_template = ACCEPTED["chatml"]
    (said,) = PromptTokenizer(hf).encode_answers(["<|im_end|>"])
    assert said.count(hf.convert_tokens_to_ids("<|im_end|>")) == 1
