"""Write what the committed rows of the sweeps say about each method at the end of its page.

    python experiments/pages.py

Mean over runs (each the mean over its scans) ± standard deviation over them; `docs/results.md` reads the numbers.
"""

from pathlib import Path

from fewmask.io.text import read_text
from fewmask.study.compare import group, spread
from fewmask.study.rows import Row, read_rows
from fewmask.study.score import ORACLE

HERE = Path(__file__).parent
PAGES = HERE.parent / "docs" / "methods"
MARK = "<!-- from here on written by experiments/pages.py -->\n"
HEADS = ["sweep", "settings", "labelled", "time", "runs", "scans", "Dice", "HD95 mm"]


def measured(tables: dict[str, list[Row]], method: str) -> list[list[str]]:
    """A line per sweep, setting, budget and set of scans; automatic masks only."""
    lines = []
    for sweep, rows in tables.items():
        for setting, runs in group([row for row in rows if row["method"] == method and row["prompts"] != ORACLE]).items():
            for domain in dict.fromkeys(row["domain"] for row in runs):
                here = [row for row in runs if row["domain"] == domain]
                dice = spread(here, "dice")
                link = f"[{sweep}](../../experiments/{sweep}.toml)"
                settings = f"`{setting.settings}`" if setting.settings else ""
                numbers = [dice.text(3), spread(here, "hd95_mm").text(1)]
                lines.append([link, settings, setting.budget, setting.time, str(dice.runs), domain, *numbers])
    return lines


def page(text: str, lines: list[list[str]]) -> str:
    """The page with its measured part exchanged; without lines it has none."""
    own = text.partition(MARK)[0].rstrip("\n") + "\n"
    if not lines:
        return own
    table = "".join("| " + " | ".join(line) + " |\n" for line in [HEADS, ["---"] * len(HEADS), *lines])
    return f"{own}\n{MARK}\n## Measured\n\n{table}"


def pages() -> dict[Path, str]:
    """Every page of a method, as it should be."""
    files = sorted((HERE / "rows").glob("*.csv"))
    tables: dict[str, list[Row]] = {
        file.stem: list(read_rows(file)) for file in files if (HERE / f"{file.stem}.toml").exists() and "-dev" not in file.stem
    }
    return {path: page(read_text(path), measured(tables, path.stem)) for path in sorted(PAGES.glob("*.md"))}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
