"""F09, F10: the disk is full or read-only: every verb, its first write and its last, simulated; and
on disks that are really small (`small_disk`).
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fewmask.core.errors import NoRoom
from fewmask.core.volume import Volume
from fewmask.io import atomic
from fewmask.io.case import CaseFile, write_case
from fewmask.training import train
from tests.cli.test_verbs import fewmask, small
from tests.faults import small_disk
from tests.kills.child import must
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


_NAMESPACE = ["unshare", "--map-root-user", "--mount"]
_MAY_MOUNT = (
    shutil.which("unshare") is not None
    and subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
)


@pytest.fixture(scope="module")
def small_place(tmp_path_factory) -> Path:
    place: Path = tmp_path_factory.mktemp("small")
    must(lambda: small_disk.make_place(place))
    return place


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not _MAY_MOUNT, reason="no file system may be mounted here")
@pytest.mark.parametrize("verb", small_disk.VERBS)
def test_a_disk_that_is_really_small(small_place, tmp_path, verb) -> None:
    """No names, no bytes, no longer files, read-only: 4 with file and fix, nothing half-written,
    and the same bits from the same command once there is room.
    """
    report = tmp_path / "report.json"
    words = [sys.executable, "-m", "tests.faults.small_disk", small_place, report, verb]
    root = Path(__file__).parents[2]
    done = subprocess.run([*_NAMESPACE, *words], cwd=root, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert json.loads(report.read_text()) == {verb: []}


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -f")
def test_hdf5_outlives_a_file_that_may_not_grow(tmp_path) -> None:
    """The library itself would end the process as the next file is closed."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    volume = Volume.from_file_order(np.zeros((64, 64, 4), np.int16), np.eye(4))
    path = tmp_path / "case.h5"
    for limit in (100, 5000, 20_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(NoRoom, match="too large") as caught:
                write_case(path, volume, None)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert caught.value.exit_code == 4 and not list(tmp_path.iterdir())
    write_case(path, volume, None)
    with CaseFile(path) as case:
        assert case.shape == (4, 64, 64)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes")
def test_a_folder_that_may_not_be_written(tmp_path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "closed").mkdir(mode=0o500)
    prepare_scans(tmp_path, 3)
    words = ["prepare", tmp_path / "scans", "--label", "liver=6", "--jobs", "1"]
    error = fewmask(*words, "--out", tmp_path / "closed" / "out").exception
    assert isinstance(error, NoRoom) and error.code == "F10" and "closed" in str(error)
