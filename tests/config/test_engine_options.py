"""Addresses of servers, and options that do not go with them."""

import re

import pytest

from dupo.config.command_line import parse
from dupo.config.engine_options import ServerAddress
from dupo.errors import UserError
from tests.helpers.options import refusal

ADDRESSES = {
    "http://host": ("http://host/v1", None),
    "http://host/": ("http://host/v1", None),
    "https://host:8443/v1/": ("https://host:8443/v1", None),
    "http://[::1]:8000/v1#Qwen/Qwen3-4B": ("http://[::1]:8000/v1", "Qwen/Qwen3-4B"),
    "http://host/api/openai#a": ("http://host/api/openai", "a"),
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_is_read_and_shown(text: str) -> None:
    address = ServerAddress.of("dual_model", text)
    assert address == ADDRESSES[text]
    assert ServerAddress.of("dual_model", str(address)) == address


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--base_url http://h/v1", "base_url: expected none without --engine server, got http://h/v1"),
        ("--engine server", "base_url: expected the address of the server of --engine server, got none"),
        ("--engine server --base_url h:8000", "base_url: expected an address such as"),
        ("--engine server --base_url http://h/v1#a", "base_url: expected an address without #NAME"),
        (
            "--engine server --base_url http://u:secret@h/v1",
            "base_url: expected an address such as .* got http://",
        ),
        (
            "--engine server --base_url http://h/v1?key=secret",
            "base_url: expected an address such as .* got http://",
        ),
        ("--model_name_or_path http://h/v1", "model_name_or_path: expected --engine server --base_url URL"),
        ("--dual_model http://:80", "dual_model: expected an address such as"),
        ("--engine server --base_url http://h --teach", "teach: expected no --teach"),
        (
            "--engine server --base_url http://h --server_route text --tokenizer_name t",
            "server_route: expected auto beside --tokenizer_name",
        ),
    ],
)
def test_options_that_do_not_go_together(options: str, message: str) -> None:
    line = refusal(*options.split(), program="rerank")
    assert re.match(message.replace("(", r"\("), line) and "secret" not in line


@pytest.mark.parametrize("name", ["temperature", "dual_temperature"])
def test_a_temperature_that_vllm_would_raise_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}: expected 0 or at least 0.01 with --engine vllm, got 0.005"):
        parse(["--engine", "vllm", f"--{name}", "0.005"])
    assert parse(["--engine", "vllm", f"--{name}", "0.01"]) and parse([f"--{name}", "0.005"])


def test_one_vllm_of_a_process_can_sleep() -> None:
    sleeping = ["--engine", "vllm", "--vllm_enable_sleep_mode"]
    with pytest.raises(UserError, match="vllm_enable_sleep_mode: expected false beside a second vLLM"):
        parse(sleeping)
    for single in (["--dual_model", "policy"], ["--dual_model", "http://a/v1"], ["--reward", "random"]):
        assert parse([*sleeping, *single]).vllm.vllm_enable_sleep_mode


def test_a_judge_beside_adapters_is_in_the_vllm_that_sleeps() -> None:
    sleeping = ["--engine", "vllm", "--vllm_enable_sleep_mode", "--use_peft"]
    for judge in ("frozen", "ema"):
        assert parse([*sleeping, "--dual_model", judge]).sends_adapters
    for second in (["--vllm_merge_adapters"], ["--dual_model", "other/model"]):
        with pytest.raises(UserError, match="vllm_enable_sleep_mode: expected false beside a second vLLM"):
            parse([*sleeping, *second])


@pytest.mark.parametrize("options", [["--engine", "vllm"], ["--use_peft"], []], ids=str)
def test_nothing_is_merged_where_no_adapter_goes_to_vllm(options: list[str]) -> None:
    with pytest.raises(UserError, match="vllm_merge_adapters: expected false without --engine vllm --use_p"):
        parse([*options, "--vllm_merge_adapters"])


@pytest.mark.parametrize("program", ["train", "audit"])
def test_vllm_gives_no_distributions(program: str) -> None:
    with pytest.raises(UserError, match="reward: expected rewards that read texts alone with --engine vllm"):
        parse(["--engine", "vllm", "--reward", "entropy"], program)


@pytest.mark.parametrize(
    ("options", "program", "message"),
    [
        ("--server_route text", "train", "server_route: expected auto in training, where token ids are sent"),
        ("--weight_folder w", "rerank", "weight_folder: expected none without --engine server in training"),
        ("--reward entropy", "train", "reward: expected rewards that read texts alone with --engine server"),
    ],
)
def test_training_through_a_server_sends_ids_and_weights(options: str, program: str, message: str) -> None:
    line = refusal("--engine", "server", "--base_url", "http://h/v1", *options.split(), program=program)
    assert line.startswith(message)


def test_rewards_that_read_distributions_are_refused() -> None:
    options = ["--engine", "server", "--base_url", "http://h/v1", "--reward", "self_certainty"]
    assert refusal(*options, program="audit").startswith("reward: expected rewards that read texts alone")
