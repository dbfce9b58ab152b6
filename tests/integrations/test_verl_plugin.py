"""What verl's plugin refuses and leaves alone; stand-ins for verl's modules, tests/peers/ has verl itself."""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from dupo.errors import UserError
from dupo.integrations.duals import load_duals
from dupo.integrations.verl import head
from dupo.integrations.verl.scores import key_of, shared_duals
from dupo.integrations.verl.seams import check_functions
from tests.helpers.project import RunPython


def core_algos() -> ModuleType:
    """verl 0.9.1's functions, by their arguments."""

    def register_policy_loss(name: Any) -> None: ...
    def register_adv_est(name_or_enum: Any) -> None: ...
    def agg_loss(
        loss_mat: Any,
        loss_mask: Any,
        loss_agg_mode: Any,
        dp_size: Any = 1,
        batch_num_tokens: Any = None,
        global_batch_size: Any = None,
        loss_scale_factor: Any = None,
    ) -> None: ...
    def compute_grpo_outcome_advantage(
        token_level_rewards: Any,
        response_mask: Any,
        index: Any,
        epsilon: Any = 1e-6,
        norm_adv_by_std_in_grpo: Any = True,
        config: Any = None,
    ) -> None: ...

    module = ModuleType("verl.trainer.ppo.core_algos")
    vars(module).update(
        register_policy_loss=register_policy_loss,
        register_adv_est=register_adv_est,
        agg_loss=agg_loss,
        compute_grpo_outcome_advantage=compute_grpo_outcome_advantage,
    )
    return module


def test_a_function_that_is_missing_or_changed_is_refused_with_both_versions() -> None:
    module = core_algos()
    check_functions(module, "0.9.1")
    # The sum of losses as it was before it knew of all ranks.
    vars(module)["agg_loss"] = lambda loss_mat, loss_mask, loss_agg_mode: None
    expected = (
        r"^verl 0\.4\.0: expected agg_loss\(.*dp_size.*\) as in verl 0\.9\.1, got \(loss_mat, loss_mask, "
    )
    with pytest.raises(UserError, match=expected):
        check_functions(module, "0.4.0")
    del vars(module)["register_policy_loss"]
    with pytest.raises(UserError, match=r"expected register_policy_loss\(name\) as in .*, got none"):
        check_functions(module, "0.4.0")


class StockHead:
    """verl's class; its result tells who computed."""

    def __init__(self, impl_backend: str) -> None:
        self.impl_backend = impl_backend

    def forward(
        self, hidden_states: Any, vocab_weights: Any, input_ids: Any, temperature: Any = 1.0
    ) -> tuple[str, Any]:
        return "stock", temperature


def test_only_the_torch_backend_gets_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(head.MODULE)
    vars(module)[head.OWNER] = StockHead
    monkeypatch.setitem(sys.modules, head.MODULE, module)
    # Both are set by what is tested, and belong to the whole process.
    monkeypatch.setattr(StockHead, "forward", StockHead.forward)
    monkeypatch.delitem(vars(head.forward), "stock", raising=False)
    for _ in range(2):  # the second time the head is there already
        head.install_head("0.9.1")()
    hidden, weight, ids = torch.randn(1, 3, 4), torch.randn(7, 4), torch.tensor([[1, 2, 3]])
    assert StockHead("liger").forward(hidden, weight, ids, 0.5) == ("stock", 0.5)
    logprobs: Any = StockHead("torch").forward(hidden, weight, ids, 0.5)[0]
    truth = (hidden.double() @ weight.double().t() / 0.5).log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    torch.testing.assert_close(logprobs.double(), truth, atol=4e-6, rtol=0)
    del vars(head.forward)["stock"]


def test_lists_and_tables_are_what_dupo_has_for_them() -> None:
    assert key_of({"task": "word_problems", "eval_size": 0}) == (("eval_size", 0), ("task", "word_problems"))
    settings = {"gates": ["lines", "copy"], "chat_template_kwargs": {"enable_thinking": False}, "seed": 3}
    duals = shared_duals(key_of(settings))
    assert duals.config == load_duals(**settings | {"gates": "lines,copy"}).config
    assert duals.config.task.gates == "lines,copy"
    assert shared_duals(key_of(settings)) is duals


@pytest.mark.parametrize("wrong", [[["lines"]], {"a": ["b"]}, [None], {1}])
def test_an_option_that_cannot_be_is_refused(wrong: Any) -> None:
    with pytest.raises(UserError, match=r"^gates: expected a text, a number, true or false, a list.*got "):
        key_of({"gates": wrong})


@pytest.mark.slow
def test_what_verl_loads_in_every_process_is_small(run_python: RunPython) -> None:
    """verl imports the plugin wherever dupo is installed, whether anything of dupo is used or not."""
    done = run_python(
        "-c",
        "import sys\n"
        "from dupo.integrations.verl import advantages, head, losses, seams\n"
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('dupo.')}\n"
        "print(sorted(rooms), 'transformers' in sys.modules, 'verl' in sys.modules)\n",
    )
    assert done.stdout.strip() == "['duality', 'errors', 'integrations'] False False", (
        done.stdout + done.stderr
    )


@pytest.mark.slow
def test_a_plugin_that_fails_says_so(run_python: RunPython) -> None:
    """verl logs what a plugin raises at a level that nobody sees."""
    done = run_python(
        "-c",
        "import sys, types\n"
        "verl = types.ModuleType('verl')\n"
        "verl.__version__ = '0.1'\n"
        "sys.modules['verl'] = verl\n"
        "try:\n"
        "    import dupo.integrations.verl.plugin\n"
        "except ImportError:\n"
        "    print('raised')\n",
    )
    assert done.stdout.strip() == "raised", done.stdout + done.stderr
    assert done.stderr.startswith("dupo: No module named 'verl.trainer'"), done.stderr
    assert done.stderr.strip().endswith("nothing is registered")
