"""`fewmask check`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.cli.reading import reads_scans
from fewmask.core.errors import BadConfig, BadDataset
from fewmask.core.words import count

if TYPE_CHECKING:
    from fewmask.prepare.layout import Seen, Use
    from fewmask.prepare.options import PrepareOptions, ScanOptions

_WORDS: "dict[Use, str]" = {
    "scan": "of scans",
    "mask": "of masks",
    "channel": "of further channels",
    "list": "of lists",
    "refused": "refused",
    "unused": "not used",
    "other": "no images",
}


@verb(("fewmask check scans", "fewmask check scans --label liver=6"))
@reads_scans
def check(
    context: typer.Context,
    scans: "ScanOptions",
    data: Path = typer.Argument(..., help="Folder of scans and masks."),
    label: list[str] = options.LABEL,
    outlines: Path | None = options.OUTLINES,
    recipe: str = typer.Option(
        "auto",
        help="Recipe whose bounds the contents are held against.",
        autocompletion=options.complete_recipe,
    ),
    jobs: int = typer.Option(2, min=1, help="Processes."),
    copy_header: str | None = typer.Option(
        None, help="Case whose mask is copied under its scan's geometry, into --out."
    ),
    out: Path | None = typer.Option(None, help="Folder for --copy-header."),
    write_series: Path | None = typer.Option(
        None, help="File (.csv) for the table of DICOM series, to correct and hand in as --series."
    ),
    compare: Path | None = typer.Option(
        None, help="Another folder or prepared dataset: say only what differs between the two."
    ),
) -> None:
    """List every problem of a data folder in one pass. Writes nothing that is not asked for."""
    from fewmask.prepare.check import check as run_check
    from fewmask.prepare.check import copy_header as run_copy
    from fewmask.prepare.mapping import parse_labels
    from fewmask.prepare.options import PrepareOptions
    from fewmask.prepare.seriestable import check_table

    console: Console = context.obj
    options.existing(data, "folder")
    if compare is not None:
        why = "--compare writes nothing, and holds nothing against a recipe"
        options.refuse_idle(context, ("copy_header", "out", "write_series", "recipe"), why)
    if copy_header is None:
        options.refuse_idle(context, ("out",), "it is the folder for --copy-header")
    else:
        options.refuse_idle(context, ("write_series",), "--copy-header writes one mask")
        if out is None:
            raise BadConfig(
                "--copy-header needs --out",
                did="nothing was written",
                fix="--out data_fixed",
                code="C02",
            )
        path = run_copy(data, copy_header, out, scans)
        console.say(f"wrote {path}")
        console.result({"written": path})
        return
    if write_series is not None:
        check_table(write_series, data)
    wanted = PrepareOptions(
        parse_labels(label),
        recipe=recipe,
        outlines=None if outlines is None else options.existing(outlines, "folder of masks"),
        jobs=jobs,
        scans=scans,
    )
    if compare is not None:
        _compare(console, data, options.existing(compare, "folder"), wanted)
        return
    report = run_check(data, wanted)
    console.say(f"{count(len(report.cases), 'usable scan')}, layout {report.layout}")
    if report.cases:
        console.say("  case, kind, voxels (d, h, w) and their size; outlines; mask value: voxels")
    for case in report.cases:
        shape = " x ".join(map(str, case.shape))
        spacing_mm = " x ".join(f"{s:.3g}" for s in case.spacing_mm)
        values = ", ".join(f"{v}: {n}" for v, n in list(case.values.items())[:8])
        console.say(
            f"  {case.case:24} {case.kind}  {shape}  {spacing_mm} mm  "
            f"{count(case.outlined, 'slice')} outlined  {values}"
        )
    console.say(f"files: {_uses(report.files)}")
    if write_series is not None:
        report.write_series(write_series)
        kept = sum(row.keep == "yes" for row in report.series)
        console.say(f"wrote {write_series}: {len(report.series)} DICOM series, {kept} kept")
    for note in report.notes:
        console.hint(f"note: {note}")
    for problem in report.problems:
        console.warn("\n" + options.explain(problem))
    console.result(
        {
            "layout": report.layout,
            "cases": report.cases,
            "notes": report.notes,
            "problems": report.problems,
            "series": report.series,
            "files": [
                {"file": seen.path.relative_to(data), "use": seen.use, "why": seen.why}
                for seen in report.files
            ],
        }
    )
    if report.problems:
        raise BadDataset(
            f"{count(len(report.problems), 'problem')} found, listed above",
            where=str(data),
            did="nothing was written",
        )
    personal = any("may identify a person" in note for note in report.notes)
    console.say(
        "no problems found, but something may identify a person: see the notes above"
        if personal
        else "no problems found"
    )


def _compare(console: Console, data: Path, other: Path, wanted: "PrepareOptions") -> None:
    """Print a line per quantity of two sources; no problem of either."""
    from fewmask.prepare.sources import compare_sources, measure_source

    a, b = measure_source(data, wanted), measure_source(other, wanted)
    lines = compare_sources(a, b)
    said = {True: "differs", False: "", None: "too few scans"}
    cells = [("", f"A: {count(a.scans, 'scan')}", f"B: {count(b.scans, 'scan')}", "")]
    cells += [(one.quantity, one.a, one.b, said[one.differs]) for one in lines]
    wide = [max(len(row[i]) for row in cells) + 2 for i in range(3)]
    console.say(f"A {data}, B {other}: median (range)")
    for row in cells:
        padded = (text.ljust(n) for text, n in zip(row, wide, strict=False))
        console.say(f"  {''.join(padded)}{row[3]}".rstrip())
    console.hint("what another scanner did to Dice in our tables: docs/evidence.md, Two sources")
    for place, source in ((data, a), (other, b)):
        if source.absent:
            console.warn(f"{place}: {source.absent}")
        for line in source.refused:
            console.warn(f"{place}: {line}")
    console.result({"a": a, "b": b, "lines": lines})


def _uses(files: "tuple[Seen, ...]") -> str:
    """How many files of each use."""
    from fewmask.prepare.account import count_uses

    counts = count_uses(files)
    return ", ".join(f"{counts[use]} {word}" for use, word in _WORDS.items() if use in counts)
