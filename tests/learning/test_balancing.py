"""The loss that balances experts: equal to its formula, over real tokens alone, and a share of the loss."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from dupo.errors import UserError
from dupo.learning.batches import make_batch
from dupo.learning.logprobs import Compute, hidden_and_balance
from dupo.learning.policy_loss import PolicyLoss
from dupo.learning.supervised import supervised_gradient
from dupo.models.balancing import balancing_coefficient
from dupo.models.load import recompute_activations
from dupo.records import Trajectory
from dupo_kernels import PolicyObjective
from tests.helpers.model_kinds import TOKENS, model_of_kind
from tests.helpers.worlds import CPU

MIXTURES = ["mixtral", "qwen3_moe", "gpt_oss", "qwen2_moe"]
BUDGET = 10_000


def rows() -> list[Trajectory]:
    draws = torch.Generator().manual_seed(0)
    sequences = [torch.randint(TOKENS, (length,), generator=draws) for length in (9, 20, 3, 14)]
    return [
        Trajectory(ids[:2].tolist(), ids[2:], torch.full((len(ids) - 2,), -4.0), (-1.0) ** k)
        for k, ids in enumerate(sequences)
    ]


def ids_of(row: Trajectory) -> Tensor:
    return torch.cat([torch.tensor(row.prompt_ids), row.completion_ids])


def router_logits(model: PreTrainedModel, sequences: list[Tensor]) -> list[Tensor]:
    """Of each layer with experts, (tokens, experts): every sequence in a pass alone, eager attention."""
    model.set_attn_implementation("eager")
    outputs = [
        model(
            input_ids=ids[None],
            attention_mask=torch.ones_like(ids)[None],
            output_router_logits=True,
            use_cache=False,
        ).router_logits
        for ids in sequences
    ]
    model.set_attn_implementation("dupo_varlen")
    return [torch.cat(layer) for layer in zip(*outputs, strict=True)]


def by_formula(layers: list[Tensor], top_k: int) -> Tensor:
    """E sum_e f_e p_e, f and p over all tokens and layers, in float64."""
    probabilities = torch.cat(layers).double().softmax(-1)
    num_experts = probabilities.shape[-1]
    chosen = probabilities.topk(top_k, -1).indices
    shares = torch.stack([(chosen == expert).sum() / len(probabilities) for expert in range(num_experts)])
    return num_experts * (shares * probabilities.mean(0)).sum()


def gradients(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}


@pytest.mark.parametrize("kind", MIXTURES)
def test_it_is_the_formula_over_all_tokens_of_a_pack(kind: str) -> None:
    model = model_of_kind(kind, num_experts_per_tok=2)
    batch = make_batch(rows(), CPU)
    _, balance = hidden_and_balance(model, batch, Compute(1.0, "float32", BUDGET, 0.1))
    assert balance is not None
    truth = by_formula(router_logits(model, [ids_of(row) for row in rows()]), 2)
    assert balance.item() == pytest.approx(truth.item(), rel=1e-5)
    ours = torch.autograd.grad(balance, list(model.parameters()), allow_unused=True)
    expected = torch.autograd.grad(truth, list(model.parameters()), allow_unused=True)
    for gradient, other in zip(ours, expected, strict=True):
        assert (gradient is None) == (other is None)
        if gradient is not None:
            assert torch.allclose(gradient, other, rtol=1e-3, atol=1e-6)


def test_it_equals_what_the_model_itself_says_of_padded_rows() -> None:
    """Padding is left out there by the mask, and is not there in a pack."""
    model = model_of_kind("mixtral")
    sequences = [ids_of(row) for row in rows()]
    ids = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(s) for s in sequences], batch_first=True)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        own = model(input_ids=ids, attention_mask=mask, output_router_logits=True, use_cache=False).aux_loss
        model.set_attn_implementation("dupo_varlen")
        batch = make_batch(rows(), CPU)
        _, balance = hidden_and_balance(model, batch, Compute(1.0, "float32", BUDGET, 0.1))
    assert balance is not None and balance.item() == pytest.approx(own.item(), rel=1e-5)


def step(
    method: str, coefficient: float, budget: int = BUDGET, **changes: Any
) -> tuple[float, dict[str, float], Any]:
    """Loss, metrics and gradients of one step."""
    model = model_of_kind("mixtral", **changes)
    compute = Compute(1.0, "float32", budget, coefficient)
    if method == "sft":
        loss, metrics = supervised_gradient(model, rows(), compute)
    else:
        loss, metrics = PolicyLoss(PolicyObjective(), compute, 16).accumulate_gradient(model, rows())
    return loss.item(), metrics, gradients(model)


@pytest.mark.parametrize("method", ["sft", "dupo"])
def test_it_is_part_of_the_loss_and_of_its_gradient(method: str) -> None:
    plain_loss, plain_metrics, plain = step(method, 0.0)
    loss, metrics, with_balance = step(method, 0.5)
    assert "aux_loss" not in plain_metrics and metrics["aux_loss"] > 1
    assert loss == pytest.approx(plain_loss + 0.5 * metrics["aux_loss"], rel=1e-5)
    model = model_of_kind("mixtral")
    balance = by_formula(router_logits(model, [ids_of(row) for row in rows()]), 2)
    balance.backward()
    for name, gradient in gradients(model).items():
        assert torch.allclose(with_balance[name], plain[name] + 0.5 * gradient, rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("method", ["sft", "dupo"])
def test_micro_batches_count_by_their_completion_tokens(method: str) -> None:
    """Two packs: the metric is the mean of their losses, and so is what the loss holds."""
    plain_loss, _, _ = step(method, 0.0, budget=26)
    loss, metrics, _ = step(method, 0.5, budget=26)
    assert loss == pytest.approx(plain_loss + 0.5 * metrics["aux_loss"], rel=1e-5)
    assert metrics["aux_loss"] != pytest.approx(step(method, 0.5)[1]["aux_loss"], rel=1e-6)


def test_recomputed_activations_change_nothing() -> None:
    results = []
    for recomputes in (False, True):
        model = model_of_kind("mixtral")
        if recomputes:
            recompute_activations(model)
            model.train()
        supervised_gradient(model, rows(), Compute(1.0, "float32", BUDGET, 0.5))
        results.append(gradients(model))
    for name, gradient in results[0].items():
        assert torch.allclose(gradient, results[1][name], rtol=1e-4, atol=1e-6), name


def test_the_config_of_the_model_says_how_much_it_weighs() -> None:
    mixture = model_of_kind("mixtral", router_aux_loss_coef=0.02)
    assert balancing_coefficient(mixture, None) == 0.02
    assert balancing_coefficient(mixture, 0.3) == 0.3
    assert balancing_coefficient(mixture, 0.0) == 0.0


@pytest.mark.parametrize("kind", ["llama", "deepseek_v3", "doge"])
def test_a_model_without_such_a_loss_has_none(kind: str) -> None:
    model = model_of_kind(kind)
    assert balancing_coefficient(model, None) == 0.0 == balancing_coefficient(model, 0.0)
    with pytest.raises(
        UserError, match=r"router_aux_loss_coef: expected a model with a balancing loss, got "
    ):
        balancing_coefficient(model, 0.1)
