"""What a server can do, tried at start: nothing that it promises is believed.

A few requests of a few tokens. The first asks for everything at once, and for less where the server refuses;
the second tells whether a seed repeats the draws, and three more whether other seeds change them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dupo.config.config import Config
from dupo.config.engine_options import AUTO, EngineOptions, ServerAddress, is_address
from dupo.config.model_options import BUILT_IN_MODEL, ModelOptions
from dupo.distributed.ranks import Wait
from dupo.engines.base import Sampling
from dupo.engines.connection import Connection, Refused
from dupo.engines.openai_protocol import (
    CHAT,
    IDS,
    PATHS,
    TEXT,
    Dialect,
    choices_of,
    count_in,
    messages_of,
    text_of,
)
from dupo.errors import ServerError, UserError, cut, quoted
from dupo.text.tokenizer import PromptTokenizer

# Longer than the completion may be: who answers with the whole prompt has not written it.
PROBE = "Which word comes after the code 7Q4-XK-19-ZB-55? Answer with one word of your own, and no more."
PROBE_SAMPLING, PROBE_SEED, OTHER_SEEDS = Sampling(1.0, 8), 20240814, (17, 4711, 1009)
MOST_PROBES = 16  # requests of a probe
MOST_RETRIES = 2  # at start a person waits, and nothing can be lost
_TEMPLATE = re.compile(r"chat[ _-]?template", re.IGNORECASE)
FRAMES = "leave --tokenizer_name out, and the server frames the prompts"
_MODEL = re.compile(r"\bmodel\b", re.IGNORECASE)


class Abilities(NamedTuple):
    """What the answers to the probe had.

    Attributes:
        ids_out: token ids of the completion.
        logprobs: log-probs of the tokens.
        n: several completions of one request.
        seed: the same completion for the same seed.
        counts: the number of tokens.
        draws: other completions for other seeds; `transformers serve` is greedy at every temperature, unless
            the generation settings of the model say `do_sample`.
    """

    ids_out: bool
    logprobs: bool
    n: bool
    seed: bool
    counts: bool
    draws: bool


@dataclass(frozen=True, slots=True)
class Server:
    """A model that a server holds.

    Attributes:
        address: with the name of the model.
        max_positions: most tokens of a prompt and its completion; None where the server does not tell.
    """

    address: ServerAddress
    connection: Connection
    dialect: Dialect
    abilities: Abilities
    max_positions: int | None
    system_prompt: str | None = None

    def describe(self) -> str:
        """What the server can do, for the start-up table."""
        framed = {
            CHAT: "chat messages, framed by the server",
            IDS: "token ids, framed by the tokenizer here",
            TEXT: "plain texts, as the model has no chat template",
        }[self.dialect.route]
        words = {True: "yes", False: "no"}
        able = self.abilities
        facts = [f"ids in: {words[self.dialect.route == IDS]}", f"ids out: {words[able.ids_out]}"]
        facts += [f"log-probs: {words[able.logprobs]}"]
        facts += [f"n: {'yes' if able.n else 'ignored'}, each sample is a request"]
        facts += [f"seed: {'yes' if able.seed else 'ignored, draws do not repeat'}"]
        if not able.draws:
            facts.append("one completion for all seeds at temperature 2: it is greedy")
        if not able.counts:
            facts.append("it counts no tokens, so words are counted")
        at_once = self.connection.options.max_concurrent_requests
        return f"{framed}; {', '.join(facts)}; {at_once} requests at once"


def probe(
    option: str,
    address: ServerAddress,
    engine: EngineOptions,
    options: ModelOptions,
    tokenizer: PromptTokenizer | None,
    advice: str = FRAMES,
) -> Server:
    """Asks a server what it can do.

    Args:
        option: names the address, for errors.
        options: system message and template arguments, which the server gets where it frames the prompts.
        tokenizer: frames the prompts here; None: the server frames them.
        advice: what to do where the server reads other ids than it is sent, or none.

    Raises:
        UserError: the server has no such model, repeats the prompt in its answers, or does not read prompts
            as they are sent.
        ServerError: the server does not answer.
    """
    connection = Connection(address, engine)
    # The list comes first: it costs nothing, and its absence names a wrong address.
    listed = _models(connection)
    model, entry = _chosen(option, address, listed, options.model_name_or_path)
    family = str(entry.get("owned_by", "")).lower()
    arguments = options.template_arguments
    routes = [IDS]
    if tokenizer is None:
        routes = [CHAT, TEXT] if engine.server_route == AUTO else [engine.server_route]
    for route in routes:
        dialect = Dialect(model, route, family, template_arguments=arguments if route == CHAT else {})
        content = _content(route, tokenizer, options.system_prompt)
        try:
            dialect, answer, extras = _first_answer(connection, dialect, content)
            break
        except (Refused, ServerError) as problem:
            if route == CHAT and TEXT in routes and _lacks_template(problem):
                continue
            raise _complaint(option, address, dialect, listed, problem, advice) from None
    _check_template_options(dialect, address, options)
    _check_prompt_is_read(f"{option}: {address.url}", dialect, content, answer, advice)
    length = entry.get("max_model_len")
    return Server(
        address._replace(model=model),
        connection,
        dialect,
        _abilities(connection, dialect, content, answer, extras),
        length if type(length) is int and length > 0 else None,
        options.system_prompt if dialect.route == CHAT else None,
    )


def _check_template_options(dialect: Dialect, address: ServerAddress, options: ModelOptions) -> None:
    """Refuses what a plain text has no place for."""
    if dialect.route == TEXT and (options.system_prompt is not None or options.template_arguments):
        name = "system_prompt" if options.system_prompt is not None else "chat_template_kwargs"
        raise UserError(f"{name}: expected none, as {dialect.model} at {address.url} has no chat template")


def _check_prompt_is_read(
    where: str, dialect: Dialect, content: Any, answer: Mapping[str, Any], advice: str
) -> None:
    """Refuses a server that repeats the prompt, or reads other ids than it was sent."""
    # The prompt alone has more tokens than the answer may have.
    for text in _texts(answer):
        if PROBE in text:
            raise UserError(f"{where} repeats the prompt in its answers, got {quoted(text)}")
    # One token more is a second start token, many more a second chat template.
    if dialect.route == IDS and count_in(answer, "prompt_tokens") != len(content):
        num_read = count_in(answer, "prompt_tokens")
        got = "no count of tokens" if num_read is None else f"{num_read} tokens"
        expected = f"a server that reads the {len(content)} token ids that it is sent"
        raise UserError(f"{where}: expected {expected}, got {got}: {advice}")


def _abilities(
    connection: Connection,
    dialect: Dialect,
    content: Any,
    answer: Mapping[str, Any],
    extras: Mapping[str, Any],
) -> Abilities:
    texts = _texts(answer)
    # One completion of a request shows whether the next one with its seed is the same.
    repeats = texts == _texts(_answer(connection, dialect, content, extras))
    return Abilities(
        ids_out=_has_ids(answer),
        logprobs=_has_logprobs(answer),
        n=len(texts) > 1,
        seed=repeats,
        counts=count_in(answer, "completion_tokens") is not None,
        draws=not repeats or _draws(connection, dialect, content),
    )


def _draws(connection: Connection, dialect: Dialect, content: Any) -> bool:
    """Whether other seeds give other completions, where the temperature makes nearly all tokens possible."""
    try:
        texts = {
            text
            for seed in OTHER_SEEDS
            for text in _texts(_answer(connection, dialect, content, {"seed": seed, "temperature": 2.0}))
        }
    except Refused:  # so high a temperature
        return True
    return len(texts) > 1


def _texts(answer: Mapping[str, Any]) -> list[str]:
    return [text_of(choice) for choice in choices_of(answer)]


def _models(connection: Connection) -> list[Mapping[str, Any]]:
    """The models that the server lists; empty where it lists none."""
    try:
        answer = connection.ask("/models", None, dict, max_retries=retries_at_start(connection))
    except Refused:
        return []
    entries = answer.get("data")
    entries = entries if isinstance(entries, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def probe_wait(address: ServerAddress, engine: EngineOptions) -> Wait:
    """How the other ranks wait for the first, which asks a server what it can do."""
    connection = Connection(address, engine)
    of_one = connection.longest_wait(retries_at_start(connection))
    return Wait(f"the probe of {address.url}", MOST_PROBES * of_one)


def retries_at_start(connection: Connection) -> int:
    """Times that a request of the probe is made anew."""
    return min(MOST_RETRIES, connection.options.max_retries)


def _chosen(
    option: str, address: ServerAddress, listed: Sequence[Mapping[str, Any]], preferred: str
) -> tuple[str, Mapping[str, Any]]:
    """The name of the model, and what the server lists of it."""
    by_name = {entry["id"]: entry for entry in listed}
    if address.model is not None:
        # Servers that load on demand, and those with aliases, list less than they hold.
        return address.model, by_name.get(address.model, {})
    # In training the name is that of the policy, which the server may call otherwise.
    if preferred in by_name:
        return preferred, by_name[preferred]
    if len(by_name) == 1:
        return next(iter(by_name.items()))
    how = "--model_name_or_path" if option == "base_url" else f"{address.url}#NAME"
    raise UserError(f"{option}: expected the name of a model, by {how}; {address.url} lists {_names(listed)}")


def _names(listed: Sequence[Mapping[str, Any]]) -> str:
    return cut(", ".join(entry["id"] for entry in listed)) or "none"


def _content(route: str, tokenizer: PromptTokenizer | None, system_prompt: str | None) -> Any:
    if route == CHAT:
        return messages_of(PROBE, system_prompt)
    return PROBE if tokenizer is None else tokenizer.encode([PROBE])[0]


def _first_answer(
    connection: Connection, dialect: Dialect, content: Any
) -> tuple[Dialect, Mapping[str, Any], Mapping[str, Any]]:
    """The dialect that the server takes, its answer, and what was asked beside."""
    able = {"n": 2, "logprobs": True if dialect.route == CHAT else 1}
    tries: list[dict[str, Any]] = [{**able, "return_token_ids": True}, able, {"n": 2}, {}]
    for extras in tries:
        try:
            return dialect, _answer(connection, dialect, content, extras), extras
        except Refused as problem:
            if "max_completion_tokens" in problem.reason and dialect.limit_name == "max_tokens":
                dialect = dialect._replace(limit_name="max_completion_tokens")
                return _first_answer(connection, dialect, content)
            # Less is not asked of a server that has no such route or no such model.
            if not extras or problem.status in (404, 405) or _TEMPLATE.search(problem.reason):
                raise
    raise AssertionError("unreachable: the last try asks for nothing beside")


def _answer(
    connection: Connection, dialect: Dialect, content: Any, extras: Mapping[str, Any]
) -> Mapping[str, Any]:
    body = {**dialect.body(content, PROBE_SAMPLING, PROBE_SEED), **extras}
    return connection.ask(PATHS[dialect.route], body, _with_texts, max_retries=retries_at_start(connection))


def _with_texts(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """An answer whose choices all have a text, or null for one."""
    for choice in choices_of(answer):
        text_of(choice)
    return answer


def _lacks_template(problem: Exception) -> bool:
    """Whether a server has no chat route, or no template for it."""
    if _TEMPLATE.search(str(problem)):
        return True
    # A wrong name of the model is a 404 as well.
    return isinstance(problem, Refused) and problem.status in (404, 405) and not _MODEL.search(problem.reason)


def _complaint(
    option: str,
    address: ServerAddress,
    dialect: Dialect,
    listed: Sequence[Mapping[str, Any]],
    problem: Exception,
    advice: str,
) -> Exception:
    """What is said of a server that refuses the probe."""
    if isinstance(problem, ServerError):
        # A server may fail where a template is missing, and say nothing of it.
        is_unsaid = dialect.route == CHAT and "HTTP 5" in str(problem)
        hint = "; if its model has no chat template: --server_route text" if is_unsaid else ""
        return ServerError(f"{problem}{hint}")
    assert isinstance(problem, Refused)
    is_listed = dialect.model in {entry["id"] for entry in listed}
    if problem.status in (404, 405) and is_listed:
        route = f"the route {PATHS[dialect.route]}"
        return UserError(f"{option}: expected a server with {route}, got {address.url} without ({problem})")
    if problem.status in (404, 405) or not is_listed:
        expected = f"a model of {address.url}, which lists {_names(listed)}"
        return UserError(f"{option}: expected {expected}, got {dialect.model} ({problem})")
    if dialect.route == IDS:
        return UserError(f"{option}: {address.url} takes no token ids ({problem}): {advice}")
    return UserError(f"{option}: {address.url} refuses a request ({problem})")


def _has_ids(answer: Mapping[str, Any]) -> bool:
    ids = choices_of(answer)[0].get("token_ids")
    return isinstance(ids, list) and bool(ids)


def _has_logprobs(answer: Mapping[str, Any]) -> bool:
    """Whether log-probs came, and not only the field for them."""
    logprobs = choices_of(answer)[0].get("logprobs")
    if not isinstance(logprobs, dict):
        return False
    return bool(logprobs.get("content") or logprobs.get("token_logprobs"))


def address_of(name: str, config: Config) -> tuple[str, ServerAddress] | None:
    """(option, address) of the server that holds a model; None for a model of this machine.

    Args:
        name: of a model, as options have it: an address, or the name of the model of the run.
    """
    if is_address(name):
        return "dual_model or pool_models", ServerAddress.of("dual_model or pool_models", name)
    if not config.holds_no_model or name != config.model.model_name_or_path:
        return None
    url = ServerAddress.of("base_url", config.engine.base_url or "").url
    # `tiny` is what the option says where a user says nothing.
    return "base_url", ServerAddress(url, None if name == BUILT_IN_MODEL else name)
