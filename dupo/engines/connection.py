"""One server over HTTP: a JSON body in, a JSON object out, with retries. Of the standard library alone.

A request is made anew after a connection error, a time-out, HTTP 408, 409, 425, 429 or 5xx. The pauses
double, and `Retry-After` of the server lengthens them. HTTP 429 and 503 say that the server has too much to
do: while other requests get their answers, such a request waits as long as it must.
"""

import http.client
import json
import os
import random
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from threading import Event, Lock
from typing import Any, TypeVar
from urllib.parse import urlsplit

from dupo.config.engine_options import EngineOptions, ServerAddress
from dupo.errors import ServerError, UserError, in_one_line

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds
LONGEST_ASKED_PAUSE = 600.0  # seconds that a server may ask for by Retry-After
_PASSING = {408, 409, 425, 429}  # with all of 5xx
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_MOST_READ = 1 << 28  # bytes of a body: more is no answer to a prompt


class Refused(Exception):
    """A server refuses one request, and would refuse it again.

    Attributes:
        status: of HTTP: 4xx, or 3xx.
        reason: what the server says, in one line.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"HTTP {status}: {reason}")
        self.status, self.reason = status, reason


class Stopped(Exception):
    """The request was given up because another one has failed."""


class Passing(Exception):
    """A fault that may be gone with the next try.

    Attributes:
        pause: seconds that the server asks to wait; 0: it asks nothing.
        is_busy: the server has too much to do, and no fault.
    """

    def __init__(self, what: str, pause: float = 0.0, is_busy: bool = False) -> None:
        super().__init__(what)
        self.pause, self.is_busy = pause, is_busy


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET, and would take the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        """No other request: the redirect itself is the answer, and an error."""


class Connection:
    """Asks one server. Several threads may ask at once.

    Raises:
        UserError: the key in the environment is no key.
    """

    def __init__(self, address: ServerAddress, options: EngineOptions) -> None:
        self.url, self.options = address.url, options
        self._key = _key_of(options.api_key_env)
        handlers: list[Any] = [_NoRedirects()]
        if urlsplit(address.url).hostname in _LOCAL:
            handlers.append(urllib.request.ProxyHandler({}))  # no proxy stands before this machine
        self._opener = urllib.request.build_opener(*handlers)
        self._num_answered, self._lock = 0, Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        # Another rank has the key from its own environment: no key is ever sent.
        return type(self), (ServerAddress(self.url), self.options)

    def longest_wait(self, max_retries: int | None = None) -> float:
        """Seconds after which a request has surely ended, with an answer or with an error.

        Args:
            max_retries: None: `--max_retries`.
        """
        tries = 1 + (self.options.max_retries if max_retries is None else max_retries)
        return tries * (self.options.request_timeout + LONGEST_ASKED_PAUSE)

    def ask(
        self,
        route: str,
        body: Mapping[str, Any] | None,
        read: Callable[[Mapping[str, Any]], T],
        stop: Event | None = None,
        max_retries: int | None = None,
    ) -> T:
        """What the server answers.

        Args:
            route: "/chat/completions".
            body: None: a GET.
            read: reads the JSON object of the answer; raises ValueError where nothing can be read, and
                `Passing` where the next try may give more.
            stop: ends the waiting between two tries.
            max_retries: None: `--max_retries`.

        Raises:
            Refused: the server refuses this request.
            Stopped: `stop` was set.
            ServerError: no try had an answer, or the answer is no JSON object.
        """
        limit = self.options.max_retries if max_retries is None else max_retries
        stop, num_failed, seen = stop or Event(), 0, self._num_answered
        while not stop.is_set():
            try:
                answer = read(self._once(route, body))
                with self._lock:
                    self._num_answered += 1
                return answer
            except ValueError as problem:
                # The next try would be answered in the same way.
                raise ServerError(f"{self.url} gives {self._clean(str(problem))}") from None
            except Passing as problem:
                # A busy server that answers others has not failed.
                if problem.is_busy and self._num_answered > seen:
                    num_failed, seen = 0, self._num_answered
                num_failed += 1
                if num_failed > limit:
                    tries = f"{num_failed} tries" if num_failed > 1 else "1 try"
                    raise ServerError(f"{self.url} does not answer: {problem} ({tries})") from None
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(num_failed - 1, 10))
                # Requests that failed together must not come back together.
                stop.wait(max(pause * random.uniform(0.75, 1.25), problem.pause))
        raise Stopped

    def _once(self, route: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.url}{route}", method="GET" if body is None else "POST")
        request.add_header("Accept", "application/json")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        # Read at the start: a key that is changed while a run goes on would change what the run is.
        if self._key:
            request.add_unredirected_header("Authorization", f"Bearer {self._key}")
        try:
            with self._opener.open(request, timeout=self.options.request_timeout) as reply:
                content = reply.read(_MOST_READ)
                # A read of at most so many bytes does not say that the answer was cut.
                num_missing = 0 if len(content) == _MOST_READ else reply.length or 0
        except urllib.error.HTTPError as problem:
            raise self._refusal(problem) from None
        # A time-out while connecting comes as URLError, one while reading as TimeoutError.
        except TimeoutError:
            raise Passing(f"no byte in {self.options.request_timeout:g} seconds") from None
        except urllib.error.URLError as problem:
            what = problem.reason if isinstance(problem.reason, Exception) else problem
            is_late = isinstance(what, TimeoutError)
            late = f"no connection in {self.options.request_timeout:g} seconds"
            raise Passing(late if is_late else self._clean(in_one_line(what))) from None
        except (OSError, http.client.HTTPException) as problem:
            raise Passing(f"the connection broke ({self._clean(in_one_line(problem, kind=True))})") from None
        if num_missing:
            raise Passing(f"the connection broke ({num_missing} bytes of the answer are missing)")
        return self._object(content)

    def _object(self, content: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise ServerError(
                f"{self.url} answers no JSON object: {self._said(content) or 'an empty body'}: is it the "
                "address of an OpenAI-compatible server?"
            )
        return answer

    def _refusal(self, problem: urllib.error.HTTPError) -> Exception:
        try:
            reason = self._said(problem.read(_MOST_READ))
        except (OSError, http.client.HTTPException):
            reason = ""
        status = problem.code
        # An empty body still leaves the words of the standard for the number.
        reason = reason or http.client.responses.get(status, "no reason")
        if status in _PASSING or status >= 500:
            pause = _seconds(problem.headers.get("Retry-After"))
            return Passing(f"HTTP {status}: {reason}", pause, is_busy=status in (429, 503))
        # No try will bring another key.
        if status in (401, 403):
            key = f"the key in {self.options.api_key_env}"
            what = f"it refuses {key}" if self._key else f"it wants a key: set {self.options.api_key_env}"
            return UserError(f"{self.url}: {what} (HTTP {status}: {reason})")
        return Refused(status, reason)

    def _said(self, content: bytes) -> str:
        """What a body says, in one line: the message of an error, or the words of a page."""
        text = content.decode("utf-8", "replace")
        try:
            text = _message(json.loads(text)) or text
        # Proxies answer with pages, whose words are the message.
        except (ValueError, RecursionError):
            text = re.sub(r"(?s)<(style|script|head)\b.*?</\1>|<[^>]*>", " ", text)
        return self._clean(" ".join(text.split())[:300])

    def _clean(self, text: str) -> str:
        """A text without the key, which a server may repeat."""
        return text.replace(self._key, "***") if self._key else text


def _key_of(name: str) -> str:
    key = os.environ.get(name, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"api_key_env: expected a key of printable ASCII in {name}, got other characters")
    return key


def _message(content: Any) -> str:
    """The message in the JSON of an error, wherever servers put it; empty where there is none."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content:  # FastAPI: a list of what is wrong with the fields
        return json.dumps(content)
    if isinstance(content, dict):
        return next(
            (text for name in ("error", "message", "detail") if (text := _message(content.get(name)))), ""
        )
    return ""


def _seconds(retry_after: str | None) -> float:
    """The seconds that Retry-After asks for, as a number or as a date; 0 where it says nothing."""
    if not retry_after:
        return 0.0
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (TypeError, ValueError):
            return 0.0
    return min(max(seconds, 0.0), LONGEST_ASKED_PAUSE) if seconds == seconds else 0.0
