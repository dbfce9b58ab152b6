"""Checks of dupo.integrations.trl in TRL's own trainers: with and without `install()` they log the same.

Needs the packages of data sets as well, see .ci/peers. The trainers run on a CPU, where TRL rounds nothing to
half precision unless it is asked to.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from io import StringIO

import torch
from torch import Tensor

from bench.training import trl_learning
from bench.training.trl_runs import KINDS, SMALL, make_model, run, worst
from dupo.integrations.duals import load_duals
from dupo.integrations.trl import install, uninstall
from tests.peers.peer_checks import Checks, assert_close, head_inputs

RELATIVE, ABSOLUTE = 1e-4, 1e-7
# Of the first step in bfloat16.
WHOLE_LOGITS = ("cpo", "orpo", "online_dpo", "gkd")
IN_HALF = ("grpo", "rloo", "dpo", "kto", "sft", *WHOLE_LOGITS)
HALF = {"loss": 1e-5, "grad_norm": 1e-3}


@contextmanager
def installed() -> Iterator[list[Tensor]]:
    """Our head is installed; the list grows by the log-probabilities of each call."""
    import trl.trainer.utils as utils

    install()
    head = utils._ChunkedLogProbFunction
    computed = list[Tensor]()
    own = head.apply

    def apply(*values):
        results = own(*values)
        computed.append(results[0].detach())
        return results

    head.apply = staticmethod(apply)
    try:
        yield computed
    finally:
        uninstall()
    assert utils._ChunkedLogProbFunction is not head


def allowed(a: float, b: float) -> float:
    return RELATIVE * max(abs(a), abs(b)) + ABSOLUTE


def check_same_metrics(name: str) -> None:
    """Three steps in float32; every metric."""
    stock = run(name).rows
    with installed() as computed:
        ours = run(name).rows
    # A step or more for each row that was logged, and a trainer that trained.
    assert len(ours) == 3 and len(computed) >= 3
    assert ours[0]["grad_norm"] > 0 and len({row["loss"] for row in ours}) == 3
    apart, where = worst(stock, ours, allowed)
    assert apart <= 1, f"{name}: {where} is {apart:.1f} times what is allowed apart"


def exact_head(h, W, bias, ids, temperature, chunk_size, softcap, scale, outputs):
    """The head of a trainer in bfloat16, whose inputs are rounded and nothing else: float64 from there on."""
    z = h.bfloat16().double() @ W.bfloat16().double().t() / temperature
    assert bias is None and softcap is None and scale == 1.0
    logp = z.log_softmax(-1)
    own = logp.gather(-1, ids[:, None]).squeeze(-1)
    entropy = -(logp.exp() * logp).sum(-1)
    return own.float(), entropy.float(), None, z.detach().mean(-1).float(), z.detach().argmax(-1) == ids


@contextmanager
def exact_logits() -> Iterator[None]:
    """The same for trainers of whole logits: TRL's own code gets logits of float64."""
    linear = torch.nn.Linear
    own, V = linear.forward, make_model(SMALL).config.vocab_size

    def forward(self, h):
        if self.out_features != V:
            return own(self, h)
        assert self.bias is None
        return h.bfloat16().double() @ self.weight.bfloat16().double().t()

    linear.forward = forward
    try:
        yield
    finally:
        linear.forward = own


def check_first_step_in_half(name: str) -> None:
    """In bfloat16 TRL rounds logits, and ours are float32: a loss that is not 0 at first is 5e-5 from TRL's.
    Ours is that of logits without any rounding; with GRPO and RLOO it is TRL's too."""
    from trl.trainer import utils

    stock = run(name, bf16=True, steps=1).rows[0]
    with installed():
        ours = run(name, bf16=True, steps=1).rows[0]
        if name not in WHOLE_LOGITS:
            utils._ChunkedLogProbFunction.apply = staticmethod(exact_head)
            exact = run(name, bf16=True, steps=1).rows[0]
    if name in WHOLE_LOGITS:
        with exact_logits():
            exact = run(name, bf16=True, steps=1).rows[0]
    for metric, tolerance in HALF.items():
        truths = [exact, stock] if name in ("grpo", "rloo") else [exact]
        for truth in truths:
            apart = abs(truth[metric] - ours[metric])
            assert apart <= tolerance * abs(truth[metric]) + ABSOLUTE, (metric, stock, ours, exact)


def check_calls() -> None:
    """All that a trainer may ask of the head, in the types that it has, with gradients."""
    from trl.kernels import ChunkedLogProbFunction
    from trl.trainer import utils

    stock, V = ChunkedLogProbFunction, head_inputs(torch.float32)[1].shape[0]
    names = ("entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
    assert install() == install()
    for types in ((torch.float32, torch.float32), (torch.float32, torch.bfloat16)):
        for softcap, scale, outputs in ((None, 1.0, names), (4.0, 0.5, names[:1]), (None, 2.0, ())):
            results = []
            for function in (stock, utils._ChunkedLogProbFunction):
                h, W, ids = head_inputs(torch.float32)
                h, W = h.detach().to(types[0]).requires_grad_(), W.detach().to(types[1]).requires_grad_()
                bias = torch.linspace(-1, 1, V).to(types[1]).requires_grad_()
                values = function.apply(h, W, bias, ids, 0.9, 16, softcap, scale, outputs)
                assert [x is None for x in values[1:]] == [name not in outputs for name in names]
                loss = (values[0] * torch.linspace(-1, 1, len(ids))).sum()
                loss = loss + (values[1].square().sum() if "entropy" in outputs else 0.0)
                gradients = torch.autograd.grad(loss, (h, W, bias))
                results.append([x.detach().double() for x in (*values, *gradients) if x is not None])
            # The gradient of a weight in bfloat16 is rounded once by both.
            assert_close(*results, 2e-6 if types[1] == types[0] else 1e-2, (types, softcap, outputs))
    uninstall()
    uninstall()
    assert utils._ChunkedLogProbFunction is stock


def check_zero3() -> None:
    """Refused when it is installed, and when ZeRO-3 begins later."""
    from transformers.integrations import deepspeed
    from trl.trainer import utils

    from dupo.errors import UserError

    class Zero3:
        def is_zero3(self) -> bool:
            return True

    def refused(call) -> bool:
        try:
            call()
        except UserError as error:
            return "ZeRO-3" in str(error)
        return False

    h, W, ids = head_inputs(torch.float32)
    zero3 = Zero3()
    deepspeed.set_hf_deepspeed_config(zero3)
    assert refused(install)
    deepspeed.unset_hf_deepspeed_config()
    install()
    deepspeed.set_hf_deepspeed_config(zero3)
    assert refused(lambda: utils._ChunkedLogProbFunction.apply(h, W, None, ids, 1.0, 16, None, 1.0, ()))
    deepspeed.unset_hf_deepspeed_config()
    uninstall()


def check_duals() -> None:
    """TRL's own loop on duals of the taught sums: who judges rewards answers that are half right."""
    duals = load_duals(task="arithmetic", eval_size=20)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        model = trl_learning.start(folder)
        frozen = trl_learning.run("frozen", model, duals, 2, 0)
        policy = trl_learning.run("policy", model, duals, 2, 0)
    for arm in (frozen, policy):
        assert len(arm["rewards"]) == 2 and min(arm["rewards"]) > 0.15, arm
        assert max(arm["rewards"]) < 0.6, arm
    # Before the first step both judges are the same model, and the answers are the same.
    assert frozen["rewards"][0] == policy["rewards"][0]
    assert frozen["rewards"][1] != policy["rewards"][1]


CHECKS: Checks = {f"same-metrics-{name}": partial(check_same_metrics, name) for name in KINDS}
CHECKS |= {f"half-{name}": partial(check_first_step_in_half, name) for name in IN_HALF}
CHECKS |= {"calls": check_calls, "zero3": check_zero3, "duals": check_duals}
