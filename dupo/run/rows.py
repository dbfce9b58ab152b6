"""The run of a program that does not train: problems, engines, and rows of results in .jsonl files.

The work is cut into batches of problems. A batch depends on the options, the seed and its own number alone,
and its rows are written at once. So a program that was killed continues with the missing batch, to the same
bytes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import torch

from dupo.config.config import Config
from dupo.config.model_options import BUILT_IN_MODEL, ModelOptions
from dupo.config.options import DUAL_MODELS
from dupo.data.fingerprints import problems_fingerprint
from dupo.duality.judge import Judge
from dupo.duality.length_check import lengths_of
from dupo.duality.model_parts import ModelParts, read_parts
from dupo.duality.overlong import FittingTask
from dupo.duality.reconstruct import Ask
from dupo.engines.base import Engine, Sampling
from dupo.engines.server import ServerEngine
from dupo.engines.thinking import check_judge_thinking, check_thinking, thoughts_row
from dupo.errors import UserError
from dupo.methods.base import Stage
from dupo.models.devices import pick_device
from dupo.models.load import Model, load_model, model_config
from dupo.records import Problem
from dupo.rewards.model import ModelReward
from dupo.run.base import Run
from dupo.run.interrupt import graceful_interrupt
from dupo.run.problems import RunProblems, read_run_problems
from dupo.seeds import derive
from dupo.storage.checksums import RowsSoFar, broken_rows, broken_seal, cut_rows, rows_so_far, seal
from dupo.storage.commands import same_start
from dupo.storage.files import append, encoded, read_rows, sync, whole_folder, write_atomic
from dupo.storage.kept_answers import KeptAnswers
from dupo.storage.names import FINISHED_ROWS, SERVER_ANSWERS, SUMMARY, TAUGHT, TEACHING
from dupo.storage.signature import signature_line
from dupo.tasks.base import Task, as_task
from dupo.text.tokenizer import PromptTokenizer
from dupo.views.progress import Plan

# (config of the run, the model to load, tokenizer, device) -> engine; see `dupo.engines.load.load_engine`.
LoadEngine = Callable[[Config, ModelOptions, PromptTokenizer, torch.device], Engine]
# (config, task, model that gets the result) -> the teaching; None where the model needs none.
Teach = Callable[[Config, Task, Model], Stage | None]


class ProblemRow(Protocol):
    """A row of results: one problem, and what the program found."""

    @property
    def problem(self) -> str:
        """Id of the problem."""
        ...

    @property
    def text(self) -> str:
        """Text of the problem."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The row as the file holds it."""
        ...

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        ...


RowT = TypeVar("RowT", bound=ProblemRow)


class RowsRun(Run):
    """One run of a program that does not train, from its first check to its summary.

    Args:
        teach: makes the stage that teaches the built-in model.
        load: makes the engine of a model.
        data: what `read_run_problems` gave for the config; None: read here.
        scorers: reward models that read the answers.

    Attributes:
        problems: the problems of the run: those of eval_dataset if there is one, else the first of the data.
        sampling: how answers are drawn.

    Raises:
        UserError: the options, the data or the folder cannot be used; nothing was written.
    """

    at_stake = "the teaching"

    def __init__(
        self,
        config: Config,
        teach: Teach,
        load: LoadEngine,
        data: RunProblems | None = None,
        scorers: Sequence[ModelReward] = (),
    ) -> None:
        data = data or read_run_problems(config)
        super().__init__(data.config, f"{config.program}-{config.task.task}")
        self.teach, self.load, self.scorers = teach, load, scorers
        options = self.config.model
        self.task = data.task
        self.device = pick_device(options.device)
        lessons = self.task.lessons
        self.vocabulary = lessons.vocabulary if lessons else None
        # The model of the run stands first.
        self.models = {
            options.model_name_or_path: read_parts(self.config, options.model_name_or_path, self.vocabulary)
        }
        self.models |= self._other_models()
        self._check_thinking()
        self.task, self.problems = self._fitting(data)
        rollout = self.config.rollout
        self.sampling = Sampling(rollout.temperature, rollout.max_completion_length)
        self._engines: dict[str, Engine] = {}
        inputs = {"the problems": problems_fingerprint(self.problems)}
        for name, parts in self.models.items():
            inputs |= parts.fingerprints("model" if parts.options is options else name)
        for scorer in scorers:
            inputs |= scorer.fingerprints()
        self.check_inputs(inputs)
        # Everything that costs little is checked by now. Where the input is wrong, no folder is left behind.
        self.folder = self.open_folder()
        self._kept: KeptAnswers | None = None
        self._show_start()

    def _other_models(self) -> dict[str, ModelParts]:
        """Name -> what is read of the judge and of the models of all passes."""
        models: dict[str, ModelParts] = {}
        pools = {name for _, name in self.config.selection.pools if name}
        own = {*DUAL_MODELS, self.config.model.model_name_or_path}
        for name in sorted({*pools, self.config.duals.dual_model} - own):
            models[name] = read_parts(self.config, name, self.vocabulary)
        return models

    def _check_thinking(self) -> None:
        """Checks that a budget of thoughts can hold for who answers problems, and for the judge."""
        own, judge = self.config.model.model_name_or_path, self.config.duals.dual_model
        pools = [name for _, name in self.config.selection.pools if name in self.models]
        answering = list(dict.fromkeys([own, *pools]))
        for name in answering:
            check_thinking(self.config, name, self.models[name].tokenizer)
        # Without a judge of its own, every model answers the duals about its answers.
        for name in answering if judge in DUAL_MODELS else [judge]:
            check_judge_thinking(self.config, self.models[name].tokenizer)

    def _fitting(self, data: RunProblems) -> tuple[Task, list[Problem]]:
        """The task with the duals that fit, and the problems that fit every model that answers problems."""
        lengths = lengths_of(self.config)
        own = self.config.model.model_name_or_path
        by_model = {name: parts.limits(lengths) for name, parts in self.models.items()}
        # A judge that answers duals alone need not read the prompts of the problems.
        pools = {name for _, name in self.config.selection.pools}
        limits = [limit for name, limit in by_model.items() if name == own or name in pools]
        judge = self.config.duals.dual_model
        judge_limits = limits if judge in DUAL_MODELS else [by_model[judge]]
        limits = limits + [scorer.limits(lengths) for scorer in self.scorers]
        task = FittingTask(self.task, limits, self.config.task.overlong, judge_limits)
        fitting = task.fitting(data.usable, needs_duals=data.needs_duals, may_cut=False)
        problems = list(islice(fitting, self.config.selection.num_problems or None))
        task.check_known(problems)
        task.notes += task.left_out_notes(len(problems))
        return as_task(task), problems

    def _show_start(self) -> None:
        # The folder is named before the work starts: who stops it must know what to continue.
        name, judge = self.config.model.model_name_or_path, self.config.duals.dual_model
        judge = "the same model" if judge in DUAL_MODELS else f"the {judge} model"
        server = self.models[name].server
        where = f"{name} on {self.device}" if server is None else str(server.address)
        servers = {str(parts.server.address): parts.server for parts in self.models.values() if parts.server}
        rows = [
            ("model", f"{where}; duals: {judge}"),
            *((f"server {address}", server.describe()) for address, server in servers.items()),
            ("data", "; ".join(self.task.notes)),
            ("problems", f"{len(self.problems):,}"),
            *thoughts_row(self.config, self.models[name].tokenizer),
            ("folder", f"{self.path} ({same_start()} goes on if it is stopped)"),
        ]
        title = f"dupo.{self.program}: {self.config.task.task}, seed {self.config.run.seed}"
        self.display.startup(title, rows)

    def seed_for(self, purpose: str, index: int = 0) -> int:
        """The seed of one purpose; see `dupo.seeds`."""
        return derive(self.config.run.seed, purpose, index)

    # --- models ---

    def engine(self, name: str | None = None) -> Engine:
        """The engine of a model, loaded once; the built-in model is taught first.

        Args:
            name: folder or Hub name; None: the model of the run.
        """
        name = name or self.config.model.model_name_or_path
        if name not in self._engines:
            parts = self.models.get(name) or read_parts(self.config, name, self.vocabulary)
            self._engines[name] = self._server_engine(parts) if parts.server else self._local_engine(parts)
        return self._engines[name]

    def _local_engine(self, parts: ModelParts) -> Engine:
        assert parts.tokenizer is not None
        source = parts.options
        if source.model_name_or_path == BUILT_IN_MODEL:
            source = self._taught(source, parts.tokenizer)
        with self.display.work("reading the model"):
            return self.load(self.config, source, parts.tokenizer, self.device)

    def _server_engine(self, parts: ModelParts) -> Engine:
        assert parts.server is not None
        # One file for all servers of the run: the keys hold their addresses.
        if self._kept is None:
            self._kept = KeptAnswers(self.path / SERVER_ANSWERS)
            if len(self._kept):
                self.display.note(f"{self._kept.file}: {len(self._kept):,} answers are there")
            if self._kept.num_dropped:
                self.display.note(f"{self._kept.num_dropped:,} broken lines of it are asked for again")
        return ServerEngine(parts.server, parts.tokenizer, self._kept)

    def ask(self, engine: Engine, purpose: str, index: int) -> Ask:
        """Asks duals of the model that `dual_model` names.

        Args:
            engine: the engine that answers; it is the judge as well unless `dual_model` is another model.
            purpose: of the draws, see `seed_for`.
            index: number of the batch.
        """
        name = self.config.duals.dual_model
        # Without training, the live, frozen and averaged policies are one.
        judge_engine = engine if name in DUAL_MODELS else self.engine(name)
        judge = Judge.of(judge_engine, self.config.duals, self.sampling.max_tokens)
        return judge.asking(self.seed_for(purpose, index))

    def _taught(self, options: ModelOptions, tokenizer: PromptTokenizer) -> ModelOptions:
        """The options of the built-in model after its teaching, which is done once and kept in the folder."""
        folder = self.path / TAUGHT
        taught = replace(options, model_name_or_path=str(folder))
        # Taught by an earlier start of this run, which may have been killed before it removed the state.
        if folder.is_dir():
            if complaint := broken_seal(folder, self.inputs):
                raise UserError(f"{folder}: {complaint}: remove it to teach the model anew")
            (self.path / TEACHING).unlink(missing_ok=True)
            return taught
        shape = model_config(options, tokenizer)
        model = load_model(options, shape, self.device, self.config.run.seed)
        stage = self.teach(replace(self.config, model=options), self.task, model)
        if stage is None:
            return options
        self.display.note("teaching the built-in model first: random weights have nothing to say")
        with graceful_interrupt(self.interrupt):
            is_done = self.run_stage(stage)
        if not is_done:
            raise KeyboardInterrupt
        # Whole or absent: a folder of that name is taken for the taught model.
        with whole_folder(folder) as temporary:
            model.save_pretrained(temporary)
            tokenizer.hf.save_pretrained(temporary)
            seal(temporary, self.inputs)
        (self.path / TEACHING).unlink(missing_ok=True)
        return taught

    # --- rows ---

    def batches(
        self,
        name: str,
        row_type: type[RowT],
        problems: Sequence[Problem],
        size: int,
        make_rows: Callable[[int, list[Problem]], list[RowT]],
    ) -> list[RowT]:
        """Completes a file of rows, one for each problem, and returns all rows.

        Args:
            name: of the .jsonl file; rows that the file holds are not made again.
            size: problems of a batch.
            make_rows: (number of the batch, its problems) -> their rows.

        Raises:
            UserError: the file holds rows of other problems.
            StorageError: the disk is full, or the file cannot be written; it holds whole batches.
            KeyboardInterrupt: the reader of stdout is gone.
        """
        file, total = self.path / name, len(problems)
        rows = self._finished_rows(file, row_type, problems)
        if rows:
            self.display.note(f"{file}: {len(rows):,} of {total:,} problems are there")
        bar = self.display.progress(Plan(total, len(rows), unit="problem"))
        # Made even where there are no problems: a pass without rows is a pass that was made.
        append(file, b"")
        with bar as progress:
            for start in range(len(rows), total, size):
                new_rows = make_rows(start // size, list(problems[start : start + size]))
                append(file, jsonl(name, new_rows))
                # On the disk before they are recorded: a record of lost rows could never be continued.
                sync(file)
                self._record(file)
                rows += new_rows
                progress.update(len(rows), {})
                if self.interrupted() and len(rows) < total:
                    raise KeyboardInterrupt
        return rows

    def _finished_rows(self, file: Path, row_type: type[RowT], problems: Sequence[Problem]) -> list[RowT]:
        """The rows of whole batches; cuts the file after them."""
        anew = "put it back, or start anew in another --output_dir"
        recorded = self._recorded()
        if file.name not in recorded:
            # Recorded as empty before the first row is written, so rows without a record were not made here.
            if file.exists():
                raise UserError(f"{self.path / FINISHED_ROWS} says nothing of {file.name}: {anew}")
            self._record(file)
            return []
        if complaint := broken_rows(file, recorded[file.name]):
            raise UserError(f"{file}: {complaint}: {anew}")
        # Rows that a kill left unrecorded are made again: a batch draws as a whole.
        cut_rows(file, recorded[file.name])
        expected = [(problem.id, problem.text) for problem in problems]
        # Lines of another kind lack the keys of these rows: they count as rows of other problems.
        try:
            rows = [row_type.from_json(row) for row in read_rows(file)]
            are_ours = [(row.problem, row.text) for row in rows] == expected[: len(rows)]
        except (KeyError, TypeError):
            rows, are_ours = [], False
        if not are_ours:
            raise UserError(f"{file}: expected the problems of the data set, got others: it has changed")
        return rows

    def _recorded(self) -> dict[str, RowsSoFar]:
        """File of rows -> what it held after the last batch that was finished."""
        file = self.path / FINISHED_ROWS
        if not file.exists():
            return {}
        try:
            record = json.loads(file.read_bytes())
            return {name: RowsSoFar.from_json(value) for name, value in record.items()}
        except (OSError, ValueError, AttributeError, RecursionError):
            raise UserError(
                f"{file} is damaged: put it back, or start anew in another --output_dir"
            ) from None

    def _record(self, file: Path) -> None:
        record = self._recorded() | {file.name: rows_so_far(file)}
        values = {name: rows.to_json() for name, rows in record.items()}
        write_atomic(self.path / FINISHED_ROWS, encoded(values, FINISHED_ROWS, indent=2))

    def write_summary(self, metrics: Mapping[str, Any], name: str = SUMMARY) -> dict[str, Any]:
        """Writes the metrics with what produced them, and returns both.

        Args:
            name: of the .json file.
        """
        for engine in self._engines.values():
            for note in engine.take_notes() if isinstance(engine, ServerEngine) else ():
                self.display.warn(note)
        # The signature stands last: a person reads the metrics first.
        summary = {**metrics, "signature": signature_line(self.signature(self.device))}
        self.folder.summary(summary, name)
        return summary


def jsonl(name: str, rows: Sequence[ProblemRow]) -> bytes:
    """The rows as bytes of a .jsonl file.

    Args:
        name: of the file, for errors.
    """
    return b"".join(encoded(row.to_json(), name) for row in rows)
