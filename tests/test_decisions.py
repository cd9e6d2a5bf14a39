"""What comments and pages cite stands in the repository."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DECISIONS = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"(?<![\w\"'{/-])[AR][1-9]\d?(?![\w\"'.}-])")
PAGE = re.compile(r"\b(docs/[\w/]+\.md)(?:,\s+\"([^\"]+)\")?")
GONE = re.compile(
    r"\bspec(?:ification)?s?(?: CFR)?,? (?:\d\.\d|section)|\bfaults contract\b"
    r"|\(faults, |\bconventions[,)]|\(design, |\bdecisions? \d|"
    r"(?<![\w\"'])D(?:[1-9]|1[1-9]|2\d)(?!\w)|Pokhrel"
)
"""Documents that are not here, decisions under their old letter, and an author who was none."""
SELF = "tests/test_decisions.py"


def texts() -> Iterator[tuple[str, str]]:
    """(path, text) of all that people read."""
    for folder in ("src", "docs", "tests", "experiments", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.suffix in (".py", ".md", ".toml") and name != SELF:
                yield name, path.read_text(encoding="utf-8")
    for name in ("README.md", "CONTRIBUTING.md", "pyproject.toml"):
        yield name, (ROOT / name).read_text(encoding="utf-8")


def test_every_cited_decision_stands_there() -> None:
    stands = set(re.findall(r"^\| ([AR]\d+) \|", DECISIONS, re.M))
    assert {f"A{n}" for n in range(1, 29)} | {f"R{n}" for n in range(1, 23)} == stands
    cited = {
        (number, name)
        for name, text in texts()
        if name != "docs/decisions.md"
        for number in NUMBER.findall(text)
    }
    assert {number for number, _ in cited} >= {"A4", "A15", "R1", "R4"}
    assert [found for found in sorted(cited) if found[0] not in stands] == []


def test_every_cited_page_and_heading_is_there() -> None:
    found = 0
    for name, text in texts():
        for page, heading in PAGE.findall(text):
            path = ROOT / page
            assert path.exists(), (name, page)
            found += 1
            if heading:
                title = " ".join(heading.split())
                assert re.search(rf"^#+ {re.escape(title)}$", path.read_text(), re.M), (name, title)
    assert found > 10


def test_nothing_cites_what_is_not_in_the_repository() -> None:
    found = [(name, hit[0]) for name, text in texts() for hit in GONE.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    ["(spec 5.1)", "(spec CFR, section 3)", "(see conventions)", "(D8)", "decision 4", "D15"],
)
def test_old_citations_would_be_found(text: str) -> None:
    assert GONE.search(text)
    assert not GONE.search(f"A8 R4 D04 D10 2D HD95 {text.translate({ord(c): 'x' for c in text})}")


def test_the_glossary_has_one_sentence_per_word_and_is_linked() -> None:
    lines = re.findall(r"^\| (?!word|---)(.+?) \| (.+) \|$", GLOSSARY, re.M)
    words = [word for word, _ in lines]
    assert len(words) >= 25 and len(set(words)) == len(words)
    assert all(". " not in meaning for _, meaning in lines)
    for page in ("README.md", "docs/design.md"):
        assert "glossary.md" in (ROOT / page).read_text(encoding="utf-8")
