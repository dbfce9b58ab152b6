"""Checks of our kernels of tokens against TRL 1.16, both in float32; runs under TRITON_INTERPRET.

The options are those that peer_trl.py checks in float64, as far as one kernel serves them.
"""

from functools import partial

import torch

from dupo_kernels._triton import runs_on_triton
from dupo_kernels.tokens.policy_objective import PolicyObjective
from tests.helpers.policy_cases import LOSS_TYPES, options_of
from tests.peers.peer_checks import SINGLE, Checks, assert_close, inputs, names_of
from tests.peers.peer_trl import SHARED, both

SERVED = [loss_type for loss_type in LOSS_TYPES if loss_type != "vespo"]


def by_token(loss_type: str, name: str) -> bool:
    """Whether the kernels serve this case."""
    options = {key: x for key, x in options_of(loss_type, name).items() if key != "max_completion_length"}
    return PolicyObjective(**options).scope(inputs(name)) == "token"


def check_losses(loss_type: str) -> None:
    names = [name for name in names_of(loss_type, SHARED) if by_token(loss_type, name)]
    assert len(names) >= 4
    for name in names:
        t = {key: x.float() for key, x in inputs(name).items()}
        assert runs_on_triton(t["logprobs"])
        mine, theirs, _ = both(loss_type, name, t, entropy_coef=0.0)
        assert_close(mine, theirs, SINGLE, name)


def check_half() -> None:
    """Log-probabilities of bf16: ours are summed in float32, as are TRL's where it casts them beforehand."""
    t = {key: x.to(torch.bfloat16) for key, x in inputs("kl-k3").items()}
    mine, _, _ = both("dapo", "kl-k3", t)
    _, theirs, _ = both("dapo", "kl-k3", {key: x.float() for key, x in t.items()})
    assert_close(mine[:1], theirs[:1], SINGLE, "loss")
    assert_close(mine[1:2], theirs[1:2], torch.finfo(torch.bfloat16).eps, "gradient")


CHECKS: Checks = {f"loss-{name}": partial(check_losses, name) for name in SERVED}
CHECKS |= {"half": check_half}
