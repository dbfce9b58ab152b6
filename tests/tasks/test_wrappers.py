"""What a model writes around a translation comes off, and no translation changes."""

from pathlib import Path

import pytest

from dupo.tasks.wrappers import bare_lines, bare_translation, has_doubtful_opening, has_lead
from tests.helpers import planted_translations as planted
from tests.helpers.sentences import DE, EN, JA, RU
from tests.helpers.slow import with_slow


def bare(source: str, text: str, tgt: str = "de") -> str:
    lines = bare_lines(source, [line.strip() for line in text.splitlines() if line.strip()], tgt)
    assert len(lines) == 1
    return bare_translation(source, lines[0], tgt)


@pytest.mark.parametrize("kind", planted.WRAPPERS)
@pytest.mark.parametrize("target", [DE, JA, RU])
def test_wrappers_come_off(kind: str, target: str) -> None:
    assert bare(EN, planted.WRAPPERS[kind](EN, target)) == target


@pytest.mark.parametrize("language", planted.LEADS)
def test_lead_ins_of_every_language_come_off(language: str) -> None:
    assert bare(EN, f"{planted.LEADS[language]} {DE}") == bare(EN, f"{planted.LEADS[language]}\n{DE}") == DE


@pytest.mark.parametrize(
    "text",
    [
        f"German: {DE}",
        f"**German:** {DE}",
        f"Sure! Here is the translation: {DE}",
        f"Sure! {DE}",
        f"Sure, {DE}",
        f"**Of course!** {DE}",
        f"Certainly, here you go! {DE}",
        f"Here is the sentence in German: {DE}",
        f"Certainly!\n{DE}",
        f'1. "{DE}"',
        f"> {DE}",
        f"{DE} (Anmerkung: frei übersetzt)",
        f"{DE} Note: this is free.",
        f"{DE}\nNote: this is free.",
        f"Certainly!\n{DE}\nNote: this is free.",
        f"Here is the translation:\n```\n{DE}\n```\n(Note: this is free.)",
        f'Here is the German translation: **"{DE}"**',
        f"`{DE}`",
    ],
)
def test_layers_come_off(text: str) -> None:
    assert bare(EN, text) == DE


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('"Come in!", she said.', "„Komm herein!“, sagte sie."),
        ("“Come in!”", "„Komm herein!“"),
        ('He said: "Come in!"', 'Er sagte: "Komm herein!"'),
        ('"A" is not "B"', '"A" ist nicht "B"'),
        ("- first item", "- erster Punkt"),
        ("On the first of May they met.", "1. mai møttes de."),
        ("1. Open the door.", "1. Öffne die Tür."),
        ("Note: the shop is closed.", "Hinweis: Der Laden ist geschlossen."),
        ("They met (it was late).", "Sie trafen sich (es war spät)."),
        ("The translation: a hard trade.", "Die Übersetzung: ein hartes Gewerbe."),
        ("Three things: bread, salt, oil.", "Drei Dinge: Brot, Salz, Öl."),
        ("Sure! We come.", "Klar! Wir kommen."),
        ("Use *args here.", "Benutze *args hier*"),
        ("Das Spiel beginnt um acht. Achtung: es regnet.", "The game begins at eight. Note: it is raining."),
        ("Er kam. Achtung, er ist müde. Hilf ihm.", "He came. Note: he is tired. Help him."),
        ("Hinweis – der Laden ist zu.", "We are sorry. Note: the shop is closed."),
        ("Er kam (Achtung: müde).", "He came (note: tired)."),
        ("Virtus heißt Tugend (aus dem Lateinischen).", "Virtus is virtue (translated from Latin)."),
        ("Die deutsche Fassung: ein Roman.", "The German translation: a novel."),
        ("Natürlich kommen wir morgen.", "Of course! We will come tomorrow."),
        ("Kein Problem, wir sind da.", "No problem! We are there."),
        ("Na klar, er hat Zeit.", "Sure! He has time."),
        ("Bien sûr, il vient.", "Certainly! He is coming."),
        ("Toll! Wir haben gewonnen.", "Absolutely! We won."),
        ("Sure! We come.", "Sure! Wir kommen."),
        ("It is clear: he stays.", "Sicher: Er bleibt."),
        ("Mr. Ott signed the accord - a bold step.", "Ein Schritt (aus dem Englischen: bold step)."),
        ("Translation apps - programs that translate.", "Apps zur Übersetzung: Programme, die übersetzen."),
        ('"Come in, he said.', '"Komm herein", sagte er.'),
        ("“Come in, she said. Sit down.”", "„Komm herein“, sagte sie. „Setz dich.“"),
        ('Come in," he said.', 'Komm herein", sagte er.'),
        ('"A", he said, "or B"', '"A", sagte er, "oder B"'),
        ("He said yes and no.", '"Ja" sagte er, und "nein"'),
    ],
)
def test_translations_stay_as_they_are(source: str, text: str) -> None:
    assert bare(source, text, "en" if text.isascii() else "de") == text


@pytest.mark.parametrize("cheer", ["Natürlich!", "Gerne!", "Sure thing!", "**Sure!**", "Okay!", "Sure:"])
def test_sure_comes_off(cheer: str) -> None:
    assert bare("The mill was sold.", f"{cheer} Die Mühle wurde verkauft.") == "Die Mühle wurde verkauft."
    assert bare("Sie wurde verkauft.", f"{cheer} It was sold.", "en") == "It was sold."


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('"Come in!"', "„Komm herein!“"),
        ('"Come in, she said.', '"Komm herein, sagte sie.'),
        ('Come in," she said.', "Komm herein“, sagte sie."),
        ("He says « come » and « go ».", "Er sagt „komm“ und „geh“."),
        ('"He says ""come"""', "Er sagt „komm“"),
        ('"He says "come" to her."', "Er sagt „komm“ zu ihr."),
    ],
)
def test_quotes_around_quotes_come_off(source: str, text: str) -> None:
    for opening, closing in ('""', "«»", "„“", "「」"):
        assert bare(source, opening + text + closing) == text


@pytest.mark.parametrize(
    ("source", "text", "tgt"),
    [
        ("However, the mill was sold.", "Sure! The mill was sold.", "en"),
        ("Das ist natürlich so.", "Of course! That is so.", "en"),
        ("Die Mühle wurde verkauft: billig.", "Here is the sentence in English: The mill was sold.", "en"),
    ],
)
def test_an_opening_that_may_be_the_sources_own_is_doubtful(source: str, text: str, tgt: str) -> None:
    assert bare(source, text, tgt) == text
    assert has_doubtful_opening(source, text) or has_lead(text, tgt)


@pytest.mark.parametrize(
    ("source", "text", "tgt"),
    [
        ("Natürlich kommen wir.", "Of course! We are coming.", "en"),
        ("Toll! Wir kommen.", "Absolutely! We are coming.", "en"),
        ("Die Übersetzung - ein Gewerbe.", "The translation: a trade.", "en"),
        ("Yes! He comes.", "Ja! Er kommt.", "de"),
    ],
)
def test_an_opening_of_the_source_is_not_doubtful(source: str, text: str, tgt: str) -> None:
    assert not has_doubtful_opening(source, text) and not has_lead(text, tgt)


@pytest.mark.parametrize(
    ("tgt", "source", "text", "expected"),
    [
        ("en", "1つのページ。", "1. One page.", "One page."),
        ("en", "Am 1. Mai.", "1. May is the day.", "1. May is the day."),
        ("da", "On the 1st of May they met.", "1. maj mødtes de.", "1. maj mødtes de."),
        ("da", "They hike 1 mile.", "1. De vandrer en mil.", "De vandrer en mil."),
        ("da", "de vandrer i dag.", "1. de vandrer.", "de vandrer."),
        ("de", "The 1st World War began.", "1. Weltkrieg beginnt.", "1. Weltkrieg beginnt."),
        ("de", "16,1 km to go.", "1. Noch zehn Meilen.", "Noch zehn Meilen."),
    ],
)
def test_a_number_is_a_mark_where_it_is_no_ordinal(tgt: str, source: str, text: str, expected: str) -> None:
    assert bare(source, text, tgt) == expected


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "Der Laden ist zu.\nHinweis: die Tür klemmt.\nBitte hinten.",
            "Closed.\nNote: the door.\nUse the back.",
        ),
        ("Eins.\nHinweis, zwei.", "One.\nNote: two."),
        ("Eins.\nAchtung, zwei.\nDrei.", "One.\nNote: two.\nThree.\nFour."),
        ("Es ist offen. Achtung, es zieht.", "It is open.\nNote: there is a draught."),
        ("Die deutsche Fassung:\nEin Haus.", "The translation:\nA house."),
        ("Natürlich.\nWir kommen.", "Of course!\nWe will come."),
        ("```\nprint(1)\n```", "```\nprint(1)\n```"),
    ],
)
def test_lines_of_a_translation_stay(source: str, text: str) -> None:
    assert bare_lines(source, text.split("\n"), "en") == text.split("\n")


def test_a_line_too_many_comes_off_paragraphs() -> None:
    source, lines = "Eins.\n\nZwei.", ["One.", "Two."]
    wrapped = ["Sure!", "Here is the translation:", "```", *lines, "```", "Note: this is free."]
    assert bare_lines(source, wrapped, "en") == lines


PAIRS = ["en-de", "en-zh", "en-ja", "de-en", "zh-en", "hr-cs", "en-sv"]


@pytest.mark.parametrize("direction", with_slow(PAIRS, quick=("en-ja",)))
def test_references_stay_as_they_are(data_dir: Path, direction: str) -> None:
    src, tgt = direction.split("-")
    texts = [(data_dir / f"flores_dev/dev.{c}").read_text("utf-8").splitlines() for c in (src, tgt)]
    pairs = [(source.strip(), target.strip()) for source, target in zip(*texts, strict=True)]
    # References are quoted where their source is not.
    changed = [target for source, target in pairs if bare(source, target, tgt) != target]
    assert len(changed) <= 1, changed
