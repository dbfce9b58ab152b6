"""What is wrong with options or data is told before torch is imported, which takes many seconds."""

import json
from pathlib import Path

from tests.helpers.project import RunPython

# Opens doors one after the other in one process; prints what was imported by then, and the folders of runs.
OPEN_DOORS = """
import importlib, json, os, sys
for door, *words in json.loads(sys.argv[1]):
    code = importlib.import_module(f"dupo.{door}").main(words)
    print(code, sorted({"torch", "transformers"} & sys.modules.keys()), os.path.exists("run"))
"""
WORDS = ["--task", "word_problems", "--dataset", "data.jsonl", "--output_dir", "run"]
CHATS = ["--task", "word_problems", "--dataset", "chats.jsonl", "--output_dir", "run"]
USER, ANSWER = {"role": "user", "content": "5 pens and 7?"}, {"role": "assistant", "content": "12"}
SYSTEM = {"role": "system", "content": "Be brief."}
# (command line, a word of its error)
REFUSED = [
    (["train", *WORDS, "--question_column", "q"], "question_column"),
    (["audit", *WORDS, "--answer_column", "q"], "answer_column"),
    (["select", *WORDS, "--selected_duals", "nowhere"], "selected_duals"),
    (["rerank", *WORDS, "--eval_dataset", "nowhere.csv"], "nowhere.csv"),
    (["audit", *WORDS, "--eval_dataset", "data.jsonl"], "answer_column"),
    (["train", *WORDS, "--reward", "gold"], "gold needs the answer"),
    (
        ["train", *WORDS, "--reward", "asking.reward"],
        "with the column solution, which it asks for, got the columns q",
    ),
    (["train", "--task", "word_problems", "--dataset", "plain.txt"], "0 with a number to hide"),
    (["select", "--task", "word_problems", "--dataset", "plain.txt"], "0 with a number to hide"),
    (["train", "--method", "sft", "--dataset", "data.jsonl"], "prompt and completion"),
    (["train", "--task", "translation", "--dataset", "data.jsonl"], "src: expected a column"),
    (["train", "--task", "word_problems", "--dataset", "nowhere.jsonl", "--output_dir", "thesis"], "thesis"),
    (["train", *WORDS, "--system_prompt", "Be brief."], "system_prompt"),
    (["train", "--system_prompt", "Be brief."], "system_prompt"),
    (["select", *WORDS, "--chat_template_kwargs", '{"enable_thinking": false}'], "chat_template_kwargs"),
    (["train", *WORDS, "--engine", "vllm"], "engine: expected vLLM"),
    (["rerank", *CHATS], "chats.jsonl:2: expected a question alone"),
    (["train", *CHATS], "(1 of 2 rows): write the message into the question"),
    (
        ["train", "--task", "word_problems", "--dataset", "data.jsonl", "--eval_dataset", "chats.jsonl"],
        "chats",
    ),
    (["train", "--method", "sft", "--dataset", "chats.jsonl"], "chats.jsonl:2: expected a question alone"),
    (["train", "--method", "sft", "--system_prompt", "Be brief."], "system_prompt"),
]


def test_wrong_data_are_told_before_torch_is_imported(tmp_path: Path, run_python: RunPython) -> None:
    (tmp_path / "data.jsonl").write_text(json.dumps({"question": "Ann has 5 pens and buys 7. How many?"}))
    chats = [[USER, ANSWER], [SYSTEM, USER | {"content": "5 and 8?"}, ANSWER]]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps({"messages": m}) + "\n" for m in chats))
    (tmp_path / "asking.py").write_text("def reward(completions, solution, other=1, **kwargs): ...")
    (tmp_path / "plain.txt").write_text("No number here?\n")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("")
    done = run_python("-c", OPEN_DOORS, json.dumps([words for words, _ in REFUSED]), cwd=tmp_path)
    assert done.stdout.splitlines() == ["2 [] False"] * len(REFUSED), done.stderr
    for line, (_, word) in zip(done.stderr.splitlines(), REFUSED, strict=True):
        assert line.startswith("error: ") and word in line, line
