"""Write the keys in docs/workbench.md from the page's own list: python docs/make_keys.py."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
BINDINGS = ROOT / "src" / "fewmask" / "workbench" / "static" / "bindings.js"
PAGE = ROOT / "docs" / "workbench.md"
BEGIN, END = "<!-- keys -->\n", "<!-- end of keys -->\n"
_GROUP = re.compile(r"const (\w+) = \{ group: \"([^\"]+)\"")
_TOOL = re.compile(r"^  tool\(\"(.)\", \"\w+\", \"([^\"]+)\"\)", re.MULTILINE)
_ROW = re.compile(
    r"\.\.\.(?P<group>\w+),\s*keys: \[(?P<keys>(?:\"[^\"]*\"|`[^`]*`|, )*)\],\s*"
    r"words: (?:i === 0 \? )?\"(?P<words>[^\"]+)\"(?:, group: \"(?P<other>[^\"]+)\")?"
)
_KEY = re.compile(r"[\"`]((?:[^\"`])+)[\"`]")
_NAMES = {
    " ": "Space",
    "Shift+ ": "Shift Space",
    "ArrowUp": "up",
    "ArrowDown": "down",
    "Delete": "Del",
}


def rows() -> list[tuple[str, str, str]]:
    """Group, keys and words of every line of the sheet under `?`, in its order."""
    source = BINDINGS.read_text(encoding="utf-8")
    groups = dict(_GROUP.findall(source))
    found = [
        (place.start(), groups["draw"], [place[1]], place[2]) for place in _TOOL.finditer(source)
    ]
    for place in _ROW.finditer(source):
        # What is written once for several keys stands under the first.
        keys = _KEY.findall(place["keys"].replace("${i + 1}", "1"))
        group = place["other"] or groups[place["group"]]
        found.append((place.start(), group, keys, place["words"]))
    return [
        (group, " ".join(f"`{shown(key)}`" for key in keys), words)
        for _, group, keys, words in sorted(found)
    ]


def shown(key: str) -> str:
    """A key as it is written on a keyboard."""
    name = _NAMES.get(key, key)
    parts = [name] if len(name) == 1 else name.split("+")
    return " ".join(part.upper() if len(part) == 1 else part for part in parts)


def table() -> str:
    """Markdown, a part per group."""
    all_rows, lines = rows(), []
    for group in dict.fromkeys(group for group, *_ in all_rows):
        lines += ["", f"| {group} | |", "|---|---|"]
        lines += [f"| {keys} | {words} |" for one, keys, words in all_rows if one == group]
    return "\n".join(lines) + "\n\n"


def written(text: str) -> str:
    """The page with its table made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
