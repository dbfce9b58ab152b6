"""What the engine, the reader of weights and the reader of rows tell of their progress."""

from pathlib import Path

from transformers.utils import logging as transformers_logging

from dupo.config.config import Config
from dupo.config.model_options import ModelOptions
from dupo.duality.judge import Judge
from dupo.engines.base import Sampling
from dupo.models.load import load_model, model_config
from dupo.models.tokenizers import load_tokenizer
from dupo.progress import listening, telling
from tests.helpers.options import RUN
from tests.helpers.worlds import save_tiny, task_of, tiny


def test_the_engine_counts_samples_over_all_its_batches() -> None:
    world, heard = tiny("--max_concurrent_sequences", "4"), list[tuple[str, int, int]]()
    prompts = [problem.text for problem in task_of(RUN).train[:5]]
    with listening(lambda *words: heard.append(words)):
        world.engine.sample(prompts, 2, Sampling(1.0, 6), seed=0)
    counts = [done for _, done, _ in heard]
    assert {(unit, total) for unit, _, total in heard} == {("samples", 10)}
    assert counts == sorted(counts) and counts[-1] == 10 and {4, 8} <= set(counts)


def test_the_judge_counts_samples_of_duals() -> None:
    world, heard = tiny(), list[str]()
    judge = Judge.of(world.engine, Config().duals, 6)
    with listening(lambda unit, *_: heard.append(unit)):
        judge.asking(0)(["7 and 8?"])
        world.engine.sample(["7 and 8?"], 1, Sampling(1.0, 6), seed=0)
    assert list(dict.fromkeys(heard)) == ["samples of duals", "samples"]


def test_reading_weights_is_counted(tmp_path: Path) -> None:
    options, heard = ModelOptions(model_name_or_path=str(save_tiny(tmp_path / "model"))), list[int]()
    tokenizer = load_tokenizer(options, None)
    shape, device = model_config(options, tokenizer), tiny().model.device
    with listening(lambda unit, done, total: heard.append(done) if unit == "weights" else None):
        model = load_model(options, shape, device, 0)
    # Older versions of transformers cannot be asked.
    assert heard or not hasattr(transformers_logging, "set_tqdm_hook")
    assert heard == sorted(heard)
    assert len(heard) <= len(list(model.parameters())) + 1


def test_a_walk_over_many_items_says_few_words() -> None:
    heard = list[tuple[str, int, int]]()
    with listening(lambda *words: heard.append(words)):
        assert list(telling("rows", range(100_001))) == list(range(100_001))
    assert heard[:2] == [("rows", 0, 100_001), ("rows", 500, 100_001)] and len(heard) <= 202
