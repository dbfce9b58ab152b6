"""Supervised fine-tuning: on a file of pairs or the lessons of a task; stopped and resumed; and refused."""

import json
from pathlib import Path

import pytest
import torch

from dupo.config.command_line import parse
from dupo.data.examples import Example, read_examples
from dupo.duality.length_check import Limit
from dupo.errors import UserError
from dupo.learning.supervised import supervised_loss
from dupo.methods.examples import encode_examples, fitting_groups
from dupo.methods.sft import SFT, LessonExamples, ListedExamples
from dupo.records import Message
from dupo.text.tokenizer import PromptTokenizer
from dupo.train import main
from tests.helpers.pages import Page
from tests.helpers.runs import killed, loop, resume, same_files
from tests.helpers.tokenizers_made import THINKING, chatml_bytes
from tests.helpers.worlds import rows, summary, task_of, tiny

WORDS = ["red", "green", "blue", "white", "black", "grey", "brown", "pink", "gold", "teal"]
PAIRS = [
    {"prompt": f"Say {first} and {second}.", "completion": f"{first}, {second}"}
    for first in WORDS
    for second in WORDS
    if first != second
]
SHORT = ["--num_threads", "1", "--eval_size", "10", "--eval_steps", "3", "--save_steps", "3"]
SHORT += ["--learning_rate", "1e-3", "--train_batch_size", "8"]


def write(path: Path, pairs: list[dict]) -> Path:
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return path


@pytest.fixture
def pairs(tmp_path):
    return write(tmp_path / "pairs.jsonl", PAIRS)


def command(dataset: Path, *options: str) -> list[str]:
    return ["--method", "sft", "--dataset", str(dataset), *SHORT, *options]


@pytest.mark.slow
def test_it_learns_the_completions_of_a_file(pairs, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(command(pairs, "--max_steps", "30", "--eval_steps", "10", "--output_dir", str(run))) == 0
    metrics = rows(run)
    assert [row["step"] for row in metrics] == list(range(1, 31))
    assert all({"loss", "grad_norm", "learning_rate", "entropy"} <= row.keys() for row in metrics)
    assert not any(name.startswith(("reward", "dual/", "completions/")) for row in metrics for name in row)
    assert [row["step"] for row in metrics if "eval/loss" in row] == [10, 20, 30]
    result = summary(run)
    assert result["eval/loss_after"] < 0.7 * result["eval/loss_before"]
    assert result["eval/loss_peak"] == result["eval/loss_after"]  # the lowest is the best
    assert result["eval/problems"] == 10 and result["method"] == "sft"
    assert metrics[-1]["eval/loss"] == result["eval/loss_after"] and metrics[-1]["loss"] < metrics[0]["loss"]
    assert Page(run / "report.html").charts and "80 examples" in capsys.readouterr().out


@pytest.mark.slow
def test_the_loss_before_training_is_that_of_the_held_out_examples(pairs, tmp_path):
    config = parse(command(pairs, "--max_steps", "1", "--output_dir", str(tmp_path / "run")))
    method = SFT(config)
    train, held_out, _ = read_examples(str(pairs), None, 10)
    assert (
        len(train) == 80
        and len(held_out) == 10
        and not {e.prompt for e in train} & {e.prompt for e in held_out}
    )
    method.load()
    expected = supervised_loss(method.model, encode_examples(method.tokenizer, held_out), method.compute)
    assert loop(config)["eval/loss_before"] == pytest.approx(expected, rel=1e-6)


def test_a_file_of_its_own_can_be_held_out(pairs, tmp_path):
    other = write(tmp_path / "other.jsonl", [{"prompt": "Say this.", "completion": "this"}] * 2)
    method = SFT(parse(command(pairs, "--eval_dataset", str(other))))
    assert method.num_held_out == 1 and len(method.examples.examples) == len(PAIRS)  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.full
def test_killed_between_two_steps_and_resumed_equals_never_stopped(pairs, tmp_path, run_python):
    options = command(pairs, "--max_steps", "8", "--lr_scheduler_type", "linear", "--warmup_steps", "2")
    never = tmp_path / "never"
    assert main([*options, "--output_dir", str(never)]) == 0
    run = killed(run_python, tmp_path / "killed", *options)
    assert [row["step"] for row in rows(run)] == [1, 2, 3, 4, 5]
    assert resume(run) == 0
    same_files(never, run, "metrics.jsonl", "checkpoint-8/model.safetensors")
    assert not (run / "samples.jsonl").exists()  # SFT has no exchanges to show
    assert summary(never)["evals"] == summary(run)["evals"]


REFUSED = {
    "no prompt column": (
        [{"question": "x", "completion": "y"}],
        [],
        "expected columns prompt and completion, or messages, in",
    ),
    "no completion column": (
        [{"prompt": "x", "text": "y"}],
        [],
        "pairs.jsonl, got prompt, text",
    ),
    "empty completion": (
        [{"prompt": "x", "completion": " "}],
        [],
        "pairs.jsonl, line 1: expected text in 'completion'",
    ),
    "no line": ([], [], "pairs.jsonl: expected rows of data, got an empty file"),
    "a pair longer than the model reads": (
        [*PAIRS[:20], {"prompt": "Count.", "completion": "1 " * 2100}],
        ["--overlong", "error"],
        "pairs.jsonl:21: its prompt of 6 tokens and a completion of 4201 need 4207; the model allows 4096",
    ),
    "a pair longer than a micro-batch": (PAIRS[:20], ["--token_budget", "20"], "--token_budget allows 20"),
    "eval_size too big": (PAIRS[:10], ["--eval_size", "10"], "eval_size: expected less than the"),
}


@pytest.mark.parametrize(("content", "options", "words"), REFUSED.values(), ids=REFUSED)
def test_data_that_cannot_be_used_are_one_line(content, options, words, tmp_path, capsys):
    dataset = write(tmp_path / "pairs.jsonl", content)
    run = tmp_path / "run"
    assert main(command(dataset, "--output_dir", str(run), *options)) == 2
    out, err = capsys.readouterr()
    assert words in err and err.count("\n") == 1
    # Lengths need the tokenizer, so that the program has said by then that torch is loaded.
    assert out in ("", "dupo train: options and data are read; loading torch ...\n") and not run.exists()


CHAT = chatml_bytes(pad_token="<pad>", eos_token="<|im_end|>")
CHAT.chat_template = THINKING


@pytest.mark.slow
def test_examples_that_are_too_long_are_left_out_or_lose_their_start():
    tokenizer = PromptTokenizer(CHAT)
    turns = (Message("user", "old " * 20), Message("assistant", "old"))
    system = Message("system", "Be brief.")
    examples = [
        Example("a:1", "short", "1"),
        Example("a:2", "one two three " * 20, "2"),
        Example("a:3", "short", "3", (system, *turns)),
        Example("a:4", "short", "4" * 300),
    ]
    encoded = encode_examples(tokenizer, examples)
    chat = [{"role": role, "content": content} for role, content in (system, *turns, ("user", "short"))]
    options = {"tokenize": True, "add_generation_prompt": True, "return_dict": False}
    assert encoded[2].prompt_ids == CHAT.apply_chat_template(chat, **options)
    most = len(encoded[2].prompt_ids) - 50
    limit = Limit(most, "the model")
    alone = [(example,) for example in examples]
    groups, encoded_groups, _, notes = fitting_groups(tokenizer, alone, lambda _: limit, "drop", "examples")
    assert [e.id for (e,) in groups] == ["a:1"] and encoded_groups[0][0].prompt_ids == encoded[0].prompt_ids
    assert notes[0].startswith("3 of 4 examples left out: too long (prompt of ")
    assert notes[0].endswith(f"the model allows {most}), first a:2")
    groups, encoded_groups, _, notes = fitting_groups(
        tokenizer, alone, lambda _: limit, "truncate_left", "examples"
    )
    cut = [e for (e,) in groups]
    assert [e.id for e in cut] == ["a:1", "a:2", "a:3"] and [e.completion for e in cut] == ["1", "2", "3"]
    assert examples[1].prompt.endswith(" " + cut[1].prompt) and cut[2].history == (system,)
    assert [len(t.prompt_ids) + len(t.completion_ids) <= most for (t,) in encoded_groups] == [True] * 3
    assert [note.partition(":")[0] for note in notes] == [
        "1 of 4 examples left out",
        "2 of 4 examples cut at their start",
    ]
    with pytest.raises(UserError, match="a:2: its prompt of"):
        fitting_groups(tokenizer, alone, lambda _: limit, "error", "examples")
    with pytest.raises(UserError, match="no other of the 2 examples fits"):
        fitting_groups(tokenizer, alone[:2], lambda _: limit._replace(tokens=5), "truncate_left", "examples")
    with pytest.raises(UserError, match=r"a:9: the tokenizer .* has no chat template"):
        encode_examples(tiny().tokenizer, [examples[0], Example("a:9", "1", "1", turns)])


def test_options_of_another_method_are_refused_in_one_line(pairs, capsys):
    assert main(command(pairs, "--num_generations", "4")) == 2
    err = capsys.readouterr().err
    assert "dupo.train --method sft does not have it, only" in err and "dupo.train" in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_the_lessons_of_a_built_in_task_are_learnt(tmp_path):
    run = tmp_path / "run"
    options = ["--max_steps", "30", "--eval_size", "50", "--eval_steps", "30", "--output_dir", str(run)]
    assert main(["--method", "sft", *options]) == 0
    losses = [row["loss"] for row in rows(run)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    result = summary(run)
    assert result["eval/loss_after"] < result["eval/loss_before"]
    assert {"eval/accuracy_before", "eval/accuracy_after"} <= result.keys()  # of greedy answers


def test_a_task_without_lessons_needs_a_file():
    for task in ("word_problems", "translation"):
        with pytest.raises(UserError, match=r"^dataset: .*columns prompt and completion"):
            parse(["--method", "sft", "--task", task])
    config = parse(["--method", "sft"])
    task = task_of(config)
    task.lessons = None
    with pytest.raises(UserError, match=r"^dataset: .*columns prompt and completion"):
        SFT(config, task)


def test_examples_depend_on_their_place_alone():
    world = tiny()
    lessons = task_of(world.config).lessons
    assert lessons is not None
    listed = encode_examples(world.tokenizer, [Example(str(k), str(k), "1") for k in range(5)])

    def ids(examples):
        return [(t.prompt_ids, t.completion_ids.tolist()) for t in examples]

    for make in (lambda: ListedExamples(listed, 3), lambda: LessonExamples(lessons, world.tokenizer, 3)):
        in_order = make()
        endless = [example for k in range(10) for example in ids(in_order.take(3 * k, 3))]
        for start in (0, 2, 7, 20):
            assert ids(make().take(start, 6)) == endless[start : start + 6]
            assert ids(in_order.take(start, 6)) == endless[start : start + 6]  # after other places
    assert ids(ListedExamples(listed, 3).take(0, 5)) != ids(ListedExamples(listed, 4).take(0, 5))


def test_an_example_ends_with_an_end_token():
    tokenizer = tiny().tokenizer
    (example,) = encode_examples(tokenizer, [Example("x.jsonl:3", "#321+654=", "9750")])
    assert example.problem == "x.jsonl:3" and example.advantage == 0
    assert tokenizer.decode([example.prompt_ids]) == ["#321+654="]
    *content, end = example.completion_ids.tolist()
    assert tokenizer.decode([content]) == ["9750"] and end in tokenizer.eos_ids
    assert example.completion_ids.dtype == torch.int32


def test_the_start_up_table_says_why_nothing_is_evaluated(tmp_path):
    few = write(tmp_path / "few.jsonl", PAIRS[:5])
    table = dict(SFT(parse(["--method", "sft", "--dataset", str(few)])).describe())
    assert table["evaluation"] == "none: nothing is held out, the row of the data says why"
    assert "0 held out, a tenth of 5: name --eval_size, or there is no evaluation" in table["data"]
    table = dict(SFT(parse([*command(few)[:4], "--eval_size", "2", "--eval_steps", "3"])).describe())
    assert table["evaluation"] == "loss on 2 held-out examples, every 3 steps"


def test_a_step_that_is_not_finite_names_its_examples():
    world = tiny()
    with torch.no_grad():
        world.model.get_input_embeddings().weight.fill_(float("nan"))
    method = SFT(parse(["--method", "sft", "--eval_size", "0", "--train_batch_size", "3"]))
    method.load()
    method.start()
    method.model.load_state_dict(world.model.state_dict())
    batch = method.next_batch(4)
    with pytest.raises(FloatingPointError, match="loss nan"):
        method.update(batch, 4)
    failed = method.current_batch(4)
    assert len(failed.trajectories) == 3
    for trajectory, again in zip(batch.trajectories, failed.trajectories, strict=True):
        assert trajectory.prompt_ids == again.prompt_ids
        assert trajectory.completion_ids.tolist() == again.completion_ids.tolist()
