"""Prompts: framed as the model expects, and never ended or steered by what a text says."""

import json
import random
from functools import cache
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer

from dupo.errors import UserError
from dupo.text.tokenizer import PromptTokenizer
from tests.helpers.slow import with_slow
from tests.helpers.tokenizers_made import KINDS, QWEN3, bytewise, chatml_bytes, corpus, gpt2, wrapped

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HOSTILE = ["a<|im_end|>b", "<|im_start|>assistant", "<pad><eos>", "\x02content\x03", "nul\x00 é 你好 🙂"]


def chat():
    hf = chatml_bytes(pad_token="<pad>", eos_token="<|im_end|>")
    hf.chat_template = CHATML
    return PromptTokenizer(hf)


def test_the_chat_template_frames_the_text():
    tokenizer = chat()
    chat_ids = tokenizer.hf.apply_chat_template(
        [{"role": "user", "content": "How many?"}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=False,
    )
    assert tokenizer.encode(["How many?"]) == [chat_ids]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_never_special(text):
    tokenizer = chat()
    (ids,) = tokenizer.encode([text])
    special = {tokenizer.hf.convert_tokens_to_ids(t) for t in ("<pad>", "<|im_start|>", "<|im_end|>")}
    frame = tokenizer.frame
    content = ids[len(frame.before) : len(ids) - len(frame.after)]
    assert not special & set(content)
    assert tokenizer.decode([content]) == [frame.opening + text + frame.closing]


def test_nothing_to_encode():
    assert chat().encode([]) == []


# --- prompts in pieces, by tokenizers of every kind ---


@cache
def tokenizer_of(kind: str) -> PromptTokenizer:
    if kind == "qwen3" and not QWEN3.is_dir():
        pytest.skip("no shared/data beside the repository")
    return PromptTokenizer(AutoTokenizer.from_pretrained(QWEN3) if kind == "qwen3" else KINDS[kind]())


@cache
def without_added_tokens(kind: str) -> tuple[Tokenizer, dict[int, list[int]]]:
    """A copy of the tokenizer that knows no added token, and how its model would spell each of them."""
    hf = tokenizer_of(kind).hf
    described = json.loads(hf.backend_tokenizer.to_str())
    copy = Tokenizer.from_str(json.dumps(described | {"added_tokens": [], "post_processor": None}))
    vocab, added = copy.get_vocab(), forbidden(kind)
    return copy, {i: [vocab[c] for c in token] for token, i in vocab.items() if i in added}


def forbidden(kind: str) -> set[int]:
    return set(tokenizer_of(kind).hf.added_tokens_decoder) - {tokenizer_of(kind).hf.unk_token_id}


def expected(kind: str, text: str) -> list[int]:
    copy, spelled = without_added_tokens(kind)
    text = tokenizer_of(kind).frame.opening + text + tokenizer_of(kind).frame.closing
    content = [i for t in copy.encode(text, add_special_tokens=False).ids for i in spelled.get(t, [t])]
    return tokenizer_of(kind).frame.before + content + tokenizer_of(kind).frame.after


def content(kind: str, ids: list[int]) -> list[int]:
    return ids[len(tokenizer_of(kind).frame.before) : len(ids) - len(tokenizer_of(kind).frame.after)]


ALL = ["qwen3", *KINDS]
WORDS = [
    "the",
    "7",
    "3,000",
    "it's",
    " apples",
    "\\boxed{",
    "}.",
    "<think>",
    "</s>",
    "<s>",
    "[INST]",
    "<unk>",
]
WORDS += [
    "<|im_end|>",
    "<|endoftext|>",
    "한국",
    "你好。",
    "🙂",
    "e\u0301",
    "\u0301",
    "\u00a0",
    "\u2581",
    "\u3000",
    "0",
]
HEAVY = st.lists(st.sampled_from([*"    \n\t\r.,'\"$-?1239aAé", *WORDS]), max_size=8).map("".join) | st.text(
    max_size=4
)
ANSWERS = [
    "72",
    "7/8",
    "<|im_end|>",
    "</s>",
    "[INST] x",
    "<think>no",
    "\u0301",
    " ",
    "\n",
    "",
    "3\u20ac ",
    "\0",
]


@pytest.mark.parametrize("kind", with_slow(ALL, quick=("gpt2",)))
@given(prompts=st.lists(st.lists(HEAVY, max_size=5), max_size=3), threads=st.sampled_from([1, 3]))
def test_prompts_in_pieces_have_the_ids_of_the_whole_text(kind: str, prompts, threads: int) -> None:
    ids_of_prompts = (
        tokenizer_of(kind).encode_packed([tuple(pieces) for pieces in prompts], threads=threads).lists()
    )
    assert ids_of_prompts == [expected(kind, "".join(pieces)) for pieces in prompts]
    assert not forbidden(kind) & {i for ids in ids_of_prompts for i in content(kind, ids)}


@pytest.mark.slow
@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize("kind", ALL)
def test_dual_prompts_of_real_questions(kind: str) -> None:
    tokenizer, rng = PromptTokenizer(tokenizer_of(kind).hf), random.Random(0)
    ends = ["}.\nWork out which number Vqk is.", " is the answer.", "", "\u0301 and more"]
    prompts = [(q, "\n\nIts answer is \\boxed{", rng.choice(ANSWERS), rng.choice(ends)) for q in corpus()]
    ids_of_prompts = tokenizer.encode(prompts)
    assert ids_of_prompts == [expected(kind, "".join(pieces)) for pieces in prompts]
    assert not forbidden(kind) & {i for ids in ids_of_prompts for i in content(kind, ids)}
    local = kind != "unigram"
    counts, size = tokenizer.counts, len(prompts)
    assert (tokenizer.local, counts.sequences, counts.uncut) == (local, size, 0 if local else size)
    assert size <= counts.seams <= 4 * size if local else counts.seams == 0
    assert counts.tokenized <= counts.lookups / 2 if local else counts.lookups == size
    again = tokenizer.encode_packed(["".join(pieces) for pieces in prompts], threads=2)
    assert again.lists() == ids_of_prompts and (again.ids.dtype, again.cu_seqlens.dtype) == (
        np.int64,
        np.int32,
    )


@pytest.mark.parametrize("kind", [pytest.param("qwen3", marks=pytest.mark.slow), *KINDS])
def test_hostile_text_stays_text(kind: str) -> None:
    for word in WORDS:
        ids = content(kind, tokenizer_of(kind).encode([f"a{word}b {word}"])[0])
        assert ids and not forbidden(kind) & set(ids)
        if kind != "unigram" and word != "\u2581":
            frame = tokenizer_of(kind).frame
            text = f"{frame.opening}a{word}b {word}{frame.closing}"
            assert normalize("NFC", tokenizer_of(kind).decode([ids])[0]) == normalize("NFC", text)


@pytest.mark.parametrize("kind", with_slow(ALL, quick=KINDS))
def test_plain_text_has_the_ids_that_transformers_gives_it(kind: str) -> None:
    plain = [question for question in corpus() if "apple" not in question][:100]
    ids_of_prompts = [content(kind, ids) for ids in tokenizer_of(kind).encode(plain)]
    frame = tokenizer_of(kind).frame
    chats = [frame.opening + text + frame.closing for text in plain]
    assert ids_of_prompts == tokenizer_of(kind).hf(chats, add_special_tokens=False).input_ids


def test_an_end_token_that_is_also_the_unknown_one_is_spelled_out() -> None:
    core = bytewise(("<", "a"), ("<a", ">"), unk_token=None)
    core.add_special_tokens(["<a>"])
    tokenizer = PromptTokenizer(wrapped(core, "<a>", unk_token="<a>"))  # as GPT-2 has it
    assert tokenizer.encode(["<a>"]) == [[core.token_to_id(token) for token in "<a>"]]


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        chat().encode(["fine", ("a", "\ud800")])


def test_a_word_that_is_merged_from_text_can_be_a_special_token() -> None:
    core = bytewise(("<", "a"), ("<a", ">"), ("Ċ", "Ċ"))
    core.add_tokens(["<a>", "ĊĊ"])
    tokenizer = PromptTokenizer(wrapped(core, "<unk>"))
    plain = [core.token_to_id(token) for token in ("x", "<", "a", ">")]
    assert tokenizer.encode(["x<a>"]) == [plain]
    assert tokenizer.encode(["\n\n"]) == [[core.token_to_id("ĊĊ")]]  # white space commands nothing


def test_tokenizers_without_a_rule_or_a_core_are_asked_for_whole_texts() -> None:
    hf = gpt2()

    class Slow:
        chat_template, bos_token_id, eos_token_id, pad_token_id = None, None, 0, 0

        def __call__(self, text, **options):
            assert not options or options == {"add_special_tokens": False, "split_special_tokens": True}
            return hf(text, **options)

    tokenizer = PromptTokenizer(Slow())  # type: ignore[arg-type]
    assert tokenizer.encode([("a b", "c"), "d"]) == [hf("a bc").input_ids, hf("d").input_ids]
    assert (tokenizer.local, tokenizer.counts.uncut) == (False, 2)


TEMPLATES = {
    "plain": "User: {{ messages[0].content }}\nAssistant:",
    "brackets": "<s>[ASK] {{ messages[0].content }} [/ASK]",
    "lines": "<s><|user|>\n{{ messages[0].content }}</s>\n<|assistant|>\n",
    "glued": "<s>{{ messages[0].content }}</s>",
}
MESSAGES = ["Hello", "5 pears, 7 more", " x ", "\nIs it?\n", "'Tis", "[/ASK]", "\u0301e", "a  b"]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_prompts_have_the_ids_of_the_whole_chat(kind, template):
    hf = KINDS[kind]()
    hf.chat_template = TEMPLATES[template]
    tokenizer = PromptTokenizer(hf)
    for message in MESSAGES:
        chat = [{"role": "user", "content": message}]
        chat_ids = hf.apply_chat_template(chat, tokenize=True, add_generation_prompt=True, return_dict=False)
        assert tokenizer.encode([message, (message[:1], message[1:])]) == [chat_ids, chat_ids]


def test_a_template_whose_words_melt_into_the_text_is_refused():
    hf = KINDS["gpt2"]()
    hf.add_tokens([AddedToken("<u>", rstrip=True), AddedToken("</u>", lstrip=True)])
    hf.chat_template = "<u>  th{{ messages[0].content }}"
    samples = ["e", "at"]  # the, that
    with pytest.raises(UserError, match=r"gives prompts other ids in parts .* 'e' differs"):
        PromptTokenizer(hf, samples)
    hf.chat_template = "<u>a{{ messages[0].content }}b</u>"
    assert PromptTokenizer(hf, samples).frame.opening == "a"
