"""A run folder that was damaged is refused in one line, or goes on to the bytes of the unbroken run.

Never a traceback, never another result in silence; and what is refused is left as it was, byte for byte.
"""

import pytest

from dupo.train import main
from tests.helpers.damages import DAMAGED_CHECKPOINT, DAMAGED_LATEST, DAMAGED_RUN, HARMLESS
from tests.helpers.small_world import RESUME, contents, copy_of

# Depends on the clock, or is the page of the figures.
NOT_COMPARED = {"timings.jsonl", "summary.json", "report.html"}


pytestmark = pytest.mark.slow


def every_second(damages):
    """One test for each damage; .ci/run tries every second, .ci/full the others."""
    return [
        pytest.param(name, marks=pytest.mark.full if place % 2 else ()) for place, name in enumerate(damages)
    ]


@pytest.fixture
def world(worlds, tmp_path_factory):
    """A copy of the small world, in which the test works; the other world stands beside."""
    # A copy beside the original: `../other` is the other world for both.
    with copy_of(worlds / "world", worlds / "copy") as place:
        yield place


def refused(capfd, world, *options):
    """The one line with which a resume is refused, after which nothing may have changed."""
    before = contents(world)
    capfd.readouterr()
    assert main([*RESUME, *options]) == 2
    message = capfd.readouterr().err
    assert message.count("\n") == 1 and message.startswith("error: "), message
    assert contents(world) == before
    return message


def offer(checkpoint):
    """How a refusal ends that offers a checkpoint."""
    command = f"python -m dupo.train --output_dir run --resume_from_checkpoint run/{checkpoint}"
    return f"; {checkpoint} is sound, go on from it with: {command}\n"


@pytest.mark.parametrize("name", every_second(DAMAGED_CHECKPOINT))
def test_a_damaged_checkpoint_is_one_line_that_offers_the_older_one(name, world, capfd):
    DAMAGED_CHECKPOINT[name]()
    message = refused(capfd, world)
    assert message.endswith(offer("checkpoint-2")) and "unpickled" not in message


@pytest.mark.parametrize("name", every_second(DAMAGED_LATEST))
def test_a_damaged_pointer_is_one_line_that_offers_the_newest_one(name, world, capfd):
    DAMAGED_LATEST[name]()
    assert refused(capfd, world).endswith(offer("checkpoint-4"))


@pytest.mark.parametrize("name", every_second(DAMAGED_RUN))
def test_a_run_that_is_not_what_it_was_is_one_line(name, world, capfd):
    DAMAGED_RUN[name]()
    refused(capfd, world)


@pytest.mark.parametrize("name", every_second(HARMLESS))
def test_a_harmless_damage_changes_no_byte_of_the_result(name, world, unbroken):
    HARMLESS[name]()
    assert main(RESUME) == 0
    after = contents(world / "run")
    assert not [file for file in after if file.endswith((".tmp", ".gone"))]
    for file, data in unbroken.items():
        if (
            file.rpartition("/")[2] not in NOT_COMPARED | {"state.pt", "SHA256SUMS"}
            and "checkpoint-4" not in file
        ):
            assert after[file] == data, file


def test_the_checkpoint_that_is_offered_goes_on_to_the_same_bytes(world, unbroken, capfd):
    DAMAGED_CHECKPOINT["weights a bit"]()
    words = refused(capfd, world).split()
    command = words[words.index("dupo.train") + 1 :]
    assert main([*command, "--max_steps", "6"]) == 0
    assert (world / "run/metrics.jsonl").read_bytes() == unbroken["metrics.jsonl"]
    assert "checkpoint-4/model.safetensors" in contents(world / "run/set-aside-1")  # damaged, but not deleted


def test_there_are_fifty_damages():
    damages = {**DAMAGED_CHECKPOINT, **DAMAGED_LATEST, **DAMAGED_RUN}
    assert len(damages) >= 50
