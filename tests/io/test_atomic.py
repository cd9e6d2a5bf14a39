import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from fewmask.core.errors import BadConfig, BadScan, NoRoom
from fewmask.io import atomic
from fewmask.io.atomic import (
    clean_parts,
    is_alive,
    is_part,
    make_folder,
    part_beside,
    write_bytes,
    write_text,
    writing,
)
from fewmask.io.weights import save_tensors


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_leaves_no_temp_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "größe\n")
    write_bytes(tmp_path / "b", b"\0\1")
    assert (tmp_path / "a.txt").read_bytes() == "größe\n".encode()
    assert _names(tmp_path) == ["a.txt", "b"]


def test_final_name_appears_only_at_the_end(tmp_path: Path) -> None:
    with writing(tmp_path / "a") as temp:
        temp.write_bytes(b"new")
        assert temp.name.startswith(".a.") and temp.name.endswith(f"-{os.getpid()}.part")
        assert not (tmp_path / "a").exists()
    assert _names(tmp_path) == ["a"]


def test_error_in_the_block_keeps_the_old_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "a") as temp:
        temp.write_bytes(b"half")
        raise ZeroDivisionError
    assert (tmp_path / "a").read_bytes() == b"old"
    assert _names(tmp_path) == ["a"]


def test_failed_verification_keeps_the_old_file(tmp_path: Path) -> None:
    def refuse(temp: Path) -> None:
        assert temp.read_bytes() == b"new"
        raise BadScan("not what was meant")

    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(BadScan), writing(tmp_path / "a", verify=refuse) as temp:
        temp.write_bytes(b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert _names(tmp_path) == ["a"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_trouble_of_the_machine_is_no_room(tmp_path: Path, code: int) -> None:
    with pytest.raises(NoRoom) as caught, writing(tmp_path / "a", needed=12345) as temp:
        temp.write_bytes(b"x")
        raise OSError(code, os.strerror(code))
    assert caught.value.exit_code == 4
    text = str(caught.value)
    assert "12345 bytes needed" in text
    assert "bytes free" in text
    assert str(tmp_path / "a") in text
    assert _names(tmp_path) == []


def test_absent_folder_and_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(NoRoom, match="folder does not exist"):
        write_bytes(tmp_path / "no" / "a", b"")
    (tmp_path / "d").mkdir()
    with pytest.raises(NoRoom):
        write_bytes(tmp_path / "d", b"x")
    assert _names(tmp_path) == ["d"]


def test_full_disk(tmp_path: Path) -> None:
    with pytest.raises(NoRoom, match="disk is full"), writing(tmp_path / "a") as temp:
        temp.symlink_to("/dev/full")
        with temp.open("wb") as file:
            file.write(b"x")
    assert _names(tmp_path) == []


def test_clean_parts_removes_only_those_of_the_dead(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    assert not is_alive(dead.pid)
    names = [
        f".a.{dead.pid}.part",
        f".b.{os.getpid()}.part",
        "c.part",
        ".d.part",
        f"e.{dead.pid}.part",
    ]
    for name in names:
        (tmp_path / name).touch()
    assert clean_parts(tmp_path) == [names[0]]
    assert _names(tmp_path) == sorted(names[1:])
    assert clean_parts(tmp_path / "absent") == []


def test_killed_while_writing_leaves_the_old_file_whole(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from fewmask.io.atomic import writing\n"
        "with writing(Path(sys.argv[1])) as temp:\n"
        "    temp.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a")],
        env={**os.environ, "PYTHONPATH": _source()},
    )
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(clean_parts(tmp_path)) == 1
    assert _names(tmp_path) == ["a"]


def _source() -> str:
    import fewmask.io.atomic

    return str(Path(fewmask.io.atomic.__file__).parents[2])


def test_windows_opens_no_folder_and_flushes_what_it_may_write(tmp_path, monkeypatch) -> None:
    opened: list[tuple[Path, int]] = []
    real = os.open

    def watched(path, flags, *rest):
        opened.append((Path(path), flags & (os.O_RDWR | os.O_WRONLY)))
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", watched)
    monkeypatch.setattr(atomic, "WINDOWS", True)
    with writing(tmp_path / "a") as temp:
        temp.write_bytes(b"new")
        opened.clear()
    assert opened == [(temp, os.O_RDWR)]
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("said", "alive"),
    [
        ('"python.exe","4711","Console","1","35,000 K"', True),
        ("INFO: No tasks are running which match the specified criteria.", False),
        ('"python.exe","47110","Console","1","35,000 K"', False),
    ],
)
def test_windows_is_asked_for_its_processes_and_none_is_interrupted(
    monkeypatch, said: str, alive: bool
) -> None:
    """On Windows `os.kill(pid, 0)` is Ctrl-C for that process."""
    asked: list[list[str]] = []

    def run(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, said, "")

    monkeypatch.setattr(atomic, "WINDOWS", True)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("that is Ctrl-C"))
    assert is_alive(4711) is alive
    assert asked[0][:3] == ["tasklist", "/FI", "PID eq 4711"]


def test_a_process_is_alive_where_windows_cannot_be_asked(monkeypatch) -> None:
    def run(command, **options):
        raise FileNotFoundError("tasklist")

    monkeypatch.setattr(atomic, "WINDOWS", True)
    monkeypatch.setattr(subprocess, "run", run)
    assert is_alive(4711)


def test_umask_is_respected(tmp_path: Path) -> None:
    """F16: a colleague of the group may read weights, and nobody else where the umask says so."""
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "text", "a")
        save_tensors(tmp_path / "weights.safetensors", {"a": torch.zeros(1)})
        os.umask(0o077)
        save_tensors(tmp_path / "own.safetensors", {"a": torch.zeros(1)})
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"text": 0o640, "weights.safetensors": 0o640, "own.safetensors": 0o600}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / f".a.{2**22 + 1}.part").touch()
    assert make_folder(tmp_path) == [f".a.{2**22 + 1}.part"]
    with pytest.raises(BadConfig, match="not a folder") as refused:
        make_folder(tmp_path / "file")
    assert refused.value.code == "F11"
    with pytest.raises(NoRoom) as caught:
        make_folder(tmp_path / "file" / "below")
    assert caught.value.code == "F10" and "below" in str(caught.value)


def test_threads_that_write_the_same_file_do_not_meet(tmp_path) -> None:
    """Each has a temp file of its own, which `clean_parts` knows as ours."""
    path = tmp_path / "a.json"
    parts = [part_beside(path)]
    inside = threading.Barrier(2, timeout=20)

    def write(text: str) -> None:
        with writing(path) as temp:
            inside.wait()
            parts.append(temp)
            temp.write_text(text)
            inside.wait()

    threads = [threading.Thread(target=write, args=(text,)) for text in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in ("one", "two") and list(tmp_path.iterdir()) == [path]
    assert len(set(parts)) == 3 and all(is_part(part) for part in parts)
