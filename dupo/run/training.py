"""Everything of a run that is not the method: reading, checking, loading, logging, saving, showing.

`train.train` is the method; it asks a `Session` for the next problems and hands back what came of each step.
What can be wrong with the user's input is found before a model is loaded.
"""

import json
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from dupo.config.options import (
    DUAL_MODELS,
    Config,
    asks_duals,
    config_hash,
    read_config,
    resume_differences,
    to_yaml,
)
from dupo.duality.judge import ask_duals, other_model
from dupo.engines.builtin import Sampler, draw
from dupo.errors import UserError
from dupo.evaluation.held_out import accuracy, exchange_rows, exchanges, refusal_figures, reward_auc
from dupo.learning import step as learner
from dupo.learning.batches import mini_batches
from dupo.methods.sft import WarmUp
from dupo.models import load as policy
from dupo.models.tokenizers import load_tokenizer
from dupo.records import Completion, Problem, Prompt, Rollout, Trajectory
from dupo.rewards.base import Env, Rewarded, arms_of, weighted_sum
from dupo.run.startup import check_fit, plan, warms_up
from dupo.run.summary import show_result, summarise
from dupo.storage import checkpoint
from dupo.storage.run_folder import CONFIG, SAMPLES, WARMUP, RunFolder, read_rows, signature, write_atomic
from dupo.tasks import make_task
from dupo.views.run_page import write_report
from dupo.views.terminal import Display, exchange_of

AUC_PROBLEMS = 512  # held-out problems that the reward is judged on before training


class Session:
    """One run, from its first check to its last file.

    Attributes:
        step: optimizer steps done.
        pending: mini-batches of the last rollout that have had no optimizer step yet.
        rollouts: rollouts done; with the seed it fixes every random draw, so no generator needs saving.
    """

    def __init__(self, config: Config) -> None:
        self.started = time.monotonic()
        self.display = Display()
        if config.output_dir is None:
            name = f"{datetime.now():%Y%m%d-%H%M%S}-{config.task}-{config.reward}"
            config = replace(config, output_dir=str(Path("runs") / name))
        self.config = config
        self.path = Path(str(config.output_dir))
        self._check_folder()
        learner.objective_of(config)
        self.arms = arms_of(config)
        self.task = make_task(config)
        if not self.task.train:
            raise UserError(f"dataset: expected problems to train on, got none: {'; '.join(self.task.notes)}")
        self.tokenizer = load_tokenizer(config)
        self.shape = policy.model_config(config, self.tokenizer)
        problems = [*self.task.train, *self.task.held_out]
        check_fit(self.task, problems, self.tokenizer, self.shape, config)
        self.device = policy.pick_device(config.device)
        if config.num_threads:
            torch.set_num_threads(config.num_threads)
        # By construction RL sees no label: they are taken off before the loop can ask for a problem.
        # A reward function of the user's own sees the columns of the data set, as in TRL.
        gold, own = "gold" in self.arms, any("." in name for name in self.arms)
        if gold and (missing := next((p.id for p in self.task.train if p.gold is None), None)):
            raise UserError(f"reward: gold needs the answer of every training problem, {missing} has none")
        self.problems = [
            replace(p, gold=p.gold if gold else None, columns=p.columns if own else {})
            for p in self.task.train
        ]
        self.step = self.rollouts = 0
        self.seconds = 0.0
        self.pending: list[list[Trajectory]] = []
        self.taken: list[Trajectory] = []
        self.rollout_figures: dict[str, float] = {}
        self.state: dict[str, Any] = {
            "evals": [],
            "reward_auc": None,
            "labels": 0,
            "warmup_steps": 0,
            "headline": self.task.headline,
            "problems": len(self.task.held_out),
        }
        self.interrupted = self.loaded = False
        self._order: tuple[int, list[int]] = (-1, [])
        self.folder = self._open_folder()
        self.display.startup(*plan(config, self.task, self.tokenizer, self.device))

    # --- start ---

    def _check_folder(self) -> None:
        if self.config.resume_from_checkpoint is None:
            RunFolder.check(self.path, self.config.overwrite_output_dir)
        elif lines := resume_differences(read_config(self.path / CONFIG), self.config):
            raise UserError(f"resume_from_checkpoint: {'; '.join(lines)}")

    def _open_folder(self) -> RunFolder:
        same = replace(self.config, output_dir=None, resume_from_checkpoint=None, overwrite_output_dir=False)
        settings = to_yaml(same)
        if self.config.resume_from_checkpoint is None:
            return RunFolder.create(self.path, settings, self.config.overwrite_output_dir)
        folder = RunFolder.open(self.path)
        write_atomic(self.path / CONFIG, settings.encode())
        return folder

    def _load(self) -> None:
        """Fresh models, or those of the checkpoint that is resumed."""
        resumed = self.config.resume_from_checkpoint
        found = checkpoint.find(self.path, resumed) if resumed else None
        self.model = policy.load_model(self.config, self.shape, self.device)
        learner.check_model(self.model, self.config)
        self.tokenizer.eos_ids |= policy.end_tokens(self.model)
        if warms_up(self.config) and not self._warm_up(load=found is not None):
            return
        who, asked = self.config.dual_model, asks_duals(self.config)
        needed = (who == "frozen" and asked) or self.config.beta != 0
        self.frozen = policy.frozen_copy(self.model) if needed else None
        self.ema = policy.frozen_copy(self.model) if who == "ema" else None
        self.other = other_model(self.config, self.device) if asked and who not in DUAL_MODELS else None
        self.optimizer = learner.make_optimizer(self.model, self.config)
        self.loaded = True
        if found is not None:
            self._restore(found)
            return
        self.folder.cut(-1)  # nothing stays of a start that was killed before its first checkpoint
        self.state["evals"].append([0, accuracy(self.sampler, self.task)])
        n, seed = self.config.num_generations, self.draw("auc")
        self.state["reward_auc"] = reward_auc(self.sampler, self.task, self.reward, n, AUC_PROBLEMS, seed)
        for name, value in self.state["evals"][0][1].items():
            self.display.note(
                f"before RL: {name} {value:.3f} on {len(self.task.held_out):,} held-out problems"
            )
        self._write_exchanges(2)
        if warms_up(self.config):
            self.save()
            (self.path / WARMUP).unlink(missing_ok=True)

    def _warm_up(self, load: bool) -> bool:
        """Trains or loads what RL starts from; False if Ctrl-C stopped it."""
        if load:
            policy.load_weights(self.model, self.path / "checkpoint-0")
            return True
        warm = WarmUp(self.model, self.tokenizer, self.config, self.task)
        if (self.path / WARMUP).is_file():
            warm.load(self.path / WARMUP)
            self.display.note(f"resumed the warm-up after step {warm.steps}")
        if not warm.run(self.display.note, lambda: self.interrupted):
            warm.save(self.path / WARMUP)
            self.display.note(f"Stopped in the warm-up, after step {warm.steps}; saved.")
            return False
        policy.copy_weights(warm.average, self.model)
        self.state |= {"labels": warm.labels, "warmup_steps": warm.steps}
        self.display.note(
            f"The warm-up was supervised: {warm.steps} steps on {warm.labels:,} labelled examples. "
            "From here on no label is read."
        )
        return True

    def _restore(self, found: Path) -> None:
        state = checkpoint.load_state(found)
        policy.load_weights(self.model, found)
        if self.ema is not None:
            checkpoint.load_ema(found, self.ema)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.rollouts, self.seconds = state["step"], state["rollouts"], state["seconds"]
        self.rollout_figures, self.state = state["rollout_figures"], state["state"]
        self.pending = [[Trajectory(*t) for t in batch] for batch in state["pending"]]
        checkpoint.cut(
            self.path, self.step
        )  # first: rows past a checkpoint are cut again, missing ones are not
        self.folder.cut(self.step)
        self._compare_signature(state["signature"])
        self.display.note(f"resumed from {found} after step {self.step}")

    def _signature(self) -> dict[str, str]:
        return signature(config_hash(self.config), str(self.device), torch.get_num_threads())

    def _compare_signature(self, saved: dict[str, str]) -> None:
        now = self._signature()
        changed = [
            f"{k} {saved[k]} is now {now[k]}"
            for k in saved
            if k not in ("git", "config") and saved[k] != now[k]
        ]
        if changed:
            self.display.warn(
                f"figures may differ in the last bits from a run never stopped: {', '.join(changed)}"
            )

    # --- what the loop asks for ---

    @property
    def sampler(self) -> Sampler:
        """Samples from the policy as it is now."""
        return Sampler(self.model, self.tokenizer, self.config)

    def draw(self, purpose: str, index: int = 0) -> int:
        return draw(self.config.seed, purpose, index)

    def next_problems(self) -> list[Problem]:
        """The problems of the next rollout: each one once per epoch, in an order drawn anew each time."""
        size = self.config.generation_batch_size // self.config.num_generations
        chosen = []
        for i in range(self.rollouts * size, (self.rollouts + 1) * size):
            epoch, place = divmod(i, len(self.problems))
            if self._order[0] != epoch:
                generator = torch.Generator().manual_seed(self.draw("order", epoch))
                self._order = (epoch, torch.randperm(len(self.problems), generator=generator).tolist())
            chosen.append(self.problems[self._order[1][place]])
        return chosen

    def ask(self, prompts: Sequence[Prompt]) -> list[list[Completion]]:
        """Puts dual prompts to the model that answers them (`dual_model`)."""
        model = {"policy": self.model, "frozen": self.frozen, "ema": self.ema}.get(self.config.dual_model)
        sampler = Sampler(model, self.tokenizer, self.config) if model is not None else self.other
        assert sampler is not None
        return ask_duals(sampler, prompts, self.draw("dual", self.rollouts))

    def reward(self, rollout: Rollout) -> Rewarded:
        """What `--reward` says of every completion."""
        env = Env(self.task, self.ask, self.config, self.draw("reward", self.rollouts))
        return weighted_sum(self.arms, rollout, env)

    def __enter__(self) -> "Session":
        """Loads the models, with the supervised warm-up where there is one, and shows the progress.

        The first Ctrl-C ends the run after the current step, the second at once.
        """

        def stop(*_: object) -> None:
            self.interrupted = True
            self.display.warn("stopping after this step; Ctrl-C again stops at once and loses it")
            signal.signal(signal.SIGINT, signal.default_int_handler)

        with ExitStack() as closing:
            if threading.current_thread() is threading.main_thread():
                closing.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, stop))
            self._load()
            shown = self.display.progress(self.config.max_steps, self.step, self.task.headline)
            self.progress = closing.enter_context(shown)
            self.closing = closing.pop_all()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.closing.close()
        if isinstance(error, FloatingPointError):
            raise FloatingPointError(self._not_finite(error)) from error

    # --- what the loop hands back ---

    def keep_rollout(
        self, rollout: Rollout, rewarded: Rewarded, advantages: Any, figures: dict[str, float]
    ) -> None:
        """Cuts the rollout into mini-batches and writes some of it to samples.jsonl."""
        self.rollouts += 1
        lengths = [len(c.ids) for group in rollout.completions for c in group]
        truncated = [c.truncated for group in rollout.completions for c in group]
        prompt_tokens = sum(map(len, rollout.prompt_ids)) * self.config.num_generations
        self.state["num_tokens"] = self.state.get("num_tokens", 0) + prompt_tokens + sum(lengths)
        self.rollout_figures = {
            **figures,
            **rewarded.figures,
            **refusal_figures(self.task, rollout),
            "completions/mean_length": sum(lengths) / len(lengths),
            "completions/min_length": float(min(lengths)),
            "completions/max_length": float(max(lengths)),
            "completions/clipped_ratio": sum(truncated) / len(truncated),
            "num_tokens": self.state["num_tokens"],
        }
        self.pending = mini_batches(rollout, advantages, self.config)
        if self.frozen is not None and self.config.beta != 0:
            self.pending = [learner.with_reference(self.frozen, b, self.config) for b in self.pending]
        self.pending = [b for _ in range(self.config.num_iterations) for b in self.pending]
        few = self.config.num_completions_to_print
        part = Rollout(*(getattr(rollout, f)[:few] for f in Rollout.__slots__))
        rows = exchange_rows(part, rewarded.found, self.sampler)
        extra = zip(rewarded.rewards[:, 0].tolist(), advantages[:, 0].tolist(), strict=True)
        self.folder.samples(
            [
                {"step": self.step + 1, **row, "reward": r, "advantage": a}
                for row, (r, a) in zip(rows, extra, strict=False)
            ]
        )

    def _write_exchanges(self, count: int) -> list[dict[str, Any]]:
        """Some held-out exchanges with the model as it is, right and wrong, into samples.jsonl."""
        ask = self.ask if asks_duals(self.config) else None
        rows = exchanges(self.sampler, ask, self.task, count) if self.task.held_out else []
        rows = [{"step": self.step, **row, "held_out": True} for row in rows]
        written = read_rows(self.path / SAMPLES)
        if not any(
            row["step"] == self.step and row.get("held_out") for row in written
        ):  # else resumed at the end
            self.folder.samples(rows)
        return rows

    def after_step(self, figures: dict[str, float]) -> None:
        """Logs the optimizer step on `pending[0]`, evaluates and saves when it is time to."""
        self.step += 1
        self.taken = self.pending.pop(0)
        if self.ema is not None:
            policy.blend(self.ema, self.model, self.config.ema_decay)
        row = {"step": self.step, **self.rollout_figures, **figures}
        last = self.step == self.config.max_steps
        if self.task.held_out and (self.step % self.config.eval_steps == 0 or last):
            found = accuracy(self.sampler, self.task)
            self.state["evals"].append([self.step, found])
            row |= {f"eval/{name}": value for name, value in found.items()}
        self.folder.metrics(row)
        self.folder.timings({"step": self.step, "seconds": self._clock()})
        self.progress.update(self.step, row)
        if self.step % self.config.save_steps == 0 or last or self.interrupted:
            self.save()

    def save(self) -> None:
        state = {
            "step": self.step,
            "rollouts": self.rollouts,
            "seconds": self._clock(),
            "rollout_figures": self.rollout_figures,
            "state": self.state,
            "pending": [[tuple(t) for t in batch] for batch in self.pending],
            "optimizer": self.optimizer.state_dict(),
            "signature": self._signature(),
        }
        checkpoint.save(self.path, self.step, self.model, self.tokenizer.hf, self.ema, state)
        if self.config.save_total_limit:
            checkpoint.prune(self.path, self.config.save_total_limit)

    def _not_finite(self, error: FloatingPointError) -> str:
        """Saves the batch that broke the run, and the weights as well if they are still finite."""
        sound = all(bool(torch.isfinite(p).all()) for p in self.model.parameters())
        step, rows = (
            (self.step + 1, self.pending[0] if self.pending else []) if sound else (self.step, self.taken)
        )
        problems = [t.problem for t in rows] or [p.id for p in self.next_problems()]
        file = self.path / f"nonfinite-{step}.json"
        file.write_text(
            json.dumps({"step": step, "problems": problems, "batch": [t._asdict() for t in rows]})
        )
        if sound:
            self.save()
        named = ", ".join(dict.fromkeys(problems[:3]))
        return (
            f"step {step} is not finite ({error}); its batch (problems {named}, ...) is in {file}; "
            f"{'the weights before it are saved' if sound else 'it left weights that are not finite'}; "
            f"learning_rate is {self.config.learning_rate:g}"
        )

    def _clock(self) -> float:
        return self.seconds + time.monotonic() - self.started

    # --- end ---

    def finish(self) -> dict[str, Any]:
        """Writes summary.json and report.html, shows before and after, and sample exchanges."""
        if self.interrupted and self.step < self.config.max_steps:
            if self.loaded:
                if checkpoint.find(self.path, "latest") != self.path / f"checkpoint-{self.step}":
                    self.save()  # Ctrl-C came before the first step
                self.display.note(f"Stopped after step {self.step}; saved.")
            self.display.note(
                f"Go on with: python -m dupo.train --output_dir {self.path} --resume_from_checkpoint latest"
            )
            write_report(self.path)
            return {}
        summary = summarise(self.config, self.state, self.step, self._clock(), self._signature())
        self.folder.summary(summary)
        for row in self._write_exchanges(3):
            self.display.exchange(*exchange_of(row), row["correct"])
        show_result(self.display, summary)
        report = write_report(self.path)
        self.display.note(f"{report} shows the curves; {self.path} holds everything else")
        return summary
