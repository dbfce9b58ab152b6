"""What training needs of a server, tried at start: ids, log-probs of the right distribution, new weights.

`vllm serve` has all of this with the flags of `START`. Every fault is told with the flag that mends it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dupo.config.config import Config
from dupo.config.engine_options import ServerAddress
from dupo.distributed.ranks import ALONE, Ranks
from dupo.engines.base import Sampling
from dupo.engines.connection import Connection, Refused
from dupo.engines.openai_protocol import IDS, PATHS, choices_of
from dupo.engines.probe import PROBE, PROBE_SEED, Server, probe, probe_wait, retries_at_start
from dupo.engines.vllm_extension import shape_of
from dupo.errors import ServerError, UserError
from dupo.text.tokenizer import PromptTokenizer

EXTENSION = "--worker-extension-cls dupo.engines.vllm_extension.WeightReceiver"
PROCESSED = "--logprobs-mode processed_logprobs"
DEV_MODE = "VLLM_SERVER_DEV_MODE=1"
START = f"{DEV_MODE} vllm serve NAME {PROCESSED} {EXTENSION}"
NEEDED = "ids of tokens, their log-probs, and n, as vllm serve gives"
RPC = "/collective_rpc"
COLD, NUM_TOP = 0.7, 5  # temperature beside 1; log-probs that are compared
LEAST_GROWTH = 1.2  # of the distance between two log-probs: 1 / 0.7 = 1.43 with temperature, 1 without


class TrainingServer(NamedTuple):
    """A vLLM server that a training run samples through.

    Attributes:
        server: takes and gives ids, with log-probs after temperature.
        control: the routes of vLLM that lie beside those of OpenAI.
    """

    server: Server
    control: Connection

    def describe(self) -> str:
        """What the server does, for the start-up table."""
        at_once = self.server.connection.options.max_concurrent_requests
        able = "token ids in and out, framed by the tokenizer here; log-probs after temperature; seed"
        return f"{able}; new weights by files, checked; {at_once} requests at once, a prompt each"


def probe_for_training(
    config: Config, tokenizer: PromptTokenizer, shape: Any, ranks: Ranks = ALONE
) -> TrainingServer:
    """Asks the server of `--base_url` for all that training needs.

    Args:
        tokenizer: of the policy.
        shape: the transformers config of the policy.
        ranks: the processes that train the policy; their first alone asks.

    Raises:
        UserError: the server lacks something; names the flag that it has to be started with.
        ServerError: the server does not answer.
    """
    address = ServerAddress.of("base_url", config.engine.base_url or "")
    wait = probe_wait(address, config.engine)
    return ranks.on_first(lambda: _probed(config, address, tokenizer, shape), wait)


def _probed(config: Config, address: ServerAddress, tokenizer: PromptTokenizer, shape: Any) -> TrainingServer:
    server = probe("base_url", address, config.engine, config.model, tokenizer, f"training needs {NEEDED}")
    able = server.abilities
    # What is missing is told at once, and flags in the order in which people meet them.
    if not (able.ids_out and able.logprobs and able.n):
        words = {"ids of tokens": able.ids_out, "their log-probs": able.logprobs, "n": able.n}
        missing = ", ".join(name for name, is_there in words.items() if not is_there)
        raise UserError(f"base_url: training needs {NEEDED}; {address.url} lacks {missing}")
    if not _is_processed(server, tokenizer):
        got = f"{address.url} gives those before temperature: start it with {PROCESSED}"
        raise UserError(f"base_url: training needs log-probs after temperature; {got}")
    # The routes for weights lie beside those of OpenAI, not below them.
    control = Connection(address._replace(url=address.url.removesuffix("/v1")), config.engine)
    _check_shape(address, _shape_there(address, control), shape_of(shape))
    return TrainingServer(server, control)


def call_workers(
    control: Connection, method: str, args: Sequence[str] = (), max_retries: int | None = None
) -> list[dict[str, Any]]:
    """What each worker of the server returns for a call of a method of `WeightReceiver`.

    Raises:
        Refused: the server has no such route.
        ServerError: the server does not answer, or a worker has no such method.
    """
    return control.ask(RPC, {"method": method, "args": list(args)}, _results, max_retries=max_retries)


def _results(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    results = answer.get("results")
    if isinstance(results, list) and results and all(isinstance(result, dict) for result in results):
        return results
    raise ValueError(f"no results of its workers: {dict(answer)}")


def _check_shape(address: ServerAddress, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    # transformers of two versions may leave different things open: what both say is compared.
    other = [name for name in there.keys() & here.keys() if there[name] != here[name]]
    if other:
        name = min(other)
        expected = f"the model of --model_name_or_path, whose {name} is {here[name]}"
        raise UserError(f"base_url: expected {expected}, got one of {there[name]} at {address.url}")


def _shape_there(address: ServerAddress, control: Connection) -> dict[str, Any]:
    """The shape of the model at the server, which only a worker with the extension tells."""
    retries = retries_at_start(control)
    try:
        return call_workers(control, "dupo_shape", max_retries=retries)[0]
    except Refused:
        raise _takes_no_weights(address, f"as: {START}") from None
    except ServerError as problem:
        # A worker without the method is a server without the extension; a dead server is neither.
        if "HTTP 5" not in str(problem) and "results" not in str(problem):
            raise
        raise _takes_no_weights(address, f"with {EXTENSION}") from None


def _takes_no_weights(address: ServerAddress, how: str) -> UserError:
    need = "training needs a server that takes new weights"
    return UserError(f"base_url: {need}; {address.url} takes none: start it {how}")


def _is_processed(server: Server, tokenizer: PromptTokenizer) -> bool:
    """Whether log-probs are of the distribution that tokens are drawn from.

    Temperature T divides the distance between two log-probs by T, however sure the model is; log-probs before
    temperature stay as they are.
    """
    ids = tokenizer.encode([PROBE])[0]
    warm, cold = (_top_distance(server, ids, temperature) for temperature in (1.0, COLD))
    return cold > LEAST_GROWTH * warm


def _top_distance(server: Server, ids: list[int], temperature: float) -> float:
    """The first less the last of the largest log-probs of the first token, nats."""
    body = server.dialect.body(ids, Sampling(temperature, 1), PROBE_SEED)
    # Names of tokens that are texts may be equal, and are keys here.
    body |= {"logprobs": NUM_TOP, "return_tokens_as_token_ids": True}
    retries = retries_at_start(server.connection)
    try:
        return server.connection.ask(PATHS[IDS], body, _read_distance, max_retries=retries)
    except Refused as problem:  # a server may be started with fewer (--max-logprobs)
        where = f"base_url: {server.address.url}"
        raise UserError(
            f"{where} gives no {NUM_TOP} log-probs for a token, by which it is tried ({problem})"
        ) from None


def _read_distance(answer: Mapping[str, Any]) -> float:
    logprobs = choices_of(answer)[0].get("logprobs")
    top = logprobs.get("top_logprobs") if isinstance(logprobs, dict) else None
    if not (isinstance(top, list) and top and isinstance(top[0], dict) and len(top[0]) >= NUM_TOP):
        raise ValueError(f"no {NUM_TOP} log-probs for each token")
    values = sorted(map(float, top[0].values()), reverse=True)
    return values[0] - values[NUM_TOP - 1]
