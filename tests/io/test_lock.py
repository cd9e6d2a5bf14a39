import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fewmask.core.errors import NoRoom
from fewmask.io import lock
from fewmask.io.lock import LOCK, _record, folder_lock, in_name_of, waiting_lock


def test_second_holder_is_told_of_the_first(tmp_path: Path) -> None:
    with folder_lock(tmp_path, "fewmask train"):
        with pytest.raises(NoRoom) as caught, folder_lock(tmp_path, "fewmask train"):
            pytest.fail("held twice")
        text = str(caught.value)
        assert caught.value.exit_code == 4
        assert f"process {os.getpid()} on" in text
        assert "fewmask train" in text
        assert LOCK in text
    assert not (tmp_path / LOCK).exists()


def test_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), folder_lock(tmp_path, "a"):
        raise KeyError
    with folder_lock(tmp_path, "b"):
        assert json.loads((tmp_path / LOCK).read_text())["purpose"] == "b"


def _leave(folder: Path, **changes: object) -> None:
    (folder / LOCK).write_text(json.dumps(_record("old work") | changes))


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    _leave(tmp_path, pid=_dead_pid())
    with folder_lock(tmp_path, "new") as died:
        assert "ended without notice" in died  # F04
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_lock_from_before_a_reboot_is_taken_over(tmp_path: Path) -> None:
    _leave(tmp_path, boot="another boot")
    with folder_lock(tmp_path, "new"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_lock_of_a_number_used_again_is_taken_over(tmp_path: Path) -> None:
    _leave(tmp_path, process_start="1")
    with folder_lock(tmp_path, "new"):
        pass


@pytest.mark.parametrize("changes", [{"host": "another"}, {"pid_space": "another"}])
def test_lock_that_cannot_be_judged_from_here_holds(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    _leave(tmp_path, pid=_dead_pid(), **changes)
    with pytest.raises(NoRoom, match="old work"), folder_lock(tmp_path, "new"):
        pytest.fail("taken from a holder elsewhere")
    assert (tmp_path / LOCK).exists()


@pytest.mark.parametrize("left", ["", "{"])
def test_half_a_lock_holds_nothing(tmp_path: Path, left: str) -> None:
    """F09: locks are whole or absent; a full disk left such ones with earlier versions."""
    (tmp_path / LOCK).write_text(left)
    with folder_lock(tmp_path, "new"):
        assert json.loads((tmp_path / LOCK).read_text())["purpose"] == "new"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "without hard links"])
def test_no_lock_is_left_by_a_full_disk(tmp_path: Path, monkeypatch, links: bool) -> None:
    def no_links(*names: object) -> None:
        raise OSError(errno.EPERM, "not supported")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
        with folder_lock(tmp_path, "works"), pytest.raises(NoRoom), folder_lock(tmp_path, "again"):
            pytest.fail("held twice")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoRoom) as caught, folder_lock(tmp_path, "new"):
        pytest.fail("held")
    assert caught.value.code == "F09" and list(tmp_path.iterdir()) == []


def test_absent_folder(tmp_path: Path) -> None:
    with pytest.raises(NoRoom, match="folder does not exist"), folder_lock(tmp_path / "no", "new"):
        pytest.fail("held")


def test_waiting_lock_waits_and_gives_up(tmp_path: Path) -> None:
    with (
        folder_lock(tmp_path, "first"),
        pytest.raises(NoRoom),
        waiting_lock(tmp_path, "second", 0.3),
    ):
        pytest.fail("held twice")
    order: list[str] = []

    def hold() -> None:
        with waiting_lock(tmp_path, "second"):
            order.append("second")

    with folder_lock(tmp_path, "first"):
        other = threading.Thread(target=hold)
        other.start()
        other.join(0.5)
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_windows_is_waited_for_where_another_process_reads_the_lock(tmp_path, monkeypatch) -> None:
    """Windows refuses to remove, make or rename a file that somebody has open at this moment."""
    refused: list[str] = []

    def reluctant(kind: str, real):
        def action(*arguments, **options):
            if str(arguments[-1]).endswith(LOCK) and refused.count(kind) < 2:
                refused.append(kind)
                raise PermissionError(13, "in use by another process")
            return real(*arguments, **options)

        return action

    monkeypatch.setattr(os, "link", reluctant("make", os.link))
    monkeypatch.setattr(Path, "unlink", reluctant("remove", Path.unlink))
    with pytest.raises(NoRoom, match="no permission"), folder_lock(tmp_path, "elsewhere"):
        pytest.fail("other systems mean it when they say so")
    refused.clear()
    monkeypatch.setattr(lock, "_BUSY", (PermissionError,))
    with folder_lock(tmp_path, "new"):
        assert (tmp_path / LOCK).exists()
    assert refused == ["make", "make", "remove", "remove"]
    assert list(tmp_path.iterdir()) == []


def test_who_goes_on_with_work_takes_over_what_its_predecessor_held_on_a_lost_machine(
    tmp_path, monkeypatch
) -> None:
    """By the name of the work: of a Ray task whoever does it now, of a Slurm task a later attempt;
    nobody else, and not an earlier attempt that still lives.
    """

    def held_elsewhere(name: str, attempt: int | None) -> None:
        record = {"pid": 1, "host": "lost", "boot": "b", "name": name, "attempt": attempt}
        (tmp_path / LOCK).write_text(json.dumps(record))

    held_elsewhere("task 1", None)
    with pytest.raises(NoRoom), folder_lock(tmp_path, "test"):
        pass
    with pytest.raises(NoRoom), in_name_of("task 2"), folder_lock(tmp_path, "test"):
        pass
    with (
        in_name_of("task 1"),
        folder_lock(tmp_path, "test"),
        pytest.raises(NoRoom),
        folder_lock(tmp_path, "test"),
    ):
        pass
    assert not (tmp_path / LOCK).exists()
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    for attempt, count, works in ((0, "1", True), (0, "0", False), (2, "1", False)):
        held_elsewhere("slurm 7 3", attempt)
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
        if works:
            with folder_lock(tmp_path, "test"):
                pass
        else:
            with pytest.raises(NoRoom), folder_lock(tmp_path, "test"):
                pass
