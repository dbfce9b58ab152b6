"""The recipes of dupo/configs/: their options, the values of the paper, and the plans that a page shows."""

import re
from pathlib import Path

import pytest

from dupo.config.command_line import parse
from dupo.config.config import OPTIONS
from tests.docs.recipe_plans import CONFIGS, END, PAGE, RECIPES, START, Recipe, plan_of, table

FILES = sorted(CONFIGS.glob("*.yaml"))
OF_PAPER = [file for file in FILES if file.stem.startswith("paper_")]
# Small tasks of earlier pages, which one GPU or a CPU runs.
SMALL = {"arithmetic", "flores_en_de", "gsm8k"}
# arXiv 2508.14460, appendix C: 512 prompts a rollout and 32 a step, 16 completions each; tokens of input and
# output.
PAPER = {"num_generations": 16, "generation_batch_size": 512 * 16, "train_batch_size": 32 * 16}
PAPER |= {"temperature": 1.0, "learning_rate": 1e-6, "max_grad_norm": 1.0}
INPUT, OUTPUT = 2048, {"word_problems": 30000, "translation": 4096}
# As the Hub counts them, tied weights once.
PARAMETERS = {
    "vllm_server": 1_720_574_976,
    "node_of_8": 4_022_468_096,
    "two_nodes": 8_190_735_360,
    "paper_r1_distill_math": 1_777_088_000,
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recipe_is_read(file: Path) -> None:
    config = parse(["--config", f"configs/{file.name}"])
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if re.match(r"\w", line)]
    # Every option stands once, and has the value that the file gives.
    assert len(lines) == len({line.partition(":")[0] for line in lines} & OPTIONS.keys())
    assert config.task.task == next(line for line in lines if line.startswith("task:")).split()[1]


def test_every_recipe_is_planned() -> None:
    assert {file.stem for file in FILES} == SMALL | {recipe.name for recipe in RECIPES}


@pytest.mark.parametrize("file", OF_PAPER, ids=lambda file: file.stem)
def test_every_value_is_marked_as_the_papers_or_explained(file: Path) -> None:
    values = parse(["--config", f"configs/{file.name}"]).flat()
    comments, above = dict[str, str](), ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"(\w+):[^#]*(#.*)?$", line):
            comments[match[1]] = match[2] or above
        above = above + line if line.startswith("#") else ""
    unmarked = [name for name, text in comments.items() if not re.search(r"# (paper|open)\b", text)]
    assert not unmarked
    marked = {name for name in PAPER if comments[name].startswith("# paper")}
    assert {name: values[name] for name in marked} == PAPER
    longest = OUTPUT[values["task"]]
    assert values["max_completion_length"] == longest and values["token_budget"] == INPUT + longest


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_fits(recipe: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    plan = plan_of(recipe, tmp_path)
    assert plan.fits and plan.rows != 0
    if recipe.name in PARAMETERS:
        # A checkpoint holds weights and two moments, 4 bytes a number each.
        assert plan.model.parameters == PARAMETERS[recipe.name] == plan.checkpoint / 12


@pytest.mark.slow
def test_the_table_of_the_page_is_made_of_the_recipes() -> None:
    pytest.importorskip("peft")
    text = PAGE.read_text(encoding="utf-8")
    assert text.partition(START)[2].partition(END)[0] == table()
