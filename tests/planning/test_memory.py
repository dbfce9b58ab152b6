"""Memory and disk of a plan against a run that was made: its tensors are counted, its files weighed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dupo.config.command_line import parse
from dupo.config.config import Config
from dupo.config.plan_options import PlanOptions
from dupo.errors import UserError
from dupo.methods.base import Method
from dupo.methods.dupo import DuPO
from dupo.models.load import model_config
from dupo.planning import memory
from dupo.planning.machines import Machine
from dupo.planning.models import Models
from dupo.planning.plan import workload_of
from dupo.run.planned import checked_plan, doubts
from tests.helpers.worlds import save_tiny, tiny

CPU = Machine("a CPU", 0, 1, 25e9, 1e11, 1e10, "")
GPU = Machine("a GPU", 1, 1, 80e9, 4e14, 2e12, "")
RUN = ["--eval_size", "4", "--num_generations", "2", "--generation_batch_size", "4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "small")


def config_of(folder: Path, *options: str) -> Config:
    return parse([*RUN, "--model_name_or_path", str(folder), *options])


def models_of(config: Config) -> Models:
    return Models(model_config(config.model, None), traces=False)


def planned_bytes(config: Config, machine: Machine = CPU) -> float:
    models = models_of(config)
    model, judge = models.policy(config, machine), models.judge(config, machine)
    return sum(item.update for item in memory.held(config, model, judge, machine))


def tensors_of(method: Any) -> Iterator[Tensor]:
    """What a method holds after a step: weights of all its models, gradients, moments of the optimizer."""
    models = [method.model, method.reference, method.ema]
    models += [getattr(method.judge.engine, "model", None)] if method.judge else []
    for model in models:
        for weight in model.parameters() if model is not None else ():
            yield weight.data
            if weight.grad is not None:
                yield weight.grad
    for state in method.optimizer.state.values():
        yield from (value for value in state.values() if value.dim())


def step_of(config: Config) -> Method:
    method = DuPO(config)
    method.load()
    method.start()
    batch = method.next_batch(0)
    # Equal rewards have no advantage, and AdamW then has no moments yet.
    batch = batch._replace(trajectories=[t._replace(advantage=1.0) for t in batch.trajectories])
    method.pending[0] = batch
    method.update(batch, 0)
    return method


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--dual_model", "policy"),
        ("--dual_model", "frozen"),
        ("--dual_model", "ema", "--beta", "0.1"),
        ("--use_peft", "--dual_model", "frozen", "--beta", "0.1"),
        ("--use_peft", "--dual_model", "ema"),
        ("--use_peft", "--dual_model", "frozen", "--compute_dtype", "bfloat16"),
        ("--dual_model", "OTHER"),
    ],
    ids=" ".join,
)
def test_what_is_held_is_what_a_run_holds(options: tuple[str, ...], folder: Path) -> None:
    if "--use_peft" in options:
        pytest.importorskip("peft")
    config = config_of(folder, *(str(folder) if word == "OTHER" else word for word in options))
    storages = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors_of(step_of(config))
    }
    assert planned_bytes(config) == sum(storages.values())


def test_shards_are_equal_parts_and_copies_are_whole(folder: Path) -> None:
    config = config_of(folder)
    number = models_of(config).policy(config, CPU).parameters
    eight = Machine("GPUs", 8, 8, 80e9, 4e14, 2e12, "")
    assert planned_bytes(config, GPU) == (4 + 4 + 8 + 4) * number
    assert planned_bytes(config, eight) == (4 + 4 + 8) * number / 8 + 2 * number
    # Two machines of eight: the shards are repeated.
    sixteen = Machine("GPUs", 16, 8, 80e9, 4e14, 2e12, "")
    assert planned_bytes(config, sixteen) == planned_bytes(config, eight)


@pytest.mark.slow
def test_before_shards_are_made_each_gpu_needs_the_whole_model_and_its_copies(folder: Path) -> None:
    config, eight = config_of(folder), Machine("GPUs", 8, 8, 80e9, 4e14, 2e12, "")
    shape, number = model_config(config.model, None), models_of(config).policy(config, CPU).parameters
    assert checked_plan(config, shape, GPU).start == 0
    # Float32; copies in bfloat16 that judge and sample.
    assert checked_plan(config, shape, eight).start == (4 + 2 + 2) * number
    # In float32 the copy that samples shares its weights with the model, until that is shared out.
    assert checked_plan(config.changed(compute_dtype="float32"), shape, eight).start == 8 * number
    averaged = checked_plan(config.changed(dual_model="ema"), shape, eight)
    assert averaged.start == (4 + 4 + 2) * number
    # What is held later is less, and the start alone refuses.
    small = Machine("GPUs", 8, 8, 7.0 * number, 4e14, 2e12, "")
    with pytest.raises(UserError, match="--dual_model policy needs"):
        checked_plan(config, shape, small)


def test_moments_of_eight_bits_take_two_bytes_and_a_scale_for_each_block(folder: Path) -> None:
    whole, config = config_of(folder), config_of(folder, "--optim", "adamw_torch_8bit")
    about = models_of(config).policy(config, GPU)
    less = (8 - 2 - 2 * 4 / 256) * about.parameters
    assert planned_bytes(whole, GPU) - planned_bytes(config, GPU) == pytest.approx(less)
    assert memory.checkpoint_bytes(whole, about) - memory.checkpoint_bytes(config, about) == pytest.approx(
        less
    )


def test_weights_in_four_bits_take_a_code_and_a_share_of_a_scale(folder: Path) -> None:
    pytest.importorskip("peft")
    half = config_of(folder, "--use_peft")
    config = config_of(folder, "--use_peft", "--load_in_4bit")
    about = models_of(config).policy(config, GPU)
    # Linear layers but the head, each of which has 2 bytes a weight without the option.
    layers = sum(w.numel() for name, w in tiny().model.named_parameters() if "proj" in name)
    assert planned_bytes(half, GPU) - planned_bytes(config, GPU) == (2 - 0.5 - 4 / 64) * layers
    assert about.quantized == layers < about.halved


def test_a_model_that_cannot_fit_is_refused_with_what_would_do(folder: Path) -> None:
    config = config_of(folder)
    shape, number = model_config(config.model, None), models_of(config).policy(config, CPU).parameters
    # Room for weights, gradients and moments, and not for the copy of the judge.
    small = Machine("a GPU", 1, 1, 17.0 * number, 4e14, 2e12, "")
    with pytest.raises(UserError, match=r"GB of the GPU, got Qwen3ForCausalLM.*--dual_model policy needs"):
        checked_plan(config, shape, small)
    fitting = config.changed(dual_model="policy")
    plan = checked_plan(fitting, shape, small)
    # Activations are an assumption: too many of them are a warning.
    assert plan.least <= small.memory < plan.peak
    assert len(doubts(plan)) == 1 and "does not fit" in doubts(plan)[0]
    # The system of a CPU may have room on its disk.
    on_cpu = Machine("a CPU", 0, 1, 17.0 * number, 1e11, 1e10, "")
    assert doubts(checked_plan(config, shape, on_cpu))
    assert not doubts(checked_plan(config, shape, CPU))


def test_the_workload_is_that_of_the_options(folder: Path) -> None:
    config = config_of(
        folder, "--max_completion_length", "10", "--train_batch_size", "2", "--num_iterations", "3"
    )
    work = workload_of(config, PlanOptions(mean_prompt_length=20, mean_completion_length=4))
    assert (work.answers, work.answer_tokens, work.steps, work.trained) == (4, 16, 6, 2)
    assert (work.step_tokens, work.step_rows, work.micro_tokens) == (48, 8, 60)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--use_peft",), ("--dual_model", "ema")], ids=" ".join)
def test_a_checkpoint_is_as_large_as_planned(options: tuple[str, ...], folder: Path, tmp_path: Path) -> None:
    from dupo.train import train

    if "--use_peft" in options:
        pytest.importorskip("peft")
    config = config_of(folder, *options, "--max_steps", "1", "--output_dir", str(tmp_path / "run"), "--quiet")
    train(config)
    checkpoint = tmp_path / "run/checkpoint-1"
    files = [file for file in checkpoint.iterdir() if file.suffix in (".safetensors", ".pt")]
    size = sum(file.stat().st_size for file in files)
    planned = memory.checkpoint_bytes(config, models_of(config).policy(config, CPU))
    moments = 8 * models_of(config).policy(config, CPU).trained
    # A step in which nothing was to learn leaves no moments.
    has_moments = bool(torch.load(checkpoint / "state.pt", weights_only=True)["optimizer"]["state"])
    assert planned - (0 if has_moments else moments) == pytest.approx(size, rel=0.1, abs=60_000)
