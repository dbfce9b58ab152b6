"""Pages use the words of the screen: names of checks and of columns, and the end of the default run."""

import re
from ast import literal_eval
from dataclasses import fields
from pathlib import Path

import pytest

from dupo.config.layers import assemble
from dupo.methods.taught_start import taught_note
from dupo.run.summary import result_in_words
from dupo.tasks.word_problem_data import ANSWER_COLUMNS, QUESTION_COLUMNS
from dupo.trust.audit_checks import checks
from dupo.trust.audit_metrics import audit_metrics
from dupo_kernels.preferences.preference_options import PreferenceOptions
from dupo_kernels.tokens.policy_options import PolicyOptions
from tests.helpers.audit_rows import dual, row
from tests.helpers.project import ROOT


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def test_the_table_of_the_audit_names_its_checks_as_the_screen_does() -> None:
    duals = [dual({"a": 1.0}, 0.0, {"7": 0.0}, gold=1.0)]
    rewards, quality = [1.0, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]
    names = [check.name for check in checks(audit_metrics([row(rewards, quality, duals=duals)], 0.5))]
    table = text_of("docs/trust.md").partition("| check, as the screen names it |")[2].partition("\n\n")[0]
    shown = re.findall(r"^\| (?!---)([^|]+) \|", table.partition("\n")[2], re.MULTILINE)
    assert [name for name in shown if not name.startswith("without right answers: ")] == names
    blind = [row(rewards, duals=[dual({"a": 1.0}, 0.0, {"7": 0.0})])]
    instead = {check.name for check in checks(audit_metrics(blind, 0.5))} - set(names)
    assert {f"without right answers: {name}" for name in instead} == set(shown) - set(names)


@pytest.mark.parametrize(("kind", "names"), [("question", QUESTION_COLUMNS), ("answer", ANSWER_COLUMNS)])
def test_the_usual_columns_are_listed(kind: str, names: tuple[str, ...]) -> None:
    (listed,) = re.findall(rf"^\| {kind} \| (.*) \|$", text_of("docs/howto/own_data.md"), re.MULTILINE)
    assert re.findall(r"`([^`]+)`", listed) == list(names)


@pytest.mark.parametrize("page", [Path("README.md"), Path("docs/index.md")], ids=str)
def test_the_end_of_the_default_run_is_that_of_the_screen(page: Path) -> None:
    """Whatever run it was: its figures are read from the page."""
    shown = " ".join(text_of(str(page)).split())
    before, after = (float(share) / 100 for share in re.findall(r"from ([\d.]+)% to ([\d.]+)%", shown)[0])
    run = {"eval/accuracy_before": before, "eval/accuracy_after": after}
    what_happened, references, *_ = result_in_words(run, assemble({}))
    assert what_happened in shown
    assert re.sub(r"--reward [^)]*\)", "...)", references) in shown
    (taught_labels,) = re.findall(r"[\d,]+ labelled examples", taught_note("arithmetic"))
    assert taught_labels in shown


def test_the_options_of_the_losses_are_listed_with_their_defaults() -> None:
    page = text_of("docs/loss_head.md")
    policy = page.partition("| option of `policy_objective`")[2].partition("\n\n")[0]
    prefix = "vllm_importance_sampling_"
    short = {f"{prefix}{end}": f"`..._{end}`" for end in ("clip_max", "clip_min")}
    named = {spec.name: short.get(spec.name, f"`{spec.name}`") for spec in fields(PolicyOptions)}
    assert [name for name, text in named.items() if text not in policy] == []
    rows = page.partition("| option | default | read by |")[2].partition("\n\n")[0]
    listed = {}
    for names, default in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", rows, re.MULTILINE):
        listed |= dict.fromkeys(re.findall(r"`(\w+)`", names), default)
    assert list(listed) == [spec.name for spec in fields(PreferenceOptions)]
    assert listed.pop("loss_type") == '`"sigmoid"`' and listed.pop("loss_weights") == "1 each"
    defaults = PreferenceOptions()
    assert {name: literal_eval(text.strip("`")) for name, text in listed.items()} == {
        name: getattr(defaults, name) for name in listed
    }
