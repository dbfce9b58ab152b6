"""Checks against TRL 1.16: the loss and the reward functions of a GRPOTrainer that is not there, and the
chunked head.

TRL computes the mismatch weights amid the generation, so it is given ours; peer_verl.py checks how they are
made. It has no dual clip, and k3 only.
"""

import importlib
import json
import math
from collections import defaultdict
from dataclasses import fields
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MethodType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from bench.step import MOST_DIFFERENCE, OURS, VARIANTS, difference
from bench.training.trainers import make_rows, make_trainer
from dupo.config.options import RewardOptions
from dupo.config.task_options import TaskOptions
from dupo.data.chats import holds_messages
from dupo.records import Rollout
from dupo.rewards.base import RewardInputs, TrainerState
from dupo.rewards.user import user_reward
from dupo.tasks.word_problems import WordProblems
from dupo_kernels import PolicyObjective, linear_token_logprobs, policy_loss
from tests.helpers.policy_cases import (
    CAP,
    CASES,
    HIGH,
    LENGTHS,
    LOSS_TYPES,
    LOW,
    MASK,
    MAX_LENGTH,
    OPTIONS,
    B,
    T,
    options_of,
)
from tests.helpers.rollouts import completion
from tests.peers.peer_checks import (
    EXACT,
    SINGLE,
    TEMPERATURE,
    Checks,
    V,
    assert_apart,
    assert_close,
    check_head,
    differentiated,
    head_inputs,
    inputs,
    names_of,
    ours,
    weight_of,
)

SHARED = [c for c in CASES if "clip_ratio_c" not in OPTIONS[c[1]] and OPTIONS[c[1]].get("kl", "k3") == "k3"]
MEANS_OVER_TOKENS = ("dapo", "bnpo", "cispo", "vespo")
METRICS = {"entropy": "entropy", "cispo_clip_ratio": "cispo_clip_ratio"}
METRICS |= {f"clip_ratio/{x}": f"clip_ratio/{x}_mean" for x in ("low", "high", "region")}


def trainer_of(loss_type: str, o: dict[str, Any], use_vllm: bool) -> Any:
    """What `_compute_loss` reads of a trainer: one process, no accumulation."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    def same(x: Tensor, **_: Any) -> Tensor:
        return x

    arguments = {f.name: o.get(f.name, f.default) for f in fields(PolicyObjective)}
    gathering = ("gather", "gather_for_metrics", "reduce", "pad_across_processes")
    trainer = SimpleNamespace(
        args=SimpleNamespace(steps_per_generation=1, **arguments),
        **arguments | {"loss_type": loss_type, "epsilon_high": CAP if loss_type == "cispo" else HIGH},
        epsilon_low=LOW,
        max_completion_length=MAX_LENGTH,
        use_vllm=use_vllm,
        model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1,
        accelerator=SimpleNamespace(
            num_processes=1, sync_gradients=True, **{name: same for name in gathering}
        ),
        aux_loss_enabled=False,
        use_adaptive_entropy=False,
        _entropy_bonus_enabled=o.get("entropy_coef", 0.0) != 0,
        _metrics={"train": defaultdict(list)},
        get_gamma_weights=GRPOTrainer.get_gamma_weights,
        get_off_policy_mask=GRPOTrainer.get_off_policy_mask,
    )
    trainer.get_high_entropy_mask = MethodType(GRPOTrainer.get_high_entropy_mask, trainer)
    return trainer


def both(
    loss_type: str, name: str, t: dict[str, Tensor] | None = None, **changed: Any
) -> tuple[list[Tensor], list[Tensor], dict[str, list[float]]]:
    """[loss, dlogprobs, dentropy], ours and theirs, and their metrics."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    t, o = t or inputs(name), OPTIONS[name] | changed
    weight = weight_of(t, o)
    trainer = trainer_of(loss_type, o, weight is not None)
    leaves = t["logprobs"].detach().requires_grad_(), t["entropy"].detach().requires_grad_()
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (*leaves, None)
    ids = torch.zeros(B, T, dtype=torch.long)
    given = {"completion_ids": ids, "completion_mask": MASK.long(), "prompt_ids": ids, "prompt_mask": ids}
    given |= {
        "advantages": t["advantages"],
        "num_items_in_batch": MASK.sum(),
        "importance_sampling_ratio": weight,
    }
    kinds = [kind for kind in ("old", "ref", "sampling") if f"{kind}_logprobs" in t]
    given |= {f"{kind}_per_token_logps": t[f"{kind}_logprobs"] for kind in kinds}
    theirs = differentiated(GRPOTrainer._compute_loss(trainer, None, given), *leaves)
    return ours(t, **options_of(loss_type, name) | changed), theirs, trainer._metrics["train"]


# --- the loss --------------------------------------------------------------------------------------


def check_losses(loss_type: str) -> None:
    """Every option, but for the entropy bonus."""
    names = names_of(loss_type, SHARED)
    assert len(names) >= 12
    for name in names:
        mine, theirs, metrics = both(loss_type, name, entropy_coef=0.0)
        # TRL makes the temperatures of sapo float32
        assert_close(mine, theirs, 1e-6 if loss_type == "sapo" else EXACT, name)
        o = OPTIONS[name]
        # theirs count otherwise with delta, and at the level of sequences
        if o.get("importance_sampling_level") != "sequence" and "delta" not in o:
            _, stats = policy_loss(**inputs(name), mask=MASK, **options_of(loss_type, name))
            for key in METRICS.keys() & stats.keys():
                assert math.isclose(stats[key].item(), metrics[METRICS[key]][0], rel_tol=1e-6), (name, key)


def check_entropy_bonus() -> None:
    """In TRL it is a mean over tokens whatever the loss, ours has the weights of the loss: equal where those
    are the same. Both are documented; verl's is as ours."""
    for loss_type in LOSS_TYPES:
        mine, theirs, _ = both(loss_type, "entropy")
        assert_close([-0.03 * MASK.double() / LENGTHS.sum()], theirs[2:], EXACT, loss_type)
        if loss_type in MEANS_OVER_TOKENS:
            assert_close(mine, theirs, EXACT, loss_type)
        else:
            assert_close(mine[1:2], theirs[1:2], 1e-6, loss_type)
            assert_apart(mine[2:], theirs[2:], 0.1, loss_type)


def check_entropy_bonus_of_some_tokens() -> None:
    """With top_entropy_quantile TRL's bonus is the mean over the chosen tokens; ours, like both losses, is
    divided by the number of all."""
    mine, theirs, _ = both("dapo", "top-entropy")
    chosen = mine[2] != 0
    assert 0 < chosen.sum() < LENGTHS.sum()
    assert_close(mine[1:2], theirs[1:2], EXACT, "dlogprobs")
    share = chosen.sum().item() / LENGTHS.sum().item()
    assert_close([mine[2] / share], theirs[2:], EXACT, "dentropy")


def check_quantile_at_a_token() -> None:
    """The rank of the quantile is 0.6 * 25 = 15. TRL computes it in float32, gets a little more, and so drops
    the 15th token, which is not below the quantile: TRL is wrong, by one token in such cases."""
    t = inputs("top-entropy")
    mine, theirs, _ = both("dapo", "plain", t, top_entropy_quantile=0.4)
    (dropped,) = ((mine[1] != 0) & (theirs[1] == 0)).nonzero()
    assert t["entropy"][tuple(dropped)] == t["entropy"][MASK].sort().values[15]
    mine[1][tuple(dropped)] = 0
    assert_close(mine[1:], theirs[1:], EXACT, "the others")


def check_ratio_without_bound() -> None:
    """Where A < 0 TRL lets a ratio grow beyond e^20, where ours and verl's are held."""
    t = inputs("plain")
    t["old_logprobs"][0, 0] = t["logprobs"][0, 0] - 25
    t["advantages"][0, 0] = -1.0
    mine, theirs, _ = both("dapo", "plain", t)
    expected = torch.tensor([20.0, 25.0], dtype=torch.float64).exp() / LENGTHS.sum()
    assert_close([expected], [torch.stack([mine[0], theirs[0]])], 1e-7, "loss")
    assert mine[1][0, 0] == 0
    assert_close([expected[1]], [theirs[1][0, 0]], EXACT, "gradient")


# --- the head --------------------------------------------------------------------------------------


def check_head_and_its_scalings() -> None:
    from trl.kernels import ChunkedLogProbFunction

    def head(h: Tensor, W: Tensor, ids: Tensor, softcap: float | None, scale: float) -> tuple[Tensor, Tensor]:
        outputs = ChunkedLogProbFunction.apply(h, W, None, ids, TEMPERATURE, 16, softcap, scale, ("entropy",))
        return outputs[:2]

    check_head(head, [(None, 1.0), (4.0, 1.0), (None, 0.5), (3.0, 2.0)])


def check_outputs_of_the_head() -> None:
    """All that TRL's head returns of a token, both in float32; among equal logits both take the first."""
    from trl.kernels import ChunkedLogProbFunction

    names = ("entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
    h, W, ids = head_inputs(torch.float32)
    h.data[0], ids[0], ids[1] = 0.0, 0, 0  # all logits of the first token are equal
    ids[::3] = (h @ W.t()).argmax(-1)[::3]
    bias = torch.linspace(-1, 1, V)
    for softcap, scale, b in ((None, 1.0, None), (4.0, 1.0, None), (3.0, 0.5, bias)):
        theirs = ChunkedLogProbFunction.apply(h, W, b, ids, TEMPERATURE, 16, softcap, scale, names)
        mine = linear_token_logprobs(
            h, W, ids, bias=b, temperature=TEMPERATURE, logit_scale=scale, softcap=softcap,
            outputs=("logprobs", "entropy", "top1", "mean_logits", "log_sum_sq"),
        )  # fmt: skip
        logp, entropy, log_sum_sq, mean_logits, is_top1 = theirs
        assert torch.equal(mine.top1, is_top1) and 3 < is_top1.sum() < ids.numel()
        numbers = [mine.logprobs, mine.entropy, mine.mean_logits, mine.log_sum_sq]
        assert_close(numbers, [logp, entropy, mean_logits, log_sum_sq], 1e-6, (softcap, scale))


def check_outputs_of_a_model() -> None:
    """The same through `add_fused_lm_head`, which trainers call, on a model of random weights."""
    from transformers import Qwen3Config, Qwen3ForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=V, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, initializer_range=0.4,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    ids = torch.randint(V, (3, 11))
    labels = ids.masked_fill(torch.rand(3, 11) < 0.3, -100)
    body = model.model(input_ids=ids).last_hidden_state[:, :-1]
    # Of a random target few are the likeliest.
    labels[:, 1::2] = (body @ model.lm_head.weight.t()).argmax(-1)[:, ::2]
    names = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
    add_fused_lm_head(model, temperature=TEMPERATURE, outputs=names)
    theirs = model(input_ids=ids, labels=labels, fused_lm_head=True)
    mine = linear_token_logprobs(
        body, model.lm_head.weight, labels[:, 1:], mask=labels[:, 1:] != -100, temperature=TEMPERATURE,
        outputs=("logprobs", "entropy", "log_sum_sq", "mean_logits", "top1"),
    )  # fmt: skip
    assert torch.equal(mine.top1, theirs.is_top1) and 3 < mine.top1.sum() < 20
    numbers = [mine.logprobs, mine.entropy, mine.log_sum_sq, mine.mean_logits]
    expected = [theirs.log_probs, theirs.entropy, theirs.log_sum_sq_probs, theirs.mean_logits]
    assert_close(numbers, expected, 1e-6, "model")


def check_impossible_logits() -> None:
    """Logits of -inf (padding of the vocabulary, a grammar) make TRL's entropies and gradients NaN, a whole
    tile of them its log-probabilities too: TRL is wrong. Ours are those of a vocabulary without them."""
    from trl.kernels import ChunkedLogProbFunction

    for impossible, logp_too in (([V - 1], False), (list(range(16)), True)):
        h, W, ids = head_inputs(torch.float32)
        ids = torch.where(torch.isin(ids, torch.tensor(impossible)), V - 2, ids)
        bias = torch.zeros(V).index_fill(0, torch.tensor(impossible), -torch.inf)
        logp, entropy, *_ = ChunkedLogProbFunction.apply(h, W, bias, ids, 1.0, 16, None, 1.0, ("entropy",))
        assert entropy.isnan().all()
        assert logp.isnan().all() if logp_too else logp.isfinite().all()
        assert not torch.autograd.grad(logp.sum() + entropy.sum(), h)[0].isfinite().any()

        def ours(W: Tensor, bias: Tensor, ids: Tensor, h: Tensor = h) -> list[Tensor]:
            logp, entropy = linear_token_logprobs(h, W, ids, bias=bias, entropy=True)
            assert entropy is not None
            gradient = torch.autograd.grad(logp.sum() + entropy.sum(), h)[0]
            return [logp.detach(), entropy.detach(), gradient]

        kept = bias.isfinite()
        fewer = ours(W[kept], bias[kept], (kept.cumsum(0) - 1)[ids])
        assert_close(fewer, ours(W, bias, ids), SINGLE, impossible)


# --- reward functions ---------------------------------------------------------------------------------

GIVEN: list[dict[str, Any]] = []


def record(**arguments: Any) -> list[float]:
    """A reward function that keeps what it is given."""
    GIVEN.append(arguments)
    return [0.0] * len(arguments["completions"])


def theirs_to(function: Any, inputs: RewardInputs) -> Tensor:
    """What `GRPOTrainer` gives a reward function, and makes of its rewards, for the rows of our rollout."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    rollout, is_chat = inputs.rollout, inputs.rollout.problems[0].is_chat
    pairs = [(p, c) for p, group in zip(rollout.problems, rollout.completions, strict=True) for c in group]
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(device="cpu", is_main_process=True),
        args=SimpleNamespace(report_to=[]),
        state=SimpleNamespace(global_step=3, max_steps=12),
        reward_funcs=[function],
        reward_processing_classes=[None],
        reward_func_names=["f"],
        environments=None,
        _log_completion_extra=None,
        _log_metric=None,
    )
    # The prompt is the one that the policy reads: the task makes it of the question.
    texts = [inputs.task.prompt(problem) for problem, _ in pairs]
    prompts = [[{"role": "user", "content": text}] if is_chat else text for text in texts]
    said = [[{"role": "assistant", "content": c.text}] if is_chat else c.text for _, c in pairs]
    rows = [dict(problem.columns) for problem, _ in pairs]
    ids = [completion.ids.tolist() for _, completion in pairs]
    calculate = GRPOTrainer._calculate_rewards.__wrapped__
    return calculate(trainer, rows, prompts, said, ids)


def rollout_of_rows(rows: list[dict[str, Any]], texts: list[list[str]]) -> RewardInputs:
    """A rollout over the problems of a file, with the texts as completions."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "rows.jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        task = WordProblems(TaskOptions(task="word_problems", dataset=str(path), eval_size=0), seed=0)
    completions = [[completion(text) for text in group] for group in texts]
    rollout = Rollout(list(task.problems), [[1]] * len(rows), completions, [[None] * 2] * len(rows))
    return RewardInputs(task, rollout, [], RewardOptions(), 0, TrainerState(3, 12), max_completion_length=9)


def rows_of(*prompts: Any) -> list[dict[str, Any]]:
    return [{"prompt": prompt, "solution": "13", "level": ["a", "b"]} for prompt in prompts]


ASKED = ["Ann has 5 pens and gets 8 more. How many?", "Bob has 5 pens and gets 8 more. How many?"]
FORMS = [ASKED, [[{"role": "user", "content": text}] for text in ASKED]]


def check_arguments_of_reward_functions() -> None:
    """Texts where the prompts are texts, messages where they are messages; the same names and values."""
    for prompts in FORMS:
        inputs = rollout_of_rows(rows_of(*prompts), [["a", "bb"], ["", "d"]])
        GIVEN.clear()
        user_reward(f"{__name__}.record")(inputs)
        theirs_to(record, inputs)
        mine, theirs = GIVEN
        assert mine.keys() == theirs.keys(), mine.keys() ^ theirs.keys()
        for name in mine.keys() - {"trainer_state", "log_extra", "log_metric"}:
            assert mine[name] == theirs[name], name
        state = mine["trainer_state"]
        assert (state.global_step, state.max_steps) == (3, 12)


def check_form_of_prompts() -> None:
    from trl.data_utils import is_conversational

    message = {"role": "user", "content": "x"}
    for prompt in ("text", "", None, [message], [{"content": "x"}], ["x"], {"role": "user"}, 3):
        assert holds_messages(prompt) == is_conversational({"prompt": prompt}), prompt


def check_their_reward_functions() -> None:
    """The reward functions that TRL ships give the same rewards here, by their dotted path."""
    texts = [[r"So \boxed{13}", r"\boxed{12}"], ["<think>\nx\n</think>\n\\boxed{13}", "13"]]
    inputs = rollout_of_rows(rows_of(*FORMS[1]), texts)
    for name in ("accuracy_reward", "reasoning_accuracy_reward", "think_format_reward"):
        mine = user_reward(f"trl.rewards.{name}")(inputs).flatten()
        theirs = theirs_to(getattr(importlib.import_module("trl.rewards"), name), inputs).flatten()
        assert torch.equal(mine, theirs) and mine.unique().numel() == 2, (name, mine, theirs)
    assert inputs.log.columns["accuracy_reward/solution"] == ["13"] * 4


# --- a whole step ----------------------------------------------------------------------------------


def check_gradients_of_a_step() -> None:
    """A real GRPOTrainer has the gradient of our learner, however it pads and splits the rows."""
    vocabulary = 70
    rows = make_rows(4, vocabulary)
    _, mine = make_trainer(OURS, rows, vocabulary).gradients()
    for variant in VARIANTS:
        if variant.micro in (1, 2, 4):
            _, theirs = make_trainer(variant, rows, vocabulary).gradients()
            assert difference(mine, theirs) < MOST_DIFFERENCE, variant


CHECKS: Checks = {f"loss-{name}": partial(check_losses, name) for name in LOSS_TYPES}
CHECKS |= {
    "entropy-bonus": check_entropy_bonus,
    "entropy-bonus-of-some-tokens": check_entropy_bonus_of_some_tokens,
    "quantile-at-a-token": check_quantile_at_a_token,
    "ratio-without-bound": check_ratio_without_bound,
    "reward-arguments": check_arguments_of_reward_functions,
    "reward-form-of-prompts": check_form_of_prompts,
    "rewards-of-trl": check_their_reward_functions,
    "head": check_head_and_its_scalings,
    "head-outputs": check_outputs_of_the_head,
    "head-outputs-of-a-model": check_outputs_of_a_model,
    "head-impossible-logits": check_impossible_logits,
    "step-gradients": check_gradients_of_a_step,
}
