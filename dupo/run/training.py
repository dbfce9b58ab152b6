"""The run around a method that trains: folder, log, checkpoints, resume, Ctrl-C, display. Knows no method."""

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from dupo.config.config import Config
from dupo.errors import UserError
from dupo.methods.base import Method
from dupo.models.weights import all_finite, load_weights
from dupo.records import Exchange, StepBatch
from dupo.run.base import Run
from dupo.run.failures import write_failure
from dupo.run.interrupt import graceful_interrupt
from dupo.run.stage import run_stage
from dupo.run.summary import TrainingRecord, show_result, summarise
from dupo.storage import checkpoint
from dupo.storage.files import read_rows
from dupo.storage.names import SAMPLES, TEACHING
from dupo.views.exchange import exchange_of
from dupo.views.run_page import write_report

HELD_OUT_AT_START, HELD_OUT_AT_END = 2, 3  # held-out exchanges that samples.jsonl gets


class TrainingRun(Run):
    """One training run. The method is checked before, and loaded when the run is entered.

    Attributes:
        step: optimizer steps done.
        interrupted: whether Ctrl-C was pressed.
    """

    def __init__(self, config: Config, method: Method) -> None:
        super().__init__(config, method.name)
        self.method, self.step, self.interrupted = method, 0, False
        self.record = TrainingRecord(seconds=0.0)
        self.is_loaded = False
        self.last_batch: StepBatch | None = None
        # Before anything is written: a checkpoint that is not there must leave the run as it was.
        wanted = config.run.resume_from_checkpoint
        self.resumed = checkpoint.find(self.path, wanted) if wanted else None
        self.folder = self.open_folder()
        title = f"dupo: {method.name}, seed {config.run.seed}"
        self.display.startup(title, [*method.describe(), ("folder", str(self.path))])

    @property
    def unfinished(self) -> bool:
        """Whether there is a step to make."""
        return self.is_loaded and self.step < self.config.optimizer.max_steps and not self.interrupted

    # --- start ---

    def __enter__(self) -> "TrainingRun":
        """Loads the method, or the checkpoint that is resumed, and shows the progress."""
        with ExitStack() as closing:
            closing.enter_context(graceful_interrupt(self._interrupt))
            # Ctrl-C is caught before: loading and teaching take the longest.
            self.is_loaded = self._load()
            total = self.config.optimizer.max_steps
            bar = self.display.progress(total, self.step, self.method.headline)
            self.progress = closing.enter_context(bar)
            self.closing = closing.pop_all()
        return self

    def _interrupt(self) -> None:
        self.interrupted = True
        self.display.warn("stopping after this step; Ctrl-C again stops at once and loses it")

    def _load(self) -> bool:
        """Weights, stage and first measurements; False if Ctrl-C came before the first step."""
        method = self.method
        # The method loads before the checkpoint is read: it checks model and packing on every start.
        method.load()
        if self.resumed is not None:
            if method.has_stage:  # judge and reference are the model after the stage
                load_weights(method.model, self.path / "checkpoint-0")
            method.start()
            self._restore(self.resumed)
            return True
        if method.has_stage and not self._run_stage():
            return False
        method.start()
        # Rows of a start that was killed before its first checkpoint would stand twice.
        self.folder.cut(-1)
        self._measure_before()
        if method.has_stage:
            self.save()
            (self.path / TEACHING).unlink(missing_ok=True)
        return True

    def _run_stage(self) -> bool:
        stage = self.method.make_stage()
        is_done = run_stage(stage, self.path / TEACHING, self.display, lambda: self.interrupted)
        if is_done:
            self.record.facts |= stage.facts()
        return is_done

    def _measure_before(self) -> None:
        """Held-out metrics and facts before the first step, and a few exchanges."""
        metrics = self.method.evaluate()
        self.record.evals.append((0, metrics))
        self.record.facts |= self.method.facts()
        for name, value in metrics.items():
            problems = f"{self.method.num_held_out:,} held-out problems"
            self.display.note(f"before training: {name} {value:.3f} on {problems}")
        self._write_held_out(HELD_OUT_AT_START)

    def _restore(self, folder: Path) -> None:
        """Continues from a checkpoint as if never stopped."""
        state = checkpoint.load_state(folder)
        method = self.method
        load_weights(method.model, folder)
        if method.ema is not None:
            checkpoint.load_ema(folder, method.ema)
        method.optimizer.load_state_dict(state["optimizer"])
        method.load_state(state["method"])
        self.step, self.record = state["step"], TrainingRecord.from_state(state["record"])
        # Checkpoints first: rows past a checkpoint are cut again, missing rows are not.
        checkpoint.cut(self.path, self.step)
        self.folder.cut(self.step)
        self._compare_signature(state["signature"])
        self.display.note(f"resumed from {folder} after step {self.step}")

    def _compare_signature(self, saved: dict[str, str]) -> None:
        now = self.signature(self.method.device)
        # Another revision or option is no surprise on resume; another machine changes the last bits.
        names = [name for name in saved if name not in ("git", "config") and saved[name] != now[name]]
        if names:
            changes = ", ".join(f"{name} {saved[name]} is now {now[name]}" for name in names)
            self.display.warn(f"figures may differ in the last bits from a run never stopped: {changes}")

    # --- steps ---

    def after_step(self, batch: StepBatch, metrics: dict[str, float]) -> None:
        """Logs the optimizer step on `batch`; evaluates and saves when it is time to."""
        self.step += 1
        self.last_batch = batch
        for line in self.method.warnings():
            self.display.warn(line)
        self.folder.samples([exchange.row(self.step, held_out=False) for exchange in batch.exchanges])
        # No reading of a clock in metrics.jsonl: two equal runs write the same bytes.
        row = {"step": self.step, **metrics}
        # The last step is always evaluated: the table at the end shows it.
        is_last = self.step == self.config.optimizer.max_steps
        if self.method.num_held_out and (self.step % self.config.run.eval_steps == 0 or is_last):
            evaluation = self.method.evaluate()
            self.record.evals.append((self.step, evaluation))
            row |= {f"eval/{name}": value for name, value in evaluation.items()}
        # Written before the checkpoint: on resume, rows past it are cut, but none can be made up.
        self.folder.metrics(row)
        self.folder.timings({"step": self.step, "seconds": self._seconds()})
        self.progress.update(self.step, row)
        if self.step % self.config.run.save_steps == 0 or is_last or self.interrupted:
            self.save()

    def save(self) -> None:
        """Writes a checkpoint from which a resumed run is the same as one never stopped."""
        method = self.method
        state = {
            "step": self.step,
            "record": replace(self.record, seconds=self._seconds()).state(),
            "method": method.state(),
            "optimizer": method.optimizer.state_dict(),
            "signature": self.signature(method.device),
        }
        checkpoint.save(self.path, self.step, method.model, method.tokenizer.hf, method.ema, state)
        if self.config.run.save_total_limit:
            checkpoint.prune(self.path, self.config.run.save_total_limit)

    def _write_held_out(self, count: int) -> list[Exchange]:
        """Writes held-out exchanges of the model as it is into samples.jsonl, once for each step."""
        exchanges = self.method.exchanges(count)
        # A finished run that is resumed writes nothing twice.
        written = read_rows(self.path / SAMPLES)
        if not any(row["step"] == self.step and row.get("held_out") for row in written):
            self.folder.samples([exchange.row(self.step, held_out=True) for exchange in exchanges])
        return exchanges

    def _seconds(self) -> float:
        return self.record.seconds + time.monotonic() - self.started

    # --- end ---

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.closing.close()
        if isinstance(error, UserError) and self.is_loaded:
            self._finish_early()  # nothing is lost of the steps that were made
        if isinstance(error, FloatingPointError):
            raise FloatingPointError(self._save_failure(error)) from error

    def _save_failure(self, error: FloatingPointError) -> str:
        """Saves the batch that broke the run, and the weights as well if they are still finite."""
        # Weights that are NaN already are of no use in a checkpoint.
        is_sound = all_finite(self.method.model)
        step = self.step + 1 if is_sound else self.step
        batch = self.method.current_batch(self.step) if is_sound else self.last_batch
        file = write_failure(self.path, step, batch)
        if is_sound:
            self.save()
        problems = list(dict.fromkeys(t.problem for t in batch.trajectories))[:3] if batch else []
        named = f" (problems {', '.join(problems)}, ...)" if problems else ""
        weights = "the weights before it are saved" if is_sound else "it left weights that are not finite"
        return (
            f"step {step} is not finite ({error}); its batch{named} is in {file}; {weights}; "
            f"learning_rate is {self.config.optimizer.learning_rate:g}"
        )

    def finish(self) -> dict[str, Any]:
        """Writes summary.json and report.html, shows before and after, and a few exchanges.

        Returns:
            What summary.json holds; empty if Ctrl-C ended the run early.
        """
        if not self.is_loaded or self.step < self.config.optimizer.max_steps:
            self._finish_early()
            return {}
        # What the figures were made by, at the end: threads may have been set meanwhile.
        made_by = self.signature(self.method.device)
        self.record.facts["problems"] = self.method.num_held_out
        summary = summarise(self.config, self.record, self.step, self._seconds(), made_by)
        self.folder.summary(summary)
        for exchange in self._write_held_out(HELD_OUT_AT_END):
            self.display.exchange(*exchange_of(exchange.row(self.step, held_out=True)), exchange.correct)
        show_result(self.display, summary, self.config.reward)
        report = write_report(self.path)
        self.display.note(f"{report} shows the curves; {self.path} holds everything else")
        return summary

    def _finish_early(self) -> None:
        if self.is_loaded:
            if checkpoint.find(self.path, "latest") != self.path / f"checkpoint-{self.step}":
                self.save()  # Ctrl-C came before the first step
            self.display.note(f"Stopped after step {self.step}; saved.")
        command = f"python -m dupo.train --output_dir {self.path} --resume_from_checkpoint latest"
        self.display.note(f"Go on with: {command}")
        write_report(self.path)
