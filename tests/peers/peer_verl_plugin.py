"""Checks of dupo.integrations.verl in verl 0.9: what it registers, three updates, and its real classes.

No Ray cluster and no engine: the updates are those of verl's fused forward pass and losses, the agent loop is
verl's own with a server that answers from a function.
"""

import asyncio
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from dupo.errors import UserError
from dupo.integrations.verl import scores
from tests.helpers.policy_cases import LENGTHS, MASK, MAX_LENGTH, B
from tests.helpers.stub_server import StubServer, serving
from tests.peers.judged_problem import PROBLEMS, say, tokenizer
from tests.peers.peer_checks import Checks, assert_close, differentiated, inputs

STEPS, V, T = 3, 131, 24


def settings(**changed: Any) -> Any:
    from verl.workers.config import ActorConfig

    bounds = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.28, "clip_ratio_c": 3.0} | changed
    return ActorConfig(strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, **bounds)


# --- losses ----------------------------------------------------------------------------------------


def updates(loss_mode: str, head: Callable[..., Any]) -> list[tuple[float, float, dict[str, float]]]:
    """Three updates of verl's fused forward pass: loss, norm of the gradient, metrics of each."""
    from verl.models.transformers.monkey_patch import patch_forward_with_backends
    from verl.trainer.ppo import core_algos
    from verl.utils.experimental import torch_functional

    torch.manual_seed(0)
    shape = Qwen3Config(
        vocab_size=V, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, tie_word_embeddings=False, initializer_range=0.2,
    )  # fmt: skip
    model = Qwen3ForCausalLM(shape)
    patch_forward_with_backends(model, use_fused_kernels=True, fused_kernels_backend="torch")
    ids, mask = torch.randint(V, (4, T)), (torch.arange(T)[None] >= 8).long().repeat(4, 1)
    mask[1, 20:] = 0
    advantages = torch.tensor([1.3, -0.7, 0.4, -2.0])[:, None].expand(4, T)
    config, rows = settings(), []
    old = torch.empty(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    stock = torch_functional.FusedLinearForPPO.forward
    torch_functional.FusedLinearForPPO.forward = head
    try:
        for step in range(STEPS):
            out = model(input_ids=ids, temperature=0.9, return_dict=True)
            if step == 0:
                old = out.log_probs.detach().float()
            loss, metrics = core_algos.get_policy_loss_fn(loss_mode)(
                old_log_prob=old, log_prob=out.log_probs.float(), advantages=advantages,
                response_mask=mask, loss_agg_mode="token-mean", config=config,
            )  # fmt: skip
            loss = loss - 0.01 * core_algos.agg_loss(out.entropy, mask, "token-mean")
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rows.append((loss.item(), norm.item(), metrics))
    finally:
        torch_functional.FusedLinearForPPO.forward = stock
    return rows


def check_three_updates() -> None:
    """Our loss on our head, and verl's on verl's: equal to 1e-6, metrics by the same names too."""
    from verl.utils.experimental.torch_functional import FusedLinearForPPO

    from dupo.integrations.verl.head import forward

    stock = STOCK_HEAD
    assert FusedLinearForPPO.forward is forward
    one, other = updates("vanilla", stock), updates("dupo", forward)
    for (loss, norm, metrics), (mine, own_norm, own) in zip(one, other, strict=True):
        assert abs(loss - mine) <= 1e-6 * max(1, abs(loss)), (loss, mine)
        assert abs(norm - own_norm) <= 1e-6 * norm, (norm, own_norm)
        assert own.keys() == metrics.keys()
        assert all(abs(own[name] - metrics[name]) <= 1e-6 for name in own), (own, metrics)
    assert len({loss for loss, _, _ in one}) == STEPS and one[-1][2]["actor/pg_clipfrac"] > 0


def losses_of(name: str, t: dict[str, Tensor], config: Any, **options: Any) -> tuple[list[Tensor], Any]:
    """The loss and its gradient, and the metrics, of what verl calls by that name."""
    from verl.trainer.ppo.core_algos import get_policy_loss_fn

    logp = t["logprobs"].detach().requires_grad_()
    value, metrics = get_policy_loss_fn(name)(
        old_log_prob=t["old_logprobs"], log_prob=logp, advantages=t["advantages"],
        response_mask=MASK.double(), config=config, **options,
    )  # fmt: skip
    return differentiated(value, logp), metrics


def loss_inputs() -> dict[str, dict[str, Tensor]]:
    """Advantages of sequences (GRPO) and of tokens (GAE), and ratios beyond all that verl holds."""
    far = inputs("plain")
    far["old_logprobs"][0, 0] -= 30
    far["old_logprobs"][1] -= 15
    far["old_logprobs"][2] += 30
    return {"sequence": inputs("plain", per_sequence=True), "token": inputs("plain"), "far": far}


def check_losses() -> None:
    """Each registered loss beside verl's own, in float64, with verl's weights of rollouts too."""
    size = {"dp_size": 1, "global_batch_size": B, "batch_num_tokens": int(LENGTHS.sum())}
    pairs = {"dupo": "vanilla", "dupo_gspo": "gspo", "dupo_sapo": "sapo"}
    rollout = torch.rand(MASK.shape, dtype=torch.float64) + 0.5
    for (name, stock), (case, t), weights in product(pairs.items(), loss_inputs().items(), (None, rollout)):
        # verl's SAPO has one mode, whatever it is told; there it divides by lengths + 1e-8.
        modes = ("token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm")
        for mode in ("seq-mean-token-mean",) if name == "dupo_sapo" else modes:
            # verl's GSPO has no dual clip.
            bound = {"clip_ratio_c": 1e6} if name == "dupo_gspo" else {}
            config = settings(tau_pos=1.0, tau_neg=1.05, **bound)
            config.global_batch_info.update(size | {"loss_scale_factor": MAX_LENGTH})
            options = {"loss_agg_mode": mode, "rollout_is_weights": weights}
            (truth, metrics), (found, own) = (losses_of(n, t, config, **options) for n in (stock, name))
            assert_close(found, truth, 1e-7 if name == "dupo_sapo" else 1e-12, (name, mode, case))
            assert own.keys() == metrics.keys()
            # verl counts clipped tokens in float32.
            assert all(abs(own[key] - metrics[key]) <= 1e-6 for key in own), (name, case, own, metrics)
    (value, _), own = losses_of("dupo_vespo", inputs("plain"), settings())
    assert value.isfinite() and own.keys() == metrics.keys()


def check_clip_bound() -> None:
    """A bound that verl's own loss refuses is refused, in one line."""
    for bound in (1.0, 0.5, -3.0):
        config = settings(clip_ratio_c=bound)
        try:
            losses_of("vanilla", inputs("plain"), config)
        except AssertionError:
            pass
        else:
            raise AssertionError(f"verl takes {bound}")
        for name in ("dupo", "dupo_gspo"):
            try:
                losses_of(name, inputs("plain"), config)
            except UserError as error:
                assert str(error) == f"clip_ratio_c: expected more than 1, as in verl, got {bound}", error
            else:
                raise AssertionError(f"{name} takes {bound}")


def check_vanished_tokens() -> None:
    """A sampled token that the policy has no probability for any more gives no NaN."""
    t = inputs("plain")
    t["logprobs"][0, 0] = -torch.inf
    for name in ("dupo", "dupo_gspo", "dupo_sapo"):
        found, _ = losses_of(name, t, settings())
        assert all(tensor.isfinite().all() for tensor in found), name


def check_metrics_skip_padding() -> None:
    """NaN in tokens that do not count reaches neither loss nor metrics."""
    from verl.trainer.ppo.core_algos import get_policy_loss_fn

    t, mask = inputs("plain"), MASK.double()
    t = {name: t[name].masked_fill(~MASK.bool(), torch.nan) for name in ("logprobs", "old_logprobs")}
    _, metrics = get_policy_loss_fn("dupo")(
        old_log_prob=t["old_logprobs"], log_prob=t["logprobs"], advantages=inputs("plain")["advantages"],
        response_mask=mask, config=settings(), loss_agg_mode="seq-mean-token-sum",
    )  # fmt: skip
    assert all(number == number for number in metrics.values()), metrics


# --- rewards ---------------------------------------------------------------------------------------


def check_agent_loop() -> None:
    """verl's own single turn, then the duals of its answer; the output is verl's, with the reward in it."""
    from omegaconf import OmegaConf
    from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, DictConfigWrap
    from verl.workers.rollout.replica import TokenOutput

    from dupo.integrations.verl.agent_loop import DualAgentLoop

    asked: list[tuple[str, float]] = []
    tok = tokenizer()

    class Servers:
        async def generate(self, request_id: str, *, prompt_ids: Any, sampling_params: Any, **_: Any) -> Any:
            text = tok.decode(prompt_ids)
            asked.append((text, sampling_params["temperature"]))
            ids = [*tok.encode(say(text)), 1]
            return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids))

    async def run(prompt_length: int) -> tuple[Any, str]:
        rollout = {"prompt_length": prompt_length, "response_length": 64}
        config = OmegaConf.create({"actor_rollout_ref": {"rollout": rollout}, "data": {}})
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "problems.jsonl")
            path.write_text(PROBLEMS)
            loop = DualAgentLoop(
                trainer_config=DictConfigWrap(config), server_manager=Servers(), tokenizer=tok,
                processor=None, dataset_cls=SimpleNamespace(), data_config=DictConfigWrap(config.data),
                options={"task": "word_problems", "dataset": str(path), "eval_size": 0}, samples=2,
                temperature=0.3,
            )  # fmt: skip
            prompt = loop.duals.prompts[0]
            messages = [{"role": "user", "content": prompt}]
            params = {"temperature": 1.0, "top_p": 1.0, "logprobs": True}
            return await loop.run(params, raw_prompt=np.array(messages, dtype=object)), prompt

    # The prompt of the question fits, and those of its duals do not: verl would cut them from the left.
    longest = len(f"[user]{asyncio.run(run(2000))[1]}[assistant]")
    asked.clear()
    output, prompt = asyncio.run(run(longest))
    assert isinstance(output, AgentLoopOutput)
    assert asked[0] == (f"[user]{prompt}[assistant]", 1.0)
    duals = asked[1:]
    assert len(duals) == 2 * 2 and {temperature for _, temperature in duals} == {0.3}
    assert all(text.startswith("[user]") and len(text) > longest for text, _ in duals)
    assert output.reward_score == 1.0
    exported = output.as_dict()
    assert exported["rm_scores"].sum() == exported["rm_scores"][-1] == 1
    assert exported["extra_fields"]["reward_extra_info"] == {"dual/reward": 1.0}
    assert tok.decode(output.response_ids, skip_special_tokens=True) == say(prompt)


def check_worker() -> None:
    """verl's own worker makes the loop of a YAML file; rows that name another agent are scored by verl."""
    import verl
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf
    from verl import DataProto
    from verl.experimental.agent_loop.agent_loop import AgentLoopWorker, _agent_loop_registry
    from verl.utils.rollout_trace import RolloutTraceConfig
    from verl.workers.rollout.replica import TokenOutput

    asked: list[dict[str, Any]] = []
    tok = tokenizer()

    class Servers:
        async def generate(self, request_id: str, *, prompt_ids: Any, sampling_params: Any, **_: Any) -> Any:
            asked.append(dict(sampling_params))
            # verl's servers take out of the dict what they have read.
            sampling_params.pop("logprobs")
            ids = [*tok.encode(say(tok.decode(prompt_ids))), 1]
            return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids))

    async def verls_own(batch: Any) -> Any:
        return {"reward_score": 0.25, "reward_extra_info": {"acc": 0.25}}

    with tempfile.TemporaryDirectory() as folder:
        path, agents = Path(folder, "problems.jsonl"), Path(folder, "agents.yaml")
        path.write_text(PROBLEMS)
        agents.write_text(
            "- name: dupo_dual\n"
            "  _target_: dupo.integrations.verl.agent_loop.DualAgentLoop\n"
            f"  options: {{task: word_problems, dataset: {path}, eval_size: 0}}\n"
        )
        rollout = "actor_rollout_ref.rollout"
        overrides = [f"{rollout}.name=vllm", f"{rollout}.response_length=48", f"{rollout}.prompt_length=500"]
        overrides += [f"{rollout}.agent.default_agent_loop=dupo_dual"]
        with initialize_config_dir(str(Path(verl.__file__).parent / "trainer/config"), version_base=None):
            config = compose("ppo_trainer", overrides=overrides)
        for entry in OmegaConf.load(agents):
            _agent_loop_registry[entry["name"]] = entry
        RolloutTraceConfig.init("project", "experiment", None, False, None)
        worker = object.__new__(AgentLoopWorker)  # which would load a model's config and tokenizer
        handle = SimpleNamespace(compute_score=SimpleNamespace(remote=verls_own))
        vars(worker).update(
            config=config, rollout_config=config.actor_rollout_ref.rollout, llm_client=Servers(),
            tokenizer=tok, processor=None, dataset_cls=SimpleNamespace(), hf_model_type=None,
            mm_processor_kwargs={}, distillation_enabled=False, tools=[], reward_loop_worker_handles=[handle],
        )  # fmt: skip
        known = scores.shared_duals(
            scores.key_of({"task": "word_problems", "dataset": str(path), "eval_size": 0})
        )
        row = {"raw_prompt": [{"role": "user", "content": known.prompts[0]}], "data_source": "d"}
        for agent, expected, name, asks in (
            (None, 1.0, "dual/reward", 6),
            ("single_turn_agent", 0.25, "acc", 2),
        ):
            columns: dict[str, Any] = row | ({} if agent is None else {"agent_name": agent})
            cells = {column: np.empty(2, dtype=object) for column in columns}
            for column, value in columns.items():
                cells[column][:] = [value, value]
            batch = DataProto.from_dict(tensors={"row": torch.zeros(2, 1)}, non_tensors=cells)
            batch.meta_info = {"validate": agent is not None}
            asked.clear()
            output = asyncio.run(worker.generate_sequences(batch))
            assert output.batch["rm_scores"].sum(-1).tolist() == [expected] * 2
            assert output.meta_info["reward_extra_keys"] == [name]
            assert len(asked) == asks
            # A dual asks for its whole length, of which verl would take the length of a long prompt.
            assert sum(params.get("max_tokens") == 48 for params in asked) == asks - 2


def check_reward_manager() -> None:
    """verl's naive manager awaits `dual_score`, and calls `answer_score`."""
    from verl import DataProto
    from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager

    tok = tokenizer()
    ids = torch.tensor([tok.encode(r"so \boxed{42}")])

    async def scored(compute_score: Any, address: str | None, options: dict[str, Any]) -> Any:
        async def called(**kwargs: Any) -> Any:
            result = compute_score(**kwargs, **options)
            return await result if asyncio.iscoroutine(result) else result

        prompt = scores.shared_duals(tuple(sorted(options.items()))).prompts[0]
        rows = {"data_source": "d", "reward_model": {"ground_truth": ""}, "extra_info": {"prompt": prompt}}
        data = DataProto.from_dict(
            tensors={"responses": ids, "attention_mask": torch.ones_like(ids)},
            non_tensors={name: np.array([value], dtype=object) for name, value in rows.items()},
        )
        manager = NaiveRewardManager(None, tok, called, address, None)
        return await manager.run_single(data)

    with tempfile.TemporaryDirectory() as folder, serving(StubServer(lambda p, seed: say(p))) as server:
        path = Path(folder, "problems.jsonl")
        path.write_text(PROBLEMS)
        options = {"task": "word_problems", "dataset": str(path), "eval_size": 0}
        address = server.url.removeprefix("http://").removesuffix("/v1")
        result = asyncio.run(scored(scores.dual_score, address, options))
        assert result["reward_score"] == 1 and result["reward_extra_info"]["dual/reward"] == 1
        number = asyncio.run(scored(scores.answer_score, None, options))["reward_score"]
        assert number == round(number) > 0


def check_yaml_options() -> None:
    """Lists and tables of the YAML that verl reads are options of dupo."""
    from omegaconf import OmegaConf

    written = OmegaConf.create("{gates: [lines, copy], chat_template_kwargs: {enable_thinking: false}}")
    known = scores.shared_duals(scores.key_of(dict(written)))
    assert known.config.task.gates == "lines,copy"
    assert known.config.model.chat_template_kwargs == '{"enable_thinking": false}'


def check_advantages() -> None:
    """Through verl's registry: those of its GRPO, of the votes."""
    from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, get_adv_estimator_fn

    numbers = torch.tensor([7.0, 5.0, 7.0, 0.0, 9.0, 5.0])
    index, mask = np.array(list("ababab"), dtype=object), torch.ones(6, 3)
    mask[2, 1:] = 0
    rewards = torch.zeros(6, 3)
    rewards[:, -1] = numbers
    votes = {"dupo_majority": [1, 1, 1, 0, 0, 1], "dupo_soft_vote": [2 / 3, 2 / 3, 2 / 3, 0, 1 / 3, 2 / 3]}
    for name, expected in votes.items():
        for scales in (True, False):
            config = {"norm_adv_by_std_in_grpo": scales}
            found, _ = get_adv_estimator_fn(name)(
                token_level_rewards=rewards, response_mask=mask, config=config, index=index
            )
            truth, _ = compute_grpo_outcome_advantage(
                torch.tensor(expected)[:, None].float(), mask, index, norm_adv_by_std_in_grpo=scales
            )
            torch.testing.assert_close(found, truth)
            assert found.abs().max() > 0.1


def _load() -> Any:
    """verl, whose import loads the plugin where dupo is installed; else it is imported. Stock's head."""
    import os

    os.environ["VERL_USE_EXTERNAL_PLUGINS"] = "none"
    from verl.utils.experimental.torch_functional import FusedLinearForPPO

    stock = FusedLinearForPPO.forward
    import dupo.integrations.verl.plugin  # noqa: F401

    assert FusedLinearForPPO.forward is not stock
    return stock


STOCK_HEAD = _load()
CHECKS: Checks = {
    "three-updates": check_three_updates,
    "losses": check_losses,
    "clip-bound": check_clip_bound,
    "vanished-tokens": check_vanished_tokens,
    "metrics-skip-padding": check_metrics_skip_padding,
    "agent-loop": check_agent_loop,
    "worker": check_worker,
    "reward-manager": check_reward_manager,
    "yaml-options": check_yaml_options,
    "advantages": check_advantages,
}
