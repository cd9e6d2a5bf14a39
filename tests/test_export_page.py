"""Every command of docs/export.md works, in its order, on phantoms and with few steps."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fewmask.cli.app import VERBS, app
from fewmask.cli.flags import remember
from fewmask.training import TrainRequest, train
from tests.scans import prepare_scans

PAGE = Path(__file__).parents[1] / "docs" / "export.md"
for name in VERBS:
    import_module(f"fewmask.cli.{name}")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """`scans`, `prepared`, `run`, and a folder of a sweep with one run."""
    place: Path = tmp_path_factory.mktemp("page")
    prepared = prepare_scans(place)
    for out in ("run", "sweeps/one"):
        train(
            TrainRequest(
                prepared.folder, place / out, "unet", volumes=2, steps=2, amp="off", device="cpu",
                settings=("channels=(4,8)",), keep_states=True,
            )
        )  # fmt: skip
    return place


@pytest.fixture
def forgetful():
    """What a call was given is kept for messages of the process; it has no business elsewhere."""
    yield
    remember(None, "")


def test_every_command_of_the_page(place, monkeypatch, forgetful) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(text.split()) < 900
    commands = [
        line
        for block in re.findall(r"```\n(.*?)```", text, re.S)
        for line in block.split("\n")
        if line
    ]
    assert len(commands) == 14
    monkeypatch.chdir(place)
    for line in commands:
        first, *words = shlex.split(line.replace("--steps 500", "--steps 2 --set 'channels=(4,8)'"))
        assert first == "fewmask"
        result = CliRunner().invoke(app, words)
        # 5: done, but masks of so few steps may be empty where none should be
        assert result.exit_code in ((0, 5) if words[0] == "predict" else (0,)), (
            line,
            result.output,
        )
    made = {path.name for path in place.iterdir()}
    assert {"liver.onnx", "liver.json", "bundle", "model", "derivatives", "masks-hub"} <= made
    names = sorted(path.name for path in (place / "derivatives").rglob("*dseg.nii.gz"))
    assert names[0] == "sub-case00_desc-fewmask_dseg.nii.gz" and len(names) == 5
    assert (place / "run-log" / "log" / "tensorboard").is_dir()
    assert not list(place.rglob("state-*")), "finished runs keep none, and clean took the others"
    assert (place / "run" / "weights.safetensors").exists()
