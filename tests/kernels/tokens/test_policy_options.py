"""The options of a policy loss: what is refused, what each field says, and that torch is not needed."""

import math
from dataclasses import dataclass, fields
from typing import Any

import pytest
import torch

import dupo_kernels
from dupo_kernels import PolicyObjective, PolicyOptions, counts_tokens, policy_loss, token_weights
from dupo_kernels._options import option
from dupo_kernels.tokens.choices import LOSS_TYPES
from tests.helpers.project import RunPython

LOSS_NAMES = "grpo, bnpo, dr_grpo, dapo, cispo, sapo, luspo, vespo"
MODES = "sequence_mask, sequence_truncate, token_mask, token_truncate"
OPTION_ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"loss_type": "ppo"}, f"loss_type: expected one of {LOSS_NAMES}, got 'ppo'"),
    ({"kl": "k4"}, r"kl: expected one of k1, k2, k3, abs, k3\+, got 'k4'"),
    (
        {"importance_sampling_level": "batch"},
        "importance_sampling_level: expected one of token, sequence, got 'batch'",
    ),
    (
        {"vllm_importance_sampling_mode": "clip"},
        f"vllm_importance_sampling_mode: expected one of {MODES}, got 'clip'",
    ),
    *(
        (
            {"loss_type": loss_type, "epsilon_high": 2.0 if loss_type == "cispo" else None, name: 4.0},
            f"{name}: expected None for loss_type='{loss_type}' .*, got 4.0",
        )
        for loss_type in ("cispo", "sapo", "vespo")
        for name in ("delta", "clip_ratio_c")
    ),
    (
        {"loss_type": "sapo", "epsilon_high": 0.3},
        "epsilon_high: expected None for loss_type='sapo' .*, got 0.3",
    ),
    (
        {"loss_type": "vespo", "epsilon_high": 0.3},
        "epsilon_high: expected None for loss_type='vespo' .*, got 0.3",
    ),
    ({"loss_type": "cispo"}, "epsilon_high: expected a value above 0 for loss_type='cispo' .*, got None"),
    (
        {"delta": 4.0, "clip_ratio_c": 3.0},
        "delta and clip_ratio_c: expected one of them to be None, .*, got 4.0 and 3.0",
    ),
    (
        {"loss_type": "vespo", "importance_sampling_level": "sequence"},
        "importance_sampling_level: expected 'token' for loss_type='vespo', got 'sequence'",
    ),
    ({"epsilon": -0.1}, "epsilon: expected at least 0, got -0.1"),
    ({"epsilon": math.nan}, "epsilon: expected a number, got nan"),
    ({"epsilon_high": -0.1}, "epsilon_high: expected at least 0, got -0.1"),
    ({"delta": -1.0}, "delta: expected at least 0, got -1.0"),
    ({"clip_ratio_c": 0.9}, "clip_ratio_c: expected at least 1, got 0.9"),
    (
        {"vllm_importance_sampling_clip_min": -1},
        "vllm_importance_sampling_clip_min: expected at least 0, got -1",
    ),
    (
        {"vllm_importance_sampling_clip_min": 3.5},
        r"vllm_importance_sampling_clip_min: expected at most clip_max \(3.0\), got 3.5",
    ),
    ({"sapo_temperature_pos": 0.0}, "sapo_temperature_pos: expected more than 0, got 0.0"),
    ({"sapo_temperature_neg": -1.0}, "sapo_temperature_neg: expected more than 0, got -1.0"),
    ({"vespo_lambda_pos": 0.0}, "vespo_lambda_pos: expected more than 0, got 0.0"),
    ({"vespo_lambda_neg": -1.0}, "vespo_lambda_neg: expected more than 0, got -1.0"),
    ({"top_entropy_quantile": 0.0}, "top_entropy_quantile: expected more than 0, got 0.0"),
    ({"top_entropy_quantile": 1.1}, "top_entropy_quantile: expected at most 1, got 1.1"),
]


@pytest.mark.parametrize(("options", "message"), OPTION_ERRORS)
def test_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PolicyObjective(**options)
    with pytest.raises(ValueError, match=message):
        policy_loss(torch.zeros(2, 3), torch.zeros(2), **options)


@dataclass(frozen=True)
class MoreOptions(PolicyOptions):
    """With a bound that no field has today."""

    share: float = option(0.5, "A share.", below=1.0)


def test_refuses_what_a_further_field_may_not_be() -> None:
    with pytest.raises(ValueError, match=r"share: expected less than 1, got 1\.0"):
        MoreOptions(share=1.0)


def test_every_field_explains_itself() -> None:
    for spec in fields(PolicyOptions):
        assert spec.metadata["help"].endswith("."), spec.name
        assert spec.metadata.keys() == {"help", "choices", "at_least", "above", "at_most", "below"}
        assert isinstance(spec.default, str) == bool(spec.metadata["choices"]), spec.name


def test_an_objective_has_the_fields_of_the_options_and_no_others() -> None:
    names = [spec.name for spec in fields(PolicyOptions)]
    assert [spec.name for spec in fields(PolicyObjective)] == names
    objective = PolicyObjective("grpo", 0.1, beta=0.2)
    assert PolicyObjective.decoded(objective.encoded()) == objective
    assert objective != PolicyOptions("grpo", 0.1, beta=0.2)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_counts_tokens_says_what_num_items_is(loss_type: str) -> None:
    weights = token_weights(loss_type, torch.ones(2, 3), max_completion_length=4)
    loose = {"num_items": 6.0 if counts_tokens(loss_type) else 2.0}
    assert torch.equal(weights, token_weights(loss_type, torch.ones(2, 3), max_completion_length=4, **loose))


def test_the_options_load_without_torch(run_python: RunPython) -> None:
    """A command line shows its help at once: torch takes seconds to import."""
    program = (
        "import sys; from dupo_kernels.tokens.policy_options import PolicyOptions\n"
        "import dupo_kernels; dupo_kernels.PolicyOptions('grpo'); assert 'torch' not in sys.modules\n"
    )
    done = run_python("-c", program)
    assert done.returncode == 0, done.stderr


def test_the_package_offers_every_public_name() -> None:
    assert sorted(dupo_kernels._MODULES) == sorted(dupo_kernels.__all__)
    assert set(dupo_kernels.__all__) <= set(dir(dupo_kernels))
    for name in dupo_kernels.__all__:
        assert getattr(dupo_kernels, name).__name__ in (name, "PolicyObjective")
    with pytest.raises(AttributeError, match="module 'dupo_kernels' has no attribute 'missing'"):
        dupo_kernels.missing  # noqa: B018  # type: ignore[attr-defined]
