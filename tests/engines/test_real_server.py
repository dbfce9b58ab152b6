"""A real vLLM server on a CPU: what it is found to do, rerank and duals, training with weights sent by files.

One server serves all tests of this file; the last one kills it and starts it again.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest
import torch

from dupo.config.command_line import parse
from dupo.duality.model_parts import read_parts
from dupo.engines.base import Sampling
from dupo.engines.server import ServerEngine
from dupo.engines.training_probe import probe_for_training
from dupo.engines.vllm_server import VllmServerEngine
from dupo.errors import ServerError, UserError
from tests.helpers.processes import has_lines, started, wait_for
from tests.helpers.real_vllm import RealServer, needs_vllm, real_server, save_model
from tests.helpers.worlds import World, rows, tiny

pytestmark = [pytest.mark.slow, needs_vllm]
SMALL = ["--num_threads", "1", "--max_retries", "1"]
TRAIN = [*SMALL, "--reward", "random", "--num_generations", "4", "--generation_batch_size", "32"]
TRAIN += ["--eval_size", "8", "--eval_steps", "100"]
# A high rate: weights that did not arrive would be far off.
TRAIN += ["--learning_rate", "3e-3"]
PROMPTS = ["#321+654=", "#100-200=", "#321+654="]
MOST_PROBES = 12  # requests of a probe, each of `n` counted


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with real_server(model, tmp_path_factory.mktemp("server") / "log") as server:
        yield server


@pytest.fixture
def world(model: Path) -> World:
    return tiny("--model_name_or_path", str(model))


def at(server: RealServer) -> list[str]:
    return ["--engine", "server", "--base_url", server.url]


def ended(process: Popen[str]) -> str:
    """What a program said on stderr, which ended well."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def test_what_it_is_found_to_do(server: RealServer, model: Path) -> None:
    options = [*at(server), *SMALL, "--tokenizer_name", str(model)]
    found = read_parts(parse(options, "rerank"), "tiny", None).server
    assert found is not None and found.max_positions == 128
    able = "ids in: yes, ids out: yes, log-probs: yes, n: yes, each sample is a request, seed: yes"
    assert found.describe() == f"token ids, framed by the tokenizer here; {able}; 64 requests at once"


def test_greedy_completions_are_those_of_the_built_in_engine(
    server: RealServer, model: Path, world: World
) -> None:
    parts = read_parts(parse([*at(server), *SMALL, "--tokenizer_name", str(model)], "rerank"), "tiny", None)
    assert parts.server is not None
    engine = ServerEngine(parts.server, parts.tokenizer)
    theirs = engine.sample(PROMPTS, 1, Sampling(0.0, 6), 0)
    own = world.engine.sample(PROMPTS, 1, Sampling(0.0, 6), 0)
    assert [[c.text for c in group] for group in theirs] == [[c.text for c in group] for group in own]
    drawn = engine.sample(PROMPTS, 4, Sampling(1.0, 6), 0)
    again = engine.sample(PROMPTS, 4, Sampling(1.0, 6), 0)
    texts = [[c.text for c in group] for group in drawn]
    assert texts == [[c.text for c in group] for group in again]
    assert texts[0] != texts[2] and len(set(texts[0])) > 1


def test_rows_are_those_of_the_weights_that_were_sent(server: RealServer, model: Path, world: World) -> None:
    config = parse([*at(server), *SMALL, "--model_name_or_path", str(model)])
    found = probe_for_training(config, world.tokenizer, world.model.config)
    engine = VllmServerEngine(world.model, world.tokenizer, found, dtype="float32", folder=None)
    assert engine.features.new_weights and engine.features.logprobs and not engine.features.exact
    texts = []
    for scale in (1.0, 0.5):
        with torch.no_grad():
            for weight in world.model.parameters():
                weight.mul_(scale)
        engine.load_weights(world.model)
        groups = engine.sample(PROMPTS, 3, Sampling(0.7, 6), 1)
        for prompt, group in zip(world.tokenizer.encode(PROMPTS), groups, strict=True):
            for row in group:
                assert row.truncated == (int(row.ids[-1]) not in world.tokenizer.eos_ids)
                ids = torch.tensor([prompt + row.ids.tolist()])
                with torch.no_grad():
                    logits = world.model(ids).logits[0, len(prompt) - 1 : -1] / 0.7
                expected = logits.log_softmax(-1).gather(-1, row.ids.long()[:, None])[:, 0]
                torch.testing.assert_close(row.logprobs, expected, rtol=0, atol=1e-4)
        texts.append([[row.text for row in group] for group in groups])
    assert texts[0] != texts[1]
    # Another run sends its weights to the same server.
    other = tiny("--model_name_or_path", str(model)).model
    rival = VllmServerEngine(other, world.tokenizer, found, dtype="float32", folder=None)
    rival.sample(PROMPTS, 1, Sampling(1.0, 2), 0)
    with pytest.raises(ServerError, match=r"expected weights with the checksum .* does another run use it"):
        engine.sample(PROMPTS, 1, Sampling(1.0, 2), 0)


def test_another_model_is_refused_before_its_weights_are_sent(server: RealServer, world: World) -> None:
    config, shape = parse([*at(server), *SMALL]), tiny().model.config
    with pytest.raises(UserError, match="whose head_dim is 16, got one of 32 at"):
        probe_for_training(config, world.tokenizer, shape)


def test_rerank_and_duals(server: RealServer, model: Path, tmp_path: Path) -> None:
    options = [*SMALL, "--num_problems", "6", "--output_dir", str(tmp_path / "rerank")]
    rerank = started("rerank", *at(server), *options, "--tokenizer_name", str(model))
    options = [*SMALL, "--max_steps", "1", "--eval_size", "4", "--generation_batch_size", "8"]
    options += ["--num_generations", "2", "--output_dir", str(tmp_path / "train")]
    judge = ["--model_name_or_path", str(model), "--dual_model", server.url]
    ended(started("train", *options, *judge))
    ended(rerank)
    assert len(rows(tmp_path / "rerank", "answers.jsonl")) == 6
    assert len(rows(tmp_path / "train")) == 1


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--use_peft", "--lora_r", "4", "--train_batch_size", "16"],
        ["--num_processes", "2", "--train_batch_size", "16"],
    ],
    ids=["whole", "lora", "ranks"],
)
def test_server_and_learner_agree_before_and_after_every_update(
    options: list[str], server: RealServer, model: Path, tmp_path: Path
) -> None:
    where = ["--model_name_or_path", str(model), "--output_dir", str(tmp_path / "run")]
    folder = ["--weight_folder", str(tmp_path), "--max_steps", "10", "--strict"]
    ended(started("train", *at(server), *TRAIN, *where, *folder, *options))
    metrics = rows(tmp_path / "run")
    assert len(metrics) == 10 and [entry.name for entry in tmp_path.iterdir()] == ["run"]
    for row in metrics:
        assert 0 < row["sampling/sampling_logp_difference/max"] < 1e-4
        assert row["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-4)
    moved = max(abs(row["ratio/max"] - 1) for row in metrics)
    assert not options or moved > 1e-3


def test_a_server_that_is_killed_loses_nothing(server: RealServer, model: Path, tmp_path: Path) -> None:
    rerank = [*at(server), *SMALL, "--num_problems", "200", "--output_dir", str(tmp_path / "rerank")]
    rerank += ["--tokenizer_name", str(model)]
    train = [*TRAIN, "--model_name_or_path", str(model), "--output_dir", str(tmp_path / "train")]
    train += [*at(server), "--max_steps", "14", "--save_steps", "2"]
    # One request at once: nothing is done before the kill.
    programs = [started("train", *train), started("rerank", *rerank, "--max_concurrent_requests", "1")]
    answers, metrics = tmp_path / "rerank/server.jsonl", tmp_path / "train/metrics.jsonl"
    wait_for(has_lines(metrics, 3), programs[0])
    wait_for(has_lines(answers, 20), programs[1])
    server.kill()
    for program in programs:
        _, errors = program.communicate(timeout=120)
        lines = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert program.returncode == 1 and len(lines) == 1 and "Traceback" not in errors, errors
        assert f":{server.port}" in lines[0] and "does not answer" in lines[0]
    kept = answers.read_bytes(), metrics.read_bytes()
    server.start()
    ended(started("rerank", *rerank))
    whole = answers.read_bytes()
    assert whole.startswith(kept[0])
    keys = [json.loads(line)["key"] for line in whole.splitlines()]
    num_new = len(keys) - kept[0].count(b"\n")
    assert len(keys) == len(set(keys)) and num_new > 0
    assert num_new <= server.num_answered() <= num_new + MOST_PROBES
    ended(started("train", *train, "--resume_from_checkpoint", "latest"))
    assert metrics.read_bytes().startswith(kept[1])
    assert [row["step"] for row in rows(tmp_path / "train")] == list(range(1, 15))
