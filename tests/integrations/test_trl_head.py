"""The head that stands under TRL's trainers, beside the definition in float64; TRL itself is not needed."""

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from dupo.errors import UserError
from dupo.integrations.trl.head import FORMS, counting, head_for
from dupo.integrations.trl.patches import install, uninstall
from tests.helpers.project import RunPython

N, V, H, TEMPERATURE, SOFTCAP, SCALE = 7, 11, 5, 0.8, 2.0, 1.5


def stock_of(names: tuple[str, ...]) -> Any:
    """Something that takes the arguments of one of TRL's functions."""
    forward = eval(f"lambda ctx, {', '.join(names)}: None")
    return type("Function", (), {"forward": staticmethod(forward)})


def values_of(dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    draws = torch.Generator().manual_seed(5)
    hidden, weight = torch.randn(N, H, generator=draws), torch.randn(V, H, generator=draws)
    bias, targets = torch.randn(V, generator=draws), torch.randint(V, (N,), generator=draws)
    factors = {"hidden": hidden, "weight": weight, "bias": bias}
    leaves = {name: x.to(dtype).requires_grad_() for name, x in factors.items()}
    scaling = {"temperature": TEMPERATURE, "final_logit_softcapping": SOFTCAP, "logit_scale": SCALE}
    return leaves | scaling | {"last_hidden": leaves["hidden"], "targets": targets, "chunk_size": 4}


def defined(values: dict[str, Any], *, with_bias: bool = True) -> list[Tensor]:
    """log-probability, entropy, log of the sum of squares, mean logit, whether likeliest: the definitions."""
    z = values["hidden"] @ values["weight"].t() + (values["bias"] if with_bias else 0.0)
    z = SOFTCAP * (z * SCALE / SOFTCAP).tanh() / TEMPERATURE
    logp = z.log_softmax(-1)
    own = logp.gather(-1, values["targets"][:, None]).squeeze(-1)
    squares = (logp * 2).exp().sum(-1).log()
    return [own, -(logp.exp() * logp).sum(-1), squares, z.mean(-1), z.argmax(-1) == values["targets"]]


@pytest.mark.parametrize("names", FORMS, ids=["trl-1.9", "trl-1.13", "trl-1.15"])
def test_every_form_gives_what_is_defined(names: tuple[str, ...]) -> None:
    single, double = values_of(), values_of(torch.float64)
    outputs = ("entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
    arguments = [single.get(name, outputs) for name in names]
    mine = head_for(stock_of(names), "0").apply(*arguments)
    with_bias = "bias" in names
    truth = defined(double, with_bias=with_bias)
    assert len(mine) == (5 if "outputs" in names else 2)
    for a, b in zip(mine, truth, strict=False):
        torch.testing.assert_close(a.double(), b.double(), rtol=1e-5, atol=2e-6)
    leaves = ["hidden", "weight"] + ["bias"] * with_bias
    slope = torch.linspace(-1, 1, N)
    gradients = [
        torch.autograd.grad((logp * slope).sum() + entropy.square().sum(), [values[name] for name in leaves])
        for (logp, entropy, *_), values in ((mine, single), (truth, double))
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=5e-6)


def test_the_last_arguments_may_be_left_out() -> None:
    values = values_of()
    head, names = head_for(stock_of(FORMS[2]), "0"), FORMS[2][:6]
    logp, entropy, *others = head.apply(*(values[name] for name in names))
    expected = ((values["hidden"] @ values["weight"].t() + values["bias"]) / TEMPERATURE).log_softmax(-1)
    torch.testing.assert_close(logp, expected.gather(-1, values["targets"][:, None]).squeeze(-1))
    assert entropy is not None and others == [None, None, None]


@pytest.mark.parametrize("softcap", [None, SOFTCAP])
def test_rows_that_do_not_count_reach_no_product_but_the_mean(softcap: float | None) -> None:
    values = values_of() | {"final_logit_softcapping": softcap, "outputs": ("mean_logits",)}
    values["targets"][2:4] = -100
    mask = values["targets"] != -100
    head = head_for(stock_of(FORMS[2]), "0")
    arguments = [values[name] for name in FORMS[2]]
    with counting(mask):
        logp, _, _, mean, _ = head.apply(*arguments)
    z = (values["hidden"] @ values["weight"].t() + values["bias"]) * SCALE
    z = (z if softcap is None else softcap * (z / softcap).tanh()) / TEMPERATURE
    torch.testing.assert_close(mean, z.mean(-1).detach(), rtol=1e-5, atol=2e-6)
    chosen = z.log_softmax(-1).gather(-1, values["targets"].clamp(min=0)[:, None]).squeeze(-1)
    torch.testing.assert_close(logp[mask], chosen[mask], rtol=1e-5, atol=2e-6)
    # Outside of the block all rows count again, and a target that is none gives NaN.
    assert not logp[~mask].any() and head.apply(*arguments)[0][~mask].isnan().all()


@pytest.mark.parametrize("stock", [None, stock_of((*FORMS[2], "label_smoothing")), stock_of(FORMS[2][1:])])
def test_an_unknown_form_is_refused_with_the_version(stock: Any) -> None:
    with pytest.raises(UserError, match=r"trl 9\.9: expected a fused head of \(last_hidden.*got \("):
        head_for(stock, "9.9")


@pytest.mark.skipif(find_spec("trl") is not None, reason="TRL is installed")
def test_without_trl_it_is_one_line() -> None:
    with pytest.raises(UserError, match="trl: expected TRL to be installed"):
        install()
    uninstall()


@pytest.mark.slow
def test_nothing_imports_an_integration(run_python: RunPython) -> None:
    """Nor does an integration import its package, before it is used."""
    code = (
        "import pathlib, sys, importlib, dupo\n"
        "root = pathlib.Path(dupo.__path__[0])\n"
        "files = [file.relative_to(root.parent).with_suffix('') for file in root.rglob('*.py')]\n"
        "names = ['.'.join(file.parts) for file in files if file.name != '__init__']\n"
        "for name in names:\n"
        "    if not name.startswith(('dupo.integrations', 'dupo.metrics', 'dupo.__main__')):\n"
        "        importlib.import_module(name)\n"
        "print(len(names), [m for m in sys.modules if m.startswith('dupo.integrations')])\n"
        "import dupo.integrations.trl\n"
        "print([m for m in ('trl', 'datasets') if m in sys.modules])\n"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()[-2:]
    assert int(first.split()[0]) > 150 and first.endswith(" []") and second == "[]", done.stdout


@pytest.mark.slow
def test_the_kernels_import_neither_dupo_nor_transformers(run_python: RunPython) -> None:
    """Every public name of them included; the import itself takes little beside that of torch."""
    seen = "import sys; print({'dupo', 'transformers', 'trl'} & set(sys.modules))"
    done = run_python("-c", f"from dupo_kernels import *; {seen}")
    assert done.stdout.strip() == "set()", done.stderr

    def seconds(imports: str) -> float:
        clock = "import time; print(time.process_time())"
        return min(float(run_python("-c", f"{imports}; {clock}").stdout) for _ in range(3))

    assert seconds("import torch, dupo_kernels") < 1.5 * seconds("import torch")
