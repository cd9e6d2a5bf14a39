"""What is installed: a clone has every file, a wheel only those that it is told of."""

import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from fewmask.version import __version__

ROOT = Path(__file__).parents[1]


def test_every_file_of_the_package_is_in_the_wheel() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = told["package-data"]["fewmask"]
    source = ROOT / "src" / "fewmask"
    others = [
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert len(others) > 20
    assert [name for name in others if not any(fnmatch(name, one) for one in patterns)] == []


def test_project_files_name_one_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert cited["version"] == __version__ and f"## {__version__}\n" in changes
    assert {"cff-version", "message", "title", "authors"} <= set(cited)


def test_forms_for_issues_ask_for_something() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    for path in forms:
        form = yaml.safe_load(path.read_text())
        assert form["name"] and form["description"], path
        asked = [part for part in form["body"] if part.get("validations", {}).get("required")]
        assert asked, path
    assert len(forms) == 3


@pytest.mark.slow
def test_wheel_and_sdist_work_in_an_environment_of_their_own(tmp_path: Path) -> None:
    """Built from what git knows, installed without the repository, tried from another folder; the
    wheel that is made of the sdist holds the same files.
    """
    clone, dist = tmp_path / "clone", tmp_path / "dist"
    run("git", "clone", "-q", str(ROOT), str(clone))
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    python = str(tmp_path / "venv/bin/python")
    run(python, "-m", "pip", "install", "-q", "build")
    run(python, "-m", "build", "-o", str(dist), str(clone))  # the wheel is built from the sdist
    (wheel,) = dist.glob("*.whl")
    assert list(dist.glob("*.tar.gz"))
    with zipfile.ZipFile(wheel) as held:
        names = set(held.namelist())
    source = clone / "src"
    files = {str(path.relative_to(source)) for path in (source / "fewmask").rglob("*.*")}
    assert files <= names and "fewmask/py.typed" in names, files - names
    pins = ["-c", str(ROOT / "constraints.txt")]
    run(python, "-m", "pip", "install", "-q", *pins, "torch==2.13.0")
    run(python, "-m", "pip", "install", "-q", *pins, str(wheel))
    away = tmp_path / "away"
    away.mkdir()
    run(str(tmp_path / "venv/bin/fewmask"), "demo", "--quick", "--out", "demo", cwd=away)
    assert (away / "demo").is_dir()


def run(*words: str, cwd: Path | None = None) -> None:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
