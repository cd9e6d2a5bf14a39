"""The shell asks what could come next, by environment variables, as bash does."""

import subprocess
import sys
from importlib import import_module

import pytest
from typer.testing import CliRunner

from fewmask.cli.app import VERBS, app

for name in VERBS:
    import_module(f"fewmask.cli.{name}")


@pytest.fixture
def place(tmp_path):
    """Two runs, one deeper, and a folder of something else."""
    for name in ("run-a", "deep/run-b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "rest").mkdir()
    return tmp_path


def completed(typed: str) -> list[str]:
    """What bash is offered for the last word of a line."""
    words = typed.split(" ")
    asked = {
        "_FEWMASK_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    return CliRunner().invoke(app, [], env=asked, prog_name="fewmask").stdout.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("fewmask exp", ["export"]),
        ("fewmask train prepared --method vn", ["vnet"]),
        ("fewmask prepare scans --recipe ct-", ["ct-liver"]),
        ("fewmask predict ru", ["run-a"]),
        ("fewmask export deep/", ["deep/run-b"]),
        ("fewmask clean r", ["rest/", "run-a"]),
        ("fewmask info mean", ["mean_teacher"]),
    ],
)
def test_the_next_word(place, monkeypatch, typed, offered) -> None:
    monkeypatch.chdir(place)
    assert completed(typed) == offered


def test_the_program_itself_gives_the_script_and_answers_it(place) -> None:
    """`eval "$(fewmask --show-completion bash)"`, then the tab key."""
    shell = 'PATH=$1:$PATH; eval "$(fewmask --show-completion bash)"\n'
    shell += "COMP_WORDS=(fewmask predict ru); COMP_CWORD=2; _fewmask_completion fewmask\n"
    shell += 'echo "${COMPREPLY[@]}"'
    program = place / "bin" / "fewmask"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fewmask "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", shell, "bash", str(program.parent)],
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "run-a\n"
