"""What the two parts of bench/gpu_train.sh do, the most important first.

    1   tokens a second of each engine, at few and at many rows
    2   what new weights cost each engine; one whole step of the trainer, by phase and by kernel

Each engine is a step of its own: one that is not installed, or that takes its process down, costs no other
its figures.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from bench.loss_head.gpu_parts import AnyStep
from bench.loss_head.harness import Timer, peak_extra
from bench.loss_head.measurement import Fact
from bench.loss_head.profiles import spent
from bench.training.model import FULL, TINY, Size, make_model, make_tokenizer, prompt_tokenizer, prompts
from dupo.config.vllm_options import VllmOptions
from dupo.engines.base import Engine, Sampling
from dupo.engines.builtin import BuiltinEngine
from dupo.engines.continuous import ContinuousEngine
from dupo.engines.vllm import VllmEngine
from dupo.engines.vllm_instance import VllmInstance
from dupo.models.load import Model
from dupo.text.tokenizer import PromptTokenizer

TURNS = 3  # of each measurement; the median is told
WARM_UP = 40  # tokens, in which kernels are compiled and graphs are made
COUNTS = ("completions/mean_length", "num_tokens", "loss", "grad_norm")  # of metrics.jsonl
Make = Callable[[Model, PromptTokenizer], Engine]


def _vllm(model: Model, tokenizer: PromptTokenizer) -> Engine:
    return VllmEngine(model, tokenizer, VllmInstance(model, VllmOptions(), dtype="auto", seed=0))


ENGINES: dict[str, Make] = {
    "builtin, slots": lambda model, tokenizer: BuiltinEngine(model, tokenizer, as_on_gpu=True),
    "builtin, batches": lambda model, tokenizer: BuiltinEngine(model, tokenizer, as_on_gpu=False),
    "transformers": lambda model, tokenizer: ContinuousEngine(
        model, tokenizer, dtype="auto", max_concurrent_sequences=1024
    ),
    "vllm": _vllm,
}


def parts(tiny: bool) -> dict[int, list[AnyStep]]:
    """The steps of each part; for a rehearsal of a tiny model, in the same order and of the same code."""
    size = TINY if tiny else FULL
    decoding: list[AnyStep] = [
        Decoding(engine, rows, False, size) for engine in ENGINES for rows in size.rows
    ]
    # The judge at one number of rows: what is cast at every token does not depend on them.
    decoding += [Decoding(engine, size.rows[1], True, size) for engine in ENGINES]
    updates: list[AnyStep] = [NewWeights(engine, size) for engine in ENGINES]
    return {1: decoding, 2: [WholeStep(size), *updates]}


@dataclass(frozen=True)
class Decoding:
    """Tokens a second of an engine.

    Attributes:
        rows: completions of different prompts, all at once.
        frozen: a judge, whose weights an engine may keep rounded; else a policy in training.
    """

    engine: str
    rows: int
    frozen: bool
    size: Size
    interpreted = False

    @property
    def name(self) -> str:
        """Name of the step."""
        return f"decoding-{self.engine.replace(', ', '-')}-{self.rows}-{'judge' if self.frozen else 'policy'}"

    def run(self, timer: Timer) -> Iterator[list[Fact]]:
        """One fact: tokens a second, seconds a token, and memory at the peak beyond the weights."""
        timer.on_variant(self.engine)
        model = make_model(self.size, timer.device).requires_grad_(not self.frozen)
        engine = ENGINES[self.engine](model, prompt_tokenizer(self.size))
        asked, sampling = prompts(self.size, self.rows), Sampling(1.0, self.size.completion)
        engine.sample(asked, 1, Sampling(1.0, min(WARM_UP, self.size.completion)), seed=0)
        seconds, tokens = [], 0
        for turn in range(1, TURNS + 1):
            started = time.perf_counter()
            completions = engine.sample(asked, 1, sampling, seed=turn)
            seconds.append(time.perf_counter() - started)
            tokens = sum(len(group[0].ids) for group in completions)
        _, extra = peak_extra(lambda: engine.sample(asked, 1, Sampling(1.0, 2), seed=0), timer.device)
        median = statistics.median(seconds)
        values = {
            "rows": self.rows,
            "tokens_per_second": tokens / median,
            "ms_per_token": 1e3 * median * self.rows / tokens,
            "fastest_s": min(seconds),
            "slowest_s": max(seconds),
            "peak_extra_mib": extra / 2**20,
        }
        yield [Fact(self.name, "decoding", values)]


@dataclass(frozen=True)
class NewWeights:
    """What an engine costs that has to take the weights of an optimizer step before it samples."""

    engine: str
    size: Size
    interpreted = False

    @property
    def name(self) -> str:
        """Name of the step."""
        return f"new-weights-{self.engine.replace(', ', '-')}"

    def run(self, timer: Timer) -> Iterator[list[Fact]]:
        """One fact: seconds to draw one token with new weights, and with those of before."""
        timer.on_variant(self.engine)
        model = make_model(self.size, timer.device)
        engine = ENGINES[self.engine](model, prompt_tokenizer(self.size))
        asked, sampling = prompts(self.size, 1), Sampling(1.0, 1)
        seconds: dict[str, list[float]] = {"new": [], "same": []}
        for turn in range(TURNS + 2):
            for kind in seconds:
                if kind == "new":
                    with torch.no_grad():
                        for weight in model.parameters():
                            weight.mul_(1.001)
                timer.wait()
                started = time.perf_counter()
                if kind == "new":
                    engine.load_weights(model)
                engine.sample(asked, 1, sampling, seed=turn)
                timer.wait()
                # Engines compare their log-probs with the learner's at the start and after the first update.
                if turn >= 2:
                    seconds[kind].append(time.perf_counter() - started)
        values = {f"{kind}_weights_s": statistics.median(times) for kind, times in seconds.items()}
        yield [Fact(self.name, "weights", values)]


@dataclass(frozen=True)
class WholeStep:
    """One step of the trainer with random rewards: its phases, its longest kernels, its memory.

    A dual costs what a completion of its length costs; random weights give no answer that could be asked.
    """

    size: Size
    interpreted = False
    name = "whole-step"

    def run(self, timer: Timer) -> Iterator[list[Fact]]:
        """Two facts: seconds of each phase without a profiler, and the profile of the step after."""
        from dupo.api import train_steps

        timer.on_variant("train")
        on_gpu, size = timer.device.type == "cuda", self.size
        with tempfile.TemporaryDirectory() as folder:
            base, run = Path(folder, "model"), Path(folder, "run")
            make_model(size, torch.device("cpu")).save_pretrained(base)
            make_tokenizer(size).save_pretrained(base)
            questions = [
                {"question": f"Ann has {i} pens and {i + 7} pears."} for i in range(4 * size.prompts)
            ]
            options: dict[str, Any] = dict(
                generation_batch_size=size.prompts * size.generations,
                num_generations=size.generations,
                max_completion_length=size.completion,
            )
            steps = train_steps(
                task="word_problems", dataset=questions, model_name_or_path=str(base), output_dir=str(run),
                reward="random", eval_size=0, max_steps=3, save_steps=10, **options,
            )  # fmt: skip
            with steps:
                next(steps)  # kernels are compiled here
                if on_gpu:
                    torch.cuda.reset_peak_memory_stats()
                metrics = next(steps)
                timings = json.loads((run / "timings.jsonl").read_text().splitlines()[-1])
                peak = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None
                counts = {name: metrics[name] for name in COUNTS}
                yield [Fact(self.name, "phases", timings | {"peak_gib": peak} | counts)]
                timer.on_variant("profile")
                activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
                with profile(activities=activities) as trace:
                    next(steps)
                    timer.wait()
                yield [Fact(self.name, "profile", spent(trace, on_gpu))]
