"""F15 and kind 8 of the cases: streams that close or fill up, and what foreign texts could do to a
terminal.
"""

import errno
import io
import json
import os
import subprocess
import sys

import pytest

from fewmask.cli.console import Console
from fewmask.cli.streams import Steady
from fewmask.core.errors import BadConfig
from fewmask.core.names import check_name, harmless, printable, unusable
from tests.scans import write_scans

_HOSTILE = "liver\x1b]0;owned\x07\x9b31m\u202egnp.exe\x7f"


class Broken(io.StringIO):
    """Takes one line, then its reader is gone."""

    def write(self, text: str) -> int:
        if self.getvalue():
            raise OSError(errno.EPIPE, "Broken pipe")
        return super().write(text)


def test_a_stream_that_fails_is_dropped() -> None:
    broken = Broken()
    stream = Steady(broken)
    for line in ("first\n", "second\n", "third\n"):
        print(line, end="", file=stream)
    stream.flush()
    assert broken.getvalue() == "first\n" and stream.isatty() is False


@pytest.mark.parametrize(
    ("redirect", "said"),
    [(">&- 2>&-", False), ("2> /dev/full", True)],
)
def test_work_goes_on_without_anybody_to_tell(tmp_path, redirect: str, said: bool) -> None:
    """A whole preparation, in a process of its own; the exit code is that of the work."""
    if "full" in redirect and not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full here")
    write_scans(tmp_path / "scans", 2)
    words = f"prepare {tmp_path}/scans --out {tmp_path}/prepared --label liver=6 --jobs 1"
    command = f"{sys.executable} -m fewmask {words} {redirect}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0 and (tmp_path / "prepared" / "dataset.json").exists()
    assert ("prepared 2 scans" in done.stdout) == said


def test_foreign_texts_never_steer_a_terminal(capsys) -> None:
    for console in (Console(), Console(json=True)):
        console.say(f"case {_HOSTILE}")
        console.warn(f"file {_HOSTILE}\n  second line")
        console.count_items("scans read")  # only makes the callback
        console.result({"case": _HOSTILE})
    out, err = capsys.readouterr()
    assert (out + err).replace("\n", "").isprintable()
    assert "  second line\n" in err and "owned" in out
    assert json.loads(out.splitlines()[-1]) == {"case": _HOSTILE}


def test_names_that_become_paths() -> None:
    assert harmless("größe\t肝\n") == "größe\t肝\n" and printable("a\nb") == "a\\nb"
    for good in ("case_01", "größe 肝", "a.b", "-x", "case,1"):
        assert unusable(good) == ""
        check_name(good, "a case", "tags.csv")
    paths = ("", "..", ".", "../x", "a/b", "a\\b")
    for bad in (*paths, "a\n", " a", "a ", "CON", "lpt1.x", "x" * 221):
        with pytest.raises(BadConfig) as caught:
            check_name(bad, "a case", "tags.csv")
        assert caught.value.code == "N45" and "tags.csv" in str(caught.value)
        assert str(caught.value).replace("\n", "").isprintable()
    with pytest.raises(BadConfig, match="no text"):
        check_name(3, "a case", "tags.csv")
