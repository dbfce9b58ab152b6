"""The made-up languages: right translations, disjoint sets, and the copy that a round trip rewards."""

from itertools import islice

import pytest
import torch

from dupo.config.command_line import parse
from dupo.errors import UserError
from dupo.methods.sft import WarmUp
from dupo.records import Completion, Dual, Problem, Rollout
from dupo.rewards.base import ARMS, Env
from dupo.tasks import conlang
from dupo.tasks.conlang import VOCABULARY, WORDS_A, WORDS_B, Conlang, Sentence, Thing, in_a, in_b
from dupo.tasks.generated import SETS, belongs
from dupo.train import main
from tests.helpers.worlds import rows, save_tiny, tiny

MIRA, KAVO = Thing("kesh", 0, False), Thing("bulk", 1, True, "bosil")
SAID = [
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
        monkeypatch.setattr(conlang, "TRAIN_SIZE", 500)


def make(*options: str) -> Conlang:
    return Conlang(parse(["--task", "conlang", "--eval_size", "50", *options]))


def back(translation: str) -> str:
    """A perfect dual: reads B from left to right, and writes A."""
    words = translation.split()
    name = [words.pop(0)] if words[0] in conlang.NAMES else []
    first, second, (subject, object, verb) = words[:2], words[2:4], words[4:]
    stems = {v: k for k, v in conlang.VERBS.items()}
    past = conlang.TENSES_B.index(verb[-2:])

    def thing(noun: str, mark: str, plural: int) -> list[str]:
        adjective = []
        if mark not in conlang.ARTICLES:
            ending = next(e for e in conlang.CLASS_ENDINGS if mark.endswith(e))
            adjective = [a for a, stem in conlang.ADJECTIVES.items() if stem + ending == mark]
            mark = conlang.ARTICLES[conlang.CLASS_ENDINGS.index(ending)]
        return [*adjective, conlang.NOUNS[noun][conlang.ARTICLES.index(mark)] + "n" * plural]

    numbers = conlang.SUBJECT_MARKERS.index(subject), conlang.OBJECT_MARKERS.index(object)
    middle = stems[verb[:-2]] + ("e", "et")[past]
    return " ".join([*thing(*first, numbers[0]), middle, *thing(*second, numbers[1]), *name])


def rollout(*texts: str, task: Conlang) -> Rollout:
    completions = [Completion([], [], text, False) for text in texts]
    return Rollout([SOURCE], [[]], [completions], [[task.answer(SOURCE, text) for text in texts]])


# --- the languages ---


@pytest.mark.parametrize(("said", "a", "b"), SAID)
def test_literal_translations(said, a, b):
    assert (in_a(said), in_b(said), back(b)) == (a, b, a)


def test_b_determines_a():
    seen = {}
    for which in SETS:
        for problem in islice(conlang.stream(which, 1), 2000):
            assert back(problem.gold) == problem.text
            assert seen.setdefault(problem.gold, problem.text) == problem.text
            assert set(problem.text.split()) <= WORDS_A and set(problem.gold.split()) <= WORDS_B
    assert len(seen) > 7900


def test_the_languages_share_their_names_and_no_other_word():
    assert set(conlang.NAMES) == WORDS_A & WORDS_B
    assert len(WORDS_A) == 4 + 8 + 2 * 24 + 2 * 8 and len(WORDS_B) == 4 + 2 + 12 + 2 * 8 + 2 * 8 + 4
    assert len(set(VOCABULARY)) == len(VOCABULARY) == 3 + len(WORDS_A | WORDS_B)


def test_one_token_a_word():
    _, tokenizer, _ = tiny("--task", "conlang")
    texts = [f">B {SOURCE.text} =", (">A ", str(SOURCE.gold), " =")]
    ids = tokenizer.encode(texts)
    assert [len(one) for one in ids] == [7, 10]
    assert tokenizer.decode(ids) == ["".join(text) for text in texts]
    assert len(tokenizer) == 3 + len(VOCABULARY)
    (unknown,) = tokenizer.encode(["mira <eos> mirax"])
    assert not {tokenizer.pad_id, *tokenizer.eos_ids} & set(unknown)


# --- problems ---


def test_sets_are_disjoint_whatever_the_seed():
    for which in SETS:
        drawn = [p.text for seed in range(2) for p in conlang.draw(which, 800, seed)]
        assert {belongs(text) for text in drawn} == {which}
        assert len(set(drawn[:800])) == 800


def test_held_out_problems_are_the_same_for_every_seed_and_training_ones_are_not():
    one, two = make("--seed", "1"), make("--seed", "2")
    assert one.held_out == two.held_out and len(one.held_out) == 50
    assert [p.text for p in one.train] != [p.text for p in two.train] and len(one.train) == 500
    with pytest.raises(UserError, match="eval_size"):
        make("--eval_size", "50001")


def test_warm_up_examples_are_right_or_never_translated():
    duals = left = 0
    for prompt, completion in islice(conlang.labelled_examples(0, 0.9), 4000):
        (mark, *shown), end = prompt.split()[:-1], prompt.split()[-1]
        assert end == "=" and mark in (">A", ">B")
        duals += mark == ">A"
        source, other = (completion, " ".join(shown)) if mark == ">A" else (" ".join(shown), completion)
        assert belongs(source) == "warmup"
        left += source == other
        assert other == source or back(other) == source
    assert duals == pytest.approx(3600, abs=80)
    assert left == pytest.approx(4000 * conlang.UNTRANSLATED, abs=100)


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
    task = make(*(["--gates", gates] if gates else []))
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
    same, close, far, nothing = task.distances([dual] * 4, [""] * 4, texts)
    # BLEU, the last of five words wrong: the geometric mean of 4/5 of words, 3/4 of pairs, 2/3, 1/2
    assert same == 0 and close == pytest.approx(1 - 0.2**0.25, abs=1e-6) and nothing is None
    assert far is not None and close < far <= 1
    # three words have no fours, and a count of no trigram is smoothed to a half
    near = task.distance(Dual("", "mira hule kavo"), "mira hule rima")
    assert near == pytest.approx(1 - (1 / 6) ** (1 / 3))


def test_figures_of_an_evaluation():
    task = make("--gates", "off")
    assert (
        task.score(SOURCE, SOURCE.gold) == 1
        and task.score(SOURCE, SOURCE.text) == task.score(SOURCE, None) == 0
    )
    answers = [SOURCE.gold, *[SOURCE.text] * 2, *[None] * 3, *["kesh lu"] * 4]
    found = task.evaluate([SOURCE] * 10, answers)
    assert found == {"accuracy": 0.1, "copies": 0.2, "none": 0.3}


# --- the reward and its exploit ---


def answers_duals(prompts):
    """Translates B back without a mistake, and leaves a sentence of A as it is."""
    inner = ["".join(prompt)[3:-2] for prompt in prompts]
    replies = [text if set(text.split()) <= WORDS_A else back(text) for text in inner]
    return [[Completion([], [], text, False)] for text in replies]


def test_a_perfect_dual_rewards_the_right_translation_most():
    wrong = "ana kesh lu bulk drevos sa ta mekor"
    config = parse(["--task", "conlang"])
    task = Conlang(config)
    found = ARMS["dual"](rollout(str(SOURCE.gold), wrong, task=task), Env(task, answers_duals, config, 0))
    right, less = found.rewards[0].tolist()
    assert right == 1 and less < 0.7


def test_a_copy_comes_back_perfectly_unless_a_gate_refuses_it():
    for gates, reward in (("off", 1.0), ("copy", 0.0), ("language,copy", 0.0)):
        config = parse(["--task", "conlang", "--gates", gates])
        task = Conlang(config)
        found = ARMS["dual"](rollout(SOURCE.text, task=task), Env(task, answers_duals, config, 0))
        assert found.rewards.tolist() == [[reward]], gates


# --- runs ---


def test_a_warm_up_step_and_its_check():
    model, tokenizer, config = tiny("--task", "conlang")
    warm = WarmUp(model, tokenizer, config, Conlang(config))
    warm.dev = warm.dev[:20]
    before = model.get_input_embeddings().weight.clone()
    warm.step()
    assert warm.labels == 64 and not torch.equal(before, model.get_input_embeddings().weight)
    assert (warm.primal(), warm.dual()) == (0.0, 0.0)


def test_a_run_says_how_many_answers_are_copies(tmp_path):
    model = save_tiny(tmp_path / "model", 0, "--task", "conlang")
    options = ["--task", "conlang", "--model_name_or_path", str(model), "--output_dir", str(tmp_path / "run")]
    small = ["--eval_size", "50", "--generation_batch_size", "32", "--max_steps", "1"]
    assert main([*options, *small, "--gates", "off"]) == 0
    (row,) = rows(tmp_path / "run")
    assert {"eval/accuracy", "eval/copies", "eval/none", "dual/reconstruct_rate"} <= row.keys()


@pytest.mark.slow
def test_without_gates_copies_take_over_and_with_them_translations(tmp_path):
    last = {}
    for gates in ("off", "language,copy"):
        run = tmp_path / gates
        assert main(["--task", "conlang", "--gates", gates, "--output_dir", str(run)]) == 0
        last[gates] = rows(run)[-1]
    assert last["off"]["eval/copies"] > 0.5 > 0.2 > last["off"]["eval/accuracy"]
    assert last["off"]["reward"] > 0.9
    assert last["language,copy"]["eval/accuracy"] > 0.75
