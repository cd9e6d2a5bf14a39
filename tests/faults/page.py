"""docs/errors.md from the corpus: every fault is made, read, and its message written down as a user
sees it.

python -m tests.faults.page
"""

import tempfile
from pathlib import Path

from fewmask.core.errors import FewmaskError
from tests.faults.corpus import MASKS, SCANS, Row
from tests.faults.test_corpus import read_row

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
_HEAD = """# What is wrong with a file, and what fewmask says

Made from the tests' corpus of bad files (`python -m tests.faults.page`); a test keeps it current.
The name in brackets stands in every message: N and M as below; others (D DICOM series, S
patients, splits and tags, C flags and settings, F disk, memory, locks and folders, W weights)
carry all there is to know in their message. A refused file is never changed, and the other files
of the batch are done.
"""


def render() -> str:
    """The whole page."""
    lines = [_HEAD]
    for title, rows in (("Scans", SCANS), ("Masks", MASKS)):
        lines += [f"## {title}\n", "| row | file | outcome | fix or note |", "|---|---|---|---|"]
        lines += [_line(row) for row in rows] + [""]
    return "\n".join(lines)


def _line(row: Row) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = row.make(Path(folder))
        try:
            notes = read_row(row, path)
            outcome, more = "read", "; ".join(notes) or "as it is"
        except FewmaskError as error:
            outcome, more = f"refused: {error.what} [{error.code}]", error.fix
    cells = (row.id, row.title, outcome, more)
    return (
        "| "
        + " | ".join(
            cell.replace(folder + "/", "").replace("|", "\\|").replace("\n", " ") for cell in cells
        )
        + " |"
    )


if __name__ == "__main__":
    PAGE.write_text(render())
