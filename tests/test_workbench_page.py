"""What a person reads about the workbench is true of it: keys, pictures, commands, links."""

import re
import runpy
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from fewmask.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
KEYS = runpy.run_path(str(DOCS / "make_keys.py"))
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
OVERVIEW = "overview.png"
"""Of docs/make_overview.py; the others are of docs/make_pictures.py."""


def shown(page: Path) -> set[Path]:
    """Pictures that a page shows."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"(?:src|srcset)=\"([^\"]+)\"|!\[[^\]]*\]\(([^)]+)\)", text)
    return {(page.parent / (one or other)).resolve() for one, other in found}


def commands(page: Path) -> list[str]:
    """Lines of a page's code blocks that begin with `fewmask`."""
    blocks = re.findall(r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("fewmask ")]


def test_the_keys_of_the_page_are_those_of_the_program() -> None:
    text = KEYS["PAGE"].read_text(encoding="utf-8")
    assert KEYS["written"](text) == text, "run: python docs/make_keys.py"
    rows = KEYS["rows"]()
    assert ("Draw", "`X`", "Box for SAM: drag") in rows
    assert ("Go", "`up` `down`", "Slice before, after") in rows
    source = KEYS["BINDINGS"].read_text(encoding="utf-8")
    told = re.findall(r"words: (?:i === 0 \? )?\"[^\"]|^  tool\(", source, re.M)
    assert len(rows) == len(told)


def test_every_picture_shown_is_there_and_can_be_made_anew() -> None:
    script = (DOCS / "make_pictures.py").read_text(encoding="utf-8")
    made = set(re.findall(r"^    \"(workbench-[\w-]+\.png)\",$", script, re.M))
    assert len(made) >= 2
    assert OVERVIEW in (DOCS / "make_overview.py").read_text(encoding="utf-8")
    made.add(OVERVIEW)
    pictures = {path for page in PAGES for path in shown(page)}
    assert [str(path) for path in pictures if not path.exists()] == []
    assert {path.name for path in pictures if path.suffix == ".png"} == made
    assert {path.name for path in (DOCS / "figures").glob("*.png")} == made
    assert all((DOCS / "figures" / name).stat().st_size < 250_000 for name in made)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    dead = [
        link for link in links if "://" not in link and not (page.parent / link).resolve().exists()
    ]
    assert dead == []


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", DOCS / "workbench.md", DOCS / "guide" / "own-scans.md"],
    ids=lambda page: page.stem,
)
def test_commands_have_flags_that_there_are(page: Path) -> None:
    lines = commands(page)
    for line in lines:
        import_module(f"fewmask.cli.{line.split()[1]}")
    program: Any = typer.main.get_command(app.app)
    assert lines
    for line in lines:
        _, verb, *words = shlex.split(line, comments=True)
        command = program.commands[verb]
        # Parsed only: nothing is run, and folders need not be there.
        command.make_context(verb, words)
