"""Training through a vLLM server: what it must be able to do, what it is sent, and what is an error."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dupo.config.command_line import parse
from dupo.config.config import Config
from dupo.config.engine_options import ServerAddress
from dupo.engines import connection, in_flight, probe, vllm_server, weight_handover
from dupo.engines.base import Sampling
from dupo.engines.connection import Connection
from dupo.engines.openai_protocol import IDS, Dialect
from dupo.engines.probe import Abilities, Server
from dupo.engines.training_probe import TrainingServer, probe_for_training
from dupo.engines.vllm_server import VllmServerEngine, weight_folder
from dupo.errors import ServerError, StorageError, UserError
from tests.helpers.sampled_rows import check_followed, check_rows
from tests.helpers.stub_server import MODEL, Reply, serving
from tests.helpers.vllm_stub import POSITIONS, VllmStub
from tests.helpers.worlds import World, tiny

PROMPTS = ["#321+654=", "#100-200=", "#321+654="]
UPDATE = ["dupo_receive_weights", "reset_prefix_cache"]
ONE = Sampling(1.0, 1)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(in_flight, "GRACE", 0.5)
    # Shorter than in earnest: the stub computes each token anew.
    monkeypatch.setattr(probe, "PROBE_SAMPLING", Sampling(1.0, 2))
    monkeypatch.setattr(weight_handover, "CHECKED_LENGTHS", (5,))
    monkeypatch.setattr(weight_handover, "CHECKED_TOKENS", 2)


@pytest.fixture
def world() -> World:
    return tiny(spread=1.5)


@pytest.fixture
def stub(world: World, tmp_path: Path) -> Iterator[VllmStub]:
    with serving(VllmStub(world.model, str(tmp_path / "config"))) as server:
        assert isinstance(server, VllmStub)
        yield server


def config_of(stub: VllmStub) -> Config:
    return parse(["--engine", "server", "--base_url", stub.url, "--max_retries", "1"])


def probed(stub: VllmStub, world: World, shape: Any = None) -> TrainingServer:
    return probe_for_training(config_of(stub), world.tokenizer, shape or world.model.config)


def engine_of(stub: VllmStub, world: World) -> VllmServerEngine:
    """An engine without the probe, which is tried by itself."""
    address, options = ServerAddress(stub.url, MODEL), config_of(stub).engine
    able, dialect = Abilities(True, True, True, True, True, True), Dialect(MODEL, IDS, "vllm")
    server = Server(address, Connection(address, options), dialect, able, POSITIONS)
    control = Connection(address._replace(url=stub.url.removesuffix("/v1")), options)
    found = TrainingServer(server, control)
    return VllmServerEngine(world.model, world.tokenizer, found, dtype="float32", folder=None)


def train(world: World) -> None:
    """What an optimizer does."""
    with torch.no_grad():
        for weight in world.model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))


# --- what it must be able to do ---

LACKS = {
    "dev-mode": "takes none: start it as: VLLM_SERVER_DEV_MODE=1 vllm serve NAME --logprobs-mode",
    "extension": "takes none: start it with --worker-extension-cls dupo.engines.vllm_extension.WeightR.*$",
    "processed": "gives those before temperature: start it with --logprobs-mode processed_logprobs$",
    "ids": " lacks ids of tokens$",
    "logprobs": " lacks their log-probs$",
}


@pytest.mark.parametrize("lacks", LACKS)
def test_what_is_missing_is_one_line_that_names_the_flag(lacks: str, world: World, tmp_path: Path) -> None:
    stub = VllmStub(world.model, str(tmp_path), lacks)
    with serving(stub), pytest.raises(UserError, match=f"^base_url: training needs .*{LACKS[lacks]}"):
        probed(stub, world)


def test_what_is_complete_trains(stub: VllmStub, world: World) -> None:
    found = probed(stub, world)
    expected = engine_of(stub, world).server
    assert (found.server.dialect, found.server.abilities) == (expected.dialect, expected.abilities)
    assert (found.server.address, found.server.max_positions) == (expected.address, POSITIONS)
    assert "new weights by files, checked; 64 requests at once" in found.describe()


def test_a_server_of_another_model_is_refused_before_it_gets_weights(stub: VllmStub, world: World) -> None:
    shape = tiny().model.config
    shape.num_hidden_layers += 1
    with pytest.raises(UserError, match=r"whose num_hidden_layers is \d, got one of \d at"):
        probed(stub, world, shape)
    assert stub.calls == []


def test_a_server_that_is_down_is_no_server_without_the_extension(stub: VllmStub, world: World) -> None:
    stub.before = lambda route, body: Reply(0, None) if route == "/collective_rpc" else None
    with pytest.raises(ServerError, match="does not answer"):
        probed(stub, world)


# --- what comes back ---


def test_rows_are_those_of_the_model(stub: VllmStub, world: World) -> None:
    engine = engine_of(stub, world)
    assert engine.features == (True, False, True, True, False, True) and engine.max_positions == POSITIONS
    check_rows(engine, world, PROMPTS)


@pytest.mark.slow
def test_what_follows_is_what_two_calls_give(stub: VllmStub, world: World) -> None:
    check_followed(engine_of(stub, world), PROMPTS)


def test_a_prompt_without_room_is_told(stub: VllmStub, world: World) -> None:
    with pytest.raises(UserError, match=rf"\(--max-model-len of vllm serve\) has {POSITIONS}"):
        engine_of(stub, world).sample(PROMPTS, 1, Sampling(1.0, POSITIONS), seed=1)


@pytest.mark.parametrize("broken", ["token_ids", "logprobs"])
def test_a_completion_without_its_numbers_is_an_error(broken: str, stub: VllmStub, world: World) -> None:
    engine = engine_of(stub, world)
    engine.sample(PROMPTS, 1, ONE, seed=1)
    stub.lacks = {"token_ids": "ids", "logprobs": "logprobs"}[broken]
    with pytest.raises(ServerError, match="a completion without an id and a log-prob for each token"):
        engine.sample(PROMPTS, 1, ONE, seed=1)


# --- weights ---


def test_weights_go_over_once_for_each_update(stub: VllmStub, world: World) -> None:
    engine = engine_of(stub, world)
    assert stub.calls == []  # nothing before somebody samples
    engine.sample(PROMPTS, 1, ONE, seed=1)
    engine.sample(PROMPTS, 1, ONE, seed=2)
    assert stub.calls == UPDATE
    for _ in range(2):  # two steps on one rollout are one hand-over
        train(world)
        engine.load_weights(world.model)
    engine.sample(PROMPTS, 1, ONE, seed=3)
    assert stub.calls == 2 * UPDATE


def test_a_forgotten_update_is_an_error(stub: VllmStub, world: World) -> None:
    engine = engine_of(stub, world)
    engine.sample(PROMPTS, 1, ONE, seed=1)
    train(world)
    with pytest.raises(RuntimeError, match="load_weights was not called"):
        engine.sample(PROMPTS, 1, ONE, seed=1)


@pytest.mark.parametrize("lost", [1, 2])
def test_weights_that_are_read_and_not_used_are_an_error(lost: int, stub: VllmStub, world: World) -> None:
    stub.worker.ignores = {lost}
    engine = engine_of(stub, world)
    if lost == 2:
        engine.sample(PROMPTS, 1, ONE, seed=1)
        train(world)
        engine.load_weights(world.model)
    with pytest.raises(UserError, match="server cannot sample Qwen3ForCausalLM: its log-probs differ by"):
        engine.sample(PROMPTS, 1, ONE, seed=1)


def test_an_update_that_answers_another_checksum_is_an_error(stub: VllmStub, world: World) -> None:
    engine = engine_of(stub, world)
    other = Reply.of(200, {"results": [{"checksum": "0123456789abcdef"}]})
    stub.before = lambda route, body: other if body.get("method") == "dupo_receive_weights" else None
    message = r"after the weights were sent: expected .* checksum [0-9a-f]{16}, got 0123456789abcdef"
    with pytest.raises(ServerError, match=message):
        engine.sample(PROMPTS, 1, ONE, seed=1)


def test_weights_that_cannot_be_loaded_are_one_line_with_the_reason(stub: VllmStub, world: World) -> None:
    engine, stub.worker.breaks = engine_of(stub, world), True
    with pytest.raises(ServerError, match=r"cannot load weights from .*: ValueError: no such layer"):
        engine.sample(PROMPTS, 1, ONE, seed=1)
    # What is half loaded is nobody's.
    assert stub.worker.dupo_weights() == {"checksum": ""}


@pytest.mark.parametrize("moment", ["before", "while"])
def test_a_server_that_was_started_again_is_an_error(moment: str, stub: VllmStub, world: World) -> None:
    engine = engine_of(stub, world)
    engine.sample(PROMPTS, 1, ONE, seed=1)

    def restart(route: str, body: dict[str, Any]) -> None:
        if moment == "before" or route == "/v1/completions":
            stub.worker._dupo_checksum = ""

    stub.before = restart
    with pytest.raises(ServerError, match="got those of its start: was it started again"):
        engine.sample(PROMPTS, 1, ONE, seed=1)


def test_a_server_that_dies_is_one_line(stub: VllmStub, world: World) -> None:
    engine = engine_of(stub, world)
    engine.sample(PROMPTS, 1, ONE, seed=1)
    stub.before = lambda route, body: Reply(0, None) if route == "/v1/completions" else None
    with pytest.raises(ServerError, match=r"does not answer: .* \(2 tries\); 0 of 3 groups had come$"):
        engine.sample(PROMPTS, 1, ONE, seed=1)


def test_a_weight_folder_without_room_is_one_line(
    stub: VllmStub, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(folder: Path, *_: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setattr(vllm_server, "write_weights", no_room)
    with pytest.raises(
        StorageError, match=r"^weight_folder: /.*: No space left on device: give one with room"
    ):
        engine_of(stub, world).sample(PROMPTS, 1, ONE, seed=1)


def test_the_weight_folder_is_one_that_can_be_written_to(tmp_path: Path) -> None:
    assert weight_folder(str(tmp_path)) == str(tmp_path)
    with pytest.raises(
        UserError, match=r"weight_folder: expected a folder that can be written to, got .*none"
    ):
        weight_folder(str(tmp_path / "none"))
