"""The code of docs/other_trainers.md, beside stubs of its trainers: called as they call it, and compared with
definitions. A slow test reads the signatures of the stubs from the trainers' own packages.
"""

import ast
import asyncio
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from tests.docs import trainer_stubs as stubs
from tests.helpers.doc_blocks import blocks_of
from tests.helpers.project import ROOT
from tests.helpers.ranks import run_ranks
from tests.helpers.stub_server import StubServer, serving

PAGE = ROOT / "docs/other_trainers.md"
PROBLEMS = '{"question": "Ann has 12 pens and buys 30 more. How many pens has Ann now?"}\n'
B, T, V, H = 2, 5, 11, 4
Names = dict[str, Any]


@pytest.fixture
def run_block(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs a block of the page beside the stubs, in a folder with problems; gives its names."""
    (tmp_path / "problems.jsonl").write_text(PROBLEMS)
    monkeypatch.chdir(tmp_path)
    for name, module in stubs.modules().items():
        monkeypatch.setitem(sys.modules, name, module)

    def run(trainer: str, number: int = 0, **replaced: str) -> Names:
        blocks = [block for block in blocks_of(PAGE) if block.language == "python" and block.needs == trainer]
        text = blocks[number].text
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        names: Names = {"__name__": "block"}
        exec(compile(text, blocks[number].place, "exec"), names)
        return names

    return run


def say(prompt: str) -> str:
    """Answers the question with 42, the duals of 42 with what is hidden, and other duals with nothing."""
    numbers = set(re.findall(r"\d+", prompt))
    hidden = {"12", "30"} - numbers
    if not hidden:
        return r"\boxed{42}"
    return rf"\boxed{{{hidden.pop()}}}" if "42" in numbers else "no idea"


def say_wrong(prompt: str) -> str:
    return say(prompt).replace("42", "41")


# --- rewards ---


@pytest.mark.parametrize(("model", "expected"), [(say, 1.0), (say_wrong, 0.0)])
def test_areal_gets_a_row_with_the_reward_of_the_duals(run_block: Any, model: Any, expected: float) -> None:
    tokenizer = stubs.CharTokenizer()
    make = run_block("AReaL")["DualWorkflow"]
    gconfig = stubs.GenerationHyperparameters()
    workflow = make(gconfig, tokenizer, task="word_problems", dataset="problems.jsonl", eval_size=0)
    prompt = workflow.duals.prompts[0]
    row = asyncio.run(workflow.arun_episode(stubs.InferenceEngine(model), {"prompt": prompt}))
    answer = model(prompt)
    framed = f"<user>{prompt}<assistant>"
    assert tokenizer.decode(row["input_ids"][0].tolist(), skip_special_tokens=True) == framed + answer
    assert row["rewards"].tolist() == [expected]
    sampled = torch.tensor([[False] * len(framed) + [True] * (len(answer) + 1)])
    assert torch.equal(row["loss_mask"].bool(), sampled) and bool(row["attention_mask"].all())
    assert torch.equal(row["logprobs"], torch.where(sampled, -0.5, 0.0))
    assert torch.equal(row["versions"], torch.where(sampled, 3, -1).int())


def slime_sample(names: Names, model: Any, opening: str = "") -> stubs.Sample:
    stubs.GenerateState.say = staticmethod(model)
    prompt = names["duals"].prompts[0]
    framed = f"<user>{prompt}<assistant>{opening}"
    sample = stubs.Sample(prompt=framed, metadata={"prompt": prompt})
    return asyncio.run(names["generate_with_duals"](None, sample, {"max_new_tokens": 10}))


@pytest.mark.parametrize(("model", "expected"), [(say, 1.0), (say_wrong, 0.0), (lambda prompt: "", 0.0)])
def test_slime_gets_a_sample_with_its_reward(run_block: Any, model: Any, expected: float) -> None:
    sample = slime_sample(run_block("slime"), model)
    assert sample.reward == expected and sample.status == stubs.Sample.Status.COMPLETED


def test_a_thought_that_was_cut_off_holds_no_answer(run_block: Any) -> None:
    assert slime_sample(run_block("slime"), say, "<think>\n").reward == 0
    names, tokenizer = run_block("OpenRLHF"), stubs.CharTokenizer()
    prompt = names["duals"].prompts[0]
    executed = names["AgentExecutor"]().execute(f"{prompt}<think>", prompt, None, 100, tokenizer, say)
    assert asyncio.run(executed)["reward"] == 0


def test_slime_gets_an_aborted_sample_where_a_dual_was_aborted(run_block: Any) -> None:
    def model(prompt: str) -> str | None:
        return say(prompt) if {"12", "30"} <= set(re.findall(r"\d+", prompt)) else None

    assert slime_sample(run_block("slime"), model).status == stubs.Sample.Status.ABORTED


@pytest.mark.parametrize(("model", "expected"), [(say, 1.0), (say_wrong, 0.0)])
def test_openrlhf_gets_a_row_with_its_reward(run_block: Any, model: Any, expected: float) -> None:
    names, tokenizer = run_block("OpenRLHF"), stubs.CharTokenizer()
    prompt = names["duals"].prompts[0]
    framed = f"<user>{prompt}<assistant>"
    row = asyncio.run(names["AgentExecutor"]().execute(framed, prompt, None, 100, tokenizer, model))
    assert (row["reward"], row["scores"]) == (expected, expected)
    assert tokenizer.decode(row["observation_tokens"], skip_special_tokens=True) == framed + model(framed)


def test_ms_swift_calls_the_reward_by_its_name(run_block: Any) -> None:
    with serving(StubServer(lambda prompt, seed: say(prompt))) as server:
        run_block("ms-swift", **{"http://127.0.0.1:8000/v1": server.url})
        reward = sys.modules["swift.rewards"].orms["dual"](args=None)
        prompts = reward.reward.duals.prompts * 2
        assert reward(completions=[r"\boxed{42}", r"\boxed{41}"], prompt=prompts, messages=[]) == [1, 0]


# --- losses and heads ---


def tokens(seed: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    old = -2 + torch.randn(B, T, generator=generator, dtype=torch.float64) / 4
    logprobs = old + torch.randn(B, T, generator=generator, dtype=torch.float64) / 3
    advantages = torch.randn(B, T, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[True, True, False, True, False], [False, True, True, True, True]])
    return {"logprobs": logprobs.requires_grad_(), "old": old, "advantages": advantages, "mask": mask}


def clipped(t: dict[str, Tensor], low: float = 0.2, high: float = 0.2) -> Tensor:
    """The clipped surrogate of each token, 0 where it does not count."""
    ratio = (t["logprobs"] - t["old"]).exp()
    surrogate = torch.minimum(ratio * t["advantages"], ratio.clamp(1 - low, 1 + high) * t["advantages"])
    return torch.where(t["mask"], -surrogate, 0)


def assert_same(loss: Tensor, expected: Tensor, *leaves: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(loss.double(), expected.double(), rtol=0, atol=tolerance)
    pairs = zip(torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True)
    for one, other in pairs:
        assert other.abs().max() > 0.01
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("weighted", [False, True])
def test_prime_rl_gets_the_sum_over_a_sample(run_block: Any, weighted: bool) -> None:
    loss_of, t = run_block("prime-rl")["dapo_loss"], tokens()
    weights = torch.tensor([0.5, 2.0, 1.0, 0.25, 3.0], dtype=torch.float64) if weighted else None
    row = (t["logprobs"][0], t["old"][0], None, t["advantages"][0], t["mask"][0], weights)
    outputs = loss_of(stubs.LossInputs(*row), epsilon=0.2, epsilon_high=0.28)
    expected = (clipped(t, 0.2, 0.28)[0] * (1 if weights is None else weights)).sum()
    assert_same(outputs.loss, expected, t["logprobs"])
    assert all(metric.dim() == 0 for metric in outputs.metrics.values())


def test_prime_rl_gets_the_head_with_a_temperature_for_each_token(run_block: Any) -> None:
    run_block("prime-rl", 1)
    generator = torch.Generator().manual_seed(1)
    head = stubs.FusedOutputLinear(H, V, bias=False, dtype=torch.float64)
    hidden = torch.randn(B, T, H, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(V, (B, T), generator=generator)
    temperature = torch.rand(B, T, generator=generator) + 0.5
    outputs = head(hidden, labels, temperature)
    log_p = (hidden @ head.weight.t() / temperature[..., None]).log_softmax(-1)
    logprobs = log_p.gather(-1, labels[..., None])[..., 0]
    torch.testing.assert_close(outputs["entropy"], -(log_p.exp() * log_p).sum(-1), rtol=0, atol=1e-6)
    weights = torch.randn(B, T, generator=generator)
    one, other = (outputs["logprobs"] * weights).sum(), (logprobs * weights).sum()
    assert_same(one, other, hidden, head.weight, tolerance=1e-5)


def test_skyrl_finds_the_loss_by_its_name(run_block: Any) -> None:
    run_block("SkyRL")
    t, config = tokens(), SimpleNamespace(eps_clip_low=0.2, eps_clip_high=0.28)
    arguments = (t["logprobs"], t["old"], t["advantages"], config)
    loss, metrics = stubs.POLICY_LOSSES["dupo"](
        *arguments, loss_mask=t["mask"].double(), rollout_logprobs=None
    )
    assert_same(loss, clipped(t, 0.2, 0.28).sum(), t["logprobs"])
    ratio, advantages = (t["logprobs"] - t["old"]).exp()[t["mask"]], t["advantages"][t["mask"]]
    outside = ((ratio < 0.8) & (advantages < 0)) | ((ratio > 1.28) & (advantages > 0))
    assert 0 < metrics["clip_ratio"] < 1
    assert metrics["clip_ratio"] == pytest.approx(outside.double().mean().item())


def test_nemo_rl_adds_up_the_micro_batches(run_block: Any) -> None:
    loss_of, t = run_block("NeMo RL")["DapoLoss"](epsilon_high=0.28), tokens()
    batch = {
        "token_mask": torch.nn.functional.pad(t["mask"].double(), (1, 0)),
        "sample_mask": torch.ones(B, dtype=torch.float64),
        "advantages": torch.nn.functional.pad(t["advantages"], (1, 0), value=9.0),
        "prev_logprobs": torch.nn.functional.pad(t["old"], (1, 0), value=9.0),
    }
    total, sums = t["mask"].sum(), dict[str, float]()
    losses = []
    for row in range(B):
        data = {name: tensor[row : row + 1] for name, tensor in batch.items()}
        inputs = {"next_token_logprobs": t["logprobs"][row : row + 1], "further": None}
        loss, metrics = loss_of(data, torch.tensor(B), total, **inputs)
        losses.append(loss)
        for name, value in metrics.items():
            sums[name] = sums.get(name, 0.0) + value
    expected = clipped(t, 0.2, 0.28).sum() / total
    assert_same(torch.stack(losses).sum(), expected, t["logprobs"])
    ratio = (t["logprobs"] - t["old"]).exp()[t["mask"]].mean().item()
    wanted = {"loss": expected.item(), "probs_ratio": ratio, "num_valid_samples": B}
    assert sums == pytest.approx(wanted)
    left_out = loss_of({**data, "sample_mask": torch.zeros(1)}, torch.tensor(B), total, **inputs)
    assert left_out[0] == 0
    assert (loss_of.loss_type, loss_of.input_type) == (
        stubs.LossType.TOKEN_LEVEL,
        stubs.LossInputType.LOGPROB,
    )


def test_torchtitan_gets_the_loss_from_hidden_states(run_block: Any) -> None:
    make = run_block("torchtitan")["LinearDapoLoss"]
    loss_of = make(make.Config(epsilon_high=0.28))
    torch.manual_seed(2)
    t, head = tokens(), torch.nn.Linear(H, V, bias=False, dtype=torch.float64)
    hidden = torch.randn(B, T, H, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(V, (B, T))
    log_p = (hidden @ head.weight.t()).log_softmax(-1)
    logprobs = log_p.gather(-1, labels[..., None])[..., 0]
    # A token without a log-probability of the generator is left out.
    old = logprobs.detach() + (t["old"] + 2)
    old[1, 1] = torch.nan
    loss_of.set_lm_head(head)
    inputs = {"generator_logprobs": old, "advantages": t["advantages"], "loss_mask": t["mask"]}
    loss, metrics = loss_of(hidden, labels, 6.0, **inputs)
    known = t | {"logprobs": logprobs, "old": old.nan_to_num(), "mask": t["mask"] & old.isfinite()}
    assert_same(loss, clipped(known, 0.2, 0.28).sum() / 6, hidden, head.weight, tolerance=1e-6)
    ratio = (logprobs - old).exp()[known["mask"]].sum() / 6
    assert metrics["loss/ratio_mean"].item() == pytest.approx(ratio.item(), rel=1e-5)


def titan_batch(rank: int | None) -> dict[str, Tensor]:
    """What torchtitan's trainer has on a rank: a row of the batch; None: all of it."""
    generator = torch.Generator().manual_seed(4)
    batch = {
        "x": torch.randn(B, T, H, generator=generator, dtype=torch.float64),
        "labels": torch.randint(V, (B, T), generator=generator),
        "generator_logprobs": -2 + torch.randn(B, T, generator=generator, dtype=torch.float64) / 4,
        "advantages": torch.randn(B, T, generator=generator, dtype=torch.float64),
        "loss_mask": tokens()["mask"],
    }
    return batch if rank is None else {name: tensor[rank : rank + 1] for name, tensor in batch.items()}


def titan_model() -> torch.nn.ModuleDict:
    torch.manual_seed(2)
    body = torch.nn.Linear(H, H, dtype=torch.float64)
    return torch.nn.ModuleDict(
        {"body": body, "lm_head": torch.nn.Linear(H, V, bias=False, dtype=torch.float64)}
    )


def titan_gradients(make: Any, model: Any, rank: int | None) -> None:
    """One backward pass, with the tokens of all ranks as the divisor."""
    loss_of, batch = make(make.Config(epsilon_high=0.28)), titan_batch(rank)
    loss_of.set_lm_head(model["lm_head"])
    hidden = model["body"](batch.pop("x"))
    loss_of(hidden, batch.pop("labels"), float(tokens()["mask"].sum()), **batch)[0].backward()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_torchtitan_shares_the_head_out(run_block: Any, tmp_path: Path) -> None:
    """FSDP2 with summed gradients, as torchtitan has it: two ranks, a row each, have the gradients of one."""
    make = run_block("torchtitan")["LinearDapoLoss"]
    alone = titan_model()
    titan_gradients(make, alone, None)
    expected = {name: weight.grad for name, weight in alone.named_parameters()}

    def program() -> int:
        torch.distributed.init_process_group("gloo")
        model = titan_model()
        for part in (model["lm_head"], model["body"]):
            sharded: Any = fully_shard(part)
            sharded.set_gradient_divide_factor(1.0)
        titan_gradients(make, model, torch.distributed.get_rank())
        for name, weight in model.named_parameters():
            assert isinstance(weight.grad, DTensor)
            torch.testing.assert_close(weight.grad.full_tensor(), expected[name], rtol=0, atol=1e-6)
        torch.distributed.destroy_process_group()
        return 0

    ended = run_ranks(program, tmp_path)
    assert ended.codes == [0, 0], ended.err
    assert all(gradient is not None and gradient.abs().max() > 1e-3 for gradient in expected.values())


# --- the trainers themselves ---


def parameters_in(path: Path, name: str) -> list[str]:
    """The parameters of a function, or the fields of a class, in a source that is not imported."""
    node: Any = ast.parse(path.read_text(encoding="utf-8"))
    for piece in name.split("."):
        named = [child for child in node.body if getattr(child, "name", None) == piece]
        assert named, f"{path} has no {name}"
        node = named[-1]
    if isinstance(node, ast.ClassDef):
        targets = [child.target for child in node.body if isinstance(child, ast.AnnAssign)]
        return [target.id for target in targets if isinstance(target, ast.Name)]
    a = node.args
    variadic = [extra.arg for extra in (a.vararg, a.kwarg) if extra]
    return [argument.arg for argument in [*a.posonlyargs, *a.args, *a.kwonlyargs]] + variadic


@pytest.mark.slow
@pytest.mark.parametrize("source", stubs.SOURCES, ids=lambda source: f"{source.peer}-{source.name}")
def test_a_stub_has_the_signature_of_its_trainer(source: stubs.Source) -> None:
    folder = os.environ.get(f"DUPO_PEER_{source.peer.upper()}")
    if not folder:
        pytest.skip(f"DUPO_PEER_{source.peer.upper()} is not set; .ci/peers says how to")
    parameters = parameters_in(Path(folder) / source.file, source.name)
    if source.is_record:
        assert set(source.parameters) <= set(parameters)
    else:
        assert parameters == source.parameters
