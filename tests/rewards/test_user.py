"""Reward functions of the user: what they are given, and what is said of one that is wrong."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dupo import plugins
from dupo.config.config import Config
from dupo.config.options import RewardOptions
from dupo.errors import UserError
from dupo.records import Problem, Rollout
from dupo.rewards import load_rewards, weighted_sum
from tests.helpers.rollouts import completion, inputs_of

SOURCE = '''
import asyncio, itertools, json, sys
import numpy as np
import torch

def length(prompts, completions, completion_ids, **columns):
    assert prompts == ["#321+654="] * 2 + ["#005-123="] * 2 and completion_ids == [[1]] * 4
    pairs = zip(completions, columns["level"], strict=True)
    return [len(text) + int(level or 0) for text, level in pairs]

def silent(prompts, completions, completion_ids, **columns):
    return [None, 1.0, None, 2.0]

def failing(prompts, completions, completion_ids, **columns):
    raise KeyError("no such thing")

def texts(prompts, completions, completion_ids, **columns):
    return ["good"] * 4

def short(prompts, completions, completion_ids, **columns):
    return [1.0]

def infinite(prompts, completions, completion_ids, **columns):
    return [float("inf")] * 4

def cancelled(**_): raise asyncio.CancelledError
def digits(**_): return ["1"] * 4
def huge(**_): return [0, 0, 0, 1e39]
def endless_digits(**_): return [0, 10**400, 0, 0]
def undefined(**_): return [0, 0, float("nan"), 0]
def keys(**_): return {1: 2, 3: 4, 5: 6, 7: 8}
def nothing(**_): pass
def leaving(**_): sys.exit(0)
def interrupted(**_): raise KeyboardInterrupt
def endless(**_): return itertools.repeat(1.0)
def failing_late(**_): return (1 / 0 for _ in range(4))
def failing_in_a_library(**_): return json.loads("{")

def scalars(**_): return [True, np.float32(0.5), torch.tensor(0.25), np.int64(-3)]
def array(**_): return np.array([1, 0.5, 0.25, -3])
def tensor(**_): return torch.tensor([1, 0.5, 0.25, -3], dtype=torch.float64)

def greedy(prompts, completions, completion_ids, columns_seen=[], **columns):
    """Changes everything that it is given."""
    columns = {name: values for name, values in columns.items() if isinstance(values, list)}
    columns_seen.append(repr((prompts, completions, completion_ids, columns)))
    prompts.reverse()
    completions.clear()
    for ids in completion_ids:
        ids.sort(reverse=True)
        ids.append(7)
    for values in columns.values():
        for value in values:
            if isinstance(value, list):
                value.append("more")
        values.clear()
    assert len(set(columns_seen)) == 1, "the arguments changed from call to call"
    return [1, 2, 3, 4]
'''
MODULE = "own_rewards_of_a_test"


@pytest.fixture
def rollout(tmp_path, monkeypatch):
    """A module of the user in the working folder, and a rollout whose data set has a column `level`."""
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    problems = [
        Problem("a", "#321+654=", columns={"level": "10", "prompts": "not these", "steps": [["2"], "1"]}),
        Problem("b", "#005-123="),
    ]
    completions = [[completion(text) for text in group] for group in (["x", "xx"], ["xxx", ""])]
    return Rollout(problems, [[1]] * 2, completions, [[None] * 2] * 2)


def summed(rollout, *options):
    inputs = inputs_of(rollout, *options, ask=None)
    return weighted_sum(load_rewards(Config(reward=inputs.options)), inputs)


def test_a_function_of_the_user_sees_what_trl_gives_it(rollout):
    rewards, metrics = summed(rollout, "--reward", f"{MODULE}.length")
    assert rewards.tolist() == [[11, 12], [3, 0]]
    assert metrics["rewards/length/mean"] == pytest.approx(26 / 4)


def test_none_says_nothing(rollout):
    names = f"{MODULE}.length,{MODULE}.silent"
    rewards, metrics = summed(rollout, "--reward", names, "--reward_weights", "1,10")
    assert rewards.tolist() == [[11, 22], [3, 20]]
    assert metrics["rewards/silent/mean"] == 1.5  # of the completions that it says something about


def test_a_function_that_is_wrong_is_named(rollout):
    for name, words in (
        ("failing", "failed: KeyError: 'no such thing' .*own_rewards_of_a_test.py, line"),
        ("texts", "expected 4 numbers .* or None, one a completion, number 1 is 'good'"),
        ("cancelled", "failed: CancelledError"),
        ("digits", "number 1 is '1'"),
        ("short", "expected 4 numbers .*, one a completion, got 1"),
        ("endless", "expected 4 numbers .*, one a completion, got more"),
        ("infinite", "number 1 is inf"),
        ("huge", r"numbers from -1e\+15 to 1e\+15 or None, one a completion, number 4 is 1e\+39"),
        ("endless_digits", "number 2 is 1000"),
        ("undefined", "number 3 is nan"),
        ("keys", "got {1: 2, 3: 4, 5: 6, 7: 8}"),
        ("nothing", "got None"),
        ("leaving", "failed: SystemExit: 0 .*own_rewards_of_a_test.py, line"),
        ("failing_late", "failed: ZeroDivisionError: division by zero .*own_rewards_of_a_test.py, line"),
        ("failing_in_a_library", "failed: JSONDecodeError: .*own_rewards_of_a_test.py, line"),
    ):
        with pytest.raises(UserError, match=f"{MODULE}.{name}:? .*{words}"):
            summed(rollout, "--reward", f"{MODULE}.{name}")
    with pytest.raises(UserError, match="reward"):
        summed(rollout, "--reward", f"{MODULE}.absent")


@pytest.mark.parametrize("name", ["scalars", "array", "tensor"])
def test_numbers_of_every_library_are_read(rollout, name):
    rewards, _ = summed(rollout, "--reward", f"{MODULE}.{name}")
    assert rewards.tolist() == [[1, 0.5], [0.25, -3]]


def test_a_function_gets_copies(rollout):
    """A function that changes its arguments sees the same arguments at the next call, and so does the run."""
    before = repr(rollout)
    for _ in range(2):
        rewards, _ = summed(rollout, "--reward", f"{MODULE}.greedy")
        assert rewards.tolist() == [[1, 2], [3, 4]]
    assert repr(rollout) == before


def test_ctrl_c_inside_a_function_stays_ctrl_c(rollout):
    with pytest.raises(KeyboardInterrupt):
        summed(rollout, "--reward", f"{MODULE}.interrupted")


def test_a_module_that_ends_the_program_is_refused(tmp_path, monkeypatch):
    (tmp_path / "leaving_at_import.py").write_text("import sys\nsys.exit(0)")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^reward: expected a module to import, .*, got SystemExit: 0"):
        load_rewards(Config(reward=RewardOptions(reward="leaving_at_import.f")))


def test_a_weighted_sum_stays_within_float32(rollout):
    with pytest.raises(UserError, match=r"^reward_weights: expected sums of at most 1e\+15, got 4e\+15"):
        summed(rollout, "--reward", f"{MODULE}.greedy", "--reward_weights", "1e15")


SLOW = '''
import asyncio, re, time


def looping(completions, **kwargs):
    while True:
        pass


def sleeping(completions, **kwargs):
    time.sleep(60)


def searching(completions, **kwargs):
    re.fullmatch("(a|a)*b", "a" * 60)


async def waiting(completions, **kwargs):
    await asyncio.sleep(60)


def generating(completions, **kwargs):
    return (time.sleep(60) for _ in completions)


def swallowing(completions, **kwargs):
    """Takes every error for one of its own, once: the second is not swallowed."""
    try:
        time.sleep(60)
    except BaseException:
        pass
    time.sleep(60)


def alarming(completions, **kwargs):
    """Uses the alarm of the system itself, as math-verify does."""
    import signal
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    time.sleep(60)


def quick(completions, **kwargs):
    return [1.0] * len(completions)
'''
HANGING = ["looping", "sleeping", "searching", "waiting", "generating", "swallowing", "alarming"]


@pytest.mark.parametrize("name", HANGING)
def test_a_function_that_hangs_is_ended_and_named(rollout, tmp_path, monkeypatch, name):
    monkeypatch.setattr(plugins, "AGAIN_SECONDS", 0.05)
    (tmp_path / "hanging_rewards_of_a_test.py").write_text(SLOW)
    before = signal.getsignal(signal.SIGVTALRM)
    start = time.monotonic()
    expected = r"hanging_rewards.*: expected an answer within 0.2 s \(--reward_timeout\), got none \(.*, line"
    with pytest.raises(UserError, match=expected):
        summed(rollout, "--reward", f"hanging_rewards_of_a_test.{name}", "--reward_timeout", "0.2")
    assert time.monotonic() - start < 10
    # The next function is not ended by the limit of this one.
    assert signal.getsignal(signal.SIGVTALRM) == before
    assert not any(thread.name.startswith("time limit") for thread in threading.enumerate())
    summed(rollout, "--reward", "hanging_rewards_of_a_test.quick", "--reward_timeout", "0.2")


def test_no_limit_is_a_choice_and_elsewhere_than_in_the_main_thread_there_is_none(rollout):
    assert summed(rollout, "--reward", f"{MODULE}.length", "--reward_timeout", "none")[0].sum() == 26
    with ThreadPoolExecutor(1) as threads:
        values = threads.submit(summed, rollout, "--reward", f"{MODULE}.length").result()[0]
    assert values.sum() == 26
