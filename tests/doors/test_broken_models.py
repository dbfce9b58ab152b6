"""A model that cannot be used is one line and exit code 2, in every program and for every model of a run."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from dupo import audit, rerank, select, train
from dupo.duality.length_check import Lengths, TokenLimits, check_vocabulary
from dupo.errors import UserError
from dupo.text.tokenizer import PromptTokenizer
from tests.helpers.runs import SMALL
from tests.helpers.worlds import save_tiny, tiny

Main = Callable[[Sequence[str]], int]
FEW = ["--num_threads", "1", "--num_problems", "4"]
DOORS: dict[str, tuple[Main, list[str]]] = {
    "train": (train.main, [*SMALL, "--eval_size", "8"]),
    "sft": (train.main, ["--method", "sft", "--eval_size", "8"]),
    "rerank": (rerank.main, FEW),
    "select": (select.main, [*FEW, "--pool_sizes", "2"]),
    "audit": (audit.main, FEW),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("sound") / "model"))


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder whose weights have other names: transformers loads random numbers for all of them."""
    folder = save_tiny(tmp_path_factory.mktemp("renamed") / "model")
    file = folder / "model.safetensors"
    tensors = {f"_orig_mod.{name}": tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    return str(folder)


def refused(capsys: pytest.CaptureFixture[str], main: Main, out: Path, *options: str) -> str:
    """The last line of a program that ends with exit code 2."""
    assert main([*options, "--output_dir", str(out)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    assert not any("Traceback" in line for line in lines)
    return lines[-1]


# Two programs at once, the others in the slow run.
QUICK = ("train", "rerank")
EVERY = [pytest.param(door, marks=() if door in QUICK else pytest.mark.slow) for door in DOORS]


@pytest.mark.parametrize("door", EVERY)
def test_the_model_of_the_run(renamed: str, tmp_path: Path, capsys, door: str) -> None:
    main, options = DOORS[door]
    line = refused(capsys, main, tmp_path / "run", *options, "--model_name_or_path", renamed)
    assert renamed in line and "start with _orig_mod." in line


OTHERS = [
    pytest.param("train", "dual_model"),
    pytest.param("rerank", "dual_model", marks=pytest.mark.slow),
    pytest.param("audit", "dual_model", marks=pytest.mark.slow),
    pytest.param("select", "pool_models", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("door", "option"), OTHERS)
def test_another_model_of_the_run(sound: str, renamed: str, tmp_path: Path, capsys, door, option) -> None:
    main, options = DOORS[door]
    others = ["--model_name_or_path", sound, f"--{option}", renamed]
    line = refused(capsys, main, tmp_path / "run", *options, *others)
    assert renamed in line and "start with _orig_mod." in line


@pytest.mark.parametrize("door", ["train", pytest.param("audit", marks=pytest.mark.slow)])
def test_a_judge_whose_tokenizer_is_no_match(sound: str, tmp_path: Path, capsys, door: str) -> None:
    """With more tokens than its model has embeddings, and with words of another task."""
    main, options = DOORS[door]
    more = save_tiny(tmp_path / "more")
    tiny("--task", "conlang").tokenizer.hf.save_pretrained(more)
    other = save_tiny(tmp_path / "other", 0, "--task", "conlang")
    for judge, expected in ((more, "expected at most the model's"), (other, "expected to know the texts")):
        judged = ["--model_name_or_path", sound, "--dual_model", str(judge)]
        line = refused(capsys, main, tmp_path / "run", *options, *judged)
        assert expected in line and ("dual_model" in line or str(judge) in line)


# --- prompts of no ids ---


def deaf(*, known: str = "a", bos: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer that drops every character but the known ones, as byte-pair encoding without <unk> does."""
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", *known])}
    core = Tokenizer(models.BPE(vocabulary, []))
    hf = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
    if bos:
        hf.chat_template = "<eos>{{ messages[0].content }}"
    return hf


def test_a_prompt_without_ids_is_refused_by_name() -> None:
    lengths = Lengths(1, 1, 100)
    limit = TokenLimits(PromptTokenizer(deaf()), lengths, positions=100)
    assert limit.prompt("data.jsonl:3", ("bcd", "a")) is None
    with pytest.raises(
        UserError, match=r"data\.jsonl:3: expected a prompt of tokens, got one of none: 'bcd'"
    ):
        limit.prompt("data.jsonl:3", ("b", "cd"))
    # What stands around every prompt is enough to sample from.
    assert TokenLimits(PromptTokenizer(deaf(bos=True)), lengths, 100).prompt("data.jsonl:3", "bcd") is None


def test_an_example_without_a_prompt_is_refused(tmp_path: Path, capsys) -> None:
    folder = save_tiny(tmp_path / "model")
    deaf().save_pretrained(folder)
    pairs = [{"prompt": "a", "completion": "a"}, {"prompt": "bcd", "completion": "a"}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    options = ["--method", "sft", "--dataset", str(tmp_path / "pairs.jsonl"), "--eval_size", "0"]
    line = refused(capsys, train.main, tmp_path / "run", *options, "--model_name_or_path", str(folder))
    assert "pairs.jsonl" in line and "expected a prompt of tokens, got one of none" in line


def test_a_token_beyond_the_embeddings_is_refused() -> None:
    """A vocabulary with a hole: as many tokens as the model has embeddings, and an id above them."""
    core = Tokenizer(models.BPE({"<pad>": 0, "<eos>": 1, "a": 29}, []))
    hf = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
    with pytest.raises(UserError, match=r"expected ids below 20, .* got 29 for 'a'"):
        check_vocabulary(PromptTokenizer(hf), tiny().model.config)
