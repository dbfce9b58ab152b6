"""How a server is asked: tries, pauses, time limits, the key, and one outcome for everything it may say."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dupo.config.engine_options import EngineOptions, ServerAddress
from dupo.engines import connection as module
from dupo.engines.connection import Connection, Refused
from dupo.engines.openai_protocol import read_answer
from dupo.errors import ServerError, UserError
from tests.helpers.stub_server import KEY, MODEL, Reply, StubServer, fault, serving

BODY: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "2 + 2"}], "seed": 1}
CHAT = "/chat/completions"


@pytest.fixture
def stub() -> Iterator[StubServer]:
    with serving(StubServer(lambda text, seed: "4")) as server:
        yield server


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)


def ask(stub: StubServer, **options: Any) -> Any:
    connection = Connection(ServerAddress(stub.url, MODEL), EngineOptions(**options))
    return connection.ask(CHAT, BODY, read_answer)


def replies(stub: StubServer, *sent: Reply) -> list[float]:
    """Lets the stub send these first; returns the times at which they were sent."""
    waiting, times = list(sent), list[float]()

    def before(route: str, body: dict[str, Any]) -> Reply | None:
        times.append(time.monotonic())
        return waiting.pop(0) if waiting else None

    stub.before = before
    return times


PASSING = [
    fault(429, "slow down"),
    fault(500, "oops"),
    fault(503, "loading"),
    Reply(502, b"<html>bad"),
    Reply(0, None),
    # A server that is killed while it answers.
    Reply(200, b"", num_missing=40),
    Reply(200, b'{"choices": [{', num_missing=26),
]


@pytest.mark.parametrize("reply", PASSING, ids=lambda reply: str(reply.status))
def test_what_may_pass_is_tried_again(stub: StubServer, reply: Reply) -> None:
    times = replies(stub, reply, reply)
    assert ask(stub, max_retries=2).text == "4"
    assert len(times) == 3


@pytest.mark.parametrize("reply", PASSING, ids=lambda reply: str(reply.status))
def test_what_does_not_pass_is_one_line(stub: StubServer, reply: Reply) -> None:
    times = replies(stub, *[reply] * 9)
    with pytest.raises(ServerError, match=rf"^{stub.url} does not answer: .*\(3 tries\)$") as caught:
        ask(stub, max_retries=2)
    assert len(times) == 3 and "\n" not in str(caught.value) and "<html>" not in str(caught.value)


def test_the_pauses_grow_and_the_server_may_ask_for_longer_ones(stub: StubServer) -> None:
    pauses = list[float | None]()

    class Noting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout)
            return False

    replies(stub, fault(500, ""), fault(500, ""), fault(429, "", Retry_After="0.4"))
    connection = Connection(ServerAddress(stub.url, MODEL), EngineOptions(max_retries=3))
    assert connection.ask(CHAT, BODY, read_answer, Noting()).text == "4"
    # By a quarter less or more, so that many requests do not come back at once.
    first, second, third = pauses
    assert 0.0075 <= first <= 0.0125 and 0.015 <= second <= 0.025 and third == 0.4


def test_a_date_is_a_time_to_come_back_at() -> None:
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    assert 25 < module._seconds(soon) <= 30
    assert module._seconds("Fri, 01 Jan 1999 00:00:00 GMT") == module._seconds("soon") == 0
    assert module._seconds("1e9") == module.LONGEST_ASKED_PAUSE


def test_a_server_that_says_nothing_is_given_up(stub: StubServer) -> None:
    stub.seconds = 5
    started = time.monotonic()
    with pytest.raises(ServerError, match=r"no byte in 0\.2 seconds"):
        ask(stub, max_retries=1, request_timeout=0.2)
    assert time.monotonic() - started < 3


def test_a_server_that_is_not_there() -> None:
    with serving(StubServer(lambda text, seed: "4")) as stub:
        pass
    with pytest.raises(ServerError, match="refused"):
        ask(stub, max_retries=0)


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_is_refused_is_not_tried_again(stub: StubServer, status: int) -> None:
    times = replies(stub, fault(status, "no such field"))
    with pytest.raises(Refused, match=f"HTTP {status}: no such field"):
        ask(stub)
    assert len(times) == 1


REASONS = [
    (b'{"error": {"message": "a b"}}', "a b"),
    (b'{"error": "a b"}', "a b"),
    (b'{"detail": "a\\n b"}', "a b"),
    (b'{"detail": [{"loc": ["seed"], "msg": "extra"}]}', '[{"loc": ["seed"], "msg": "extra"}]'),
    (b"<html><head><title>x</title></head><body><h1>a</h1>b</body></html>", "a b"),
    (b"", "Bad Request"),
]


@pytest.mark.parametrize(("content", "reason"), REASONS)
def test_the_reason_is_read_out_of_any_body(stub: StubServer, content: bytes, reason: str) -> None:
    replies(stub, Reply(400, content))
    with pytest.raises(Refused) as caught:
        ask(stub)
    assert caught.value.reason == reason


NOTHING_TO_READ = [
    (b"<html><body>Welcome</body></html>", "answers no JSON object: Welcome"),
    (b"[1]", "answers no JSON object"),
    (b"", "answers no JSON object: an empty body"),
    (b"{}", "gives an answer without choices"),
    (b'{"choices": []}', "gives an answer without choices"),
    (b'{"choices": [{"index": 0}]}', "gives an answer without a text"),
    (b'{"choices": [{"message": {"content": 7}}]}', "gives an answer without a text"),
]


@pytest.mark.parametrize(("content", "message"), NOTHING_TO_READ)
def test_an_answer_that_nobody_can_read_is_one_line(stub: StubServer, content: bytes, message: str) -> None:
    times = replies(stub, Reply(200, content))
    with pytest.raises(ServerError, match=rf"^{stub.url} {message}"):
        ask(stub)
    assert len(times) == 1


def test_a_completion_that_the_server_breaks_off_is_asked_for_again(stub: StubServer) -> None:
    replies(stub, Reply.of(200, {"choices": [{"text": "half of", "finish_reason": "abort"}]}))
    assert ask(stub).text == "4"


def test_a_redirect_is_not_followed(stub: StubServer) -> None:
    """The GET that it would become, and the key that would go along, are not what was asked for."""
    replies(stub, Reply(302, b"", {"Location": "http://127.0.0.1:9/v1"}))
    with pytest.raises(Refused, match="HTTP 302"):
        ask(stub)


def test_a_busy_server_that_answers_others_is_waited_for(stub: StubServer) -> None:
    """A server that takes a request every 30 ms tells most to come back, more often than --max_retries."""
    taken, lock = [0.0], threading.Lock()

    def busy(route: str, body: dict[str, Any]) -> Reply | None:
        with lock:
            if time.monotonic() - taken[0] < 0.03:
                return fault(429, "rate limit")
            taken[0] = time.monotonic()
            return None

    stub.before = busy
    connection = Connection(ServerAddress(stub.url, MODEL), EngineOptions(max_retries=3))
    texts = list[str]()
    threads = [
        threading.Thread(target=lambda: texts.append(connection.ask(CHAT, BODY, read_answer).text))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert texts == ["4"] * 12


# --- the key ---


def test_the_key_comes_from_the_environment(stub: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    ask(stub)
    monkeypatch.setenv("OTHER_KEY", KEY)
    ask(stub, api_key_env="OTHER_KEY")
    assert [seen.get("Authorization") for seen in stub.headers_seen] == [None, f"Bearer {KEY}"]


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_no_message_holds_the_key(stub: StubServer, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    replies(stub, fault(status, f"Incorrect API key provided: {KEY}."))
    with pytest.raises((UserError, Refused)) as caught:
        ask(stub, max_retries=0)
    assert KEY not in str(caught.value) and "***" in str(caught.value)


def test_a_key_that_is_refused_or_missing_names_the_variable(
    stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    replies(stub, fault(401, "no"))
    with pytest.raises(UserError, match="it wants a key: set OPENAI_API_KEY"):
        ask(stub)
    monkeypatch.setenv("OPENAI_API_KEY", "a\nb")
    with pytest.raises(UserError, match="api_key_env: expected a key of printable ASCII in OPENAI_API_KEY"):
        ask(stub)
