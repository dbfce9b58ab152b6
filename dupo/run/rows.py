"""What select, rerank and audit share: a folder that a stopped program goes on with, models, progress.

The work is cut into batches of problems. Each batch depends on the settings, the seed and its own number, and
is written as a whole; so a program that was killed goes on with the batch that is missing, to the same bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from dupo.config.options import DUAL_MODELS, Config, config_hash, read_config, resume_differences, to_yaml
from dupo.duality.judge import another, ask_duals, load_sampler
from dupo.duality.reconstruct import Ask
from dupo.engines.builtin import Sampler, draw
from dupo.errors import UserError
from dupo.methods.sft import WarmUp
from dupo.models import load as policy
from dupo.models.tokenizers import load_tokenizer
from dupo.records import Problem
from dupo.run.startup import check_fit, warms_up
from dupo.storage.files import encoded, read_rows, write_atomic
from dupo.storage.names import CONFIG, SUMMARY, TAUGHT, owner_of
from dupo.storage.run_folder import RunFolder
from dupo.storage.signature import signature, signature_line
from dupo.tasks import make_task
from dupo.views.terminal import Display

MOST_PROBLEMS = 10**9
Row = dict[str, Any]


class Work:
    """One run of a program that does not train, from its first check to its summary.

    Attributes:
        problems: those that are looked at: of eval_dataset if there is one, else the first of the data.

    Args:
        with_duals: leave out problems without a dual, as training does.
    """

    def __init__(self, config: Config, program: str, *, with_duals: bool = False) -> None:
        # Nothing is held out of the data; the problems of another data set are looked at as far as wanted.
        other = config.eval_dataset is not None
        wanted = (config.num_problems or MOST_PROBLEMS) if other else 0
        config = replace(config, eval_size=wanted)
        if config.output_dir is None:
            name = f"{datetime.now():%Y%m%d-%H%M%S}-{program}-{config.task}"
            config = replace(config, output_dir=str(Path("runs") / name))
        self.config, self.program, self.path = config, program, Path(str(config.output_dir))
        self.display = Display()
        self._check_folder()
        self.task = make_task(config)
        found = self.task.held_out if other else self.task.problems
        usable = (p for p in found if not with_duals or self.task.duals(p))
        self.problems = list(islice(usable, config.num_problems or None))
        if not self.problems:
            which, need = ("eval_dataset", "a right answer") if other else ("dataset", "a dual")
            raise UserError(f"{which}: expected problems with {need}, got none: {'; '.join(self.task.notes)}")
        self.device = policy.pick_device(config.device)
        if config.num_threads:
            torch.set_num_threads(config.num_threads)
        self.tokenizer = load_tokenizer(config)
        shape = policy.model_config(config, self.tokenizer)
        check_fit(self.task, self.problems, self.tokenizer, shape, config)
        self._settings()
        self._samplers: dict[str, Sampler] = {}
        judge = f"the {config.dual_model} model" if config.dual_model not in DUAL_MODELS else "the same model"
        rows = [
            ("model", f"{config.model_name_or_path} on {self.device}; duals: {judge}"),
            ("data", "; ".join(self.task.notes)),
            ("problems", f"{len(self.problems):,}"),
            ("folder", f"{self.path} (the same command with this --output_dir goes on if it is stopped)"),
        ]
        self.display.startup(f"dupo.{program}: {config.task}, seed {config.seed}", rows)

    def _check_folder(self) -> None:
        """An own folder with the same settings is gone on with, others are refused unless overwritten."""
        replaced = self.config.overwrite_output_dir
        if owner_of(self.path) != self.program or replaced:
            RunFolder.check(self.path, replaced, self.program)
        elif lines := resume_differences(read_config(self.path / CONFIG, self.program), self.config):
            hint = "--overwrite_output_dir replaces it"
            raise UserError(f"output_dir {self.path} holds other work ({'; '.join(lines)}): {hint}")

    def _settings(self) -> None:
        same = replace(self.config, output_dir=None, overwrite_output_dir=False)
        if self.config.overwrite_output_dir or owner_of(self.path) is None:
            RunFolder.create(self.path, to_yaml(same), self.config.overwrite_output_dir, self.program)

    # --- models ---

    def sampler(self, name: str | None = None) -> Sampler:
        """Samples from a model, by default the one that answers; the built-in one is taught first."""
        config = another(self.config, name or self.config.model_name_or_path)
        if config.model_name_or_path not in self._samplers:
            taught = self._taught(config) if warms_up(config) else config
            loaded = self.tokenizer if taught is self.config else None
            self._samplers[config.model_name_or_path] = load_sampler(taught, self.device, loaded)
        return self._samplers[config.model_name_or_path]

    def ask(self, sampler: Sampler, purpose: str, index: int) -> Ask:
        """Asks duals of the model that `dual_model` names; without training, all but a path are `sampler`."""
        who = self.config.dual_model
        judge = sampler if who in DUAL_MODELS else self.sampler(who)
        return lambda prompts: ask_duals(judge, prompts, self.draw(purpose, index))

    def _taught(self, config: Config) -> Config:
        """The built-in model after its supervised warm-up, which is done once and kept in the folder."""
        folder = self.path / TAUGHT
        if not (folder / "config.json").is_file():
            untaught = load_sampler(config, self.device)
            warm = WarmUp(untaught.model, untaught.tokenizer, config, self.task)
            self.display.note("teaching the built-in model first: random weights have nothing to say")
            warm.run(self.display.note, lambda: False)
            warm.average.save_pretrained(folder)
            untaught.tokenizer.hf.save_pretrained(folder)
        return replace(config, model_name_or_path=str(folder))

    def draw(self, purpose: str, index: int = 0) -> int:
        return draw(self.config.seed, purpose, index)

    # --- rows ---

    def each_batch(
        self,
        name: str,
        problems: Sequence[Problem],
        size: int,
        made: Callable[[int, list[Problem]], list[Row]],
    ) -> list[Row]:
        """Rows of all problems, a row each; those that the file `name` lacks are `made` and appended.

        Args:
            size: problems of a batch.
            made: (number of the batch, its problems) -> their rows.
        """
        file, total = self.path / name, len(problems)
        rows = self._whole_batches(file, problems, size)
        if rows:
            self.display.note(f"{file}: {len(rows):,} of {total:,} problems are there")
        shown = self.display.progress(total, len(rows), unit="problem")
        with shown as progress, file.open("ab") as out:
            for start in range(len(rows), total, size):
                new = made(start // size, list(problems[start : start + size]))
                out.write(b"".join(encoded(row, name) for row in new))
                out.flush()
                rows += new
                progress.update(len(rows), {})
        return rows

    def _whole_batches(self, file: Path, problems: Sequence[Problem], size: int) -> list[Row]:
        """The rows that are there, without a last batch that a kill cut short; the file is cut likewise."""
        rows = read_rows(file)
        whole = len(rows) if len(rows) == len(problems) else len(rows) // size * size
        kept = rows[:whole]
        there = [(row.get("problem"), row.get("text", row.get("question"))) for row in kept]
        if there != [(p.id, p.text) for p in problems[:whole]]:
            raise UserError(f"{file}: expected the problems of the data set, got others: it has changed")
        data = b"".join(encoded(row, file.name) for row in kept)
        if file.is_file() and file.read_bytes() != data:
            write_atomic(file, data)
        return kept

    def write(self, name: str, rows: Sequence[Row]) -> None:
        """A whole .jsonl file at once."""
        write_atomic(self.path / name, b"".join(encoded(row, name) for row in rows))

    def summary(self, figures: Row, name: str = SUMMARY) -> Row:
        """Writes the figures with what produced them, and returns both."""
        made_by = signature(config_hash(self.config), str(self.device), torch.get_num_threads())
        whole = {**figures, "signature": signature_line(made_by)}
        write_atomic(self.path / name, encoded(whole, name, indent=2))
        return whole
