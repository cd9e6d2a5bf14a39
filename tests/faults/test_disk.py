"""F09, F10: the disk is full or read-only: every verb, its first write and its last."""

import errno
import os
from pathlib import Path

import pytest

from fewmask.core.errors import NoRoom
from fewmask.io import atomic
from fewmask.training import train
from tests.cli.test_verbs import fewmask, small
from tests.scans import prepare_scans

_UNET = ["--method", "unet", "--steps", "2", "--set", "channels=(4,8)", "--device", "cpu"]
WORDS: dict[str, list[str]] = {
    "check": ["check", "scans", "--copy-header", "case_01", "--out", "OUT"],
    "prepare": ["prepare", "scans", "--label", "liver=6", "--jobs", "1", "--out", "OUT"],
    "train": ["train", "prepared", "--slices", "4", *_UNET, "--out", "OUT"],
    "pretrain": ["pretrain", "--steps", "1", "--device", "cpu", "--no-amp", "--out", "OUT"],
    "predict": ["predict", "run", "scans/images", "--device", "cpu", "--out", "OUT"],
    "evaluate": ["evaluate", "masks", "scans/labels", "--label", "liver=6", "--out", "OUT/s.csv"],
    "convert": ["convert", "prepared", "--out", "OUT/slices.h5"],
    "nnunet": ["nnunet", "export", "prepared", "--slices", "2", "--out", "OUT"],
    "sweep": ["sweep", "plan.toml", "--data", ".", "--work", "OUT/w", "--rows", "OUT/r.csv"],
    "demo": ["demo", "--steps", "1", "--out", "OUT"],
}
_LONG = ("demo", "pretrain", "sweep")
"""Of these only the first write is tried, and the command not again: `sweep-last` is open."""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """What the verbs read, and where they may write."""
    place: Path = tmp_path_factory.mktemp("disk")
    prepared = prepare_scans(place)
    train(small(prepared.folder, place / "run"))
    done = fewmask("predict", place / "run", prepared.folder, "--out", place / "masks")
    assert done.exit_code in (0, 5)
    (place / "plan.toml").write_text(
        'data = "scans"\nlabel = ["liver=6"]\n[[runs]]\nmethod = ["unet"]\nslices = [4]\n'
        "steps = 1\nset = { channels = [4, 8] }\n"
    )
    return place


class Disk:
    """Takes `room` files, then none; `calls` counts those that were to be written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int, room: int) -> None:
        self.calls, self._code, self._room = 0, code, room
        self._sync = atomic.sync
        monkeypatch.setattr(atomic, "sync", self.sync)

    def sync(self, path: Path) -> None:
        """Where every write of ours passes."""
        if not path.is_dir():
            self.calls += 1
            if self.calls > self._room:
                raise OSError(self._code, os.strerror(self._code), str(path))
        self._sync(path)


@pytest.mark.parametrize("moment", ["first", "last"])
@pytest.mark.parametrize(
    "verb",
    [
        verb if verb in ("prepare", "predict") else pytest.param(verb, marks=pytest.mark.slow)
        for verb in WORDS
    ],
)
def test_a_disk_that_takes_no_more(place, tmp_path, monkeypatch, verb, moment) -> None:
    """Exit 4 with file and fix, nothing half-written; with room again the same command works."""
    if verb in _LONG and moment == "last":
        pytest.skip("only the first write is tried")
    monkeypatch.chdir(place)
    room, code = 0, errno.EROFS
    if moment == "last":
        with monkeypatch.context() as patch:
            disk = Disk(patch, 0, 10**6)
            assert _run(verb, tmp_path / "whole").exit_code in (0, 5)
        room, code = disk.calls - 1, errno.ENOSPC
    with monkeypatch.context() as patch:
        Disk(patch, code, room)
        error = _run(verb, tmp_path / "out").exception
    assert isinstance(error, NoRoom) and error.exit_code == 4, error
    assert error.code == ("F09" if code == errno.ENOSPC else "F10")
    assert str(tmp_path / "out") in str(error) and error.fix
    assert not list((tmp_path / "out").rglob("*.part"))
    if verb not in _LONG:
        assert _run(verb, tmp_path / "out").exit_code in (0, 5)


def _run(verb: str, out: Path):
    if verb in ("evaluate", "convert", "sweep"):
        out.mkdir(exist_ok=True)
    return fewmask(*(word.replace("OUT", str(out)) for word in WORDS[verb]))
