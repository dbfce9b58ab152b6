"""Pushing a run: what is uploaded, what the card says, and what is told where it cannot work."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import LocalTokenNotFoundError

from dupo.config.command_line import parse
from dupo.config.layers import assemble
from dupo.config.options import RunOptions
from dupo.config.yaml_files import to_yaml
from dupo.errors import UserError
from dupo.run.hub import PushError, open_repo, push
from dupo.run.model_card import command_of, model_card
from dupo.storage.checksums import write_sums
from dupo.storage.names import first_line

SUMMARY = {
    "eval/problems": 2000,
    "eval/accuracy_before": 0.25,
    "eval/accuracy_after": 0.75,
    "teaching_labels": 49600,
    "task": "arithmetic",
    "steps": 4,
    "seed": 0,
    "evals": [[0, {"accuracy": 0.25}], [4, {"accuracy": 0.75}]],
    "signature": "dupo:0.1.0|torch:2.13.0",
}
SECRET = "hf_secret"


class FakeHub:
    """Remembers what it is asked; `fault` is raised by the member of that name."""

    def __init__(self, **faults: Exception) -> None:
        self.faults, self.made, self.commits = faults, list[Any](), list[Any]()

    def _fail(self, name: str) -> None:
        if name in self.faults:
            raise self.faults[name]

    def whoami(self) -> dict[str, Any]:
        self._fail("whoami")
        return {"name": "ann"}

    def create_repo(self, repo_id: str, *, private: bool | None, exist_ok: bool) -> Any:
        self._fail("create_repo")
        self.made.append((repo_id, private, exist_ok))
        return type("Url", (), {"repo_id": repo_id if "/" in repo_id else f"ann/{repo_id}"})

    def create_commit(self, repo_id: str, operations: list[Any], *, commit_message: str) -> Any:
        self._fail("create_commit")
        self.commits.append((repo_id, {o.path_in_repo: o.path_or_fileobj for o in operations}))
        return type("Info", (), {"commit_url": f"https://hub/{repo_id}/commit/1"})


def finished_run(folder: Path, options: dict[str, Any], inputs: dict[str, str]) -> Path:
    """What a finished run leaves, without a model."""
    checkpoint = folder / "checkpoint-4"
    checkpoint.mkdir(parents=True)
    for name in ("model.safetensors", "tokenizer.json", "chat_template.jinja", "state.pt", "ema.safetensors"):
        (checkpoint / name).write_bytes(name.encode())
    (checkpoint / "shards").mkdir()  # of a run of several ranks
    for name in ("__0_0.distcp", ".metadata"):
        (checkpoint / "shards" / name).write_bytes(name.encode())
    write_sums(checkpoint)
    (folder / "latest").write_text("checkpoint-4\n")
    (folder / "config.yaml").write_text(first_line("train") + to_yaml(assemble(options)))
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    (folder / "inputs.json").write_text(json.dumps({"the settings": "s", **inputs}))
    return folder


def test_what_a_run_alone_needs_stays_here(tmp_path: Path) -> None:
    run, hub = finished_run(tmp_path / "my-run", {}, {}), FakeHub()
    repo = open_repo(RunOptions(hub_private_repo=True), run, hub)
    assert (repo, hub.made) == ("ann/my-run", [("my-run", True, True)])
    assert push(run, repo, hub) == "https://hub/ann/my-run/commit/1"
    [(name, files)] = hub.commits
    assert name == repo
    assert set(files) == {"README.md", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert files["README.md"].decode() == model_card(run, repo)


def test_the_card_tells_what_the_run_knows_and_no_place_of_this_machine(tmp_path: Path) -> None:
    file = tmp_path / "private" / "train.jsonl"
    options = {"task": "word_problems", "dataset": str(file), "model_name_or_path": str(tmp_path / "base")}
    options |= {"max_steps": 4, "system_prompt": "It's short.", "hub_model_id": "ann/x", "push_to_hub": True}
    run = finished_run(tmp_path / "run", options, {"the weights of the model": "ab12", "the data set": "cd"})
    card = ModelCard(model_card(run, "ann/x"))
    data = card.data.to_dict()
    assert "base_model" not in data and data["library_name"] == "transformers"
    assert "| accuracy | 0.250 | 0.750 |" in card.text and "2,000 held-out problems" in card.text
    assert "Training read no label, after a teaching on 49,600 labelled examples." in card.text
    assert "`cd`" in card.text and SUMMARY["signature"] in card.text
    assert str(tmp_path) not in card.content and "private" not in card.content
    assert "push_to_hub" not in card.content
    assert "--dataset train.jsonl" in card.text and "--model_name_or_path base" in card.text
    assert 'from_pretrained("ann/x")' in card.text


def test_weights_of_the_hub_are_named_as_the_base(tmp_path: Path) -> None:
    options = {"task": "word_problems", "dataset": "a.jsonl", "model_name_or_path": "Qwen/Qwen3-0.6B"}
    run = finished_run(tmp_path, options, {"the weights of the model": "commit 123"})
    assert ModelCard(model_card(run, "ann/x")).data.to_dict()["base_model"] == "Qwen/Qwen3-0.6B"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"task": "conlang", "gates": "off", "reward": "majority", "learning_rate": 1e-4},
        {"task": "word_problems", "dataset": "a.jsonl", "system_prompt": "Be short. " * 20},
        {
            "task": "word_problems",
            "dataset": "a.jsonl",
            "chat_template_kwargs": '{"a": "b c"}',
            "strict": True,
        },
        {"method": "sft", "dataset": "pairs.jsonl"},
    ],
    ids=str,
)
def test_the_command_of_the_card_asks_for_the_same_training(options: dict[str, Any]) -> None:
    config = assemble({**options, "chat_template_date": "2001-02-03"})
    words = shlex.split(command_of(config))
    assert words[:3] == ["python", "-m", "dupo.train"]
    assert parse(words[3:]) == config


@pytest.mark.parametrize("name", ["a b", "../x", "a/b/c", "x.git", "-x"])
def test_a_name_that_cannot_be_one_is_refused_before_the_network(name: str, tmp_path: Path) -> None:
    hub = FakeHub(whoami=AssertionError())
    with pytest.raises(UserError, match=r"^hub_model_id: expected OWNER/NAME or NAME, .* got "):
        open_repo(RunOptions(hub_model_id=name), tmp_path, hub)


def test_who_is_not_logged_in_is_told_what_to_type(tmp_path: Path) -> None:
    hub = FakeHub(whoami=LocalTokenNotFoundError("long text"))
    with pytest.raises(UserError, match="expected a login, got none: type `hf auth login`, or set HF_TOKEN"):
        open_repo(RunOptions(), tmp_path, hub)


def test_a_refusal_is_one_line(tmp_path: Path) -> None:
    hub = FakeHub(create_repo=OSError("403\n\nForbidden: no rights"))
    with pytest.raises(
        UserError, match=r"b/c cannot be written on the Hub: OSError: 403 Forbidden: no rights"
    ):
        open_repo(RunOptions(hub_model_id="b/c"), tmp_path, hub)


def test_an_upload_that_fails_says_how_to_push_later(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a run", {}, {})
    with pytest.raises(PushError) as caught:
        push(run, "ann/x", FakeHub(create_commit=ConnectionError("gone")))
    assert caught.value.exit_code == 1
    assert f"the run is whole in {run}; later: python -m dupo.push '{run}' --hub_model_id ann/x" in str(
        caught.value
    )


def test_a_damaged_or_unfinished_run_is_not_pushed(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", {}, {})
    (run / "checkpoint-4" / "model.safetensors").write_bytes(b"other")
    with pytest.raises(UserError, match=r"checkpoint-4 cannot be pushed \("):
        push(run, "ann/x", FakeHub())
    (run / "summary.json").unlink()
    with pytest.raises(UserError, match="expected the folder of a finished run"):
        push(run, "ann/x", FakeHub())
