"""dupo.integrations.trl in an older TRL: its forms of the fused head beside ours, and what is replaced."""

import torch

from tests.peers.peer_checks import Checks, assert_close, head_inputs

SOFTCAP, TEMPERATURE = 4.0, 0.9


def check_head() -> None:
    """Values and gradients of TRL's own function and of the one in its place."""
    import trl
    from trl.trainer import utils

    from dupo.integrations.trl import install, uninstall

    stock = utils._ChunkedLogProbFunction
    has_bias = tuple(map(int, trl.__version__.split(".")[:2])) >= (1, 13)
    replaced = install()
    try:
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
    assert utils._ChunkedLogProbFunction is stock
    # Before 1.15 TRL has nothing that would give the other trainers a fused head.
    assert (len(replaced) > 1) == hasattr(utils, "add_fused_lm_head")


CHECKS: Checks = {"head": check_head}
