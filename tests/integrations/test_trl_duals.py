"""Duals under TRL's GRPOTrainer, beside a trainer that has what the rollout touches, and no TRL."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from dupo.errors import UserError
from dupo.integrations.duals import Duals, load_duals
from dupo.integrations.trl import dual_rollout
from dupo.integrations.trl.frozen_judge import FrozenJudge, at_temperature
from tests.helpers.stub_server import MODEL, StubServer, serving

PROBLEMS = '{"question": "Ann has 12 pens and buys 30 more. How many pens has Ann now?"}\n'


@pytest.fixture
def duals(tmp_path: Path) -> Duals:
    path = tmp_path / "problems.jsonl"
    path.write_text(PROBLEMS)
    return load_duals(task="word_problems", dataset=str(path), eval_size=0)


def say(prompt: str) -> str:
    """The hidden number, if the dual is of the answer 42."""
    numbers = set(re.findall(r"\d+", prompt))
    hidden = {"12", "30"} - numbers
    return rf"\boxed{{{hidden.pop()}}}" if hidden and "42" in numbers else "no idea"


class Trainer:
    """Answers primal prompts with the given texts in turn, and duals by `say`; one id a character.

    Attributes:
        asked: the prompts of every call of the engine, with its temperature.
        most: the largest number of dual prompts of all ranks.
    """

    def __init__(
        self, answers: list[str], *, most: int = 0, use_vllm: bool = False, opening: str = ""
    ) -> None:
        self.answers, self.most, self.use_vllm, self.opening = answers, most, use_vllm, opening
        self.asked: list[tuple[list[str], Any]] = []
        self.model = SimpleNamespace(training=True)
        self.num_generations, self.num_generations_eval = 2, 1
        self.generation_config = GenerationConfig(do_sample=True, temperature=0.7, top_k=5, max_new_tokens=9)
        self.vllm_generation = SimpleNamespace(temperature=0.7)
        self.accelerator = SimpleNamespace(
            device="cpu", gather=lambda n: torch.stack([n, torch.tensor(most)])
        )
        self.processing_class = SimpleNamespace(
            decode=lambda ids: "".join(map(chr, ids)),
            batch_decode=lambda rows, skip_special_tokens: ["".join(map(chr, ids)) for ids in rows],
        )

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        texts = [text if isinstance(text, str) else f"<user>{text[-1]['content']}" for text in prompts]
        return [list(map(ord, text + self.opening)) for text in texts], None, {}

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: None, fields: dict[str, Any], num_generations: int
    ) -> tuple[list[list[int]], None]:
        texts = ["".join(map(chr, ids)) for ids in prompt_ids]
        config = self.generation_config
        own = config.temperature if config.do_sample else 0
        self.asked.append((texts, self.vllm_generation.temperature if self.use_vllm else own))
        is_primal = len(self.asked) == 1
        replies = self.answers if is_primal else [say(text) for text in texts]
        return [list(map(ord, text)) for text in replies], None


ANSWERS = [r"\boxed{42}", r"\boxed{41}", "no idea", r"so \boxed{42}"]


@pytest.mark.parametrize("is_chat", [False, True])
@pytest.mark.parametrize("use_vllm", [False, True])
def test_every_different_answer_is_asked_once_and_greedily(
    duals: Duals, is_chat: bool, use_vllm: bool
) -> None:
    rollout, reward = dual_rollout(duals, judge="policy")
    trainer, prompt = Trainer(ANSWERS, use_vllm=use_vllm), duals.prompts[0]
    asked = [{"role": "user", "content": prompt}] if is_chat else prompt
    assert rollout is not None
    output = rollout([asked] * 4, trainer)
    rewards = reward(prompts=[asked] * 4, completions=ANSWERS, **output)
    assert rewards == [1, 0, 0, 1]
    (primal, hot), (questions, cold) = trainer.asked
    assert (hot, cold) == (0.7, 0) and len(primal) == 4 and len(set(questions)) == len(questions) == 4
    assert all(text.startswith("<user>") == is_chat for text in questions)
    # What the trainer samples next is as before.
    assert trainer.generation_config.do_sample and trainer.generation_config.top_k == 5
    assert trainer.vllm_generation.temperature == 0.7
    assert output["prompt_ids"] == trainer._tokenize_prompts([asked] * 4)[0] and output["logprobs"] is None
    assert ["".join(map(chr, ids)) for ids in output["completion_ids"]] == ANSWERS


def test_every_rank_asks_as_often_as_the_one_with_most(duals: Duals) -> None:
    rollout, reward = dual_rollout(duals, judge="policy", samples=2)
    assert rollout is not None
    trainer = Trainer(ANSWERS, most=11)
    output = rollout(duals.prompts * 4, trainer)
    assert reward(prompts=[""] * 4, completions=ANSWERS, **output) == [1, 0, 0, 1]
    # Eight samples of its own, in calls of at most as many as there are completions.
    assert [len(texts) for texts, _ in trainer.asked] == [4, 4, 4, 3]
    assert {temperature for _, temperature in trainer.asked[1:]} == {1.0}
    nothing = Trainer(["no idea"] * 4, most=3)
    assert rollout(duals.prompts * 4, nothing)["dual_reward"] == [0.0] * 4
    assert [len(texts) for texts, _ in nothing.asked] == [4, 3]


def test_a_thought_that_the_template_opens_is_no_answer(duals: Duals) -> None:
    rollout, _ = dual_rollout(duals, judge="policy")
    texts = [r"\boxed{42} maybe", r"\boxed{41}? </think> \boxed{42}"]
    assert rollout is not None
    output = rollout(duals.prompts * 2, Trainer(texts, opening="<think>\n"))
    assert [prompt is None for prompt in output["dual_prompt"]] == [True, False]


def test_one_dual_of_each_completion_is_logged(duals: Duals) -> None:
    rollout, reward = dual_rollout(duals, judge="policy")
    metrics, columns = dict[str, float](), dict[str, list[Any]]()
    assert rollout is not None
    output = rollout(duals.prompts * 4, Trainer(ANSWERS))
    logs = {"log_metric": metrics.__setitem__, "log_extra": columns.__setitem__}
    reward(prompts=duals.prompts * 4, completions=ANSWERS, **output, **logs)
    assert metrics == {"dual/asked_rate": 0.75}
    assert [prompt is None for prompt in columns["dual_prompt"]] == [False, False, True, False]
    assert columns["dual_reply"][1:3] == ["no idea", None]


def test_a_server_judges_what_trl_samples_itself(duals: Duals) -> None:
    with serving(StubServer(lambda prompt, seed: say(prompt))) as server:
        rollout, reward = dual_rollout(duals, judge=f"{server.url}#{MODEL}")
        assert rollout is None
        rewards = reward(prompts=duals.prompts * 4, completions=ANSWERS, completion_ids=[[1]] * 4)
        _, behind = dual_rollout(duals, judge=f"{server.url}#{MODEL}", opens_thought=True)
        texts = [r"try \boxed{42}", r"so</think> \boxed{42}"]
        assert behind(prompts=duals.prompts * 2, completions=texts) == [0, 1]
    assert rewards == [1, 0, 0, 1]
    # The most tokens of the task at hand, and not of the built-in one.
    assert {body["max_tokens"] for body in server.asked} == {duals.config.rollout.max_completion_length}
    assert duals.config.rollout.max_completion_length > 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"judge": "live"}, "judge: expected policy, frozen or the address of a server, got 'live'"),
        ({"judge": 3}, "judge: expected policy, frozen or the address of a server, got 3"),
        ({"opens_thought": True}, "opens_thought: expected nothing for the judge frozen, which reads"),
        ({"samples": 0}, "samples: expected a whole number of at least 1, got 0"),
        ({"samples": 1.5}, "samples: expected a whole number of at least 1, got 1.5"),
        ({"temperature": float("nan")}, "temperature: expected a number, got nan"),
        ({"temperature": -1.0}, "temperature: expected 0 or more, got -1"),
        ({"samples": 2, "temperature": 0.0}, "temperature: expected more than 0 for 2 samples"),
    ],
)
def test_what_cannot_be_is_refused(duals: Duals, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        dual_rollout(duals, **options)


def test_the_name_of_a_task_is_no_duals() -> None:
    with pytest.raises(UserError, match="duals: expected what load_duals gives, got 'arithmetic'"):
        dual_rollout("arithmetic")  # pyright: ignore[reportArgumentType]


# --- the frozen judge ---


def test_a_second_trainer_gets_a_judge_of_its_own(duals: Duals, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[Any] = []

    class Judge:
        def __init__(self, trainer: Any) -> None:
            self.trainer = trainer

        def sample(self, trainer: Any, prompt_ids: list[list[int]], temperature: float) -> list[list[int]]:
            judged.append(self.trainer is trainer)
            return [[] for _ in prompt_ids]

    monkeypatch.setattr(FrozenJudge, "of", Judge)
    rollout, _ = dual_rollout(duals, judge="frozen")
    assert rollout is not None
    for _ in range(2):
        rollout(duals.prompts * 4, Trainer(ANSWERS))
    assert judged == [True, True]


def small_trainer() -> Any:
    """A trainer around a real model, whose forward is wrapped as TRL and accelerate wrap it."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 13, "hidden_size": 8, "intermediate_size": 8}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}
    sizes["num_hidden_layers"] = 1
    model = Qwen3ForCausalLM(Qwen3Config(**sizes, **heads, initializer_range=0.5))
    stock = model.forward
    model.forward = lambda *args, **kwargs: stock(*args, **kwargs)
    config = GenerationConfig(
        max_new_tokens=7, eos_token_id=[1, 2], pad_token_id=0, temperature=0.7, do_sample=True
    )
    accelerator = SimpleNamespace(unwrap_model=lambda wrapped: wrapped, autocast=torch.no_grad)
    return SimpleNamespace(
        model=model,
        accelerator=accelerator,
        state=SimpleNamespace(global_step=0),
        generation_config=config,
        processing_class=SimpleNamespace(pad_token_id=0),
    )


def greedy(model: Any, ids: list[int]) -> list[int]:
    """Token by token, up to an end."""
    sampled: list[int] = []
    while len(sampled) < 7 and (not sampled or sampled[-1] not in (1, 2)):
        logits = model(torch.tensor([ids + sampled])).logits
        sampled.append(int(logits[0, -1].argmax()))
    return sampled


def test_the_frozen_judge_answers_as_before_the_training() -> None:
    trainer, prompts = small_trainer(), [[3, 4, 5], [6], [7, 8]]
    before = [greedy(trainer.model.eval(), ids) for ids in prompts]
    trainer.model.train()
    judge = FrozenJudge.of(trainer)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in trainer.model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.5)
    trainer.state.global_step = 5
    assert [greedy(trainer.model.eval(), ids) for ids in prompts] != before
    assert judge.sample(trainer, prompts, 0.0) == before
    drawn = [judge.sample(trainer, prompts, 2.0) for _ in range(4)]
    assert len({str(rows) for rows in drawn}) > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": SimpleNamespace(global_step=3)}, "got one at step 3; give the address of a server"),
        ({"is_fsdp_enabled": True}, "expected a model that is whole on every rank"),
        ({"is_deepspeed_enabled": True}, "expected a model that is whole on every rank"),
    ],
)
def test_a_model_that_cannot_be_frozen_is_refused(change: dict[str, Any], message: str) -> None:
    trainer = small_trainer()
    vars(trainer).update(change)
    with pytest.raises(UserError, match=re.escape(message)):
        FrozenJudge.of(trainer)


def test_an_adapter_that_training_continues_is_frozen_too() -> None:
    """A model without such an adapter is not what the training began with."""
    trainer = small_trainer()
    trainer.model.peft_config = {"default": None}
    trainer.model.lora_B = torch.nn.Linear(2, 2, bias=False)
    assert FrozenJudge.of(trainer).model is not None
    torch.nn.init.zeros_(trainer.model.lora_B.weight)
    assert FrozenJudge.of(trainer).model is None
    # Whether the adapter was new cannot be told after a step.
    trainer.state.global_step = 1
    with pytest.raises(UserError, match="got one at step 1"):
        FrozenJudge.of(trainer)
    trainer.model.peft_config["ref"] = None
    assert FrozenJudge.of(trainer).model is None


def test_the_settings_of_the_trainer_stay() -> None:
    config = GenerationConfig(do_sample=True, temperature=0.7, top_k=5, max_new_tokens=9)
    cold, hot = at_temperature(config, 0), at_temperature(config, 1.5)
    assert (cold.do_sample, cold.top_k, cold.max_new_tokens) == (False, None, 9)
    assert (hot.do_sample, hot.temperature, hot.top_k) == (True, 1.5, 5)
    assert (config.do_sample, config.temperature, config.top_k) == (True, 0.7, 5)
