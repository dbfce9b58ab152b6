"""What can fail when a checkpoint is written fails, or is mended, when the model is loaded."""

import json
from pathlib import Path

import pytest
from transformers import GenerationConfig

from dupo.errors import UserError
from dupo.models.load import end_tokens
from dupo.models.saving import check_saving
from tests.helpers.worlds import save_tiny, tiny


class StrictSettings(GenerationConfig):
    """Refuses what the versions of transformers before 5.23 refuse, which other versions save."""

    def save_pretrained(self, folder, *arguments, **options):
        if self.temperature == 0.9 and not self.do_sample:
            raise ValueError("GenerationConfig is invalid:\n`temperature` is set to 0.9 and do_sample is not")
        return super().save_pretrained(folder, *arguments, **options)


def test_generation_settings_that_cannot_be_saved_are_cut_down_with_a_warning(tmp_path: Path) -> None:
    world = tiny()
    settings = dict(do_sample=False, temperature=0.9, top_p=0.6)
    world.model.generation_config = StrictSettings(**settings, eos_token_id=[1, 5], pad_token_id=0)
    (line,) = check_saving(world.model, world.tokenizer.hf)
    assert "its generation_config.json cannot be saved and is cut down to its token ids: ValueError: " in line
    world.model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert (saved["eos_token_id"], saved["pad_token_id"]) == ([1, 5], 0) and "temperature" not in saved
    assert end_tokens(world.model) == {1, 5}


def test_sound_settings_stay_as_they_are() -> None:
    world = tiny()
    world.model.generation_config = settings = StrictSettings(do_sample=True, temperature=0.9)
    assert check_saving(world.model, world.tokenizer.hf) == []
    assert world.model.generation_config is settings


class Unsaveable:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def save_pretrained(self, folder: str) -> None:
        raise self.error


def test_a_tokenizer_that_cannot_be_saved_is_refused_before_the_first_step() -> None:
    model = tiny().model
    with pytest.raises(UserError, match="its Unsaveable cannot be saved: TypeError: not that"):
        check_saving(model, Unsaveable(TypeError("not\nthat")))
    # A full disk for temporary files is not the fault of the tokenizer.
    assert check_saving(model, Unsaveable(OSError(28, "No space left on device"))) == []


def test_a_model_whose_settings_are_invalid_is_trained_and_saved(tmp_path: Path) -> None:
    """With the installed version of transformers, whichever it is."""
    folder = save_tiny(tmp_path / "model")
    file = folder / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "do_sample": False, "temperature": 0.9}))
    world = tiny("--model_name_or_path", str(folder))
    check_saving(world.model, world.tokenizer.hf)
    world.model.save_pretrained(tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint/model.safetensors").is_file()
