"""What `--compute_dtype` means: the weights that learn are float32, whatever computes with them."""

import pytest
import torch

from dupo.config.model_options import ModelOptions
from dupo.config.options import OptimizerOptions
from dupo.errors import UserError
from dupo.learning.optimizer import make_optimizer
from dupo.models.devices import autocast, compute_dtype
from dupo.models.load import load_model, model_config
from tests.helpers.learning import step_on, trajectories
from tests.helpers.worlds import CPU, save_tiny, tiny

STEPS = 4


def share_changed(dtype: str) -> float:
    """Share of the weights that four steps at the default learning rate change."""
    world = tiny("--compute_dtype", dtype, spread=2.0)
    assert {p.dtype for p in world.model.parameters()} == {torch.float32}
    before = [p.clone() for p in world.model.parameters()]
    optimizer, batch = make_optimizer(world.model, world.config.optimizer), trajectories(world)
    for step in range(STEPS):
        step_on(world, batch, step, optimizer)
    after = list(world.model.parameters())
    moved = sum(int((p != q).sum()) for p, q in zip(before, after, strict=True))
    return moved / sum(p.numel() for p in after)


@pytest.mark.slow
def test_bfloat16_changes_as_many_weights_as_float32() -> None:
    in_float32, in_bfloat16 = share_changed("float32"), share_changed("bfloat16")
    assert in_float32 > 0.9 and in_bfloat16 > 0.98 * in_float32, (in_float32, in_bfloat16)


def test_bfloat16_computes_in_bfloat16() -> None:
    world = tiny("--compute_dtype", "bfloat16")
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad(), autocast(CPU, "bfloat16"):
        assert world.model(input_ids=ids).logits.dtype == torch.bfloat16
    with torch.no_grad(), autocast(CPU, "auto"):
        assert world.model(input_ids=ids).logits.dtype == torch.float32
    assert compute_dtype(CPU, "auto") == compute_dtype(CPU, "float32") == torch.float32


@pytest.mark.slow
def test_a_model_that_never_learns_may_be_held_in_bfloat16(tmp_path) -> None:
    folder = save_tiny(tmp_path / "model")
    for dtype, held in (("bfloat16", torch.bfloat16), ("auto", torch.float32), ("float32", torch.float32)):
        options = ModelOptions(model_name_or_path=str(folder), compute_dtype=dtype)
        shape = model_config(options, tiny().tokenizer)
        frozen = load_model(options, shape, CPU, 0, frozen=True)
        assert {p.dtype for p in frozen.parameters()} == {held}
        assert not any(p.requires_grad for p in frozen.parameters())
        assert {p.dtype for p in load_model(options, shape, CPU, 0).parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision_are_not_trained(dtype: torch.dtype) -> None:
    model = tiny().model.to(dtype)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"expected float32 weights to train, .* got weights of {dtype}"):
        make_optimizer(model, OptimizerOptions())
