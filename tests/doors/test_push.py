"""`--push_to_hub` and `dupo push`, with the client of Hugging Face and a Hub on this machine."""

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.helpers.hub_server import TOKEN, HubServer, hub_server
from tests.helpers.project import RunPython
from tests.helpers.small_world import TRAIN, make_inputs

pytestmark = pytest.mark.slow
PUSH = ["--max_steps", "2", "--push_to_hub", "--hub_model_id", "small", "--hub_private_repo"]


def environment(server: HubServer, home: Path, token: str = TOKEN) -> dict[str, str]:
    """Of a user of that Hub; without a token nobody is logged in."""
    return {"HF_ENDPOINT": server.address, "HF_HOME": str(home), "HF_TOKEN": token, "HF_HUB_OFFLINE": "0"}


@pytest.mark.full
def test_a_run_is_pushed_at_its_end_and_a_failed_push_is_made_up_for(
    tmp_path: Path, run_python: RunPython
) -> None:
    world = make_inputs(tmp_path / "world")
    with hub_server() as server:
        user = environment(server, tmp_path / "home")
        server.takes_commits = False
        failed = run_python("-m", "dupo.train", *TRAIN, *PUSH, cwd=world, env=user)
        assert failed.returncode == 1, failed.stderr
        assert failed.stderr.startswith("error: push_to_hub: the upload to ann/small failed (")
        assert (
            "the run is whole in run; later: python -m dupo.push run --hub_model_id ann/small"
            in failed.stderr
        )
        assert len(failed.stderr.splitlines()) == 1
        assert json.loads((world / "run/summary.json").read_text())["steps"] == 2
        server.takes_commits = True
        done = run_python("-m", "dupo", "push", "run", cwd=world, env=user)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{server.address}/ann/small/commit/0\n"
        again = run_python("-m", "dupo.train", *TRAIN, *PUSH, "--overwrite_output_dir", cwd=world, env=user)
        assert (again.returncode, again.stderr) == (0, "") and "pushed: http" in again.stdout
    assert server.repos == {"ann/small": True}
    files = server.files["ann/small"]
    assert not {"state.pt", "SHA256SUMS", "ema.safetensors"} & set(files)
    kept = [path for path in world.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in data for data in [*files.values(), *(p.read_bytes() for p in kept)])
    folder = tmp_path / "downloaded"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = AutoTokenizer.from_pretrained(folder)("Tom has 3", return_tensors="pt")
    assert model.generate(**ids, max_new_tokens=3).shape[0] == 1


@pytest.mark.full
def test_who_may_not_push_is_told_before_anything_is_done(tmp_path: Path, run_python: RunPython) -> None:
    world = make_inputs(tmp_path / "world")
    with hub_server() as server:
        user = environment(server, tmp_path / "home", "hf_wrong")
        done = run_python("-m", "dupo.train", *TRAIN, *PUSH, cwd=world, env=user)
    assert done.returncode == 2 and "small cannot be written on the Hub" in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (world / "run").exists()
