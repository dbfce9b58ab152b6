"""A line that is too long for the model ends no program, and a system message reaches the model."""

import json
from pathlib import Path

import pytest

from dupo import audit, rerank, select, train
from dupo.config.command_line import parse
from dupo.engines.base import sample_answers
from dupo.methods.dupo import DuPO
from dupo.models.tokenizers import load_tokenizer
from tests.helpers.engines import RecordingEngine
from tests.helpers.runs import resume, same_files
from tests.helpers.tokenizers_made import THINKING, chatml_bytes
from tests.helpers.worlds import rows, save_tiny

TEXTS = [f"Ann has {n} pens and buys {n + 31} more. How many pens has she?" for n in range(5, 17)]
LONG = "It rains and Ann stays at home. " * 160 + TEXTS[0]  # over the 4,096 positions of the model
COMMON = [
    "--task",
    "word_problems",
    "--dataset",
    "data.jsonl",
    "--num_threads",
    "1",
    "--duals_per_prompt",
    "2",
]
COMMON += ["--max_completion_length", "8", "--generation_batch_size", "8", "--num_generations", "4"]
TRAIN = [*COMMON, "--eval_size", "2", "--max_steps", "2", "--save_steps", "1", "--eval_steps", "2"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set with a long third line, and a model whose tokenizer has a chat template."""
    monkeypatch.chdir(tmp_path)
    lines = [{"question": text, "answer": "1"} for text in [*TEXTS[:2], LONG, *TEXTS[2:]]]
    Path("data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    save_tiny(Path("model"), 0, "--task", "word_problems", "--dataset", "data.jsonl", "--eval_size", "2")
    hf = chatml_bytes(pad_token="<pad>", eos_token="<|im_end|>")
    hf.chat_template = THINKING
    hf.save_pretrained("chat")
    return tmp_path


def note_in(out: str) -> bool:
    return "1 of " in out and "too long (" in out and "first data.jsonl:3" in out


@pytest.mark.slow
def test_training_leaves_the_long_problem_out(folder: Path, capsys) -> None:
    assert train.main([*TRAIN, "--model_name_or_path", "model", "--output_dir", "run"]) == 0
    assert note_in(" ".join(capsys.readouterr().out.split()))
    assert len(rows(folder / "run")) == 2


@pytest.mark.slow
@pytest.mark.full
def test_a_resumed_run_has_the_same_problems(folder: Path, capsys) -> None:
    options = [*TRAIN, "--model_name_or_path", "model"]
    assert train.main([*options, "--output_dir", "never"]) == 0
    assert train.main([*options, "--output_dir", "resumed", "--max_steps", "1"]) == 0
    assert resume(folder / "resumed", "--max_steps", "2") == 0
    same_files(folder / "never", folder / "resumed", "inputs.json", "checkpoint-2/model.safetensors")
    capsys.readouterr()
    assert train.main([*options, "--output_dir", "error", "--overlong", "error"]) == 2
    assert "data.jsonl:3: its prompt of" in capsys.readouterr().err
    # Cut at its start it is trained on: other data, and so other inputs.
    assert train.main([*options, "--output_dir", "cut", "--overlong", "truncate_left"]) == 0
    assert "cut at their start" in " ".join(capsys.readouterr().out.split())
    inputs = [json.loads((folder / run / "inputs.json").read_text()) for run in ("never", "cut")]
    assert inputs[0]["the data set"] != inputs[1]["the data set"]


@pytest.mark.slow
@pytest.mark.parametrize("door", [audit, select, rerank])
def test_other_programs_leave_it_out(folder: Path, door, capsys) -> None:
    small = ["--pool_sizes", "2"] if door is select else []
    options = [*COMMON, "--model_name_or_path", "model", "--num_problems", "4", *small]
    assert door.main([*options, "--output_dir", "run"]) == 0
    assert note_in(" ".join(capsys.readouterr().out.split()))
    (file,) = (folder / "run").glob("pass-1.jsonl" if door is select else "a*.jsonl")
    problems = [json.loads(line)["problem"] for line in file.read_text().splitlines()]
    # Another problem takes its place.
    assert problems == [f"data.jsonl:{k}" for k in (1, 2, 4, 5)]
    assert door.main([*options, "--output_dir", "cut", "--overlong", "truncate_left"]) == 2
    assert "overlong: expected drop or error in dupo." in capsys.readouterr().err


@pytest.mark.slow
def test_the_system_message_stands_in_the_ids_of_primal_and_dual_prompts(folder: Path) -> None:
    chat = ["--model_name_or_path", "tiny", "--tokenizer_name", "chat", "--reward", "dual"]
    chat += ["--system_prompt", "Be brief.", "--chat_template_kwargs", '{"enable_thinking": false}']
    method = DuPO(parse([*TRAIN, *chat]))
    method.load()
    method.start()
    assert method.judge is not None
    engine = RecordingEngine(method.engine)
    problem = method.task.train[0]
    sample_answers(engine, method.task, [problem], 1, method.sampling, seed=0)
    messages = [{"role": "system", "content": "Be brief."}]
    hf = method.tokenizer.hf

    def chat_ids(text: str) -> list[int]:
        whole = [*messages, {"role": "user", "content": text}]
        options = {"tokenize": True, "add_generation_prompt": True, "return_dict": False}
        return hf.apply_chat_template(whole, enable_thinking=False, **options)  # type: ignore[return-value]

    assert engine.calls[0].prompts == [chat_ids(method.task.prompt(problem))]
    dual = method.task.dual_prompt(problem, method.task.duals(problem)[0], "7")
    assert method.judge.engine.tokenizer.encode([dual]) == [chat_ids("".join(dual))]


REFUSED = {
    "system_prompt: expected none, as the tokenizer model has no chat template": ["--system_prompt", "x"],
    "chat_template_kwargs: expected none, as": ["--chat_template_kwargs", '{"enable_thinking": false}'],
    "chat_template_kwargs: expected arguments that the chat template of the tokenizer chat reads, got x": [
        "--tokenizer_name", "chat", "--chat_template_kwargs", '{"enable_thinking": false, "x": 1}',
    ],
    "chat_template_kwargs: expected other arguments, got messages": [
        "--chat_template_kwargs", '{"messages": 1}',
    ],
    "overlong: expected drop or error with the reward gold": [
        "--overlong", "truncate_left", "--reward", "gold",
    ],
}  # fmt: skip


@pytest.mark.slow
def test_options_that_would_have_no_effect_are_refused(folder: Path, capsys) -> None:
    for words, options in REFUSED.items():
        assert train.main([*TRAIN, "--model_name_or_path", "model", "--output_dir", "run", *options]) == 2
        err = capsys.readouterr().err
        assert words in err and err.count("\n") == 1, err
    assert not Path("run").exists()
    # A judge whose template does not read a variable is no fault: the variable is meant for the policy.
    options = parse(["--model_name_or_path", "model", "--chat_template_kwargs", '{"a": 1}']).model
    assert load_tokenizer(options, None, is_judge=True).encode(["x"])
