"""`fewmask prepare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.cli.reading import reads_scans
from fewmask.core.words import count

if TYPE_CHECKING:
    from fewmask.prepare.options import ScanOptions

_SAID = "What is known of the scans"


@verb(
    (
        "fewmask prepare scans --out prepared --label liver=6",
        "fewmask prepare scans --out prepared --label liver=6 --tags tags.csv --recipe ct-liver",
    )
)
@reads_scans
def prepare(
    context: typer.Context,
    scans: "ScanOptions",
    data: Path = typer.Argument(..., help="Folder of scans and masks; it is never written to."),
    out: Path = typer.Option(..., help="Folder for the prepared dataset."),
    label: list[str] = options.LABEL,
    recipe: str = typer.Option(
        "auto",
        help="auto, ct-liver, ct, mr, left-atrium, left-atrium-half or sam-mix-paper.",
        autocompletion=options.complete_recipe,
    ),
    size: int = typer.Option(
        0,
        show_default="auto",
        help="Side of the networks' slices in pixels: 160 is faster than 224, and coarser.",
    ),
    masks: str = typer.Option(
        "partial",
        help="partial: slices without outline are unknown. complete: they are truly empty.",
        rich_help_panel=_SAID,
    ),
    outlines: Path | None = options.OUTLINES,
    tags: str | None = typer.Option(
        None,
        help="Table case,class,first_slice,last_slice; or from-masks (complete masks only).",
        rich_help_panel=_SAID,
    ),
    reviewed: Path | None = typer.Option(
        None,
        help=(
            "Table case,first_slice,last_slice of slices reviewed and found empty (exported; no "
            "method learns from them)."
        ),
        rich_help_panel=_SAID,
    ),
    slices_from: int = options.SLICES_FROM,
    patients: str | None = typer.Option(
        None,
        help="Table case,patient; or a regular expression with one group.",
        rich_help_panel=_SAID,
    ),
    split: Path | None = typer.Option(
        None,
        help="Split file (lists train, val, test), or nnU-Net's splits_final.json[#fold].",
        rich_help_panel=_SAID,
    ),
    jobs: int = typer.Option(2, min=1, help="Processes."),
) -> None:
    """Find, pair, check and store scans and masks, once, for all methods."""
    from fewmask.prepare.build import prepare as run_prepare
    from fewmask.prepare.mapping import parse_labels
    from fewmask.prepare.options import PrepareOptions, table_or_pattern

    console: Console = context.obj
    options.existing(data, "folder")
    wanted = PrepareOptions(
        parse_labels(label),
        recipe=recipe,
        size=size,
        masks=masks,
        outlines=None if outlines is None else options.existing(outlines, "folder of masks"),
        tags=_file_or_word(tags, "from-masks", "tag file"),
        reviewed=reviewed,
        slices_from=slices_from,
        patients=table_or_pattern(patients) if patients else None,
        split=split,
        jobs=jobs,
        scans=scans,
    )
    summary = run_prepare(
        data,
        out,
        wanted,
        console.count_items("scans read"),
    )
    for note in summary.notes:
        console.hint(f"note: {note}")
    for line in summary.refused:
        console.warn("\n" + options.explain(line))
    console.say(
        f"prepared {count(summary.built, 'scan')}, re-used {summary.reused}, refused "
        f"{len(summary.refused)}: {summary.prepared}"
    )
    console.result(vars(summary))
    options.partly(
        summary.refused, summary.built + summary.reused, "the prepared dataset holds the others"
    )


def _file_or_word(text: str | None, word: str, what: str) -> Any:
    return text if text is None or text == word else options.existing(Path(text), what)
