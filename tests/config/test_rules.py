"""The whole config: rules across groups, flat names, and copies with other values."""

import pytest

from dupo.config.command_line import parse
from dupo.config.config import OPTIONS, Config
from dupo.config.options import OptimizerOptions
from dupo.config.rollout_options import RolloutOptions
from dupo.config.task_options import TaskOptions
from dupo.errors import UserError
from tests.helpers.options import RUN, refusal, table

REFUSED = table("""
    --generation_batch_size 510 => generation_batch_size: expected a multiple of num_generations, 4, got 510
    --train_batch_size 100 => train_batch_size: expected a divisor of the completions of a rollout that are \
trained on, 320, got 100
    --num_trained_generations 5 => num_trained_generations: expected at most num_generations, 4, got 5
    --num_trained_generations 2 --train_batch_size 320 => train_batch_size: expected a divisor of the \
completions of a rollout that are trained on, 160, got 320
    --dual_samples 4 => dual_samples: expected 1, as dual_temperature 0 makes all alike, got 4
    --task word_problems => dataset: expected --dataset PATH, which --task word_problems needs, got none
    --dataset a.jsonl => dataset: expected none with --task arithmetic, which makes its own problems \
(--task word_problems reads files), got a.jsonl
    --task conlang --eval_dataset a => eval_dataset: expected none with --task conlang, which makes its own \
problems (--task word_problems reads files), got a
    --task translation --dataset d --src de => tgt: expected another language than src, de, got de
    --reward gild => reward: expected any of dual, gold, majority, soft_vote, self_certainty, entropy, \
random, shuffled, format_only, soft_overlong_punishment, model:FOLDER or package.module.function, \
got 'gild', did you mean gold?
    --reward dual,gold --reward_weights 1 => reward_weights: expected 2 numbers, \
comma-separated, as reward names 2, got '1'
    --reward dual --reward_weights inf => reward_weights: expected finite numbers, got 'inf'
    --reward dual --reward_weights 1e39 => reward_weights: expected 0 or sizes from 1e-15 to 1e+15, \
got '1e39'
    --reward dual --reward_weights 1e-40 => reward_weights: expected 0 or sizes from 1e-15 to 1e+15, \
got '1e-40'
    --learning_rate 1e-3 --weight_decay 1e308 => weight_decay: expected a size of at most 3.4e+38 \
(float32), got 1e+308
    --learning_rate 1e-3 --weight_decay 1000 => weight_decay: expected less than 1 / learning_rate, 1000, \
got 1000.0
    --max_completion_length 999999 --max_concurrent_sequences 2048 => max_concurrent_sequences: expected at \
most 1,073 with completions of 999,999 tokens, as more would fill the memory, got 2048
    --max_completion_length 999999 --generation_batch_size 65536 => generation_batch_size: expected at \
most 8,589 with completions of 999,999 tokens, as more would fill the memory, got 65536
    --reward dual,dual => reward: expected different names, got 'dual,dual'
    --reward a.f,b.f => reward: expected different names, got 'a.f,b.f'
    --dual_model frozn => dual_model: expected frozen, policy, ema, a folder or a Hub name \
(did you mean frozen?), got frozn
    --translation_metric blue => translation_metric: expected bleu, chrf, \
mean or package.module.function, got blue
    --method sft --task word_problems => dataset: expected --dataset FILE with columns prompt and \
completion, as --task word_problems brings no lessons, got none
    --max_completion_length 9 --soft_punish_cache 10 => soft_punish_cache: expected at most \
max_completion_length, 9, got 10
    --method sft --eval_dataset a => eval_dataset: expected none without --dataset, got a
""")  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), REFUSED)
def test_options_that_do_not_go_together_are_refused_in_one_line(argv: str, message: str) -> None:
    assert refusal(*argv.split()) == message


def test_what_is_allowed_at_the_edge() -> None:
    assert refusal("--num_generations=1").startswith("num_generations: expected at least 2, got 1")
    assert parse(["--train_batch_size=1", "--num_generations=2"]).optimizer.train_batch_size == 1
    assert parse(["--dual_samples=4", "--dual_temperature=0.7", "--ema_decay=0"]).duals.dual_samples == 4
    assert parse(["--src=de", "--tgt=de", "--learning_rate=0"]).task.src == "de"  # only translation minds


def test_the_rules_hold_for_configs_made_in_python() -> None:
    with pytest.raises(UserError, match=r"^dataset: expected --dataset PATH"):
        Config(task=TaskOptions(task="word_problems"))
    with pytest.raises(UserError, match=r"^generation_batch_size: expected a multiple of num_generations, 7"):
        Config(rollout=RolloutOptions(num_generations=7))
    with pytest.raises(UserError, match=r"^train_batch_size: expected a divisor"):
        RUN.changed(train_batch_size=100)
    with pytest.raises(UserError, match="epsilon_high: expected a value above 0 for loss_type='cispo'"):
        Config.of(loss_type="cispo")
    # A method is not held to the rules of another method.
    assert Config.of(method="sft", train_batch_size=100).optimizer.train_batch_size == 100
    assert Config.of(method="sft", dataset="pairs.jsonl").task.task == "arithmetic"


def test_flat_names_reach_their_groups() -> None:
    config = Config.of(learning_rate=0.1, num_generations=2, method="sft", seed=3, beta=0.5)
    assert (config.optimizer.learning_rate, config.rollout.num_generations) == (0.1, 2)
    assert (config.method, config.run.seed, config.loss.beta) == ("sft", 3, 0.5)
    assert config.optimizer == OptimizerOptions(learning_rate=0.1)
    assert list(config.flat()) == list(OPTIONS) and config.flat()["learning_rate"] == 0.1
    assert Config.of(**config.flat()) == config
    assert Config.of("audit").program == "audit"
    assert Config.of() == Config().changed(chat_template_date=config.model.chat_template_date)


def test_a_changed_config_is_a_copy() -> None:
    changed = RUN.changed(learning_rate=0.1, method="sft")
    assert (changed.optimizer.learning_rate, changed.method) == (0.1, "sft")
    assert (RUN.optimizer.learning_rate, RUN.method) == (4e-4, "dupo")
    assert changed.rollout is RUN.rollout and changed.program == RUN.program
    assert RUN.changed() == RUN
    # Values that only go together are changed together.
    assert RUN.changed(task="word_problems", dataset="d").task.dataset == "d"


def test_an_unknown_flat_name_is_refused() -> None:
    for build in (Config.of, RUN.changed):
        for name in ("learning_rat", "program_", "optimizer"):
            with pytest.raises(UserError, match=f"^unknown option {name}[:;] "):
                build(**{name: 1})
