"""The run around a method that trains: folder, log, checkpoints, resume, Ctrl-C, display. Knows no method."""

import math
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dupo.config.config import Config
from dupo.config.layers import fixed_settings
from dupo.distributed.ranks import Wait
from dupo.errors import UserError, in_one_line
from dupo.methods.base import Method
from dupo.models.weights import read_checkpoint_weights
from dupo.records import Exchange, StepBatch
from dupo.run import resume, weights
from dupo.run.background import Background
from dupo.run.base import Run
from dupo.run.failures import last_sound, write_failure
from dupo.run.hub import hub, open_repo, push
from dupo.run.interrupt import graceful_interrupt
from dupo.run.planned import RunPlan, beside
from dupo.run.rollouts import saved_rollouts
from dupo.run.sharded import is_sound
from dupo.run.summary import TrainingRecord, show_result, summarise
from dupo.run.trackers import CLASSES, Trackers
from dupo.storage import checkpoint
from dupo.storage.checksums import broken_sums
from dupo.storage.commands import report_command, resume_command
from dupo.storage.files import read_rows, remove
from dupo.storage.names import MERGED, REPORT, SAMPLES, TEACHING
from dupo.views.exchange import exchange_of
from dupo.views.progress import Plan
from dupo.views.run_page import write_report

HELD_OUT_AT_START, HELD_OUT_AT_END = 2, 3  # held-out exchanges that samples.jsonl gets


class TrainingRun(Run):
    """One training run. The method is checked before, and loaded when the run is entered.

    Attributes:
        step: optimizer steps done.
    """

    def __init__(self, config: Config, method: Method) -> None:
        super().__init__(config, method.name, method.ranks)
        self.method, self.step = method, 0
        self.record = TrainingRecord(seconds=0.0)
        self.is_loaded = False
        self.last_batch: StepBatch | None = None
        # Before anything is written: a run that cannot be continued must be left as it was.
        self.check_inputs(method.inputs())
        wanted = config.run.resume_from_checkpoint
        self.resumed = self.ranks.on_first(lambda: self._choose_checkpoint(wanted))
        # Before weights are loaded and anything is written.
        self.plan = RunPlan(config, method.shape, self.ranks)
        self.repo = open_repo(config.run, self.path, hub()) if config.run.push_to_hub else None
        self.folder = self.open_folder()
        self.saving = Background(self.ranks, self.ranks.apart(config.ranks.ddp_timeout))
        self.rollouts = saved_rollouts(self, method.device)
        trackers = [CLASSES[name]() for name in config.run.trackers]
        self.trackers = Trackers(trackers, self.path, self.display)
        title = f"dupo: {method.name}, seed {config.run.seed}"
        self.display.startup(title, [*method.describe(), *self.plan.rows(), ("folder", str(self.path))])
        for line in self.plan.doubts():
            self.display.warn(line)

    def goes_on(self) -> bool:
        """Whether there is a step to make. Every rank has to ask."""
        is_over = not self.is_loaded or self.step >= self.config.optimizer.max_steps
        return not is_over and not self.interrupted()

    # --- start ---

    def _choose_checkpoint(self, wanted: str | None) -> resume.Accepted | None:
        """The checkpoint that is resumed, with everything that the run will read of it; touches nothing."""
        if wanted is None:
            return None
        accepted = resume.choose_checkpoint(self.path, wanted, self.config, self.inputs)
        start = self.path / "checkpoint-0"
        if accepted is not None and self.method.has_stage and (complaint := broken_sums(start)):
            raise UserError(
                f"resume_from_checkpoint: {start} cannot be used ({complaint}), and judge and reference need "
                "its weights: put it back, or start anew in another --output_dir"
            )
        changes = self._signature_changes(accepted)
        # What `--strict` says of a run that may differ in its last bits.
        if changes and self.config.run.strict:
            raise UserError(
                f"strict: figures may differ from a run never stopped: {changes}; "
                "install what the run was made with, or leave out --strict"
            )
        return accepted

    def __enter__(self) -> "TrainingRun":
        """Loads the method, or the checkpoint that is resumed, and shows the progress."""
        # Before anything is sampled: a start that is killed in its first rollout finds it again as well.
        self.method.rollouts = self.rollouts
        with ExitStack() as closing:
            closing.enter_context(graceful_interrupt(self.interrupt))
            # Signals are caught before: loading and teaching take the longest.
            self.is_loaded = self._load()
            if self.goes_on():
                self.method.phases.take()  # of the start: the first step begins here
                weights.check_room(self.method, self.path, self.step)
                plan = Plan(self.config.optimizer.max_steps, self.step, self.method.headline)
                self.progress = closing.enter_context(self.display.progress(plan))
            self.closing = closing.pop_all()
        return self

    def _load(self) -> bool:
        """Weights, stage and first measurements; False if Ctrl-C came before the first step."""
        method = self.method
        # The method loads before the checkpoint is read: it checks model and packing on every start.
        with self.display.work("reading and checking the model"):
            method.load()
        self._warn()
        if self.resumed is not None:
            if method.has_stage:  # judge and reference are the model after the stage
                read_checkpoint_weights(method.model, self.path / "checkpoint-0")
            self._start_method()
            self._restore(self.resumed)
            self._start_trackers()
            return True
        if self.continues:
            self.keep_settings()
        if method.has_stage and not self._teach():
            return False
        self._start_method()
        # Rows of a start that was killed before its first checkpoint would stand twice.
        self.ranks.on_first(lambda: remove(self.path, *checkpoint.ROW_FILES))
        self._start_trackers()
        self._measure_before()
        if method.has_stage:
            self.save()
            self.ranks.on_first(lambda: remove(self.path, TEACHING))
        return True

    def _start_method(self) -> None:
        self.method.start()
        weights.name_base(self.method, self.path)

    def _start_trackers(self) -> None:
        self.trackers.start(
            self.config.run.run_name or self.path.resolve().name, self.config.flat(), self.step
        )

    def _teach(self) -> bool:
        stage = self.method.make_stage()
        is_done = self.run_stage(stage)
        if is_done:
            self.record.facts |= stage.facts()
        return is_done

    def _measure_before(self) -> None:
        """Held-out metrics and facts before the first step, and a few exchanges."""
        metrics = self._evaluate()
        self.record.evals.append((0, metrics))
        with self.display.work("does the reward tell right from wrong?"):
            self.record.facts |= self.method.facts()
        for name, value in metrics.items():
            problems = f"{self.method.num_held_out:,} held-out problems"
            self.display.note(f"before training: {name} {value:.3f} on {problems}")
        self._write_held_out(HELD_OUT_AT_START)

    def _restore(self, accepted: resume.Accepted) -> None:
        """Continues from a checkpoint as if never stopped."""
        folder, method = accepted.folder, self.method
        try:
            state = checkpoint.load_state(folder)
            weights.read_saved(method, accepted.step, folder, state["optimizer"])
            method.load_state(state["method"])
            self.step, self.record = accepted.step, TrainingRecord.from_state(state["record"])
        # The checksums were right, so another revision wrote the state, or other code than ours.
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as problem:
            rest = resume.offer(self.path, folder, self.config, self.inputs)
            reason = in_one_line(problem, kind=True)
            raise UserError(
                f"resume_from_checkpoint: {folder} does not fit this run ({reason}){rest}"
            ) from problem
        # Nothing can be refused any more: now the folder may change.
        aside = self.ranks.on_first(lambda: self._restore_files(accepted))
        if changes := self._signature_changes(accepted):
            self.display.warn(f"figures may differ in the last bits from a run never stopped: {changes}")
        if aside is not None:
            command = resume_command(aside)
            self.display.note(
                f"newer checkpoints and all rows are set aside; go on from them with: {command}"
            )
        self.display.note(f"resumed from {folder} after step {self.step}")

    def _restore_files(self, accepted: resume.Accepted) -> Path | None:
        is_over = accepted.step >= self.config.optimizer.max_steps
        aside = resume.restore_files(self.path, accepted, is_over)
        self.keep_settings()
        remove(self.path, TEACHING)  # a kill may have come between a checkpoint and this
        self.rollouts.drop(accepted.step)
        checkpoint.prune(self.path, self.config.run.save_total_limit)
        return aside

    def _signature_changes(self, accepted: resume.Accepted | None) -> str:
        return resume.signature_changes(self.signature(self.method.device), accepted)

    def _warn(self) -> None:
        """Shows what the method warns of."""
        for line in self.method.warnings():
            self.display.warn(line)

    # --- steps ---

    def after_step(self, batch: StepBatch, metrics: dict[str, float]) -> dict[str, Any]:
        """Logs the optimizer step on `batch`; evaluates and saves when it is time to.

        Returns:
            The row of metrics.jsonl.
        """
        self.step += 1
        self.last_batch = batch
        self._warn()
        self.folder.samples([exchange.row(self.step, held_out=False) for exchange in batch.exchanges])
        # No reading of a clock in metrics.jsonl: two equal runs write the same bytes.
        row = {"step": self.step, **metrics}
        # The last step is always evaluated: the table at the end shows it.
        is_last = self.step == self.config.optimizer.max_steps
        if self.method.num_held_out and (self.step % self.config.run.eval_steps == 0 or is_last):
            evaluation = self._evaluate()
            self.record.evals.append((self.step, evaluation))
            row |= {f"eval/{name}": value for name, value in evaluation.items()}
        # Written before the checkpoint: on resume, rows past it are cut, but none can be made up.
        self.folder.metrics(row)
        self.trackers.log(row)
        timings = {"step": self.step, "seconds": self._seconds(), **self.method.phases.take()}
        if self.step == 1 and (figures := self.plan.measured(timings)):
            self.display.note(beside(figures, timings))
            timings |= figures
        self.folder.timings(timings)
        self.progress.update(self.step, row)
        self.saving.look()
        is_stopped = self.interrupted()
        if self.step % self.config.run.save_steps == 0 or is_last or is_stopped:
            with self.method.phases("checkpoint"):
                # At the end nothing is trained that could hide the time.
                is_end = is_last or is_stopped
                self.save(in_background=weights.saves_async(self.method) and not is_end)
        return row

    def _evaluate(self) -> dict[str, float]:
        with self.display.work("held-out evaluation"), self.method.phases("evaluation"):
            return self.method.evaluate()

    def save(self, *, in_background: bool = False) -> None:
        """Writes a checkpoint from which a resumed run is the same as one never stopped.

        Args:
            in_background: copy what the checkpoint holds, and return before it is written.

        Raises:
            StorageError: of this save, or of the one before, which was written in the background.
            FloatingPointError: weights, their average or the optimizer are not finite; nothing is written.
        """
        method = self.method
        self.saving.wait()  # else two copies of the weights would be in memory
        # Looked at before the checkpoint becomes the newest, and older ones that are sound are deleted.
        if not is_sound(method):
            raise FloatingPointError(
                "the weights or the optimizer hold NaN or an infinity: nothing was saved"
            )
        state = {
            "step": self.step,
            "settings": fixed_settings(self.config),
            "inputs": self.inputs,
            "rows": self.ranks.on_first(lambda: resume.rows_of(self.path)),
            "record": replace(self.record, seconds=self._seconds()).state(),
            "method": method.state(),
            "optimizer": method.optimizer.state_dict(),
            "signature": self.signature(method.device),
        }
        ranks = self.saving.apart
        write = weights.checkpoint_writer(method, self.path, self.step, state, ranks, copied=in_background)
        self.saving.run(write, partial(self._after_save, self.step), in_background=in_background)

    def _after_save(self, step: int) -> None:
        if self.ranks.is_first:
            self.rollouts.drop(step)
            checkpoint.prune(self.path, self.config.run.save_total_limit)

    def _write_held_out(self, count: int) -> list[Exchange]:
        """Writes held-out exchanges of the model as it is into samples.jsonl, once for each step."""
        exchanges = self.method.exchanges(count)
        if not self.ranks.is_first:
            return exchanges
        # A finished run that is resumed writes nothing twice.
        written = read_rows(self.path / SAMPLES)
        if not any(row["step"] == self.step and row.get("held_out") for row in written):
            rows = [exchange.row(self.step, held_out=True) for exchange in exchanges]
            self.folder.samples(rows)
            self.trackers.held_out(rows, self.step)
        return exchanges

    def _seconds(self) -> float:
        return self.record.seconds + time.monotonic() - self.started

    # --- end ---

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.closing.close()
        if not isinstance(error, KeyboardInterrupt):  # a second Ctrl-C waits for no disk
            self.saving.end(error, self.display.warn)
        # An error of one rank alone: the others are elsewhere, and all save together or not at all.
        is_everywhere = error is None or self.ranks.raised_everywhere(error)
        if isinstance(error, UserError) and self.is_loaded and is_everywhere:
            self._finish_early()  # nothing is lost of the steps that were made
        if isinstance(error, GeneratorExit):  # whoever asks for the steps wants no more of them
            self.finish()
        if isinstance(error, Exception):  # a second Ctrl-C waits for no network
            self.trackers.finish(failed=True)
            if is_everywhere:
                self.ranks.gather(None)  # else another rank would tell its end to one that still writes
        if isinstance(error, FloatingPointError):
            raise FloatingPointError(self._save_failure(error)) from error

    def _save_failure(self, error: FloatingPointError) -> str:
        """Saves the batch that broke the run, and the weights as well if they are still finite."""
        # Weights that are NaN already are of no use in a checkpoint.
        is_whole = is_sound(self.method)
        step = self.step + 1 if is_whole else self.step
        batch = self.method.current_batch(self.step) if is_whole else self.last_batch
        file = self.ranks.on_first(lambda: write_failure(self.path, step, batch))
        # A checkpoint of this step is from before its batch, which is drawn again to the same bits.
        if is_whole and not self._is_saved():
            self.save()
        problems = list(dict.fromkeys(t.problem for t in batch.trajectories))[:3] if batch else []
        named = f" (problems {', '.join(problems)}, ...)" if problems else ""
        left = "the weights before it are saved" if is_whole else last_sound(self.path)
        return (
            f"step {step} is not finite ({error}); its batch{named} is in {file}; {left}; "
            f"try a lower --learning_rate than {self.config.optimizer.learning_rate:g}"
        )

    def _is_saved(self) -> bool:
        self.saving.wait()
        return self.ranks.on_first(lambda: self.step in checkpoint.steps(self.path))

    def finish(self) -> dict[str, Any]:
        """Writes summary.json and report.html, shows before and after, and a few exchanges.

        Returns:
            What summary.json holds; empty if the run was asked to stop early.

        Raises:
            PushError: the model could not be pushed to the Hub; the run is whole.
        """
        self.saving.wait()
        finished = self.is_loaded and self.step >= self.config.optimizer.max_steps
        summary = self._finish() if finished else self._finish_early()
        self.trackers.finish()
        self.close()
        if summary and self.repo:
            with self.display.work("pushing the model to the Hub"):
                address = push(self.path, self.repo, hub())
            self.display.note(f"pushed: {address}")
        # The first rank may merge and upload for hours; one that is gone is noticed without a limit.
        self.ranks.on_first(lambda: None, Wait("the last files", math.inf))
        return summary

    def _finish(self) -> dict[str, Any]:
        # What the figures were made by, at the end: threads may have been set meanwhile.
        made_by = self.signature(self.method.device)
        self.record.facts["problems"] = self.method.num_held_out
        summary = summarise(self.config, self.record, self.step, self._seconds(), made_by)
        self.folder.summary(summary)
        for exchange in self._write_held_out(HELD_OUT_AT_END):
            self.display.exchange(*exchange_of(exchange.row(self.step, held_out=True)), exchange.correct)
        show_result(self.display, summary, self.config)
        if self.config.lora.merge_lora and self.ranks.is_first:
            with self.display.work("merging the adapter into the model"):
                adapter = self.config.model.for_model(str(checkpoint.latest(self.path)))
                merged = weights.write_merged(adapter, self.path / MERGED, self.method.tokenizer)
            self.display.note(f"{merged} holds the whole model")
        if report := self._write_report():
            self.display.note(f"{report} shows the curves; {self.path} holds everything else")
        return summary

    def _finish_early(self) -> dict[str, Any]:
        if self.is_loaded:
            if not self._is_saved():
                self.save()  # the signal came before the first step
            self.display.note(f"Stopped after step {self.step}; saved.")
        self.display.note(f"Go on with: {resume_command(self.path)}")
        self._write_report()
        return {}

    def _write_report(self) -> Path | None:
        if not self.ranks.is_first:
            return None
        again = report_command(self.path)
        return self.report_safely(REPORT, lambda: write_report(self.path), again)
