"""Tables that a person gives with the scans, looked at before any scan is read: a wrong line is
told in seconds, not after hours.
"""

from pathlib import Path

from fewmask.io.prepared import CaseRow
from fewmask.prepare.discover import Layout
from fewmask.prepare.options import PrepareOptions
from fewmask.prepare.splits import patients_of
from fewmask.prepare.tags import UNREAD_DEPTH, read_reviewed, read_tags


def check_tables(options: PrepareOptions, layout: Layout) -> None:
    """Raise `BadDataset` or `BadConfig` for what is wrong with tags, reviewed slices or patients as
    far as file names tell: columns, numbers, names of structures and of cases.
    """
    names = [pair.case for pair in layout.pairs]
    scans = {name: _unread(name) for name in names}
    if isinstance(options.tags, Path):
        read_tags(options.tags, scans, tuple(options.labels), options.slices_from)
    if options.reviewed is not None:
        read_reviewed(options.reviewed, scans, options.slices_from)
    patients_of(names, options.patients)


def _unread(name: str) -> CaseRow:
    """All that is known of a scan before it is read: its name."""
    return CaseRow(
        case=name,
        patient=name,
        image="",
        mask=None,
        sha256="",
        stamp="",
        voxels_sha256="",
        labels_sha256=None,
        shape=(UNREAD_DEPTH, 1, 1),
        spacing_mm=(1.0, 1.0, 1.0),
        percentiles=(0.0, 1.0),
        complete=False,
        outlined=[],
        counts={},
        ct=False,
        flipped=False,
    )
