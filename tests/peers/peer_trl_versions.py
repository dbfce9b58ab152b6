"""dupo.integrations.trl in an older TRL: its forms of the fused head beside ours, and what is replaced."""

import sys

import torch

from tests.peers.peer_checks import Checks, assert_close, head_inputs

SOFTCAP, TEMPERATURE = 4.0, 0.9


def check_head() -> None:
    """Values and gradients of TRL's own function and of the one in its place."""
    import trl
    from trl import DPOTrainer, GRPOTrainer, KTOTrainer
    from trl.trainer import utils

    from dupo.integrations.trl import install, uninstall

    stock = utils._ChunkedLogProbFunction
    trainers = [sys.modules[trainer.__module__] for trainer in (DPOTrainer, GRPOTrainer, KTOTrainer)]
    # TRL 1.14 alone has the function in the modules of its trainers.
    callers = [module for module in trainers if hasattr(module, "_ChunkedLogProbFunction")]
    assert len(callers) == (3 if trl.__version__.startswith("1.14.") else 0)
    has_bias = tuple(map(int, trl.__version__.split(".")[:2])) >= (1, 13)
    replaced = install()
    try:
        assert all(module._ChunkedLogProbFunction is utils._ChunkedLogProbFunction for module in callers)
        results = []
        for function in (stock, utils._ChunkedLogProbFunction):
            h, W, ids = head_inputs(torch.float32)
            h, W = h.detach().requires_grad_(), W.detach().requires_grad_()
            bias = [None] if has_bias else []
            logp, entropy, *_ = function.apply(h, W, *bias, ids, TEMPERATURE, 16, SOFTCAP, 0.5)
            loss = (logp * torch.linspace(-1, 1, len(ids))).sum()
            gradients = torch.autograd.grad(loss, (h, W))
            results.append([x.detach().double() for x in (logp, entropy, *gradients)])
        assert_close(*results, 2e-6, trl.__version__)
    finally:
        uninstall()
    assert all(module._ChunkedLogProbFunction is stock for module in (utils, *callers))
    # Before 1.15 TRL has nothing that would give the other trainers a fused head.
    if not hasattr(utils, "add_fused_lm_head"):
        assert len(replaced) == 1 + len(callers)
    else:
        assert len(replaced) > 1


CHECKS: Checks = {"head": check_head}
