"""Options of what samples, and of the servers that a run asks."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from dupo.config.values import Options, option, show
from dupo.errors import UserError, quoted

BUILTIN, VLLM, SERVER, TRANSFORMERS = "builtin", "vllm", "server", "transformers"
AUTO = "auto"
MOST_REQUESTS = 4096  # threads of one process


def check_vllm() -> None:
    """Refuses to go on without vLLM.

    Raises:
        UserError: names what to install.
    """
    if find_spec("vllm") is None:
        raise UserError("engine: expected vLLM for --engine vllm, got none (pip install vllm)")


class ServerAddress(NamedTuple):
    """Where a model answers over HTTP.

    Attributes:
        url: up to the routes of OpenAI: http://host:8000/v1.
        model: the name of the model at the server; None: the only one that the server lists.
    """

    url: str
    model: str | None = None

    def __str__(self) -> str:
        return self.url if self.model is None else f"{self.url}#{self.model}"

    @classmethod
    def of(cls, option_name: str, text: str) -> Self:
        """Reads http://host:8000/v1#NAME; where the path is empty, it is /v1.

        Raises:
            UserError: the text is no such address, or holds a password; names the option.
        """
        expected = "an address such as http://host:8000/v1#NAME"
        try:
            parts = urlsplit(text)
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_address = False
        # A request line is one line of ASCII.
        if not is_address or not text.isascii() or not text.isprintable() or " " in text:
            raise UserError(f"{option_name}: expected {expected}, got {quoted(text)}")
        # Addresses are written into config.yaml and shown, so they hold nothing that is secret.
        if "@" in parts.netloc or parts.query:
            secret = f"{expected} without a password or a query; a key comes from --api_key_env"
            raise UserError(f"{option_name}: expected {secret}, got {parts.scheme}://...")
        url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"
        return cls(url, parts.fragment or None)


def is_address(name: str | None) -> bool:
    """Whether the name of a model is the address of a server that holds the model."""
    return name is not None and name.lower().startswith(("http://", "https://"))


@dataclass(frozen=True)
class EngineOptions(Options):
    """What samples, and how servers are asked."""

    engine: str = option(
        BUILTIN,
        "what samples: dupo itself (builtin), vLLM in this process (vllm), the OpenAI-compatible server at "
        "--base_url (server; for training a vLLM server that takes weights), or continuous batching of "
        "transformers in this process (transformers)",
        f"{BUILTIN}|{VLLM}|{SERVER}|{TRANSFORMERS}",
    )
    base_url: str | None = option(
        None,
        "address of the server of --engine server, http://host:8000/v1; --model_name_or_path is the name of "
        "the model there, and may be left out where the server holds one model; in training it is the model "
        "that is trained here",
    )
    server_route: str = option(
        AUTO,
        "how prompts go to servers: as chat messages, which the server frames (chat); as plain texts, for "
        "models without a chat template (text); auto: chat, or text where the server says that it has no "
        "template. With --tokenizer_name token ids go to the server of --base_url",
        f"{AUTO}|chat|text",
    )
    weight_folder: str | None = option(
        None,
        "folder that this machine and the server of --engine server share; new weights of a training run are "
        "written there, read by the server, and deleted. None: /dev/shm, or the folder of temporary files",
    )
    max_concurrent_requests: int = option(
        64, "requests that one server has at once", at_least=1, at_most=MOST_REQUESTS
    )
    request_timeout: float = option(
        600.0, "seconds without a byte after which a request to a server is made anew", above=0, at_most=86400
    )
    max_retries: int = option(
        8,
        "times that a request is made anew after a connection error, a time-out, HTTP 429 or 5xx; the pauses "
        "grow from half a second to 30 seconds",
        at_least=0,
        at_most=1000,
    )
    api_key_env: str = option(
        "OPENAI_API_KEY", "environment variable with the key of the servers; the key itself is never written"
    )

    @property
    def is_server(self) -> bool:
        """Whether a server holds the model of the run."""
        return self.engine == SERVER

    def check_together(self) -> None:
        """Checks that an address stands beside the engine that needs one, and beside no other."""
        if self.base_url is None:
            if self.is_server:
                raise UserError("base_url: expected the address of the server of --engine server, got none")
            return
        if not self.is_server:
            raise UserError(f"base_url: expected none without --engine server, got {show(self.base_url)}")
        if ServerAddress.of("base_url", self.base_url).model is not None:
            expected = "an address without #NAME; --model_name_or_path names the model"
            raise UserError(f"base_url: expected {expected}, got {show(self.base_url)}")
