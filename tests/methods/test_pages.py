"""Every method has its page, and every function a page names is there."""

import re
from pathlib import Path

import pytest

from fewmask import methods

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "methods"


def test_every_method_has_a_page_and_every_page_a_method() -> None:
    assert sorted(path.stem for path in PAGES.glob("*.md")) == methods.names()


@pytest.mark.parametrize("name", methods.names())
def test_functions_named_are_there(name: str) -> None:
    named = re.findall(
        r"`((?:methods|blocks|data|external|predict|training)/[\w/]+\.py)(?:: ([\w., ]+))?`", (PAGES / f"{name}.md").read_text()
    )
    assert named
    for file, function in named:
        text = (ROOT / "src" / "fewmask" / file).read_text()
        assert all(re.search(rf"(def|class) {part}\b", text) for part in re.split(r"[., ]+", function) if part), (file, function)
