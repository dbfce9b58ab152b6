"""What is too long for the model is left out and counted, loses its start, or ends the program."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from dupo.config.task_options import TaskOptions
from dupo.duality.length_check import Lengths, TokenLimits
from dupo.duality.overlong import FittingTask, fit_task, longest_end
from dupo.errors import UserError
from dupo.records import Problem
from dupo.tasks import arithmetic, conlang, generated, make_task
from dupo.tasks.base import Task
from dupo.tasks.conlang_grammar import WORDS_A, WORDS_B
from dupo.text.builtin_tokenizers import raw_bytes, word_level
from dupo.text.tokenizer import PromptTokenizer

SHORT = [f"Ann has {n} pens and buys {n + 31} more. How many pens has she?" for n in range(5, 15)]
FILLER = "It rains and Ann stays at home. " * 20
LONG = f"{FILLER}Ann has 8 pens and buys 9 more. How many pens has she?"
POSITIONS = 500  # tokens, one for each byte: no short problem needs as many, every long one needs more


def word_problems(folder: Path, texts: list[str]) -> Task:
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps({"question": text, "answer": "1"}) + "\n" for text in texts))
    return make_task(TaskOptions(task="word_problems", dataset=str(file), eval_size=0), 0)


def limit(positions: int | None = POSITIONS, budget: int = 10_000, dual: int | None = 20) -> TokenLimits:
    return TokenLimits(PromptTokenizer(raw_bytes()), Lengths(20, dual, budget), positions)


def prompt_tokens(task: Task, text: str) -> int:
    return len(task.prompt(Problem("x", text)).encode())


@pytest.mark.slow
def test_a_long_problem_is_left_out_and_counted(tmp_path) -> None:
    task = word_problems(tmp_path, [*SHORT[:3], LONG, *SHORT[3:], LONG + " "])
    fitted = fit_task(task, [limit()], "drop", needs_duals=True)
    assert [p.text for p in fitted.train] == SHORT
    needed = prompt_tokens(task, LONG)
    case = f"prompt of {needed} tokens and a completion of 20; the model allows 500"
    assert fitted.notes == [
        *task.notes,
        f"2 of 12 problems left out: too long ({case}), first train.jsonl:4",
    ]
    # What belongs to a micro-batch is bounded by its tokens as well.
    budget = max(prompt_tokens(task, text) for text in SHORT) + 20
    assert len(fit_task(task, [limit(10_000, budget)], "drop", needs_duals=True).train) == 10
    with pytest.raises(
        UserError, match=r"train\.jsonl:1: its prompt of .*--token_budget allows 30; no other problem fits"
    ):
        fit_task(task, [limit(10_000, 30)], "drop", needs_duals=True)
    # The most narrow of several models decides.
    assert len(fit_task(task, [limit(10_000), limit()], "drop", needs_duals=True).train) == 10


def test_everything_fits_and_nothing_is_said(tmp_path) -> None:
    task = word_problems(tmp_path, SHORT)
    fitted = fit_task(task, [limit()], "error", needs_duals=True)
    assert fitted.notes == task.notes and fitted.train == task.train
    assert [fitted.duals(p) for p in fitted.train] == [task.duals(p) for p in task.train]


def test_the_first_long_problem_ends_the_program_where_that_is_asked(tmp_path) -> None:
    task = word_problems(tmp_path, [*SHORT, LONG])
    with pytest.raises(UserError, match=r"train\.jsonl:11: its prompt of \d+ tokens .*--overlong drop"):
        fit_task(task, [limit()], "error", needs_duals=True)


def dual_lengths(task: Task, problem: Problem) -> list[int]:
    return [len("".join(task.dual_prompt(problem, dual, "0")).encode()) for dual in task.duals(problem)]


def test_a_long_dual_is_left_out_and_its_problem_stays(tmp_path) -> None:
    # Each hidden number leaves the other behind: what hides the long one is a shorter prompt.
    text = "Ann has 5 pens and buys 123456789 more. How many pens has she?"
    task = word_problems(tmp_path, [*SHORT, text])
    problem = task.train[-1]
    lengths = dual_lengths(task, problem)
    assert len(set(lengths)) == 2
    positions = max(lengths) - 1 + 20
    assert prompt_tokens(task, text) + 20 <= positions
    fitted = fit_task(task, [limit(positions)], "drop", needs_duals=True)
    assert fitted.train[-1].text == text
    (dual,) = fitted.duals(problem)
    assert len("".join(task.dual_prompt(problem, dual, "0")).encode()) == min(lengths)
    assert f"({max(lengths)} tokens" not in fitted.notes[-1] and "duals left out" in fitted.notes[-1]
    judge = "the model that answers duals allows"
    assert (
        f"dual prompt of {max(lengths)} tokens and a completion of 20; {judge} {positions}"
        in fitted.notes[-1]
    )
    with pytest.raises(UserError, match="its dual prompt of"):
        fit_task(task, [limit(positions)], "error", needs_duals=True)
    # Without any dual that fits the problem goes, unless nobody needs its duals.
    narrow = limit(min(lengths) - 1 + 20)
    assert text not in [p.text for p in fit_task(task, [narrow], "drop", needs_duals=True).train]
    unrewarded = fit_task(task, [narrow], "drop", needs_duals=False)
    assert text in [p.text for p in unrewarded.train] and unrewarded.duals(problem) == []


@pytest.mark.slow
def test_the_model_that_answers_duals_bounds_duals_alone(tmp_path) -> None:
    task = word_problems(tmp_path, SHORT)
    duals = [task.duals(problem) for problem in task.train]
    longest_prompt = max(prompt_tokens(task, text) for text in SHORT)
    longest = max(length for problem in task.train for length in dual_lengths(task, problem))
    assert longest > longest_prompt
    narrow, wide = limit(longest_prompt + 20), limit(longest + 20)
    by_judge = fit_task(task, [narrow], "error", [wide], needs_duals=True)
    assert by_judge.train == task.train and [by_judge.duals(p) for p in by_judge.train] == duals
    with pytest.raises(UserError, match=r"its dual prompt of .* no other problem fits"):
        fit_task(task, [narrow], "drop", needs_duals=True)
    # A smaller judge is told of before the run, whatever the policy could read.
    told = fit_task(task, [wide], "drop", [limit(longest + 19)], needs_duals=True)
    assert [told.duals(p) for p in task.train] != duals
    case = f"dual prompt of {longest} tokens and a completion of 20"
    assert f"{case}; the model that answers duals allows {longest + 19}" in told.notes[-1]
    with pytest.raises(UserError, match="its dual prompt of"):
        fit_task(task, [wide], "error", [limit(longest + 19)], needs_duals=True)


def knowing(words: Iterable[str]) -> TokenLimits:
    return TokenLimits(PromptTokenizer(word_level(list(words))), Lengths(20, 20, 1000), POSITIONS)


@pytest.mark.parametrize(
    ("task_name", "vocabulary", "unknown"),
    [
        # What stands around the answer, and the answers themselves: no prompt of conlang has words of B.
        ("arithmetic", arithmetic.VOCABULARY, "@?:"),
        ("conlang", conlang.VOCABULARY, [conlang.TO_A]),
        ("conlang", conlang.VOCABULARY, WORDS_B - WORDS_A),
    ],
)
def test_whoever_answers_duals_knows_their_words(
    task_name: str, vocabulary: Sequence[str], unknown: Collection[str], monkeypatch
) -> None:
    monkeypatch.setattr(generated, "TRAIN_SIZE", 500)
    task = make_task(TaskOptions(task=task_name, eval_size=50), 0)
    knows_all, knows_less = knowing(vocabulary), knowing(word for word in vocabulary if word not in unknown)
    assert fit_task(task, [knows_all], "drop", [knowing(vocabulary)], needs_duals=True).train == task.train
    message = r"tokenizer: expected to know the texts, got [\d,]+ unknown tokens of [\d,]+, first in "
    with pytest.raises(UserError, match=rf"^{message}"):
        fit_task(task, [knows_less], "drop", needs_duals=True)
    with pytest.raises(UserError, match=rf"^dual_model: .*; {message}"):
        fit_task(task, [knows_all], "drop", [knows_less], needs_duals=True)
    # Where no dual is asked, the problems are all that must be known.
    asks_none = replace(knows_less, lengths=replace(knows_less.lengths, dual_completion=None))
    assert fit_task(task, [asks_none], "drop", needs_duals=False).train == task.train


def test_a_judge_without_an_id_for_a_dual_prompt_is_refused(tmp_path) -> None:
    task = word_problems(tmp_path, SHORT)
    silent = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE({"<pad>": 0, "<eos>": 1}, [])),
        pad_token="<pad>",
        eos_token="<eos>",
    )
    judge = TokenLimits(PromptTokenizer(silent), Lengths(20, 20, 1000), POSITIONS)
    with pytest.raises(UserError, match=r"train\.jsonl:1: expected a dual prompt of tokens, got one of none"):
        fit_task(task, [limit()], "drop", [judge], needs_duals=True)


@pytest.mark.slow
def test_a_message_names_the_limit_that_holds_and_its_option(tmp_path) -> None:
    """The two limits in turn: the other one is larger by one token, or as large."""
    task = word_problems(tmp_path, SHORT[:1])
    tokens = prompt_tokens(task, SHORT[0])
    prompt = rf"1: its prompt of {tokens} tokens and a completion of 20 \(--max_completion_length\) need"
    for positions, budget, holder in (
        (30, 31, "the model"),
        (30, 30, "the model"),
        (31, 30, "--token_budget"),
    ):
        with pytest.raises(UserError, match=rf"{prompt} {tokens + 20}; {holder} allows 30;"):
            fit_task(task, [limit(positions, budget)], "drop", needs_duals=True)
    dual = (
        r"1: its dual prompt of \d+ tokens and a completion of 20 \(--dual_max_completion_length\) need \d+"
    )
    # A dual is in no micro-batch: the budget holds only where a model names no limit.
    for positions, holder in ((30, "the model that answers duals"), (None, "--token_budget")):
        with pytest.raises(UserError, match=rf"{dual}; {holder} allows 30;"):
            fit_task(task, [limit()], "drop", [limit(positions, 30)], needs_duals=True)


@pytest.mark.slow
def test_a_cut_problem_fits_with_its_duals_and_keeps_its_end(tmp_path) -> None:
    task = word_problems(tmp_path, [*SHORT, LONG, "x" * 600 + " 5"])
    fitted = fit_task(task, [limit()], "truncate_left", needs_duals=True)
    assert [p.text for p in fitted.train[:10]] == SHORT
    cut = fitted.train[10]
    assert cut.id == "train.jsonl:11" and LONG.endswith(f" {cut.text}") and cut.text.endswith(SHORT[0][-20:])
    assert len(fitted.duals(cut)) == len(task.duals(cut)) == 2
    longest = max(prompt_tokens(task, cut.text), *dual_lengths(task, cut))
    assert longest + 20 <= POSITIONS
    # One word more would not fit.
    more = Problem("x", LONG[LONG.rindex(" ", 0, len(LONG) - len(cut.text) - 1) + 1 :])
    assert (
        more.text.endswith(f" {cut.text}")
        and max(prompt_tokens(task, more.text), *dual_lengths(task, more)) + 20 > POSITIONS
    )
    # The last problem is one long word before a number: what is left of it is the number.
    assert fitted.train[11].text == "5" and "2 of 12 problems cut at their start" in fitted.notes[-1]


def test_a_problem_whose_numbers_are_cut_away_is_told_apart(tmp_path) -> None:
    """Its end alone fits, and has no number to hide."""
    emptied = f"Ann has 8 pens. {FILLER}How many pens has she?"
    task = word_problems(tmp_path, [*SHORT, emptied, "5 " + "x" * 600])
    fitted = fit_task(task, [limit()], "truncate_left", needs_duals=True)
    assert [p.text for p in fitted.train] == SHORT
    whole, without_dual = fitted.notes[-2:]
    assert whole.startswith("1 of 12 problems left out: too long (prompt of ")
    assert whole.endswith("first train.jsonl:12")
    assert without_dual.startswith("1 of 12 problems left out: too long, and cut to what fits they have no")
    assert "nothing to hide is left (prompt of " in without_dual
    assert without_dual.endswith("first train.jsonl:11")
    # Where nobody needs its duals the rest is a problem like any other.
    assert fit_task(task, [limit()], "truncate_left", needs_duals=False).train[10].text in emptied
    with pytest.raises(UserError, match=r":1: its prompt .*; nothing to hide is left in what fits; no other"):
        fit_task(word_problems(tmp_path, [emptied]), [limit()], "truncate_left", needs_duals=True)


def test_held_out_problems_are_left_out_and_never_cut(tmp_path) -> None:
    train = word_problems(tmp_path, SHORT)
    task = FittingTask(train, [limit()], "truncate_left")
    task.task.held_out = [Problem("eval.jsonl:1", LONG, "17"), Problem("eval.jsonl:2", SHORT[0], "41")]
    task.fit_all(needs_duals=True)
    assert [p.id for p in task.held_out] == ["eval.jsonl:2"]
    assert task.notes[-1].startswith("1 of 2 held-out problems left out: too long (prompt of ")
    assert task.notes[-1].endswith("first eval.jsonl:1, metrics are those of the other 1")
    task.task.held_out = task.task.held_out[:1]
    with pytest.raises(UserError, match=r"eval\.jsonl:1: .*no other held-out problem fits"):
        FittingTask(train, [limit()], "drop").fit_all(needs_duals=True)


@pytest.mark.parametrize(
    ("text", "most", "end"),
    [
        ("one two three", 9, "two three"),
        ("one two three", 8, "three"),
        ("one two three", 4, None),
        ("it costs 250 000 won", 8, "won"),  # not "000 won"
        ("小明有三个苹果。小红有两个。", 6, "小红有两个。"),
        ("a\n\n b", 3, "b"),
    ],
)
def test_a_cut_falls_between_words_and_not_within_a_number(text: str, most: int, end: str | None) -> None:
    assert longest_end(text, lambda rest: len(rest) <= most) == end
