"""Checks of our kernels of tokens against verl 0.9, both in float32; runs under TRITON_INTERPRET."""

from functools import partial

from dupo_kernels._triton import runs_on_triton
from dupo_kernels.tokens.kl import KL_ESTIMATORS
from tests.helpers.policy_cases import OPTIONS, options_of
from tests.peers.peer_checks import SINGLE, Checks, assert_close, inputs, ours
from tests.peers.peer_verl import CISPO, MEANS, theirs


def check_losses(loss_type: str) -> None:
    """Mismatch weights, KL without bias correction, entropy bonus, dual clip."""
    loss = {"cispo": "cispo", "sapo": "sapo"}.get(loss_type, "vanilla")
    own = ("dual-clip",) if loss == "vanilla" else ()
    for name in (
        "plain",
        *own,
        "token_truncate",
        "token_mask",
        "entropy",
        *(f"kl-{kl}" for kl in KL_ESTIMATORS),
    ):
        t = {key: x.float() for key, x in inputs(name).items()}
        assert runs_on_triton(t["logprobs"])
        bounds = CISPO if loss == "cispo" else {"clip_ratio_c": OPTIONS[name].get("clip_ratio_c", 1e6)}
        found = theirs(loss, MEANS[loss_type], t, OPTIONS[name], **bounds)
        mine = ours(t, **options_of(loss_type, name) | {"use_bias_correction_kl": False})
        assert_close(mine, found, SINGLE, name)


CHECKS: Checks = {f"loss-{name}": partial(check_losses, name) for name in MEANS}
