"""A run killed at any of these points and gone on with ends in the same bits as one left alone."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from fewmask.benchmark.score import score_run
from fewmask.core.errors import BadConfig
from fewmask.io.run import RunFolder
from fewmask.training import TrainRequest, train
from tests.kills.child import in_child, must
from tests.scans import prepare_scans

STEPS = 8
SETTINGS = ("classifier_width=8", "labelled=2", "weak=2", "pseudo_weight=0.1")
SAME = ("weights.safetensors", "losses.csv", "metrics.csv", "split.toml", "budget.toml")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Made in a child too: reading scans starts threads. What all children would import is
    imported before they are forked.
    """
    import_module("transformers.models.sam.modeling_sam")
    folder: Path = tmp_path_factory.mktemp("resume")
    must(lambda: prepare_scans(folder))
    return folder / "prepared"


def command(prepared: Path, out: Path) -> list[str]:
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return [
        *(
            sys.executable,
            "-m",
            "fewmask",
            "train",
            str(prepared),
            "--out",
            str(out),
            "--slices",
            "3",
            "--steps",
            str(STEPS),
        ),
        *(
            "--method",
            "sam_mix",
            "--encoder",
            "tiny",
            "--amp",
            "off",
            "--threads",
            "1",
            "--save-steps",
            "3",
            "--device",
            "cpu",
            *settings,
        ),
    ]


def kill(prepared: Path, out: Path, fault: str) -> int:
    """What became of the request of `command`, killed at `fault`, in a fork of this process, which
    has the imports of a fresh one behind it (`tests/kills/child.py`).
    """

    def killed() -> None:
        os.environ["FEWMASK_FAULT"] = f"kill@{fault}"
        go_on(prepared, out)

    return in_child(killed)


def go_on(prepared: Path, out: Path) -> None:
    """The request of `command`."""
    train(request(prepared, out, steps=STEPS, settings=SETTINGS, threads=1, save_steps=3))


def digests(out: Path) -> dict[str, str]:
    """Hashes of what must be equal, predictions and scores included."""
    must(lambda: score_run(out))
    names = [*SAME, *sorted(str(path.relative_to(out)) for path in (out / "predictions").iterdir())]
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def expected(prepared, tmp_path_factory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "run"
    must(lambda: go_on(prepared, out))
    return digests(out)


@pytest.mark.parametrize("point", ["step:1", "step:5", "in-save:6"])
def test_killed_and_gone_on_with_it_ends_in_the_same_bits(
    prepared, tmp_path, expected, point
) -> None:
    out = tmp_path / "run"
    assert kill(prepared, out, point) == -signal.SIGKILL
    assert not (out / "weights.safetensors").exists()
    must(lambda: go_on(prepared, out))
    assert digests(out) == expected


def test_another_seed_gives_other_bits(prepared, tmp_path, expected) -> None:
    """The control: the comparison above can fail."""
    out = tmp_path / "run"
    must(lambda: train(request(prepared, out, seed=1)))
    assert (
        hashlib.sha256((out / "weights.safetensors").read_bytes()).hexdigest()
        != expected["weights.safetensors"]
    )


def test_a_damaged_newest_state_falls_back_to_the_one_before(prepared, tmp_path, expected) -> None:
    out = tmp_path / "run"
    assert kill(prepared, out, "step:7") == -signal.SIGKILL
    newest = max(out.glob("state-*.safetensors"))
    assert newest.name == "state-00000006.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    checkpoint = RunFolder.open(out).latest()
    assert (
        checkpoint is not None
        and checkpoint.step == 3
        and "state-00000006" in checkpoint.skipped[0]
    )
    must(lambda: go_on(prepared, out))
    assert digests(out) == expected


def test_sigint_saves_and_exits_130(prepared, tmp_path, expected) -> None:
    """The program itself, in a process of its own."""
    out = tmp_path / "run"
    process = subprocess.Popen(command(prepared, out), stderr=subprocess.PIPE, text=True)
    while not list(out.glob("state-*.json")):
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=60)
    if process.returncode != 0:  # it may have finished in that instant
        assert process.returncode == 130 and "saved" in talk
    must(lambda: go_on(prepared, out))
    assert digests(out) == expected


def test_another_request_is_refused_with_the_difference(prepared, tmp_path) -> None:
    out = tmp_path / "run"
    train(request(prepared, out))
    with pytest.raises(BadConfig, match="another request") as caught:
        train(request(prepared, out, settings=("classifier_width=8", "lr=0.5")))
    assert any("lr" in line and "0.5" in line for line in caught.value.where)


def test_other_files_are_left_alone(prepared, tmp_path) -> None:
    (tmp_path / "thesis.docx").write_text("mine")
    with pytest.raises(BadConfig, match="other files"):
        train(request(prepared, tmp_path))
    assert (tmp_path / "thesis.docx").read_text() == "mine"


def request(prepared: Path, out: Path, **changes: object) -> TrainRequest:
    chosen = {
        "method": "sam_mix",
        "slices": 3,
        "steps": 2,
        "encoder": "tiny",
        "settings": ("classifier_width=8",),
        "amp": "off",
        "device": "cpu",
    }
    return TrainRequest(prepared=prepared, out=out, **{**chosen, **changes})  # type: ignore[arg-type]
