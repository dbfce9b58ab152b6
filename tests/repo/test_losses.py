"""The bench of whole losses, at tiny sizes: it compares DPO, and its table tells what was measured."""

import json
import os
from typing import Any

import pytest
import torch

from bench.loss_head import dpo, losses
from bench.result_files import newest
from tests.helpers.project import ROOT, RunPython

SIZE = losses.Size(S=6, T=20, V=300, H=48)
UNCOMPARED = ("TRL", "Liger")


def test_ours_and_eager_are_dpo() -> None:
    """By the formula, in float64, a sequence at a time."""
    inputs = dpo.make_inputs(*SIZE)
    hidden, weight = (x.detach().double().requires_grad_() for x in (inputs.hidden, inputs.weight))
    ratios = []
    for s in range(SIZE.S):
        ratio = torch.zeros((), dtype=torch.float64)
        for t in inputs.mask[s].nonzero()[:, 0]:
            own = (weight @ hidden[s, t]).log_softmax(0)
            reference = (inputs.ref_weight.double() @ inputs.ref_hidden[s, t].double()).log_softmax(0)
            ratio = ratio + (own - reference)[inputs.targets[s, t]]
        ratios.append(ratio)
    pairs = [dpo.BETA * (ratios[k] - ratios[k + SIZE.S // 2]) for k in range(SIZE.S // 2)]
    truth = sum((1 + (-d).exp()).log() for d in pairs) / len(pairs)
    assert isinstance(truth, torch.Tensor)
    expected = torch.autograd.grad(truth, (hidden, weight))
    for name in (losses.OURS, "ours, a pair at a time", "eager torch, whole logits"):
        make, _ = losses.CASES["dpo"].variants[name]
        value, found = losses.gradients(make(inputs), inputs.leaves)
        assert value == pytest.approx(truth.item(), rel=1e-5)
        assert losses.error_of(found, expected) < losses.MOST_ERROR, name


def test_answers_are_ragged_and_likely() -> None:
    inputs = dpo.make_inputs(8, 40, 5_000, 256)
    lengths, starts = inputs.mask.sum(1), inputs.mask.long().argmax(1)
    assert lengths.min() > 0 and len(lengths.unique()) > 3 and starts.min() > 0
    logp = (inputs.hidden @ inputs.weight.t()).log_softmax(-1).gather(-1, inputs.targets[..., None])[..., 0]
    assert -3 < logp[inputs.mask].mean() < -0.5
    ref_logp = (inputs.ref_hidden @ inputs.ref_weight.t()).log_softmax(-1)
    ratios = (logp - ref_logp.gather(-1, inputs.targets[..., None])[..., 0]) * inputs.mask
    assert 0.5 < ratios.sum(1).std() < 30  # a sigmoid that is not saturated: beta is 0.1


def test_another_gradient_is_seen() -> None:
    true = [torch.tensor([3.0, 4.0]), torch.tensor([1.0])]
    assert losses.error_of([torch.tensor([3.0, 4.5]), torch.tensor([1.0])], true) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="norms above 0"):
        losses.error_of([torch.zeros(2)], [torch.zeros(2)])


@pytest.mark.slow
def test_variants_are_timed_in_turn() -> None:
    case = losses.CASES["dpo"]
    alone = {name: v for name, v in case.variants.items() if not name.startswith(UNCOMPARED)}
    tokens, measured = losses.measure_time(case._replace(variants=alone), SIZE, repeats=2)
    assert 0 < tokens["counted"] < tokens["tokens"] == SIZE.S * SIZE.T
    assert list(measured) == list(alone)
    for variant in measured.values():
        assert len(variant.cpu_seconds) == 2 and min(variant.cpu_seconds) > 0
        assert 0 < variant.error < losses.MOST_ERROR


@pytest.mark.slow
def test_memory_counts_logits_and_gradients(run_python: RunPython) -> None:
    """Eager torch holds two matrices of all tokens at least; ours that of tokens that count, and dW."""
    size = losses.Size(S=4, T=100, V=60_000, H=64)
    weight, counted = 4 * size.V * size.H, int(dpo.make_inputs(*size).mask.sum())
    rows = {"eager torch, whole logits": 2 * size.S * size.T, losses.OURS: counted}
    for name, least_rows in rows.items():
        cell = json.dumps(losses.Cell("dpo", size, name))
        done = run_python("-m", "bench.loss_head.losses", "--cell", cell)
        assert done.returncode == 0, done.stderr
        least = 4 * size.V * least_rows + (weight if name == losses.OURS else 0)
        assert 0.95 * least < int(done.stdout) < 2.5 * least, name


@pytest.mark.slow
@pytest.mark.full
def test_rehearsal_agrees_with_peers(run_python: RunPython) -> None:
    if not (os.environ.get("DUPO_PEER_TRL") and os.environ.get("DUPO_PEER_LIGER")):
        pytest.skip("DUPO_PEER_TRL and DUPO_PEER_LIGER are not set; .ci/peers says how to")
    done = run_python("-m", "bench.loss_head.losses", "--rehearsal")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(name in done.stdout for name in losses.CASES["dpo"].variants)


def batch_of(seconds: float, peak: int, error: float, own_error: float = 0.0) -> dict[str, Any]:
    """A result in which ours takes 1 s and 1 MiB."""
    other = losses.Measured("TRL", 0.5, error, [seconds, 2 * seconds, 3 * seconds], [peak << 20] * 3)
    own = losses.Measured(losses.OURS, 0.5, own_error, [1.0] * 3, [1 << 20] * 3)
    return {"case": "dpo", **SIZE._asdict(), "tokens": 120, "counted": 50} | {
        "variants": [own._asdict(), other._asdict()]
    }


def test_the_table_tells_medians_beside_ours() -> None:
    text = losses.markdown(batch_of(1.25, 3, 2e-6))
    assert "2.50 (1.25-3.75)" in text and "3 (3-3)" in text and "3.00" in text and "2e-06" in text
    assert "120 tokens, of which 50 count" in text


def test_gradients_that_are_wrong_are_told() -> None:
    batches = [batch_of(1.0, 1, error) for error in (1e-4, 2e-4, float("nan"))]
    batches += [batch_of(1.0, 1, 0.0, own_error) for own_error in (1e-5, 2e-5)]
    limits = {"TRL": "(at most 0.0001)", losses.OURS: "(at most 1e-05)"}
    wrong = [("TRL", "2.0e-04"), ("TRL", "nan"), (losses.OURS, "2.0e-05")]
    assert losses.wrong_gradients(batches) == [f"{name} {error} {limits[name]}" for name, error in wrong]


def test_the_page_has_the_newest_result() -> None:
    page = (ROOT / losses.PAGE).read_text()
    assert losses.publish(page, newest(losses.THEME)) == page, "python -m bench.loss_head.losses --write"
