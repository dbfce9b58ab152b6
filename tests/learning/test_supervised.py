"""The supervised loss: the mean of -log p over completion tokens, however the batch is cut."""

import pytest
import torch

from dupo.data.examples import Example
from dupo.learning.logprobs import Compute
from dupo.learning.supervised import supervised_gradient, supervised_loss
from dupo.methods.examples import encode_examples
from tests.helpers.worlds import tiny

PAIRS = [("#321+654=", "9750"), ("@?+654=9750:", "321"), ("#1", "0"), ("#001-100=", "00900900")]
EXAMPLES = [Example(str(k), prompt, completion) for k, (prompt, completion) in enumerate(PAIRS)]


def by_hand(world, examples):
    """The loss in float64, one example after the other, from the formula."""
    losses = []
    for t in examples:
        ids = torch.cat([torch.tensor(t.prompt_ids), t.completion_ids])
        logits = world.model(ids[None], use_cache=False).logits[0].double()
        logp = logits.log_softmax(-1)[len(t.prompt_ids) - 1 : -1]
        losses.append(-logp.gather(-1, t.completion_ids[:, None])[:, 0])
    return torch.cat(losses).mean()


@pytest.mark.parametrize("token_budget", [24, 40, 10_000])
def test_the_gradient_equals_the_formula_whatever_the_split(token_budget):
    world = tiny(spread=2.0)
    examples = encode_examples(world.tokenizer, EXAMPLES)
    expected = by_hand(world, examples)
    truth = torch.autograd.grad(expected, list(world.model.parameters()))
    compute = Compute(1.0, "auto", token_budget)
    loss, metrics = supervised_gradient(world.model, examples, compute)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert metrics["entropy"] > 0
    for parameter, gradient in zip(world.model.parameters(), truth, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
    assert supervised_loss(world.model, examples, compute) == pytest.approx(expected.item(), rel=1e-5)


def test_a_prompt_has_no_loss():
    """A prompt changes the loss only by what it says about the completion: its own tokens are not counted."""
    world = tiny(spread=2.0)
    examples = encode_examples(world.tokenizer, EXAMPLES[:1])
    (example,) = examples
    assert example.completion_ids.tolist() == [*world.tokenizer.encode_completions(["9750"])[0]]
    assert int(example.completion_ids[-1]) in world.tokenizer.eos_ids
    loss, _ = supervised_gradient(world.model, examples, world.compute)
    assert loss.item() == pytest.approx(by_hand(world, examples).item(), rel=1e-5)
    assert len(example.completion_ids) == 5 and world.tokenizer.decode([example.prompt_ids]) == ["#321+654="]


def test_the_entropy_is_that_of_the_completion_tokens():
    world = tiny(spread=2.0)
    examples = encode_examples(world.tokenizer, EXAMPLES)
    _, metrics = supervised_gradient(world.model, examples, Compute(1.0, "auto", 24))
    entropies = []
    for t in examples:
        ids = torch.cat([torch.tensor(t.prompt_ids), t.completion_ids])
        with torch.no_grad():
            logits = world.model(ids[None], use_cache=False).logits[0, len(t.prompt_ids) - 1 : -1].double()
        entropies.append(torch.distributions.Categorical(logits=logits).entropy())
    assert metrics["entropy"] == pytest.approx(torch.cat(entropies).mean().item(), rel=1e-4)


def test_forced_tokens_are_context_and_have_no_weight():
    world = tiny(spread=2.0)
    (whole,) = encode_examples(world.tokenizer, EXAMPLES[3:])
    # What stands before the last three tokens was written, as a prompt is.
    count = len(whole.completion_ids) - 3
    forced = whole._replace(forced=torch.arange(len(whole.completion_ids)) < count)
    written = whole.completion_ids[:count].tolist()
    as_prompt = whole._replace(
        prompt_ids=[*whole.prompt_ids, *written],
        completion_ids=whole.completion_ids[count:],
        logprobs=whole.logprobs[count:],
    )
    (loss, metrics), gradients = with_gradients(world, [forced])
    (expected_loss, expected_metrics), expected = with_gradients(world, [as_prompt])
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-5)
    assert metrics == pytest.approx(expected_metrics, rel=1e-5)
    torch.testing.assert_close(gradients, expected, rtol=1e-3, atol=1e-6)
    losses = [supervised_loss(world.model, [example], world.compute) for example in (forced, as_prompt)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def with_gradients(world, examples):
    """What `supervised_gradient` gives, and the gradients that it leaves."""
    world.model.zero_grad(set_to_none=True)
    result = supervised_gradient(world.model, examples, world.compute)
    return result, [parameter.grad.clone() for parameter in world.model.parameters()]


def test_no_examples_give_no_loss_and_no_gradient():
    world = tiny(spread=2.0)
    loss, metrics = supervised_gradient(world.model, [], world.compute)
    assert (loss.item(), metrics) == (0.0, {})
    assert all(parameter.grad is None for parameter in world.model.parameters())
