"""docs/errors.md: every fault of the corpus is made, read, and its message written down as a user
sees it; then every code of the source with what it says.

python -m tests.faults.page
"""

import tempfile
from pathlib import Path

from fewmask.cli.flags import in_flags
from fewmask.core.errors import FewmaskError
from tests.faults import codes
from tests.faults.corpus import MASKS, SCANS, Row
from tests.faults.test_corpus import read_row

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
_HEAD = """# What is wrong with a file, and what fewmask says

Made from the tests' corpus of bad files and from the source (`python -m tests.faults.page`); a
test keeps it current. Every message says what is wrong, where, what was done instead, and what to
do; the code in brackets is listed here. A refused file is never changed, and the other files of
the batch are done. Settings stand here as flags of the program; in Python they are keywords
(`--slices 5` is `slices=5`, and `--set lr=0.001` is `settings={"lr": 0.001}`).

| exit code | class in Python | when |
|---|---|---|
| 0 | | done |
| 1 | `TrainingFailed` | training failed, or a fault of the program (the log is named) |
| 2 | `BadConfig`, `LabelWithheld` | a wrong flag, setting or request |
| 3 | `BadScan`, `BadDataset`, `BadCheckpoint` | input that cannot be used |
| 4 | `NoRoom` | the machine lacks disk, memory, permission, a device or a lock |
| 5 | `PartlyDone` | some cases failed and are listed, or masks are empty against what \
was expected; the others are done. `audit`: something must be looked at |
| 130, 143, 129 | `Interrupted` | stopped by Ctrl-C, SIGTERM or SIGHUP; all up to there is saved |
"""
_CODES = """## Every code

`...` stands for what is known only when it happens. Notes and warnings carry codes too. Of many
messages with one code the first few are shown.
"""
_SHOWN = 4


def render() -> str:
    """The whole page."""
    lines = [_HEAD]
    for title, rows in (("Scans", SCANS), ("Masks", MASKS)):
        lines += [f"## {title}\n", "| row | file | outcome | fix or note |", "|---|---|---|---|"]
        lines += [_line(row) for row in rows] + [""]
    return "\n".join([*lines, _CODES, *_list_codes(), ""])


def _list_codes() -> list[str]:
    lines: list[str] = []
    letter = ""
    for code, messages in codes.messages().items():
        if code[0] != letter:
            letter = code[0]
            title = f"### {letter}: {codes.LETTERS[letter]}"
            lines += ["", title, "", "| code | messages | raised in |", "|---|---|---|"]
        said = list(dict.fromkeys(text for text, _ in messages if text))
        more = " ..." if len(said) > _SHOWN else ""
        files = sorted({f"`{file}`" for _, file in messages})
        cells = code, "; ".join(said[:_SHOWN]) + more, ", ".join(files)
        lines.append(_table_row(cells))
    return lines


def _line(row: Row) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = row.make(Path(folder))
        try:
            notes = read_row(row, path)
            outcome, more = "read", "; ".join(notes) or "as it is"
        except FewmaskError as error:
            outcome, more = f"refused: {error.what} [{error.code}]", error.fix
    cells = (row.id, row.title, outcome, more)
    return _table_row(tuple(cell.replace(folder + "/", "") for cell in cells))


def _table_row(cells: tuple[str, ...]) -> str:
    return (
        "| "
        + " | ".join(in_flags(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
        + " |"
    )


if __name__ == "__main__":
    PAGE.write_text(render())
