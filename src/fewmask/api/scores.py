"""Score masks, compare runs, and write the page to look at."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewmask.api.arguments import File, Spacing, Trust, checked, path_or_none, scan_options
from fewmask.api.data import Labels
from fewmask.api.runs import LoadedRun
from fewmask.benchmark import compare as tables
from fewmask.benchmark.matched import Outlined
from fewmask.benchmark.rows import read_scored
from fewmask.benchmark.score import protocol_lines, score_folders, score_run
from fewmask.core.errors import BadConfig
from fewmask.core.progress import OnProgress, ignore_progress
from fewmask.core.volume import Plane
from fewmask.evaluate.intervals import Summary
from fewmask.evaluate.protocols import Protocol
from fewmask.evaluate.scores import as_row
from fewmask.prepare.mapping import check_labels
from fewmask.prepare.options import AS_THEY_ARE
from fewmask.report.run import write_run_report

_HEADS = [
    "structure",
    "prompts",
    "n",
    "Dice",
    "95 % interval",
    "NSD",
    "HD95 mm",
    "missed",
    "spurious",
]


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Scores of masks against truth; shown as a table of means over patients."""

    summaries: list[Summary]
    """Per structure and kind of prompts: `dice` and other means with intervals, counts."""
    rows: list[dict[str, Any]]
    """One record per scan, structure and kind of prompts, for `pandas.DataFrame(rows)`."""
    refused: list[dict[str, Any]] = field(default_factory=list)
    """Pairs that could not be scored, with the reasons."""
    unpredicted: tuple[str, ...] = ()
    """Truths without a mask, which count for nothing."""
    without_truth: tuple[str, ...] = ()
    """Masks without a truth, which count for nothing."""
    notes: tuple[str, ...] = ()
    """What to know of the scores: values that no class has, truths that are partly outlined."""
    protocol_rows: list[dict[str, Any]] = field(default_factory=list)
    """Numbers of a protocol of the literature, per scan and structure, if one was asked for."""

    def __repr__(self) -> str:
        """The table."""
        lines = [_HEADS] + [_line(summary) for summary in self.summaries]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(word.ljust(wide) for word, wide in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )


def _line(summary: Summary) -> list[str]:
    dice, mean = summary.dice, {name: found.mean for name, found in summary.metrics.items()}
    return [
        summary.label,
        summary.prompts,
        str(summary.n),
        f"{dice.mean:.3f}",
        dice.ends(3),
        f"{mean['nsd']:.3f}",
        f"{mean['hd95_mm']:.1f}",
        str(summary.n_missed),
        str(summary.n_spurious),
    ]


@dataclass(frozen=True, repr=False)
class Comparison:
    """Runs side by side; shown as a table in Markdown."""

    rows: list[dict[str, Any]]
    """One record per run: its settings, and mean Dice and HD95 per domain and kind of prompts."""
    markdown: str
    """Means over draws and seeds with their spread, a line per method, settings and budget."""
    differences: list[tables.Pair] = field(default_factory=list)
    """Paired differences in Dice against one of the methods, if asked for."""

    def __repr__(self) -> str:
        """The table, and a line per difference."""
        return self.markdown + "".join(f"\n- {pair}" for pair in self.differences)

    def _repr_markdown_(self) -> str:
        return repr(self)


@checked
def evaluate(
    predicted: File,
    truth: File | None = None,
    *,
    labels: Labels | None = None,
    same_values: bool = False,
    masks: Outlined = "auto",
    oracle_box: bool = False,
    protocol: Protocol = "default",
    out: File | None = None,
    spacing_mm: Spacing | None = None,
    trust: Trust | None = None,
    assume_ras: bool = False,
    volume: int | None = None,
    plane: Plane | None = None,
    on_progress: OnProgress = ignore_progress,
    on_message: Callable[[str], Any] | None = None,
) -> Evaluation:
    """Score a run on the test scans it never saw, or a folder of masks against truth.

    The unit is the scan; distances are in mm; scans without the structure are counted, not
    averaged. Of a run, missing masks are predicted first, and `metrics.csv` is written.

    Parameters
    ----------
    predicted
        Run folder (or what `train` or `load` returned), a folder of masks, or one mask.
    truth
        Folder of true label maps, or one; not for a run. Names are paired as `prepare` pairs scans
        and masks; two single files are one pair.
    labels
        Class name -> value or values in `truth`, or structures of TotalSegmentator, in the order of
        the classes in the masks (names that masks hold, or that lie beside them, go first); None if
        both hold the same values: those that occur are scored.
    same_values
        The masks hold the values of `labels` too, not the numbers of the classes.
    masks
        Slices of a truth without an outline are unknown and not scored (`partial`), or empty
        (`complete`); `auto`: unknown where most outlined slices stand alone.
    oracle_box
        Of a run: add the bound, the same model prompted with the true boxes.
    protocol
        `sam-mix` or `la-2018` adds the numbers of that literature to `protocol_rows`.
    out
        CSV file for the scores of a folder; a run has its `metrics.csv`.
    spacing_mm
        Voxel size along the axes i, j, k of masks and truths in mm, instead of the header's.
    trust
        Which geometry of a NIfTI file to take where its two disagree: `sform` or `qform`.
    assume_ras
        Take the axes of NIfTI files without orientation to run to the right, front and top.
    volume
        Which volume of 4D NIfTI files, from 0.
    plane
        In which plane truths are outlined; None is axial. A run knows its own.
    on_progress
        Called with a `ProgressEvent` after each scan that is predicted, or mask that is scored.
    on_message
        Called with a line of text while true boxes are tried.

    Returns
    -------
    Evaluation
        `summaries`, `rows`, `refused`; its repr is the table.

    Raises
    ------
    BadDataset
        The run has no test scan with a complete mask, or no pair could be scored.

    Examples
    --------
    >>> result = fewmask.evaluate("run")
    >>> [(row["case"], row["class"], row["prompts"]) for row in result.rows]
    [('phantom_00', 'liver', 'automatic')]
    >>> fewmask.evaluate("scans/labels", "scans/labels", labels={"liver": 1}).summaries[0].dice.mean
    1.0
    """
    known = check_labels(labels) if labels else None
    pred, true = Path(predicted), path_or_none(truth)
    scans = scan_options(
        trust, assume_ras, volume, False, spacing_mm, None, False, False, None, plane
    )
    chosen: dict[str, Any] = {"same_values": same_values, "masks": masks, "scans": scans}
    if true is None and (known or same_values or masks != "auto" or out or scans != AS_THEY_ARE):
        raise BadConfig(
            "a run knows its structures and how its scans are read, and has its metrics.csv",
            did="nothing was scored",
            fix="leave `labels`, `same_values`, `masks`, `out` and what says how masks are read "
            "out, or give `truth`",
            code="C02",
        )
    if true is None:
        summary = score_run(
            pred,
            oracle_box=oracle_box,
            predictor=predicted.predictor if isinstance(predicted, LoadedRun) else None,
            on_progress=on_progress,
            say=on_message or (lambda text: None),
        )
    elif oracle_box:
        raise BadConfig("oracle_box needs the model", fix="give the run, without truth", code="C02")
    else:
        summary = score_folders(
            pred, true, known, path_or_none(out), on_progress=on_progress, **chosen
        )
    lines = []
    if protocol != "default":
        cases = {score.case for score in summary.scores}
        lines = protocol_lines(pred, true, known, protocol, cases, **chosen)
    rows = [as_row(score) for score in summary.scores]
    return Evaluation(
        summary.summaries,
        rows,
        summary.refused,
        summary.unpredicted,
        summary.without_truth,
        summary.notes,
        lines,
    )


@checked
def report(
    run: File,
    *,
    scans: File | None = None,
    tags: File | None = None,
    slices_from: int = 0,
    show_burned_in: bool = False,
    out: File | None = None,
) -> Path:
    """Write one HTML page about the masks of a run, or about any folder of masks: the result in a
    sentence, every scan with the reason to look at it, most doubtful first.

    Parameters
    ----------
    run
        Run folder with masks of its prepared dataset (`predict_folder`, `evaluate`), or, with
        `scans`, a folder of masks.
    scans
        The scans of a folder of masks, as `predict_folder` took them.
    tags
        A table of tags of these scans, as `predict_folder` takes it.
    slices_from
        What that table and the page call the first slice of a file: 0 or 1. A run knows its own.
    show_burned_in
        Show scans with text in their pixels, which may name a person.
    out
        Folder for the page of a folder of masks; needed where `predict` did not write the masks.

    Returns
    -------
    pathlib.Path
        The page, `report/index.html` in the folder; it needs nothing beside it.

    Raises
    ------
    BadCheckpoint
        The folder is no run, and no scans were given.
    BadDataset
        There are no masks, or they are not of these scans.
    BadConfig
        Tags, `slices_from` or `out` without scans; masks that `predict` did not write, and no
        `out`.

    Examples
    --------
    >>> fewmask.report("run").as_posix()
    'run/report/index.html'
    """
    if scans is not None:
        # Deferred: reading scans as `predict` does imports torch.
        from fewmask.report.masks import write_masks_report

        return write_masks_report(
            Path(run),
            Path(scans),
            tags=Path(tags) if tags is not None else None,
            slices_from=slices_from,
            show_burned_in=show_burned_in,
            out=Path(out) if out is not None else None,
        )
    if tags is not None or slices_from or out is not None:
        raise BadConfig(
            "a run knows its own tags, how slices are counted, and where its page goes",
            did="no page was written",
            fix="leave `tags`, `slices_from` and `out` out, or give `scans` too",
            code="C02",
        )
    return write_run_report(Path(run), show_burned_in)


@checked
def compare(*runs: File, against: str | None = None, protocol: Protocol = "default") -> Comparison:
    """Runs side by side: means over draws and seeds with their spread, and paired differences.

    Parameters
    ----------
    *runs
        Run folders that `evaluate` has scored, or CSV tables of a sweep.
    against
        Name of a method (with its settings, as the table names it) that every other is compared
        with, patient by patient.
    protocol
        Which numbers: ours, or those of `sam-mix` or `la-2018`.

    Returns
    -------
    Comparison
        `rows` (a record per run), `markdown`, `differences`; its repr is the table.

    Raises
    ------
    BadDataset
        A run or table has no scores yet.
    BadConfig
        There is no such run or table, or no method is called `against`.

    Examples
    --------
    >>> table = fewmask.compare("run")
    >>> table.rows[0]["method"], table.rows[0]["slices"], table.rows[0]["steps"]
    ('unet', 3, 2)
    """
    paths = [Path(run) for run in runs]
    absent = [str(path) for path in paths if not path.exists()]
    if absent:
        raise BadConfig("no such run or table", where=absent, fix="check the path", code="C05")
    if not paths:
        raise BadConfig("there is nothing to compare", fix="give runs or tables", code="C02")
    rows = read_scored(paths)
    records = [
        {name: _number(name, text) for name, text in run.items()} for run in tables.per_run(rows)[1]
    ]
    pairs = tables.differences(rows, against, protocol) if against else []
    return Comparison(records, tables.table(rows, protocol), pairs)


def _number(name: str, text: str) -> Any:
    """A cell as a number where it is one; None where it is empty."""
    if name in ("method", "settings", "cleanup"):
        return text
    if not text:
        return None
    value = float(text)
    return int(value) if math.isfinite(value) and value.is_integer() and "." not in text else value
