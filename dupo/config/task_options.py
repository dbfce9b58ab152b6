"""Options of the task: its data, its duals, and what counts as an answer."""

from dataclasses import dataclass

from dupo.config.catalogue import TASKS
from dupo.config.values import Options, listed, option, show
from dupo.errors import UserError, quoted

METRICS = ("bleu", "chrf", "mean")
# In the order in which they are asked.
GATES = ("lines", "wrapper", "apology", "repetition", "copy", "disguise", "length", "language")


@dataclass(frozen=True)
class TaskOptions(Options):
    """What the model is asked, where the problems come from, and which duals they have."""

    task: str = option("arithmetic", "what the model is trained to do", "|".join(TASKS))
    dataset: str | None = option(
        None,
        "training problems: a file (.jsonl, .json, .csv, .tsv, .parquet, .txt of one problem a line; also "
        "with .gz), a folder of such files or of save_to_disk, or the Hub name of a data set in the local "
        "cache; a config and a split may follow (FOLDER:SPLIT, NAME:CONFIG:SPLIT; none: train); for "
        "translation also line-parallel files",
        is_path=True,
    )
    eval_dataset: str | None = option(
        None,
        "held-out problems, as dataset, but of several splits one must be named (FOLDER:test); none: "
        "eval_size problems of dataset",
        is_path=True,
    )
    question_column: str | None = option(
        None,
        "column of the question, text or a list of messages; several (Body,Question) are joined by line "
        "ends; a.b reads key b inside column a; none: question, problem, prompt, messages and other usual "
        "names",
    )
    answer_column: str | None = option(
        None,
        "column of the right answer, read by evaluation and the reward gold; none: answer, solution and "
        "other usual names",
    )
    src: str = option("en", "code of the language translated from")
    tgt: str = option("de", "code of the language translated into")
    eval_size: int | None = option(
        None,
        "number of held-out problems, never trained on; 0: no evaluation; none: a tenth of those with a "
        "right answer, at most 64; from eval_dataset: at most 64",
        at_least=0,
    )
    translation_metric: str = option(
        "bleu",
        "compares back-translation and source: bleu, chrf, mean of both, or your package.module.function",
    )
    gates: str = option(
        ",".join(GATES),
        'checks that a translation must pass to be an answer, any of: lines (one line), wrapper (no "Sure!" '
        "before it), apology (the model does not say that it cannot translate), repetition (no word over and "
        "over, not the text twice), copy (no copy of the source), disguise (not the source in other "
        "letters), length (within max_length_ratio), language (the target language); off: no check",
    )
    paragraphs: bool = option(
        False,
        "texts of several lines: sources and references keep their lines, all lines of a completion are the "
        "translation whatever their number, the gate lines refuses nothing, and likeness ignores line breaks",
    )
    max_length_ratio: float = option(
        3.0, "largest ratio of the lengths of a translation and its source", at_least=1
    )
    duals_per_prompt: int = option(3, "most duals of one problem; 0: all", at_least=0)
    overlong: str = option(
        "drop",
        "what becomes of a problem or example whose prompt and completion exceed the model's positions or "
        "token_budget, and of a dual that exceeds the positions of the model that answers it. drop: left out "
        "and counted; duals are left out one by one, and in training a problem whose duals are all too long "
        "goes with them; truncate_left: words at the start of its text are left out until it and its duals "
        "fit, in training alone, and its duals hide what is left; error: the first one ends the program",
        "drop|error|truncate_left",
    )
    selected_duals: str | None = option(
        None, "folder of a finished dupo.select: use the duals that it kept, no others", is_path=True
    )

    def check_together(self) -> None:
        """Checks the languages, the metric and the gates."""
        names = [name.lower() for name in listed(self.gates)]
        unknown = [name for name in names if name not in GATES] if names != ["off"] else []
        if unknown:
            raise UserError(f"gates: expected off, or any of {', '.join(GATES)}, got {quoted(unknown[0])}")
        if self.task == "translation" and self.src == self.tgt:
            raise UserError(
                f"tgt: expected another language than src, {show(self.src)}, got {show(self.tgt)}"
            )
        if "." not in self.translation_metric and self.translation_metric not in METRICS:
            expected = f"{', '.join(METRICS)} or package.module.function"
            raise UserError(f"translation_metric: expected {expected}, got {show(self.translation_metric)}")
