"""`--device`: what is taken, what is refused, and no float64 on Metal, which has none.

No machine here has Metal. Fake tensors stand in: they have its device, shapes and dtypes, and no numbers.
"""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dupo.engines.draws import draw, row_keys, uniform
from dupo.errors import UserError
from dupo.models.devices import float64, pick_device
from dupo_kernels.tokens.layout import counting_dtype

METAL = torch.device("mps")


class Metal(TorchDispatchMode):
    """Refuses tensors of float64 on the device `mps`, as Metal does."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.device.type == "mps" and leaf.dtype == torch.float64:
                raise TypeError(f"{func}: Metal has no float64")
        return result


@pytest.fixture
def metal():
    with FakeTensorMode(), Metal():
        yield


def test_float64_is_refused_by_the_stand_in(metal):
    with pytest.raises(TypeError, match="Metal has no float64"):
        torch.ones(3, device=METAL).double()


def test_a_draw_needs_no_float64_on_metal(metal):
    logprobs_BV = torch.zeros(6, 11, device=METAL).log_softmax(-1)
    keys_B = row_keys([3, 4], 3, METAL)
    ids_B = draw(logprobs_BV, uniform(keys_B, 0, 2)[:, :1])
    assert (ids_B.device.type, ids_B.dtype, ids_B.shape) == ("mps", torch.int64, (6,))


def test_exact_sums_go_to_the_cpu(metal):
    assert float64(torch.ones(3, device=METAL)).device.type == "cpu"


def test_a_loss_counts_without_float64_on_metal(metal):
    assert torch.ones(5, dtype=counting_dtype(METAL), device=METAL).device.type == "mps"
    assert counting_dtype(torch.device("cuda")) == counting_dtype(torch.device("cpu")) == torch.float64


def test_float64_stays_on_the_device_elsewhere():
    values = float64(torch.tensor([0.1, 0.2]))
    assert values.dtype == torch.float64 and values.device.type == "cpu"
    with FakeTensorMode():
        assert float64(torch.ones(3, device="cuda")).device.type == "cuda"


@pytest.mark.parametrize("name, kind", [("cuda", "a CUDA GPU"), ("mps", r"a GPU of Apple \(Metal\)")])
def test_a_device_that_torch_cannot_use_is_refused(name, kind):
    if getattr(torch.backends if name == "mps" else torch, name).is_available():
        pytest.skip(f"this machine has {name}")
    with pytest.raises(UserError, match=f"device: expected {kind}, got none that torch can use"):
        pick_device(name)


def test_auto_takes_no_metal():
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
