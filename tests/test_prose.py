"""Pages of results can be read: short pages, short sentences, few numbers in them, and nobody
else's numbers beside ours without a word.
"""

import itertools
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = {path.name: path for path in sorted((DOCS / "results").glob("*.md"))}
PAGES = [name for name in RESULTS if name != "history.md"]
MADE = re.compile(r"<!-- [\w-]+(?: [^>]+)? -->\n.*?<!-- end -->\n", re.DOTALL)
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"(?<![\w.-])[+-]?\d+(?:[.,]\d+)*(?!\w)")
WORDS = {"index.md": 400}
FOREIGN = "other data, other network"


def prose(text: str) -> str:
    """What a person wrote: without tables, made parts, code and tags of HTML."""
    text = CODE.sub("", MADE.sub("", text))
    text = re.sub(r"<summary>.*?</summary>|<[^>]+>", "", text)
    return "\n".join(line for line in text.splitlines() if not line.startswith("|"))


def sentences(text: str) -> list[str]:
    """Each sentence or item of a list or heading, with `code` as one word and links as theirs."""
    text = re.sub(r"`[^`]+`", "code", re.sub(r"\]\([^)]*\)", "]", prose(text)))
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:[*-]|\d+\.) )|(?<=[.!?])[*)]*\s", text)
    found = (re.sub(r"^\s*(?:[*#-]+|\d+\.) ", "", part) for part in parts)
    return [" ".join(part.split()) for part in found if part.strip()]


def test_a_page_is_counted_without_what_it_shows() -> None:
    text = "# One\n\nTwo `three four`. Five: 0.5 and 3D\n\n```\nsix\n```\n\n| 7 | 8 |\n"
    text += "\n<!-- short few default -->\nnine\n<!-- end -->\n\n* [ten](x.md#1)\n* **11.** A\n"
    assert sentences(text) == ["One", "Two code.", "Five: 0.5 and 3D", "[ten]", "**11.", "A"]
    assert NUMBER.findall("0.5 of 3D, HD95, 2,400 and -1 in ct_21 (12)") == [
        "0.5", "2,400", "-1", "12",
    ]  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_short(name: str) -> None:
    words = len(prose(RESULTS[name].read_text()).split())
    assert words <= WORDS.get(name, 1500), words


def test_no_page_but_the_history_is_long() -> None:
    long = {
        path.name: words
        for path in sorted(DOCS.rglob("*.md"))
        if (words := len(prose(path.read_text()).split())) > 1500
    }
    assert set(long) == {"history.md"}, long


def test_the_readme_is_two_screens() -> None:
    text = prose((DOCS.parent / "README.md").read_text())
    assert len(text.split()) < 700


def test_the_first_page_is_short_with_its_table() -> None:
    text = re.sub(r"<!--.*?-->|[|]|---|\]\([^)]*\)", " ", RESULTS["index.md"].read_text())
    assert len(re.sub(r"<[^>]+>", "", text).split()) <= 400


@pytest.mark.parametrize("name", PAGES)
def test_a_sentence_is_short_and_has_two_numbers_at_most(name: str) -> None:
    every = sentences(RESULTS[name].read_text())
    assert [said for said in every if len(said.split()) > 30] == []
    assert [said for said in every if len(NUMBER.findall(said)) > 2] == []


@pytest.mark.parametrize("name", RESULTS)
def test_a_page_begins_with_question_answer_and_command(name: str) -> None:
    title, question, answer, command, *_ = RESULTS[name].read_text().split("\n\n")
    assert title.startswith("# ")
    assert question.startswith("**The question:** ") and answer.startswith("**The answer:** ")
    assert re.match(r"\*\*The commands?(:\*\*|\*\*) ", command) and "`" in command


def test_the_first_page_leads_to_all_others() -> None:
    text = RESULTS["index.md"].read_text()
    assert [name for name in RESULTS if name != "index.md" and f"({name}" not in text] == []


@pytest.mark.parametrize("path", sorted((DOCS / "methods").glob("*.md")), ids=lambda p: p.stem)
def test_a_page_of_a_method_is_short_and_leads_to_results(path: Path) -> None:
    text = path.read_text()
    assert len(prose(text).split()) <= 1200 and "](../results/" in text


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda p: p.stem)
def test_published_numbers_stand_under_a_word(path: Path) -> None:
    lines = path.read_text().splitlines()
    heads = [line for line, below in itertools.pairwise(lines) if below.startswith(("|--", "| --"))]
    assert [head for head in heads if "published" in head.lower() and FOREIGN not in head] == []
