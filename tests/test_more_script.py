"""The tables of docs/evidence.md are what the committed rows say."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(str(ROOT / "experiments" / "more.py"))


def test_the_page_is_not_behind_its_rows() -> None:
    text = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    assert SCRIPT["page"](text, SCRIPT["measure"]()) == text, "run: python experiments/more.py"
    assert text.count("| next-hippocampus |") == 4


def test_only_tables_between_marks_are_made_anew() -> None:
    text = "a\n<!-- other -->\nkept\n<!-- end -->\n<!-- coverage -->\nold\n<!-- end -->\nz"
    assert SCRIPT["page"](text, {"coverage": "new"}) == text.replace("old", "new")
