"""A reader that crashes ends a process of its own; here it is a refusal."""

import os
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from fewmask.core.errors import BadDataset, NoRoom
from fewmask.io.apart import survive
from fewmask.io.ssl4mis import read_h5_volume


def crashes(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def refuses(path: Path) -> None:
    raise ValueError(path)


def sleeps(path: Path) -> None:
    time.sleep(60)


def test_a_crash_is_a_refusal_with_file_and_fix(tmp_path) -> None:
    with pytest.raises(BadDataset, match="does not survive it") as caught:
        survive(crashes, tmp_path / "s.h5", fix="get it again")
    text = str(caught.value)
    assert all(word in text for word in ("s.h5", "SIGSEGV", "fix: get it again"))
    assert caught.value.code == "H01" and list(tmp_path.iterdir()) == []


def test_no_end_is_a_refusal_and_what_raises_is_left_to_the_caller(tmp_path) -> None:
    with pytest.raises(BadDataset, match="damaged") as caught:
        survive(sleeps, tmp_path / "s.h5", fix="get it again", seconds=2.0)
    assert "within 2 s" in str(caught.value)
    survive(refuses, tmp_path / "s.h5", fix="get it again")


def test_a_process_that_cannot_start_is_not_the_files_fault(tmp_path, monkeypatch) -> None:
    for program in (str(tmp_path / "none"), "/bin/false"):
        monkeypatch.setattr("fewmask.io.apart.sys.executable", program)
        with pytest.raises(NoRoom, match=r"cannot start the process that tries s\.h5"):
            survive(refuses, tmp_path / "s.h5", fix="get it again")


@pytest.mark.parametrize(
    ("part", "array", "word"),
    [
        ("image", np.zeros((2, 0, 2)), "two volumes"),
        ("image", np.full((2, 2, 2), b"x"), "numbers are wanted"),
        ("label", np.full((2, 2, 2), np.nan), "whole numbers"),
        ("label", np.full((2, 2, 2), 255), "whole numbers"),
        ("label", None, "no datasets"),
    ],
)
def test_foreign_volumes_are_refused(tmp_path, monkeypatch, part, array, word) -> None:
    monkeypatch.setattr("fewmask.io.ssl4mis.survive", lambda *_, **__: None)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("image", "label"):
            if name == part and array is None:
                file.create_group(name)
            else:
                file[name] = array if name == part else np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(BadDataset, match=word):
        read_h5_volume(tmp_path / "a.h5", "whd")
