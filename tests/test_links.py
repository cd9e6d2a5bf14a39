"""Links between pages lead somewhere: to a file of the repository, to a heading of a page."""

import re
import urllib.parse
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)|(?:src|srcset|href)=\"([^\"]+)\"")
CODE = re.compile(r"^( *)```.*?^\1```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Of all headings, as GitHub and MyST make them: lower case, without marks, spaces as lines;
    a second heading of one name gets a number.
    """
    found: set[str] = set()
    shown = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for title in re.findall(r"^#+ (.+?)\s*$", shown, re.MULTILINE):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        others = (f"{name}-{n}" for n in range(1, 100))
        found.add(name if name not in found else next(one for one in others if one not in found))
    return found | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


def broken(page: Path, text: str) -> list[str]:
    """Links of a page that lead nowhere; those to other hosts are not looked at."""
    wrong = []
    for match in LINK.finditer(CODE.sub("", text)):
        link = urllib.parse.unquote(match[1] or match[2])
        if re.match(r"[a-z]+:|\{", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if target != page and not target.exists():
            wrong.append(link)
        elif anchor and target.suffix == ".md":
            own = text if target == page else target.read_text(encoding="utf-8")
            wrong += [] if anchor in anchors(own) else [link]
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_link_is_broken(page: Path) -> None:
    assert broken(page, page.read_text(encoding="utf-8")) == []


def test_broken_links_would_be_found() -> None:
    page = ROOT / "docs" / "page.md"
    text = "# Time and `memory`, 3D\n\n## Two\n\n## Two\n\n[a](#time-and-memory-3d) [b](#two-1)"
    assert anchors(text) == {"time-and-memory-3d", "two", "two-1"}
    assert broken(page, text + " [c](https://x.y/z) `[d](e.md)` [f](metrics.md)") == []
    text += ' [g](gone.md) [h](metrics.md#gone) [i](#gone) <img src="gone.svg">'
    assert broken(page, text) == ["gone.md", "metrics.md#gone", "#gone", "gone.svg"]
