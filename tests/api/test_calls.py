"""What every call must hold: the way of the command line, clear refusals, and a process left as it was."""

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dupo import api
from dupo.config.command_line import parse
from dupo.errors import UserError
from dupo.storage.files import read_rows
from dupo.storage.lock import owned
from dupo.train import main
from tests.helpers.project import RunPython
from tests.helpers.python_runs import ROWS, SMALL, same_run, variety
from tests.helpers.worlds import save_tiny

ORDERS = ["import dupo.train; from dupo.api import train", "from dupo.api import train; import dupo.train"]


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_the_module_and_the_function_stay_apart_and_wait_for_no_torch(
    run_python: RunPython, order: str
) -> None:
    told = "import dupo, sys; print(type(dupo.train).__name__, type(train).__name__, 'torch' in sys.modules)"
    assert run_python("-c", f"{order}; {told}").stdout == "module function False\n"


@pytest.mark.slow
def test_python_and_the_command_line_are_the_same_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_tiny(here / "model")
    options = dict(eval_size=20, generation_batch_size=32, max_steps=2, num_threads=1, temperature=0.9)
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    assert main([*words, "--model_name_or_path", "model", "--output_dir", "typed"]) == 0
    result = api.train(model=Path("model"), output_dir="called", **options)
    assert same_run(here / "typed", here / "called", 2)
    assert (here / "typed/samples.jsonl").read_bytes() == (here / "called/samples.jsonl").read_bytes()
    assert result.metrics == read_rows(here / "called/metrics.jsonl")
    typed = json.loads((here / "typed/summary.json").read_bytes())
    for summary in (typed, result.summary):
        summary.pop("seconds")
    assert typed == result.summary and not result.stopped
    assert "accuracy" in repr(result) and "<table>" in result._repr_html_()


class WithoutParameters:
    def on_step(self) -> None: ...


class OfTransformers:
    def on_step_end(self, args: Any, state: Any, control: Any) -> None: ...

    def on_evaluate(self, args: Any, state: Any, control: Any) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(dataset=3), "dataset: expected a path, a list of dicts"),
        (dict(model=object()), "model: expected a path or a model of transformers"),
        (dict(tokenizer=3), "tokenizer: expected a path or a tokenizer of transformers, got 3"),
        (dict(model="x", model_name_or_path="y"), "model: expected model or model_name_or_path, got both"),
        (dict(dataset=ROWS, dataset_name="y"), "dataset_name: expected dataset or dataset_name"),
        (dict(reward=5), "reward: expected a name, a function"),
        (dict(reward=[]), "reward: expected a name, a function"),
        (dict(reward=[variety, 5]), "reward: expected a name, a function"),
        (dict(callbacks=print), "callbacks: expected a list of"),
        (dict(callbacks=[3]), "callbacks: expected functions of (step, metrics)"),
        (dict(callbacks=[WithoutParameters()]), "callbacks: expected on_step(step, metrics)"),
        (dict(callbacks=[OfTransformers]), "a callback of transformers"),
        (dict(output_dir=print), "output_dir: expected some text"),
        (dict(dataset="nowhere.jsonl"), "nowhere.jsonl: expected a file, got no such file"),
        (dict(resume_from_checkpoint=True), "expected --output_dir RUN beside `latest`"),
    ],
)
def test_a_wrong_argument_is_one_line_and_leaves_nothing(
    here: Path, arguments: dict[str, Any], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as problem:
        api.train(**(dict(task="word_problems") | arguments))
    assert words in str(problem.value) and "\n" not in str(problem.value)
    assert list(here.iterdir()) == [] and owned() == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "argv"),
    [
        (dict(learning_rat=1), ["--learning_rat", "1"]),
        (dict(reward_funcs=[variety]), ["--reward_funcs", "x"]),
        (dict(num_train_epochs=1), ["--num_train_epochs", "1"]),
        (dict(pool_sizes=[2]), ["--pool_sizes", "2"]),
        (dict(loss_type="gpro"), ["--loss_type", "gpro"]),
        (dict(method="stf"), ["--method", "stf"]),
        (dict(max_steps=0), ["--max_steps", "0"]),
        (dict(train_batch_size=7), ["--train_batch_size", "7"]),
        (dict(task="word_problems"), ["--task", "word_problems"]),
        (dict(config="nowhere.yaml"), ["--config", "nowhere.yaml"]),
        (
            dict(resume_from_checkpoint="latest", output_dir="x"),
            ["--resume_from_checkpoint", "latest", "--output_dir", "x"],
        ),
    ],
)
def test_errors_of_options_are_those_of_the_command_line(options: dict[str, Any], argv: list[str]) -> None:
    with pytest.raises(UserError) as typed:
        parse(argv)
    with pytest.raises(UserError) as called:
        api.train(**options)
    assert str(called.value) == str(typed.value)


def test_options_that_another_program_has_are_refused_as_on_the_command_line() -> None:
    with pytest.raises(
        UserError, match=r"--reward: dupo.select does not have it, only dupo.rerank, dupo.audit"
    ):
        api.select(reward="dual")


@pytest.mark.slow
def test_a_call_leaves_the_process_as_it_was(here: Path) -> None:
    before = signal.getsignal(signal.SIGINT), torch.get_num_threads(), torch.get_rng_state()
    mine = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        handler = signal.getsignal(signal.SIGTERM)
        result = api.train(
            dataset=ROWS,
            reward=variety,
            output_dir="stopped",
            callbacks=[lambda *_: signal.raise_signal(signal.SIGTERM)],
            **SMALL,
        )
        assert result.stopped and result.metrics[-1]["step"] == 1
        assert signal.getsignal(signal.SIGTERM) is handler
        for bad in (dict(dataset="nowhere.jsonl"), dict(dataset=ROWS, reward=lambda **_: [1 / 0])):
            with pytest.raises(UserError):
                api.train(output_dir="stopped", overwrite_output_dir=True, **(SMALL | bad))
    finally:
        signal.signal(signal.SIGTERM, mine)
    after = signal.getsignal(signal.SIGINT), torch.get_num_threads(), torch.get_rng_state()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2]) and owned() == []
    # An error, then the right call.
    api.train(dataset=ROWS, reward=variety, output_dir="stopped", overwrite_output_dir=True, **SMALL)


@pytest.mark.slow
@pytest.mark.full
def test_ctrl_c_saves_returns_and_tells_the_call_that_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    interrupt: Callable[..., None] = lambda step, _: signal.raise_signal(signal.SIGINT)  # noqa: E731
    whole = api.train(dataset=ROWS, reward=variety, output_dir="whole", **SMALL)
    capsys.readouterr()
    local = lambda completions, **_: variety(completions)  # noqa: E731
    stopped = api.train(dataset=ROWS, reward=local, output_dir="it's", callbacks=[interrupt], **SMALL)
    assert stopped.stopped and stopped.summary == {} and [row["step"] for row in stopped.metrics] == [1]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Go on with: ")]
    assert "dupo.api.train(" in line and "reward=..." in line
    call = line.removeprefix("Go on with: ").replace("...", "local")
    resumed = eval(call, {"dupo": __import__("dupo.api"), "local": local})
    assert not resumed.stopped and len(resumed.metrics) == 4
    assert [row["loss"] for row in resumed.metrics] == [row["loss"] for row in whole.metrics]


@pytest.mark.slow
@pytest.mark.full
def test_threads_call_beside_each_other_and_not_into_one_folder() -> None:
    errors: list[str] = []

    def call(name: str) -> None:
        try:
            api.train(dataset=ROWS, reward=variety, output_dir=name, **SMALL)
        except UserError as error:
            errors.append(str(error))

    alone = api.train(dataset=ROWS, reward=variety, output_dir="alone", **SMALL)
    threads = [threading.Thread(target=call, args=[name]) for name in ("a", "a")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 1 and ("in use" in errors[0] or "already holds a run" in errors[0])
    assert same_run(alone.folder, Path("a"))


@pytest.mark.slow
def test_the_programs_that_do_not_train_return_what_their_folders_hold() -> None:
    options = {
        name: SMALL[name] for name in ("task", "num_threads", "num_generations", "max_completion_length")
    }
    reranked = api.rerank(dataset=ROWS, **options)
    assert [row["question"] for row in reranked.answers] == [row["question"] for row in ROWS]
    assert reranked.summary["problems"] == len(ROWS) and ROWS[0]["question"] in repr(reranked)
    audited = api.audit(dataset=ROWS, reward=variety, **options)
    assert audited.verdict == audited.summary["verdict"] and audited.verdict in audited._repr_html_()
    assert len(audited.rows) == len(ROWS) and audited.checks[0]["passed"] in (True, False)
    selected = api.select(dataset=ROWS, pool_sizes=[3, 2], **options)
    assert selected.duals == [] and "0 duals" in repr(selected)
    # The same call goes on with the folder, and finds it done.
    again = api.rerank(dataset=ROWS, output_dir=reranked.folder, **options)
    assert again.answers == reranked.answers
