"""The first step of a rollout: sampler and learner are one policy, or the user hears of it."""

import pytest

from dupo.errors import UserError
from dupo.learning.on_policy import DIFFERENCE, OnPolicyCheck, off_policy_message


def measured(ratio_max: float, approx_kl: float) -> dict[str, float]:
    return {"ratio/mean": 1.0, "ratio/max": ratio_max, "approx_kl": approx_kl}


def test_noise_is_no_reason_to_warn() -> None:
    assert off_policy_message(measured(1.000005, 3e-13), 0.0, 1.0) is None
    assert off_policy_message(measured(1.08, 1.3e-4), 0.02, 1.0) is None  # bfloat16
    assert off_policy_message({}, 0.0, 1.0) is None  # nothing to learn from
    # NaN is told by the optimizer step.
    assert off_policy_message(measured(float("nan"), float("nan")), 0.0, 1.0) is None


@pytest.mark.parametrize(
    ("metrics", "noise"),
    [
        (measured(1.01, 1e-9), 0.0),  # one token is off
        (measured(1.0, 1e-3), 0.0),  # tokens that are less likely now
        (measured(5.57, 0.709), 0.02),  # dropout
        (measured(9.0, 9.04), 0.05),  # a sampler without its context
    ],
)
def test_more_than_noise_is_told_with_its_figures(metrics: dict[str, float], noise: float) -> None:
    line = off_policy_message(metrics, noise, 1.0)
    assert line is not None and f"ratio/max {metrics['ratio/max']:.4g}" in line
    assert "likely causes: dropout" in line


def test_an_engine_with_other_weights_is_told_though_the_ratio_is_one() -> None:
    of_learner = measured(1.0, 0.0)
    assert off_policy_message({**of_learner, DIFFERENCE: 1e-5}, 0.0, 1.0) is None
    assert off_policy_message({**of_learner, DIFFERENCE: 0.05}, 0.02, 1.0) is None  # bfloat16
    for difference, noise in ((0.01, 0.0), (0.5, 0.02), (float("nan"), 0.0)):
        line = off_policy_message({**of_learner, DIFFERENCE: difference}, noise, 1.0)
        assert line is not None and f"{DIFFERENCE} {difference:.4g}" in line


def test_the_first_step_of_a_rollout_alone_is_looked_at() -> None:
    check = OnPolicyCheck(1.0, strict=True)
    check.check(measured(2.0, 0.3))  # a batch that a resumed run brought along
    check.new_rollout()
    check.check({})  # no advantage, so the weights stay, and the next step is on policy as well
    with pytest.raises(UserError, match="strict"):
        check.check(measured(2.0, 0.3))
    check.new_rollout()
    check.check(measured(1.0, 0.0))
    check.check(measured(2.0, 0.3))  # the weights have moved


def test_a_few_tokens_of_a_model_with_experts_may_go_another_way() -> None:
    one_of_many = measured(1.5, 1e-6)
    assert off_policy_message(one_of_many, 0.0, 1.0) is not None
    assert off_policy_message(one_of_many, 0.0, 1.0, has_experts=True) is None
    assert off_policy_message(measured(1.5, 1e-2), 0.0, 1.0, has_experts=True) is not None


def test_a_strict_run_that_goes_on_meets_the_same_step_again() -> None:
    check = OnPolicyCheck(1.0, strict=True)
    check.new_rollout()
    for _ in range(2):
        with pytest.raises(UserError, match="strict: "):
            check.check(measured(3.0, 0.5))
        assert check.is_first_step
