"""The notebook runs from its first cell to its last, here with fewer scans and steps, and shows
what it says.
"""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "sam_mix.ipynb"
SHORT = "FOLDER = Path('demo')\nTRAIN, TEST = 3, 1\nSTEPS = 12\nBUDGETS = (2,)"


def names(source: str) -> list[str]:
    return [line.split(" =")[0] for line in source.splitlines()]


def pictures(notebook: Any) -> int:
    return sum(
        "image/png" in output.get("data", {})
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_runs_and_shows(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [
        cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])
    ]
    assert names(parameters.source) == names(SHORT)
    parameters.source = SHORT
    NotebookClient(
        notebook,
        timeout=240,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    assert pictures(notebook) == 2
    text = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "P(liver in slice" in text and "automatic" in text and "oracle-box" in text
    assert (tmp_path / "demo" / "sam_mix-2" / "weights.safetensors").exists()


def test_what_is_committed_has_been_run() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert pictures(notebook) == 2 and all(
        cell.execution_count for cell in notebook.cells if cell.cell_type == "code"
    )
