"""The made-up languages: right translations, disjoint sets, and the copy that a round trip rewards."""

from itertools import islice
from typing import Any

import pytest
import torch

from dupo.config.options import RewardOptions
from dupo.config.task_options import TaskOptions
from dupo.duality.reconstruct import reconstruct
from dupo.errors import UserError
from dupo.methods.teaching import Teaching
from dupo.records import Dual, Problem, Rollout
from dupo.rewards.base import RewardInputs
from dupo.rewards.dual import dual as dual_reward
from dupo.tasks import conlang_grammar as grammar
from dupo.tasks import generated
from dupo.tasks.conlang import UNTRANSLATED, VOCABULARY, Conlang, lesson_examples, random_problems
from dupo.tasks.conlang_grammar import (
    WORDS_A,
    WORDS_B,
    NounPhrase,
    Sentence,
    in_language_a,
    in_language_b,
)
from dupo.tasks.generated import SETS, distinct, set_of
from dupo.train import main
from tests.helpers.worlds import rows, said, save_tiny, tiny

MIRA, KAVO = NounPhrase("kesh", 0, False), NounPhrase("bulk", 1, True, "bosil")
TRANSLATIONS = [
    (Sentence(MIRA, "hul", False, KAVO), "mira hule bosil kavon", "kesh lu bulk drevos sa tam mekil"),
    (Sentence(KAVO, "hul", True, MIRA), "bosil kavon hulet mira", "bulk drevos kesh lu sul ta mekor"),
    (
        Sentence(MIRA, "dan", True, KAVO._replace(plural=False), "ana"),
        "mira danet bosil kavo ana",
        "ana kesh lu bulk drevos sa ta strofor",
    ),
    (
        Sentence(MIRA._replace(noun_class=1), "pav", False, MIRA),
        "talo pave mira",
        "kesh los kesh lu sa ta chormil",
    ),
]
SOURCE = Problem("x", "miran hulet bosil kavo ana", "ana kesh lu bulk drevos sul ta mekor")


@pytest.fixture(autouse=True)
def _few_sentences(request, monkeypatch):
    if "slow" not in request.keywords:
        monkeypatch.setattr(generated, "TRAIN_SIZE", 500)


def make(seed: int = 0, **options: Any) -> Conlang:
    return Conlang(TaskOptions(**{"task": "conlang", "eval_size": 50, **options}), seed)


def back(translation: str) -> str:
    """A perfect dual: reads B from left to right, and writes A."""
    words = translation.split()
    name = [words.pop(0)] if words[0] in grammar.NAMES else []
    first, second, (subject, object, verb) = words[:2], words[2:4], words[4:]
    stems = {v: k for k, v in grammar.VERBS.items()}
    past = grammar.TENSES_B.index(verb[-2:])

    def phrase(noun: str, mark: str, plural: int) -> list[str]:
        adjective = []
        if mark not in grammar.ARTICLES:
            ending = next(e for e in grammar.CLASS_ENDINGS if mark.endswith(e))
            adjective = [word for word, stem in grammar.ADJECTIVES.items() if stem + ending == mark]
            mark = grammar.ARTICLES[grammar.CLASS_ENDINGS.index(ending)]
        return [*adjective, grammar.NOUNS[noun][grammar.ARTICLES.index(mark)] + "n" * plural]

    numbers = grammar.SUBJECT_MARKERS.index(subject), grammar.OBJECT_MARKERS.index(object)
    middle = stems[verb[:-2]] + ("e", "et")[past]
    return " ".join([*phrase(*first, numbers[0]), middle, *phrase(*second, numbers[1]), *name])


def rollout(*texts: str, task: Conlang) -> Rollout:
    completions = [said(text) for text in texts]
    return Rollout([SOURCE], [[]], [completions], [[task.answer(SOURCE, text) for text in texts]])


# --- the languages ---


@pytest.mark.parametrize(("sentence", "text_a", "text_b"), TRANSLATIONS)
def test_literal_translations(sentence, text_a, text_b):
    assert (in_language_a(sentence), in_language_b(sentence)) == (text_a, text_b)
    assert back(text_b) == text_a


def test_b_determines_a():
    seen = {}
    for set_name in SETS:
        for problem in islice(random_problems(set_name, 1), 2000):
            assert back(problem.gold) == problem.text
            assert seen.setdefault(problem.gold, problem.text) == problem.text
            assert set(problem.text.split()) <= WORDS_A and set(problem.gold.split()) <= WORDS_B
    assert len(seen) > 7900


def test_the_languages_share_their_names_and_no_other_word():
    assert set(grammar.NAMES) == WORDS_A & WORDS_B
    assert len(WORDS_A) == 4 + 8 + 2 * 24 + 2 * 8 and len(WORDS_B) == 4 + 2 + 12 + 2 * 8 + 2 * 8 + 4
    assert len(set(VOCABULARY)) == len(VOCABULARY) == 3 + len(WORDS_A | WORDS_B)


def test_one_token_a_word():
    tokenizer = tiny("--task", "conlang").tokenizer
    texts = [f">B {SOURCE.text} =", (">A ", str(SOURCE.gold), " =")]
    ids = tokenizer.encode(texts)
    assert [len(row) for row in ids] == [7, 10]
    assert tokenizer.decode(ids) == ["".join(text) for text in texts]
    assert len(tokenizer) == 3 + len(VOCABULARY)
    (unknown,) = tokenizer.encode(["mira <eos> mirax"])
    assert not {tokenizer.pad_id, *tokenizer.eos_ids} & set(unknown)


# --- problems ---


def test_sets_are_disjoint_whatever_the_seed():
    for set_name in SETS:
        texts = [p.text for seed in range(2) for p in distinct(random_problems(set_name, seed), 800)]
        assert {set_of(text) for text in texts} == {set_name}
        assert len(set(texts[:800])) == 800


def test_held_out_problems_are_the_same_for_every_seed_and_training_ones_are_not():
    first, second = make(1), make(2)
    assert first.held_out == second.held_out and len(first.held_out) == 50
    assert [p.text for p in first.train] != [p.text for p in second.train] and len(first.train) == 500
    with pytest.raises(UserError, match="eval_size"):
        make(eval_size=50_001)


def test_lessons_are_right_or_never_translated():
    duals = untranslated = 0
    for prompt, completion in islice(lesson_examples(0, 0.9), 4000):
        mark, *words, end = prompt.split()
        sentence = " ".join(words)
        assert end == "=" and mark in (">A", ">B")
        duals += mark == ">A"
        source, other = (completion, sentence) if mark == ">A" else (sentence, completion)
        assert set_of(source) == "lessons"
        untranslated += source == other
        assert other == source or back(other) == source
    assert duals == pytest.approx(3600, abs=80)
    assert untranslated == pytest.approx(4000 * UNTRANSLATED, abs=100)


# --- answers, gates, distances ---

MIXED = "kesh lu bulk bosil sul ta mekor"
WHY = {
    str(SOURCE.gold): {"": None, "copy": None, "language": None, "off": None},
    "kesh kesh lu": {"": None, "copy": None, "language": None, "off": None},
    SOURCE.text: {"": "copy", "copy": "copy", "language": "language", "off": None},
    MIXED: {"": "language", "copy": None, "language": "language", "off": None},
    "": dict.fromkeys(("", "copy", "language", "off"), "unreadable"),
    "kesh = lu": dict.fromkeys(("", "copy", "language", "off"), "unreadable"),
    "kesh lux": dict.fromkeys(("", "copy", "language", "off"), "unreadable"),
}


@pytest.mark.parametrize("gates", ["", "copy", "language", "off"])
def test_gates(gates):
    task = make(**({"gates": gates} if gates else {}))
    for text, expected in WHY.items():
        assert task.refusal(SOURCE, text) == expected[gates], text
        assert task.answer(SOURCE, text) == (text if expected[gates] is None else None)
    assert ("copy is an answer" in task.notes[-1]) == (gates == "off")


def test_distances():
    task = make()
    (dual,) = task.duals(SOURCE)
    assert (dual.known, dual.unknown) == ("", SOURCE.text)
    assert task.dual_prompt(SOURCE, dual, "kesh lu") == (">A ", "kesh lu", " =")
    texts = [SOURCE.text, "miran hulet bosil kavo olu", "rima nore", ""]
    same, close, distant, nothing = task.distances([dual] * 4, [""] * 4, texts)
    # BLEU, the last of five words wrong: the geometric mean of 4/5 of words, 3/4 of pairs, 2/3, 1/2
    assert same == 0 and close == pytest.approx(1 - 0.2**0.25, abs=1e-6) and nothing is None
    assert distant is not None and close < distant <= 1
    # three words have no fours, and a count of no trigram is smoothed to a half
    near = task.distance(Dual("", "mira hule kavo"), "mira hule rima")
    assert near == pytest.approx(1 - (1 / 6) ** (1 / 3))


def test_metrics_of_an_evaluation():
    task = make(gates="off")
    assert (
        task.score(SOURCE, SOURCE.gold) == 1
        and task.score(SOURCE, SOURCE.text) == task.score(SOURCE, None) == 0
    )
    answers = [SOURCE.gold, *[SOURCE.text] * 2, *[None] * 3, *["kesh lu"] * 4]
    metrics = task.evaluate([SOURCE] * 10, answers)
    assert metrics == {"accuracy": 0.1, "copies": 0.2, "none": 0.3}


# --- the reward and its exploit ---


def answers_duals(prompts):
    """Translates B back without a mistake, and leaves a sentence of A as it is."""
    inner = ["".join(prompt)[3:-2] for prompt in prompts]
    replies = [text if set(text.split()) <= WORDS_A else back(text) for text in inner]
    return [[said(text)] for text in replies]


def rewards(task: Conlang, *texts: str) -> list[float]:
    answers = rollout(*texts, task=task)
    duals = reconstruct(task, answers.problems, answers.answers, answers_duals)
    inputs = RewardInputs(task, answers, duals, RewardOptions(), seed=0, max_completion_length=9)
    return dual_reward(inputs)[0].tolist()


def test_a_perfect_dual_rewards_the_right_translation_most():
    wrong = "ana kesh lu bulk drevos sa ta mekor"
    right, less = rewards(make(), str(SOURCE.gold), wrong)
    assert right == 1 and less < 0.7


def test_a_copy_comes_back_perfectly_unless_a_gate_refuses_it():
    for gates, reward in (("off", 1.0), ("copy", 0.0), ("language,copy", 0.0)):
        assert rewards(make(gates=gates), SOURCE.text) == [reward], gates


# --- runs ---


@pytest.mark.slow
def test_a_step_of_the_teaching_and_its_check():
    world = tiny("--task", "conlang")
    teaching = Teaching(world.config, Conlang(world.config.task, 0), world.model)
    teaching.dev = teaching.dev[:20]
    weight = teaching.sft.model.get_input_embeddings().weight
    before = weight.clone()
    teaching.step()
    assert teaching.labels == 64 and not torch.equal(before, weight)
    assert (teaching.primal_accuracy(), teaching.dual_accuracy()) == (0.0, 0.0)


@pytest.mark.slow
@pytest.mark.full
def test_a_run_says_how_many_answers_are_copies(tmp_path):
    model = save_tiny(tmp_path / "model", 0, "--task", "conlang")
    options = ["--task", "conlang", "--model_name_or_path", str(model), "--output_dir", str(tmp_path / "run")]
    small = ["--eval_size", "50", "--generation_batch_size", "32", "--max_steps", "1"]
    assert main([*options, *small, "--gates", "off"]) == 0
    (row,) = rows(tmp_path / "run")
    assert {"eval/accuracy", "eval/copies", "eval/none", "dual/reconstruct_rate"} <= row.keys()


@pytest.mark.slow
@pytest.mark.full
def test_without_gates_copies_take_over_and_with_them_translations(tmp_path):
    last = {}
    for gates in ("off", "language,copy"):
        run = tmp_path / gates
        assert main(["--task", "conlang", "--gates", gates, "--output_dir", str(run)]) == 0
        last[gates] = rows(run)[-1]
    assert last["off"]["eval/copies"] > 0.5 > 0.2 > last["off"]["eval/accuracy"]
    assert last["off"]["reward"] > 0.9
    assert last["language,copy"]["eval/accuracy"] > 0.75
