"""From a run folder to its page: scans and truth come from the prepared dataset."""

from pathlib import Path

from fewmask.core.volume import LabelMap, Volume
from fewmask.evaluate.scores import read_scores
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.report.page import write_report


def write_run_report(run_path: Path, show_burned_in: bool = False) -> Path:
    """Write the page of a scored (or only predicted) run and return its path.

    Scans with text in their pixels are shown without pictures unless `show_burned_in`. Raises
    `BadCheckpoint` if the folder is no run, `BadDataset` if its data is not what it learned from.
    """
    run = RunFolder.open(run_path)
    prepared = run.open_prepared()
    tested = set(run.read_split().test)

    def truth(case: str) -> LabelMap | None:
        known = prepared.cases[case].complete and case in tested
        return read_truth(prepared, case) if known else None

    def scan(case: str) -> Volume:
        with prepared.case(case) as file:
            return file.volume()

    return write_report(run, prepared, read_scores(run.metrics), scan, truth, show_burned_in)


def read_truth(prepared: Prepared, case: str) -> LabelMap:
    """The mask of a test case: opened here, to be scored or shown, and nowhere else outside the
    guard.
    """
    with prepared.case(case) as file:
        return LabelMap(file.labels(range(file.shape[0])), file.grid)
