"""`fewmask report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.cli.reading import reads_scans
from fewmask.core.errors import BadConfig

if TYPE_CHECKING:
    from fewmask.prepare.options import ScanOptions


@verb(("fewmask report run", "fewmask report masks --scans new_scans"))
@reads_scans
def report(
    context: typer.Context,
    scans: "ScanOptions",
    run: Path = typer.Argument(
        ...,
        help="Run folder with predictions, or a folder of masks.",
        autocompletion=options.complete_run,
    ),
    source: Path | None = typer.Option(
        None, "--scans", help="Scans of a folder of masks, as `predict` took them."
    ),
    tags: Path | None = typer.Option(None, help="Tags of these scans (as `predict --tags`)."),
    slices_from: int = options.SLICES_FROM,
    out: Path | None = typer.Option(
        None, help="Folder for the page of a folder of masks; default: MASKS/report."
    ),
    show_burned_in: bool = typer.Option(
        False,
        "--show-burned-in",
        help="Show scans with text in their pixels; it may name a person.",
    ),
) -> None:
    """Write one HTML page: the result in a sentence, every scan with the reason to look at it, how
    the masks were made, and what the numbers rest on.
    """
    from fewmask.io.run import RunFolder
    from fewmask.report.known import find_empty_masks

    console: Console = context.obj
    refused: list[dict[str, Any]] = []
    shown = 0
    if source is None:
        _check_unused(scans, tags, slices_from, out)
        from fewmask.report.run import write_run_report

        path = write_run_report(run, show_burned_in)
        empty = find_empty_masks(RunFolder(run).predictions)
    else:
        from fewmask.report.masks import find_masks, write_masks_report

        options.existing(source, "file or folder")
        if tags is not None:
            options.existing(tags, "table of tags")
        path = write_masks_report(
            options.existing(run, "folder of masks"),
            source,
            tags=tags,
            slices_from=slices_from,
            options=scans,
            show_burned_in=show_burned_in,
            out=out,
            on_refused=lambda case, error: refused.append({"case": case, **error.as_dict()}),
        )
        empty = find_empty_masks(run)
        shown = len(find_masks(run)) - len(refused)
    for line in empty:
        console.say(line)
    for one in refused:
        console.warn("\n" + options.explain(one))
    console.say(str(path))
    console.result({"report": path, "empty": empty, "refused": refused})
    options.partly(refused, shown, "the page shows the others", empty)


def _check_unused(
    scans: "ScanOptions", tags: Path | None, slices_from: int, out: Path | None
) -> None:
    """Raise `BadConfig` (C02) for flags that a run's own page has no use for."""
    from fewmask.prepare.options import AS_THEY_ARE

    if scans != AS_THEY_ARE or tags is not None or slices_from or out is not None:
        raise BadConfig(
            "a run knows its own scans and tags, and how slices are counted",
            did="no page was written",
            fix="leave these flags out, or give a folder of masks and `--scans`",
            code="C02",
        )
