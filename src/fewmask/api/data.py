"""Look at a folder of scans and masks, and prepare it for training."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fewmask.api.arguments import File, Spacing, Trust, checked, path_or_none, scan_options
from fewmask.core.progress import OnProgress, ignore_progress
from fewmask.core.volume import Plane
from fewmask.prepare.build import PrepareSummary
from fewmask.prepare.build import prepare as run_prepare
from fewmask.prepare.check import CheckReport
from fewmask.prepare.check import check as run_check
from fewmask.prepare.mapping import check_labels
from fewmask.prepare.options import PrepareOptions, table_or_pattern

Labels = Mapping[str, Any]


@checked
def check(
    scans: File,
    *,
    labels: Labels | None = None,
    recipe: str = "auto",
    outlines: File | None = None,
    jobs: int = 1,
    spacing_mm: Spacing | None = None,
    trust: Trust | None = None,
    assume_ras: bool = False,
    volume: int | None = None,
    fix_nonfinite: bool = False,
    series: str | None = None,
    keep_first: bool = False,
    follow_links: bool = False,
    channel: str | int | None = None,
    intensity: str | None = None,
    plane: Plane | None = None,
) -> CheckReport:
    """Read every scan and mask of a folder and list every problem; nothing is written.

    Parameters
    ----------
    scans
        Folder of scans and masks, in any layout that `prepare` understands.
    labels
        Class name -> value or structure name in the masks, or several: `{"liver": 6}`,
        `{"kidney": (2, 3)}`. None looks at whatever the masks hold.
    recipe
        Recipe whose intensity bounds the scans are held against.
    outlines
        Folder of masks, a file per scan and named after it, no mask beside a scan is used then.
    jobs
        Processes that read at the same time; with more than one a script needs
        `if __name__ == "__main__":` around its calls.
    spacing_mm
        Voxel size along the axes i, j, k of every file in mm, instead of the header's.
    trust
        Which geometry of a NIfTI file to take where its two disagree: `sform` or `qform`.
    assume_ras
        Take the axes of NIfTI files without orientation to run to the right, front and top.
    volume
        Which volume of 4D NIfTI files, from 0.
    fix_nonfinite
        Replace up to 0.1 % NaN or Inf voxels of a file by its smallest finite one.
    series
        DICOM series to take: its UID, number or description; or a table (`.csv`) as
        `CheckReport.write_series` makes it.
    keep_first
        Keep the first of DICOM slices at one position.
    follow_links
        Accept links that leave the folder.
    channel
        Which of several channels of each scan (`_0001`, `_flair`): number or name; None takes the
        first.
    intensity
        What the numbers of CT are where they are not Hounsfield units: `offset` (1024 too high),
        `wrapped` (negative ones stored as unsigned), or `SLOPE INTER`.
    plane
        In which plane scans are outlined and looked at: `axial`, `sagittal` or `coronal`. None is
        axial; for prediction it is the run's.

    Returns
    -------
    CheckReport
        `cases` (shape, spacing, outlined slices), `problems` with what to do, `notes`, and `files`:
        what becomes of every file that was seen.

    Raises
    ------
    BadDataset
        There is no scan at all.

    Examples
    --------
    >>> report = fewmask.check("scans", labels={"liver": 1})
    >>> report
    CheckReport(plain: 4 scans (4 ct), 4 with outlines; 0 problems; 0 notes)
    >>> report.cases[0].shape
    (28, 96, 96)
    """
    options = PrepareOptions(
        check_labels(labels or {}),
        recipe=recipe,
        outlines=path_or_none(outlines),
        jobs=jobs,
        scans=scan_options(
            trust,
            assume_ras,
            volume,
            fix_nonfinite,
            spacing_mm,
            series,
            keep_first,
            follow_links,
            channel,
            intensity,
            plane,
        ),
    )
    return run_check(Path(scans), options)


@checked
def prepare(
    scans: File,
    out: File,
    labels: Labels,
    *,
    recipe: str = "auto",
    size: int = 0,
    masks: Literal["partial", "complete"] = "partial",
    outlines: File | None = None,
    tags: File | None = None,
    reviewed: File | None = None,
    slices_from: int = 0,
    patients: File | None = None,
    split: File | None = None,
    jobs: int = 1,
    spacing_mm: Spacing | None = None,
    trust: Trust | None = None,
    assume_ras: bool = False,
    volume: int | None = None,
    fix_nonfinite: bool = False,
    series: str | None = None,
    keep_first: bool = False,
    follow_links: bool = False,
    channel: str | int | None = None,
    intensity: str | None = None,
    plane: Plane | None = None,
    on_progress: OnProgress = ignore_progress,
) -> PrepareSummary:
    """Find, pair, check and store scans and masks, once, for all methods.

    The same call again reads only what has changed. The folder of scans is never written to.

    Parameters
    ----------
    scans
        Folder of scans and masks: `images/` and `labels/`, masks beside scans, one folder per case
        (KiTS, ACDC, BraTS, TotalSegmentator, BIDS), LiTS, Medical Segmentation Decathlon, nnU-Net,
        MONAI lists, or DICOM.
    out
        Folder for the prepared dataset.
    labels
        Class name -> value or structure name in the masks, or several: `{"liver": 6}`,
        `{"kidney": (2, 3)}`. Their order gives the classes their numbers, from 1.
    recipe
        auto, ct-liver, ct, mr, left-atrium, left-atrium-half or sam-mix-paper.
    size
        Side of the networks' slices in pixels, a multiple of 32; 0 is the recipe's own.
    masks
        `partial`: slices without an outline are unknown. `complete`: they are truly empty.
    outlines
        Folder of masks, a file per scan and named after it, no mask beside a scan is used then.
    tags
        Table `case,class,first_slice,last_slice`, or "from-masks" (complete masks only).
    reviewed
        Table `case,first_slice,last_slice` of slices that were looked at and are empty.
    slices_from
        What these tables call the first slice of a file: 0, or 1 as ITK-SNAP does.
    patients
        Table `case,patient`, or a regular expression with one group over case ids; None takes every
        case for a patient.
    split
        File with lists `train`, `val` and `test` (TOML or JSON), or nnU-Net's `splits_final.json`,
        of which `#3` at the end takes fold 3; None draws it by patient.
    jobs
        Processes that read at the same time; with more than one a script needs
        `if __name__ == "__main__":` around its calls.
    spacing_mm
        Voxel size along the axes i, j, k of every file in mm, instead of the header's.
    trust
        Which geometry of a NIfTI file to take where its two disagree: `sform` or `qform`.
    assume_ras
        Take the axes of NIfTI files without orientation to run to the right, front and top.
    volume
        Which volume of 4D NIfTI files, from 0.
    fix_nonfinite
        Replace up to 0.1 % NaN or Inf voxels of a file by its smallest finite one.
    series
        DICOM series to take: its UID, number or description; or a table (`.csv`) as
        `CheckReport.write_series` makes it.
    keep_first
        Keep the first of DICOM slices at one position.
    follow_links
        Accept links that leave the folder.
    channel
        Which of several channels of each scan (`_0001`, `_flair`): number or name; None takes the
        first.
    intensity
        What the numbers of CT are where they are not Hounsfield units: `offset` (1024 too high),
        `wrapped` (negative ones stored as unsigned), or `SLOPE INTER`.
    plane
        In which plane scans are outlined and looked at: `axial`, `sagittal` or `coronal`. None is
        axial; for prediction it is the run's.
    on_progress
        Called with a `ProgressEvent` after each scan (done, total, item, time left).

    Returns
    -------
    PrepareSummary
        How many cases were built and reused, which were refused and why, `notes`.

    Raises
    ------
    BadDataset
        No case can be used, or the folder as a whole cannot.
    BadConfig
        An option means nothing, or `out` holds other files (F11).

    Examples
    --------
    >>> fewmask.prepare("scans", "prepared", {"liver": 1}, recipe="ct", masks="complete")
    PrepareSummary(prepared: 4 built, 0 reused, 0 refused; 1 note)
    """
    options = PrepareOptions(
        check_labels(labels),
        recipe=recipe,
        size=size,
        masks=masks,
        outlines=path_or_none(outlines),
        tags="from-masks" if tags == "from-masks" else path_or_none(tags),
        reviewed=path_or_none(reviewed),
        slices_from=slices_from,
        patients=None if patients is None else table_or_pattern(os.fspath(patients)),
        split=path_or_none(split),
        jobs=jobs,
        scans=scan_options(
            trust,
            assume_ras,
            volume,
            fix_nonfinite,
            spacing_mm,
            series,
            keep_first,
            follow_links,
            channel,
            intensity,
            plane,
        ),
    )
    return run_prepare(Path(scans), Path(out), options, on_progress)
