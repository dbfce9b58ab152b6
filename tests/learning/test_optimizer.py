"""The shapes of the learning rate, and AdamW as the options say."""

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from dupo.config.options import OptimizerOptions
from dupo.errors import UserError
from dupo.learning.optimizer import check_optimizer, learning_rate, make_optimizer, set_learning_rate
from dupo.models.load import Model
from dupo.storage.tensors import host_copy, num_bytes, save_tensors
from tests.helpers.learning import step_on, trajectories
from tests.helpers.shapes import model_of
from tests.helpers.worlds import tiny


def test_learning_rate_shapes():
    def rates(**options):
        shape = OptimizerOptions(learning_rate=1.0, max_steps=10, **options)
        return [learning_rate(step, shape) for step in range(10)]

    assert rates() == [1.0] * 10
    assert rates(warmup_steps=4)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates(lr_scheduler_type="linear") == pytest.approx([1 - s / 10 for s in range(10)])
    cosine = [0.5 * (1 + math.cos(math.pi * s / 10)) for s in range(10)]
    assert rates(lr_scheduler_type="cosine") == pytest.approx(cosine)


def test_adamw_has_the_options_and_every_weight():
    options = OptimizerOptions(
        learning_rate=0.1, adam_beta1=0.8, adam_beta2=0.9, adam_epsilon=1e-5, weight_decay=0.2
    )
    model = tiny().model
    groups = make_optimizer(model, options).param_groups
    for group in groups:
        assert (group["lr"], group["betas"], group["eps"]) == (0.1, (0.8, 0.9), 1e-5)
    assert [group["weight_decay"] for group in groups] == [0.2, 0.0]
    in_groups = [parameter for group in groups for parameter in group["params"]]
    assert len(in_groups) == len(set(in_groups)) == len(list(model.parameters()))


@pytest.mark.parametrize("kind", ["gpt2", "opt", "llama", "biogpt"])
def test_norms_and_biases_do_not_decay(kind: str) -> None:
    """A step without a gradient: only decay can change a weight."""
    model = model_of(kind)
    options = OptimizerOptions(learning_rate=0.1, weight_decay=0.5)
    optimizer = make_optimizer(model, options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    decayed = {name for name, parameter in model.named_parameters() if parameter.mean() < 0.97}
    # All that is not a matrix is a norm or a bias, and the other way round.
    assert decayed == {name for name, parameter in model.named_parameters() if parameter.ndim > 1}


def test_a_step_sets_the_rate_of_every_group() -> None:
    world = tiny("--learning_rate", "0.5", "--warmup_steps", "2", spread=2.0)
    optimizer = make_optimizer(world.model, world.config.optimizer)
    step_on(world, trajectories(world), 0, optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_a_cpu_keeps_the_step_that_it_had() -> None:
    """Also where a checkpoint names the kernel of a GPU."""
    model = tiny().model
    optimizer = make_optimizer(model, OptimizerOptions())
    assert [group["fused"] for group in optimizer.param_groups] == [None, None]
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        group["fused"] = True
    optimizer.load_state_dict(state)
    assert [group["fused"] for group in optimizer.param_groups] == [None, None]


EIGHT_BIT = OptimizerOptions(optim="adamw_torch_8bit", learning_rate=1e-3, max_grad_norm=1e9)


def test_eight_bits_are_refused_where_they_cannot_be() -> None:
    if find_spec("torchao") is None:
        with pytest.raises(
            UserError, match=r"^optim: expected torchao .* none installed: pip install torchao$"
        ):
            check_optimizer(EIGHT_BIT)
    else:
        check_optimizer(EIGHT_BIT)
    check_optimizer(OptimizerOptions())


@pytest.fixture
def eager() -> Iterator[None]:
    """torchao compiles its step, which takes a minute on a CPU; what it computes is the same."""
    pytest.importorskip("torchao")
    with torch.compiler.set_stance("force_eager"):
        yield


def stepped(model: Model, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    """Steps whose gradients depend on the number of the step alone."""
    for step in range(first, last):
        draws = torch.Generator().manual_seed(step)
        for weight in model.parameters():
            weight.grad = torch.randn(weight.shape, generator=draws)
        set_learning_rate(optimizer, 1e-3 / (step + 1))
        optimizer.step()


@pytest.mark.usefixtures("eager")
def test_moments_of_eight_bits_move_weights_as_adamw_does() -> None:
    models = [tiny().model for _ in range(3)]
    eight, whole, other = (
        make_optimizer(model, options)
        for model, options in zip(models, [EIGHT_BIT, OptimizerOptions(), OptimizerOptions()], strict=True)
    )
    stepped(models[0], eight, 0, 4)
    stepped(models[1], whole, 0, 4)
    stepped(models[2], other, 0, 0)

    def moved(model: Model) -> torch.Tensor:
        pairs = zip(model.parameters(), models[2].parameters(), strict=True)
        return torch.cat([(weight - start).flatten() for weight, start in pairs])

    exact, rounded = moved(models[1]), moved(models[0])
    assert exact.norm() > 0
    assert (rounded - exact).norm() < 0.05 * exact.norm()
    # Two bytes a weight and a little, where float32 takes eight.
    states = eight.state_dict()["state"].values()
    assert num_bytes(list(states)) < 0.4 * num_bytes(list(whole.state_dict()["state"].values()))


@pytest.mark.usefixtures("eager")
def test_moments_of_eight_bits_go_on_from_a_file_to_the_same_bits(tmp_path: Path) -> None:
    never, first = tiny().model, tiny().model
    optimizer = make_optimizer(never, EIGHT_BIT)
    stepped(never, optimizer, 0, 4)
    before = make_optimizer(first, EIGHT_BIT)
    stepped(first, before, 0, 2)
    file = tmp_path / "state.pt"
    save_tensors(host_copy(before.state_dict()), file)
    again = make_optimizer(first, EIGHT_BIT)
    again.load_state_dict(torch.load(file, weights_only=True))
    stepped(first, again, 2, 4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), never.parameters(), strict=True))
    states = again.state_dict()["state"].values()
    assert any(isinstance(value, dict) for state in states for value in state.values())
