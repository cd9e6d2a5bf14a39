"""F15, F16: other languages, narrow and dumb terminals, users without a home or a name, a folder
that is gone.
"""

import getpass
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fewmask.blocks import nets
from fewmask.cli.console import Console
from fewmask.cli.progress import Event, Progress
from fewmask.cli.streams import Steady
from fewmask.core.errors import NoRoom
from fewmask.core.volume import LabelMap
from fewmask.io.ledger import make_cache
from fewmask.io.nifti import read_labels, write_labels
from tests.cli.test_verbs import fewmask
from tests.scans import write_scans

_ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
_LANGUAGE = ("LANG", "LC_ALL", "LC_CTYPE", "LC_NUMERIC", "LANGUAGE", "PYTHONIOENCODING")


class Terminal:
    """A terminal of an encoding, or a file."""

    def __init__(self, encoding: str, live: bool = True) -> None:
        self.encoding, self._live, self.text = encoding, live, ""

    def write(self, text: str) -> int:
        self.text += text.encode(self.encoding).decode(self.encoding)
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return self._live


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_f15_a_stream_that_cannot_show_every_letter(monkeypatch, encoding) -> None:
    """The one object of --json is whole whatever the stream can show, and so are lines."""
    out = Terminal(encoding)
    monkeypatch.setattr(sys, "stdout", Steady(out))  # type: ignore[arg-type]
    Console(json=True).result({"case": "größe_肝"})
    assert json.loads(out.text) == {"case": "größe_肝"}
    assert out.text.isascii() == (encoding != "utf-8"), "JSON is UTF-8, or ASCII"
    sys.stdout.write("肝\n")
    Console().say("肝, and on")
    assert out.text.endswith(", and on\n") and ("\\u809d\n" in out.text or encoding == "utf-8")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("settings", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_f15_twenty_columns(monkeypatch, encoding, settings) -> None:
    """A row that is drawn over is never wider than the terminal."""
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"COLUMNS": "20", "TERM": "xterm", **settings}.items():
        monkeypatch.setenv(name, value)
    stream = Terminal(encoding)
    progress = Progress(stream=Steady(stream))  # type: ignore[arg-type]
    progress.show(Event("predict", 3, 3, "scans predicted: 3 of 3, größe_肝", below="loss 0.25"))
    rows = stream.text.replace("\r", "\n").splitlines()
    assert rows and "scans predicted: 3" in stream.text
    if settings.get("TERM") == "dumb":
        assert "\x1b" not in stream.text
    else:
        assert max(len(row) for row in rows if not row.startswith("\x1b")) <= 20, rows
    if "NO_COLOR" in settings:
        assert "\x1b[3" not in stream.text


def _run(
    words: list[str], environment: dict[str, str], folder: Path
) -> subprocess.CompletedProcess[bytes]:
    """The program as a host that has taken over the user's language runs it."""
    plain = {key: value for key, value in os.environ.items() if key not in _LANGUAGE}
    code = (
        "import locale, sys\n"
        "locale.setlocale(locale.LC_ALL, '')\n"
        "from fewmask.cli import main\n"
        "main()\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**plain, **environment},
        cwd=folder,
        capture_output=True,
        check=False,
    )


def _write(folder: Path) -> None:
    """Scans, and masks as fewmask writes them: the organ is 1."""
    for case in write_scans(folder / "scans", 2):
        truth = read_labels(folder / "scans" / "labels" / f"{case}.nii.gz")
        (folder / "masks").mkdir(exist_ok=True)
        voxels = (truth.voxels > 0).astype(np.uint8)
        voxels[:3] = 0
        write_labels(folder / "masks" / f"{case}.nii.gz", LabelMap(voxels, truth.grid))


_PREPARE = ["prepare", "scans", "--label", "leber=6", "--jobs", "1", "--out"]
_EVALUATE = ["evaluate", "masks", "scans/labels", "--label", "leber=6", "--out"]


def _tables(folder: Path, environment: dict[str, str]) -> bytes:
    """Of a preparation and an evaluation in one language."""
    for name in ("prepared", "scores.csv"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for words in ([*_PREPARE, "prepared"], [*_EVALUATE, "scores.csv"]):
        done = _run(words, environment, folder)
        assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    table = (folder / "scores.csv").read_bytes()
    (folder / "scores.csv").unlink()
    return table + (folder / "prepared" / "dataset.json").read_bytes()


def test_f15_ascii_alone(tmp_path) -> None:
    """`LANG=C` on an old cluster: files of other names are refused by name, in one JSON object."""
    write_scans(tmp_path / "scans", 2)
    for part in ("images", "labels"):
        path = tmp_path / "scans" / part / "case_01.nii.gz"
        path.rename(path.with_name("größe.nii.gz"))
    done = _run(["check", str(tmp_path / "scans"), "--json"], _ASCII, tmp_path)
    record = json.loads(done.stdout)
    assert done.returncode == 3 and len(record["cases"]) == 1
    assert b"N45" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("localedef") is None, reason="no localedef here")
def test_f15_every_language_writes_the_same_numbers(tmp_path) -> None:
    """Decimal point always `.`, in real locales made for the test."""
    import locale

    _write(tmp_path)
    for language in ("de_DE", "tr_TR"):
        target = tmp_path / f"{language}.UTF-8"
        made = subprocess.run(["localedef", "-i", language, "-f", "UTF-8", target], check=False)
        if not target.is_dir():
            pytest.skip(f"localedef cannot make {language} ({made.returncode})")
    here = {"LOCPATH": str(tmp_path)}
    code = "import locale; locale.setlocale(locale.LC_ALL, ''); print(locale.str(0.5))"
    german = {**here, "LC_ALL": "de_DE.UTF-8"}
    said = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | german, capture_output=True, check=True
    )
    assert said.stdout.strip() == b"0,5", "the control: it is German there"
    assert locale.str(0.5) == "0.5"
    expected = _tables(tmp_path, {})
    assert b",0.857" in expected, "three of four slices: 6 / 7"
    for settings in (_ASCII, german, german | {"LC_ALL": "tr_TR.UTF-8"}):
        assert _tables(tmp_path, settings) == expected


def test_f16_the_folder_that_one_is_in_is_gone(tmp_path, monkeypatch) -> None:
    write_scans(tmp_path / "scans", 1)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    error = fewmask("check", tmp_path / "scans").exception
    monkeypatch.undo()
    assert isinstance(error, NoRoom) and error.code == "F16" and "cd " in error.fix


def test_f16_a_user_without_a_name(monkeypatch) -> None:
    """`docker run --user 12345`: MONAI asks for the name as it is imported."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setenv("LOGNAME", "")
    with monkeypatch.context() as patch:
        patch.setattr(getpass, "getuser", nobody)
        nets._name_user()
    assert getpass.getuser() == "nobody"


def test_f16_a_home_that_cannot_be_written(tmp_path, monkeypatch) -> None:
    """Weights are not put where they are lost, and the message has a way out."""
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("FEWMASK_CACHE", str(tmp_path / "home" / "x"))
    with pytest.raises(NoRoom) as caught:
        make_cache()
    assert caught.value.code == "F16" and "FEWMASK_CACHE" in caught.value.fix
    monkeypatch.setenv("FEWMASK_CACHE", str(tmp_path / "other"))
    assert make_cache().is_dir()


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o077, 0o600, 0o700), (0o027, 0o640, 0o750)]
)
def test_f16_umask(tmp_path, monkeypatch, umask, file, folder) -> None:
    """What is written may be read by whom the umask says, no more and no fewer."""
    _write(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = os.umask(umask)
    try:
        for words in ([*_PREPARE, "out"], [*_EVALUATE, "out/scores.csv"]):
            assert fewmask(*words).exit_code == 0
    finally:
        os.umask(before)
    for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (folder if path.is_dir() else file), (path, oct(mode))
