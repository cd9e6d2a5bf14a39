"""nnU-Net is driven like a method of ours: same budget, run folder, resume, predictions and scores;
the real one where it is.
"""

import json
import signal
import sys
import venv
from contextlib import nullcontext
from pathlib import Path

import pytest

from fewmask.benchmark.score import score_run
from fewmask.core.errors import BadCheckpoint, BadConfig, Interrupted, NoRoom, TrainingFailed
from fewmask.core.signals import StopRequest
from fewmask.external import nnunet
from fewmask.io.run import RunFolder
from fewmask.io.text import write_json
from fewmask.predict import load_predictor
from fewmask.report.run import write_run_report
from fewmask.training import ProgressEvent, TrainRequest, external, train
from tests.program import run_program
from tests.scans import prepare_scans

SETTINGS = ("steps_per_epoch=2",)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_scans(tmp_path_factory.mktemp("scans"))


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment whose Python is ours and whose worker is the stand-in."""
    monkeypatch.setenv("FEWMASK_CACHE", str(tmp_path / "cache"))
    python = nnunet.home() / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    write_json(nnunet.home() / "ready.json", {"nnunetv2": "0", "torch": "0"})
    monkeypatch.setattr(nnunet, "_WORKER", Path(__file__).with_name("worker.py"))


def request(prepared, out: Path, **changes) -> TrainRequest:
    base = {
        "method": "nnunet",
        "slices": 2,
        "steps": 6,
        "settings": SETTINGS,
        "device": "cpu",
        "out": out,
    }
    return TrainRequest(prepared=prepared.folder, **{**base, **changes})


def test_trained_asked_scored_and_shown_like_the_others(
    prepared, tmp_path: Path, stand_in: None
) -> None:
    seen: list[ProgressEvent] = []
    path = train(request(prepared, tmp_path / "run"), seen.append)
    assert [(p.done, p.saved_step) for p in seen] == [(0, 0), (2, 2), (4, 4), (6, 6)] and seen[
        0
    ].note
    run = RunFolder.open(path)
    assert [row["train_loss"] for row in run.read_losses(6)] == ["1.0", "0.5", repr(1 / 3)]
    assert run.read_environment()["nnunet: nnunetv2"] == "0"
    assert sorted(item.name for item in (path / "nnunet").iterdir()) == [
        "dataset.json",
        "log.txt",
        "plans.json",
    ]
    assert "planned 2 for 8.0 GB" in (path / "nnunet" / "log.txt").read_text(), (
        "the two cases of the budget, and no other"
    )
    summary = score_run(path)
    assert all(score.dice > 0.5 for score in summary.scores), "the organ is brighter than the rest"
    assert write_run_report(path).exists()
    assert "asked with mirrored copies" in (path / "nnunet" / "log.txt").read_text()
    before = run.weights.read_bytes()
    train(request(prepared, path))
    assert run.weights.read_bytes() == before, "a finished run is left alone"
    with pytest.raises(BadConfig, match="no oracle-box bound"):
        score_run(path, oracle_box=True)


def test_what_it_plans_for_and_how_it_is_asked_can_be_said(
    prepared, tmp_path: Path, stand_in: None
) -> None:
    path = train(
        request(prepared, tmp_path / "run", settings=(*SETTINGS, "memory_gb=1.5", "mirror=false"))
    )
    assert score_run(path).scores
    log = (path / "nnunet" / "log.txt").read_text()
    assert "for 1.5 GB" in log and "asked once" in log and "mirrored" not in log


def test_a_failure_shows_its_last_lines_and_the_same_command_goes_on(
    prepared, tmp_path, stand_in, monkeypatch
) -> None:
    monkeypatch.setenv("STAND_IN_FAILS", "1")
    with pytest.raises(TrainingFailed, match="code 1") as failed:
        train(request(prepared, tmp_path / "run"))
    assert "no luck today" in failed.value.where
    with pytest.raises(BadCheckpoint, match="not finished"):
        load_predictor(tmp_path / "run")
    monkeypatch.delenv("STAND_IN_FAILS")
    seen: list[ProgressEvent] = []
    run = RunFolder.open(train(request(prepared, tmp_path / "run"), seen.append))
    assert [p.done for p in seen] == [0, 4, 6] and len(run.read_losses(6)) == 3
    assert (run.path / "nnunet" / "log.txt").read_text().count("planned") == 1


def test_a_signal_ends_it_and_the_same_command_goes_on(
    prepared, tmp_path, stand_in, monkeypatch
) -> None:
    asked = StopRequest()
    monkeypatch.setattr(external, "listen", lambda: nullcontext(asked))
    monkeypatch.setenv("STAND_IN_WAITS", "2")

    def at_epoch(progress: ProgressEvent) -> None:
        asked.signal = signal.SIGTERM if progress.done == 4 else None

    with pytest.raises(Interrupted) as stopped:
        train(request(prepared, tmp_path / "run"), at_epoch)
    assert stopped.value.exit_code == 143
    monkeypatch.delenv("STAND_IN_WAITS")
    asked.signal = None
    assert RunFolder.open(train(request(prepared, tmp_path / "run"))).weights.exists()


def test_whole_epochs_only_and_no_minutes(prepared, tmp_path, stand_in) -> None:
    with pytest.raises(BadConfig, match="whole epochs of 2") as steps:
        train(request(prepared, tmp_path / "run", steps=5))
    assert "`steps=4`" in steps.value.fix
    with pytest.raises(BadConfig, match="minutes"):
        train(request(prepared, tmp_path / "run", steps=None, minutes=5.0))


def test_where_it_is_not_set_up_one_line_says_how(prepared, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FEWMASK_CACHE", str(tmp_path / "cache"))
    done = run_program(
        "train",
        prepared.folder,
        "--method",
        "nnunet",
        "--slices",
        2,
        "--steps",
        250,
        "--out",
        tmp_path / "run",
    )
    assert done.code == 2 and "fix: fewmask nnunet setup" in done.stderr
    assert run_program("nnunet", "info").code == 2
    assert "steps_per_epoch" in run_program("info", "nnunet").stdout


def test_setting_up_is_remembered_only_when_it_came_to_an_end(tmp_path, monkeypatch) -> None:
    """The environment itself is a bare one here: what would be downloaded is several GB."""
    monkeypatch.setenv("FEWMASK_CACHE", str(tmp_path / "cache"))
    commands: list[list[str]] = []

    def install(command: list[str]) -> str:
        commands.append(command)
        if len(commands) == 1:
            raise NoRoom("nnU-Net's environment could not be made")
        return 'a warning\n{"nnunetv2": "2.6.2"}\n'

    monkeypatch.setattr(
        venv, "create", lambda folder, **_: folder.mkdir(parents=True, exist_ok=True)
    )
    monkeypatch.setattr(nnunet, "_install", install)
    with pytest.raises(NoRoom):
        nnunet.set_up(lambda line: None)
    assert nnunet.installed() is None
    assert nnunet.set_up(lambda line: None) == {"nnunetv2": "2.6.2"} == nnunet.installed()
    assert commands[1][-3:] == list(nnunet.PACKAGES)
    nnunet.set_up(lambda line: None)
    assert len(commands) == 3  # one that failed; packages and versions; nothing the third time


def test_an_environment_that_cannot_be_made_says_why() -> None:
    with pytest.raises(NoRoom) as caught:
        nnunet._install([sys.executable, "-c", "raise SystemExit('no such package')"])
    assert "no such package" in caught.value.where[-1]


def test_export_writes_the_raw_data_set(prepared, tmp_path) -> None:
    out = tmp_path / "Dataset001_liver"
    done = run_program("--json", "nnunet", "export", prepared.folder, "--slices", 2, "--out", out)
    assert done.code == 0 and json.loads(done.stdout)["ignored"] is True
    assert len(list((out / "imagesTr").iterdir())) == 2
    assert run_program("nnunet", "export", prepared.folder).code == 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_real_one_learns_two_slices(prepared, tmp_path: Path) -> None:
    if nnunet.installed() is None:
        pytest.skip("nnU-Net is not set up here: fewmask nnunet setup")
    path = train(
        request(
            prepared, tmp_path / "run", steps=20, settings=("steps_per_epoch=10", "memory_gb=1.0")
        )
    )
    assert len(RunFolder.open(path).read_losses(20)) == 2
    assert score_run(path).scores
