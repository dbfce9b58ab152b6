"""An OpenAI-compatible server on this machine, without a model: says what a function says, and counts."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import MappingProxyType
from typing import Any, NamedTuple

MODEL = "stub-4b"
KEY = "sk-secret-of-a-test"


class Reply(NamedTuple):
    """What a handler sends.

    Attributes:
        content: None: the connection is closed without a word.
        num_missing: bytes that are announced and never sent.
    """

    status: int
    content: bytes | None
    headers: Mapping[str, str] = MappingProxyType({})
    num_missing: int = 0

    @classmethod
    def of(cls, status: int, value: Any, **headers: str) -> "Reply":
        return cls(status, json.dumps(value).encode(), {k.replace("_", "-"): v for k, v in headers.items()})


def fault(status: int, message: str, **headers: str) -> Reply:
    return Reply.of(status, {"error": {"message": message}}, **headers)


class StubServer(ThreadingHTTPServer):
    """Answers each prompt with `say(text of the prompt, seed)`.

    Attributes:
        kind: what the server can do: any of logprobs, n, seed, ids, counts, chat, echo.
        before: may give another reply to (route, body); None: the usual one. Called under no lock.
        seconds: that each completion takes.
        asked: bodies of all requests for completions that were answered as usual, but for those of the probe.
        most_at_once: requests that were there at one time.
    """

    daemon_threads, request_queue_size = True, 256

    def __init__(self, say: Callable[[str, int], str], kind: str = "logprobs n seed counts chat") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.say, self.kind = say, set(kind.split())
        self.before: Callable[[str, dict[str, Any]], Reply | None] = lambda route, body: None
        self.models: list[dict[str, Any]] = [{"id": MODEL, "object": "model", "owned_by": "stub"}]
        self.asked: list[dict[str, Any]] = []
        self.headers_seen: list[dict[str, str]] = []
        self.seconds, self.most_at_once, self._now, self._draws = 0.0, 0, 0, 0
        self.lock = Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def counts(self) -> Counter[str]:
        """How often each request came; equal requests are equal bodies."""
        return Counter(json.dumps(body, sort_keys=True) for body in self.asked)

    def completion(self, route: str, body: dict[str, Any]) -> Reply:
        """The usual reply."""
        is_chat = route.endswith("/chat/completions")
        if is_chat and "chat" not in self.kind:
            return fault(404, "Not Found")
        if body["model"] not in [entry["id"] for entry in self.models]:
            return fault(404, f"The model `{body['model']}` does not exist.")
        prompt = body["messages"][-1]["content"] if is_chat else body["prompt"]
        if isinstance(prompt, list):
            if "ids" not in self.kind:
                return fault(400, "prompt must be a string.")
            text, count = "".join(map(chr, prompt)), len(prompt)
        else:
            text, count = prompt, len(prompt.split())
        choices = []
        for k in range(body.get("n", 1) if "n" in self.kind else 1):
            with self.lock:
                self._draws += 1
                seed = body["seed"] + k if "seed" in self.kind else self._draws
            said = (text if "echo" in self.kind else "") + self.say(text, seed)
            choice: dict[str, Any] = {"index": k, "finish_reason": "stop", "logprobs": None}
            choice |= {"message": {"role": "assistant", "content": said}} if is_chat else {"text": said}
            if "logprobs" in self.kind and body.get("logprobs"):
                choice["logprobs"] = {"content": [{"token": said, "logprob": -0.5}], "token_logprobs": [-0.5]}
            choices.append(choice)
        usage = {"prompt_tokens": count, "completion_tokens": sum(3 for _ in choices)}
        return Reply.of(200, {"choices": choices, **({"usage": usage} if "counts" in self.kind else {})})

    def reply(self, route: str, body: dict[str, Any]) -> Reply:
        is_probe = "7Q4-XK" in json.dumps(body) or (
            body.get("prompt") and "ids" in self.kind and is_probed(body)
        )
        if not is_probe and (other := self.before(route, body)) is not None:
            return other
        usual = self.completion(route, body)
        if not is_probe and usual.status == 200:
            with self.lock:
                self.asked.append(body)
            time.sleep(self.seconds)
        return usual

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self.lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            yield
        finally:
            with self.lock:
                self._now -= 1


def is_probed(body: dict[str, Any]) -> bool:
    """Whether a request comes from the probe."""
    prompt = body.get("prompt")
    text = "".join(map(chr, prompt)) if isinstance(prompt, list) else json.dumps(body)
    return "7Q4-XK" in text


class _Handler(BaseHTTPRequestHandler):
    server: StubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing on stderr, which the tests look at."""

    def _send(self, reply: Reply) -> None:
        self.close_connection = True
        if reply.content is None:
            return
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.content) + reply.num_missing))
        # A client that has given up reads nothing.
        with suppress(ConnectionError):
            self.end_headers()
            self.wfile.write(reply.content)

    def do_GET(self) -> None:
        is_list = self.path == "/v1/models"
        self._send(Reply.of(200, {"data": self.server.models}) if is_list else fault(404, "Not Found"))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.headers_seen.append(dict(self.headers))
        with self.server.counted():
            reply = self.server.reply(self.path, body)
        # Not counted: a client that has its reply asks again before this thread goes on.
        self._send(reply)


@contextmanager
def serving(server: StubServer) -> Iterator[StubServer]:
    """Runs a server in a thread."""
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
