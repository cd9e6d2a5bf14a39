"""docs/api.md is what the docstrings say."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_not_behind_the_docstrings() -> None:
    page = runpy.run_path(str(DOCS / "make_api.py"))["page"]()
    assert (DOCS / "api.md").read_text(encoding="utf-8") == page + "\n", "python docs/make_api.py"
