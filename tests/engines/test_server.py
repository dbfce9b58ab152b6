"""The server engine: what it finds out at start, what it asks, and how completions come back."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dupo.config.command_line import parse
from dupo.duality.model_parts import read_parts
from dupo.engines import connection, in_flight
from dupo.engines.base import (
    EngineFeatures,
    Sampling,
    naming_problems,
    require,
    sample_answers,
)
from dupo.engines.server import NO_ID, ServerEngine
from dupo.errors import ServerError, UserError
from dupo.models.tokenizers import load_tokenizer
from dupo.records import ChatPrompt, Message
from dupo.storage.kept_answers import KeptAnswers
from dupo.tasks import make_task
from tests.helpers.stub_server import MODEL, Reply, StubServer, fault, serving
from tests.helpers.tokenizers_made import chatml_bytes

SAMPLING = Sampling(0.7, 32)
FAST = ["--max_retries", "2", "--num_threads", "1"]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(in_flight, "GRACE", 0.5)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def say(text: str, seed: int) -> str:
    return f"{len(text)} {seed}"


@pytest.fixture
def stub() -> Iterator[StubServer]:
    with serving(StubServer(say)) as server:
        yield server


def engine_of(stub: StubServer, *options: str, kept: KeptAnswers | None = None) -> ServerEngine:
    config = parse(["--engine", "server", "--base_url", stub.url, *FAST, *options], "rerank")
    parts = read_parts(config, config.model.model_name_or_path, None)
    assert parts.server is not None
    return ServerEngine(parts.server, parts.tokenizer, kept)


# --- what it finds out ---


def described(stub: StubServer, *options: str) -> str:
    return engine_of(stub, *options).server.describe()


def test_a_complete_server(stub: StubServer) -> None:
    able = "ids in: no, ids out: no, log-probs: yes, n: yes, each sample is a request, seed: yes"
    assert described(stub) == f"chat messages, framed by the server; {able}; 64 requests at once"


LACKS = {
    "n seed counts chat": "log-probs: no",
    "logprobs seed counts chat": "n: ignored",
    "logprobs n counts chat": "seed: ignored, draws do not repeat",
    "logprobs n seed chat": "it counts no tokens, so words are counted",
    "logprobs n seed counts": "plain texts, as the model has no chat template",
}


@pytest.mark.parametrize("kind", LACKS)
def test_what_a_server_lacks_is_told(kind: str) -> None:
    """Each kind takes every field that it is sent, and says nothing of those that it ignores."""
    with serving(StubServer(say, kind)) as stub:
        assert LACKS[kind] in described(stub)
    with serving(StubServer(say)) as complete:
        assert LACKS[kind] not in described(complete)


def test_a_server_that_refuses_fields_is_asked_for_less(stub: StubServer) -> None:
    usual = stub.completion

    def strict(route: str, body: dict[str, Any]) -> Reply:
        unknown = body.keys() & {"return_token_ids", "logprobs", "n"}
        return fault(422, f"Unexpected fields: {unknown}") if unknown else usual(route, body)

    stub.completion = strict  # type: ignore[method-assign]
    assert "log-probs: no, n: ignored" in described(stub)


def test_a_server_that_calls_the_limit_otherwise(stub: StubServer) -> None:
    usual = stub.completion

    def renamed(route: str, body: dict[str, Any]) -> Reply:
        message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        return fault(400, message) if "max_tokens" in body else usual(route, body)

    stub.completion = renamed  # type: ignore[method-assign]
    engine_of(stub).sample(["x"], 1, SAMPLING, 0)
    assert stub.asked[-1]["max_completion_tokens"] == 32


@pytest.mark.parametrize("kind", ["echo chat n seed counts logprobs", "echo n seed counts logprobs"])
def test_a_server_that_repeats_the_prompt_is_refused(kind: str) -> None:
    with (
        serving(StubServer(say, kind)) as stub,
        pytest.raises(UserError, match="repeats the prompt in its answers"),
    ):
        engine_of(stub)


def test_a_server_without_template_says_so_or_is_told(stub: StubServer) -> None:
    usual, status = stub.completion, 400

    def no_template(route: str, body: dict[str, Any]) -> Reply:
        is_chat = route.endswith("/chat/completions")
        message = "you must provide a chat template" if status == 400 else "Internal Server Error"
        return fault(status, message) if is_chat else usual(route, body)

    stub.completion = no_template  # type: ignore[method-assign]
    assert "plain texts" in described(stub)
    # A server that only fails may have a template: what it fails at is not taken for a plain text.
    status = 500
    with pytest.raises(ServerError, match="if its model has no chat template: --server_route text"):
        engine_of(stub)
    assert "plain texts" in described(stub, "--server_route", "text")
    with pytest.raises(UserError, match=rf"system_prompt: expected none, as {MODEL} at"):
        engine_of(stub, "--server_route", "text", "--system_prompt", "Be brief.")


def test_the_model_is_the_only_one_or_named(stub: StubServer) -> None:
    assert str(engine_of(stub).server.address) == f"{stub.url}#{MODEL}"
    stub.models.append({"id": "other"})
    with pytest.raises(UserError, match=rf"base_url: expected the name .* lists {MODEL}, other"):
        engine_of(stub)
    assert engine_of(stub, "--model_name_or_path", "other").server.address.model == "other"
    with pytest.raises(
        UserError, match=rf"expected a model of {stub.url}, which lists {MODEL}, other, got third"
    ):
        engine_of(stub, "--model_name_or_path", "third")


def test_a_server_with_another_route_alone_is_told_so(stub: StubServer) -> None:
    stub.reply = lambda route, body: fault(404, "no such route")  # type: ignore[method-assign]
    expected = (
        rf"base_url: expected a server with the route /chat/completions, got {stub.url} without \(HTTP 404"
    )
    with pytest.raises(UserError, match=expected):
        engine_of(stub, "--server_route", "chat")


def test_a_server_that_is_always_greedy_may_be_asked_greedily_alone() -> None:
    with serving(StubServer(lambda text, seed: "7")) as stub:
        engine = engine_of(stub)
        assert "it is greedy" in engine.server.describe()
        assert engine.sample(["x"], 1, Sampling(0.0, 4), 0)[0][0].text == "7"
        with pytest.raises(UserError, match="got the same completion for every seed"):
            engine.sample(["x"], 2, SAMPLING, 0)


def test_training_would_need_more(stub: StubServer) -> None:
    needed = EngineFeatures(logprobs=True, distributions=False, new_weights=True)
    with pytest.raises(UserError, match="needs an engine with logprobs, new_weights, ids, got one without"):
        require(engine_of(stub).features, needed, "--method dupo")


# --- who frames the prompts ---


def test_chat_messages_are_those_of_the_prompt(stub: StubServer) -> None:
    arguments = ["--system_prompt", "Be brief.", "--chat_template_kwargs", '{"enable_thinking": false}']
    engine = engine_of(stub, *arguments)
    own = ChatPrompt(("a ", "b"), (Message("system", "Be long."),))
    engine.sample(["plain", ("in ", "pieces"), own], 1, SAMPLING, 0)
    contents = {body["messages"][-1]["content"]: body for body in stub.asked}
    roles = {
        text: [message["content"] for message in body["messages"][:-1]] for text, body in contents.items()
    }
    assert roles == {"plain": ["Be brief."], "in pieces": ["Be brief."], "a b": ["Be long."]}
    assert all(body["chat_template_kwargs"] == {"enable_thinking": False} for body in stub.asked)


@pytest.fixture
def tokenizer_folder(tmp_path: Path) -> str:
    hf = chatml_bytes(pad_token="<pad>", eos_token="<|im_end|>")
    hf.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    hf.save_pretrained(tmp_path / "tokenizer")
    return str(tmp_path / "tokenizer")


def test_with_a_tokenizer_here_the_server_gets_exactly_its_ids(tokenizer_folder: str) -> None:
    with serving(StubServer(say, "ids n seed counts chat")) as stub:
        options = ["--tokenizer_name", tokenizer_folder]
        config = parse(["--engine", "server", "--base_url", stub.url, *FAST, *options], "rerank")
        engine = engine_of(stub, *options)
        assert "token ids, framed by the tokenizer here" in engine.server.describe() and engine.features.ids
        engine.sample(["hello"], 1, SAMPLING, 0)
        engine.sample(engine.tokenizer.encode(["hello"]), 1, SAMPLING, 1)
        expected = load_tokenizer(config.model, None).hf.apply_chat_template(
            [{"role": "user", "content": "hello"}], add_generation_prompt=True, return_dict=False
        )
        assert [body["prompt"] for body in stub.asked[-2:]] == [expected] * 2


@pytest.mark.parametrize("change", [-1, 1])
def test_a_server_that_frames_ids_again_is_refused(tokenizer_folder: str, change: int) -> None:
    with serving(StubServer(say, "ids n seed counts chat")) as stub:
        usual = stub.completion

        def reframed(route: str, body: dict[str, Any]) -> Reply:
            answer = json.loads(usual(route, body).content or b"")
            answer["usage"]["prompt_tokens"] += change
            return Reply.of(200, answer)

        stub.completion = reframed  # type: ignore[method-assign]
        with pytest.raises(
            UserError, match=r"expected a server that reads the \d+ token ids .*, got \d+ tokens"
        ):
            engine_of(stub, "--tokenizer_name", tokenizer_folder)


def test_a_server_that_takes_no_ids_is_refused_beside_a_tokenizer(
    stub: StubServer, tokenizer_folder: str
) -> None:
    with pytest.raises(UserError, match=r"takes no token ids .*: leave --tokenizer_name out"):
        engine_of(stub, "--tokenizer_name", tokenizer_folder)


def test_servers_are_told_to_draw_from_the_whole_distribution(stub: StubServer) -> None:
    stub.models[0]["owned_by"] = "vllm"
    engine_of(stub).sample(["x"], 1, SAMPLING, 0)
    body = stub.asked[0]
    assert (body["temperature"], body["top_p"], body["top_k"], body["min_p"], body["repetition_penalty"]) == (
        0.7,
        1.0,
        -1,
        0.0,
        1.0,
    )


# --- completions ---


def test_completions_come_in_the_order_of_the_prompts(stub: StubServer) -> None:
    prompts = ["x" * (k + 1) for k in range(20)]
    groups = engine_of(stub).sample(prompts, 3, SAMPLING, 5)
    assert [[int(c.text.split()[0]) for c in group] for group in groups] == [[k + 1] * 3 for k in range(20)]
    assert len({c.text for group in groups for c in group}) == 60  # every sample has a seed of its own
    completion = groups[0][0]
    assert completion.ids.tolist() == [NO_ID] * 3 and not completion.truncated
    assert len(completion.logprobs) == 3 and all(map(math.isnan, completion.logprobs.tolist()))


def test_draws_depend_on_seed_prompt_and_number_alone(stub: StubServer) -> None:
    engine = engine_of(stub)
    first, again = (engine.sample(["a", "b", "a"], 2, SAMPLING, 5) for _ in range(2))
    texts = [[c.text for c in group] for group in first]
    assert texts == [[c.text for c in group] for group in again] and texts[0] != texts[2]
    assert [[c.text for c in group] for group in engine.sample(["b"], 2, SAMPLING, 5)] == [texts[1]]
    assert [[c.text for c in group] for group in engine.sample(["b"], 2, SAMPLING, 6)] != [texts[1]]


CHOICES: list[tuple[Mapping[str, Any], tuple[str, bool], str]] = [
    ({"message": {"content": "7"}, "finish_reason": "stop"}, ("7", False), ""),
    ({"message": {"content": "7"}, "finish_reason": "length"}, ("7", True), ""),
    ({"message": {"content": ""}, "finish_reason": "stop"}, ("", False), "without text"),
    ({"message": {"content": None}, "finish_reason": "stop"}, ("", False), "without text"),
    ({"message": {"role": "assistant"}, "finish_reason": "stop"}, ("", False), "without text"),
    (
        {"message": {"content": "7", "reasoning_content": "9?"}, "finish_reason": "stop"},
        ("7", False),
        "",
    ),
    (
        {"message": {"content": None, "reasoning": "9?"}, "finish_reason": "length"},
        ("", True),
        "without text",
    ),
    (
        {"message": {"content": "7 and"}, "finish_reason": "content_filter"},
        ("", False),
        "stopped by the content filter",
    ),
    ({"message": {"content": None}, "finish_reason": "tool_calls"}, ("", False), "calling a tool"),
]


@pytest.mark.parametrize(("choice", "expected", "note"), CHOICES)
def test_every_way_to_end_has_one_outcome(
    stub: StubServer, choice: Mapping[str, Any], expected: tuple[str, bool], note: str
) -> None:
    engine = engine_of(stub)
    stub.before = lambda route, body: Reply.of(200, {"choices": [choice], "usage": {"completion_tokens": 0}})
    (((completion,),)) = engine.sample(["x"], 1, SAMPLING, 0)
    assert (completion.text, completion.truncated) == expected
    assert len(completion.ids) == 1  # a completion without tokens is one that was not asked for
    assert engine.take_notes() == ([f"{engine.server.address}: 1 completions {note}"] if note else [])


def test_a_prompt_that_is_too_long_is_left_out_and_counted(stub: StubServer) -> None:
    message = "This model's maximum context length is 64 tokens."
    stub.before = lambda route, body: (
        fault(400, message) if "long" in body["messages"][-1]["content"] else None
    )
    engine = engine_of(stub)
    groups = engine.sample(["x", "too long", "y"], 2, SAMPLING, 0)
    assert [[len(c.ids) for c in group] for group in groups] == [[3, 3], [0, 0], [3, 3]]
    assert all(c.truncated and c.text == "" for c in groups[1])
    assert engine.take_notes() == [
        f"{engine.server.address}: 2 completions too long for the server, and not answered"
    ]


def test_where_nothing_fits_the_limit_is_at_fault(stub: StubServer) -> None:
    stub.before = lambda route, body: fault(400, "maximum context length is 64 tokens")
    with pytest.raises(UserError, match=r"all 2 prompts and completions of 32 tokens are too long for it"):
        engine_of(stub).sample(["x", "y"], 1, SAMPLING, 0)


def test_a_refused_prompt_names_its_problem(stub: StubServer) -> None:
    stub.before = lambda route, body: fault(400, "no such word") if "b" in str(body["messages"]) else None
    engine, prompts = engine_of(stub), [("a",), ("b", "b")]
    message = r"^row 2: http.* refuses the prompt \(HTTP 400: no such word\)$"
    with pytest.raises(UserError, match=message), naming_problems(["row 1", "row 2"], prompts):
        engine.sample(prompts, 1, SAMPLING, 0)


def test_sample_answers_names_the_problem(stub: StubServer) -> None:
    config = parse(["--num_threads", "1"], "rerank")
    task = make_task(config.task, 0)
    problems = task.problems[:6]
    bad = task.prompt(problems[4])
    stub.before = lambda route, body: fault(400, "no") if bad in body["messages"][-1]["content"] else None
    message = rf"^{re.escape(problems[4].id)}: http.* refuses the prompt \(HTTP 400: no\)"
    with pytest.raises(UserError, match=message):
        sample_answers(engine_of(stub), task, problems, 1, SAMPLING, 0)


# --- answers that are kept ---


def test_what_is_kept_is_not_asked_again(stub: StubServer, tmp_path: Path) -> None:
    file = tmp_path / "server.jsonl"
    prompts = [f"prompt {k}" for k in range(10)]
    first = engine_of(stub, kept=KeptAnswers(file)).sample(prompts, 2, SAMPLING, 5)
    again = engine_of(stub, kept=KeptAnswers(file)).sample(prompts, 2, SAMPLING, 5)
    assert len(stub.asked) == 20
    assert [[c.text for c in g] for g in first] == [[c.text for c in g] for g in again]
    assert [[len(c.ids) for c in g] for g in first] == [[len(c.ids) for c in g] for g in again]


OTHERS: dict[str, dict[str, Any]] = {
    "prompt": dict(prompts=["other"]),
    "temperature": dict(sampling=Sampling(0.8, 32)),
    "length": dict(sampling=Sampling(0.7, 33)),
    "seed": dict(seed=6),
    "system message": dict(options=["--model_name_or_path", MODEL, "--system_prompt", "Be brief."]),
    "model": dict(options=["--model_name_or_path", "second"]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_request_never_gets_the_answer(stub: StubServer, tmp_path: Path, name: str) -> None:
    stub.models.append({"id": "second"})
    usual = dict(prompts=["x"], sampling=SAMPLING, seed=5, options=["--model_name_or_path", MODEL])
    for arguments in (usual, usual | OTHERS[name], usual):
        engine = engine_of(stub, *arguments["options"], kept=KeptAnswers(tmp_path / "server.jsonl"))
        engine.sample(arguments["prompts"], 1, arguments["sampling"], arguments["seed"])
    assert len(stub.asked) == 2


def test_a_server_that_dies_loses_nothing(stub: StubServer, tmp_path: Path) -> None:
    kept = KeptAnswers(tmp_path / "server.jsonl")
    engine = engine_of(stub, "--max_concurrent_requests", "4", kept=kept)
    stub.before = lambda route, body: Reply(0, None) if len(stub.asked) >= 10 else None
    prompts = [f"prompt {k}" for k in range(40)]
    kept_all = r"(\d+) of 40 answers of this batch had come, all \1 are kept"
    message = rf"^{stub.url} does not answer: .* \(3 tries\); {kept_all}$"
    with pytest.raises(ServerError, match=message) as caught:
        engine.sample(prompts, 1, SAMPLING, 5)
    assert caught.value.exit_code == 1
    num_answered = len(stub.asked)
    assert 10 <= num_answered < 40 and len(KeptAnswers(kept.file)) == num_answered
    stub.before = lambda route, body: None
    engine_of(stub, kept=KeptAnswers(kept.file)).sample(prompts, 1, SAMPLING, 5)
    assert len(stub.asked) == 40 and set(stub.counts().values()) == {1}
