"""The plans of the recipes in dupo/configs/, as the table of docs/scale.md.

    PYTHONPATH=.:kernels python -m tests.docs.recipe_plans --write

writes the table anew; without --write the command prints the table. A plan is that of `dupo plan` with the
options of the row. The configs of the models stand here, so that no network is needed; they are those of the
Hub, without what no plan reads.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from transformers import MistralConfig, PretrainedConfig, Qwen2Config, Qwen3Config

from dupo.config.command_line import parse
from dupo.config.plan_options import parse_plan
from dupo.models.load import model_config
from dupo.planning.changes import planned
from dupo.planning.machines import machine_of
from dupo.planning.models import Models
from dupo.planning.plan import Plan
from dupo.planning.words import duration, gigabytes
from tests.helpers.project import ROOT

PAGE, CONFIGS = ROOT / "docs/scale.md", ROOT / "dupo/configs"
START, END = "<!-- plans: made by tests.docs.recipe_plans -->\n", "<!-- end of plans -->\n"
WORDS = {"vocab_size": 151936}
EIGHT_HEADS = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
TWELVE_HEADS = {"num_attention_heads": 12, "num_key_value_heads": 2}
SIXTEEN_HEADS = {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}


def shape(
    kind: type[PretrainedConfig], layers: int, hidden: int, wide: int, positions: int, **others: object
) -> PretrainedConfig:
    """A config of transformers.

    Args:
        wide: numbers between the two products of a layer.
    """
    sizes = {"num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": wide}
    return kind(**sizes, max_position_embeddings=positions, **others)


SHAPES = {
    "Qwen/Qwen3-1.7B": shape(
        Qwen3Config, 28, 2048, 6144, 40960, **WORDS, **SIXTEEN_HEADS, tie_word_embeddings=True
    ),
    "Qwen/Qwen3-4B": shape(
        Qwen3Config, 36, 2560, 9728, 40960, **WORDS, **EIGHT_HEADS, tie_word_embeddings=True
    ),
    "Qwen/Qwen3-8B": shape(
        Qwen3Config, 36, 4096, 12288, 40960, **WORDS, **EIGHT_HEADS, tie_word_embeddings=False
    ),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": shape(
        Qwen2Config, 28, 1536, 8960, 131072, **WORDS, **TWELVE_HEADS, tie_word_embeddings=False
    ),
    "ByteDance-Seed/Seed-X-Instruct-7B": shape(
        MistralConfig, 32, 4096, 14336, 32768, vocab_size=65269, **EIGHT_HEADS, sliding_window=4096
    ),
}


class Recipe(NamedTuple):
    """A file of dupo/configs/ and the GPUs that it is for."""

    name: str
    gpus: int
    memory: int

    @property
    def machine(self) -> list[str]:
        """The options of `dupo plan` that name the GPUs."""
        return ["--gpus", str(self.gpus), "--memory", str(self.memory)]


RECIPES = (
    Recipe("lora_24gb", 1, 24),
    Recipe("vllm_server", 1, 80),
    Recipe("node_of_8", 8, 80),
    Recipe("two_nodes", 16, 80),
    Recipe("paper_qwen3_4b_math", 8, 80),
    Recipe("paper_r1_distill_math", 8, 80),
    Recipe("paper_translation", 8, 80),
)


def plan_of(recipe: Recipe, folder: Path) -> Plan:
    """The plan of a recipe.

    Args:
        folder: where the config of the model is written.
    """
    options = ["--config", str(CONFIGS / f"{recipe.name}.yaml")]
    config = SHAPES[parse(options).model.model_name_or_path]
    config.save_pretrained(folder)
    config, expected = parse_plan([*options, *recipe.machine, "--model_name_or_path", str(folder)])
    machine = machine_of(expected, config)
    return planned(config, expected, machine, Models(model_config(config.model, None)))


def table() -> str:
    """The rows of all recipes, in Markdown."""
    header = ("recipe", "GPUs", "sampling, GB", "update, GB", "rows at once", "a step", "all steps")
    rows = [(*header, "a checkpoint, GB"), ("---",) * (len(header) + 1)]
    for recipe in RECIPES:
        with TemporaryDirectory() as folder:
            plan = plan_of(recipe, Path(folder))
        seconds = plan.step_seconds
        rows.append(
            (
                f"`{recipe.name}`",
                f"`{' '.join(recipe.machine)}`",
                gigabytes(plan.sampling),
                gigabytes(plan.update),
                "the server decides" if plan.rows is None else f"{plan.rows:,}",
                duration(seconds) + (" and the server" if plan.rows is None else ""),
                duration(seconds * plan.config.optimizer.max_steps),
                gigabytes(plan.checkpoint),
            )
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    made = table()
    if "--write" in sys.argv[1:]:
        text = PAGE.read_text(encoding="utf-8")
        before, rest = text.split(START)
        PAGE.write_text(before + START + made + END + rest.split(END)[1], encoding="utf-8")
    else:
        print(made)


if __name__ == "__main__":
    main()
