"""`fewmask report`."""

from pathlib import Path

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console


@verb(("fewmask report run", "fewmask --json report run"))
def report(
    context: typer.Context,
    run: Path = typer.Argument(..., help="Run folder with predictions."),
    show_burned_in: bool = typer.Option(
        False,
        "--show-burned-in",
        help="Show scans with text in their pixels; it may name a person.",
    ),
) -> None:
    """Write one HTML page: the result in a sentence, pictures of the scans, how the masks were
    made, and what the numbers rest on.
    """
    from fewmask.io.run import RunFolder
    from fewmask.report.known import find_empty_masks
    from fewmask.report.run import write_run_report

    console: Console = context.obj
    path = write_run_report(run, show_burned_in)
    empty = find_empty_masks(RunFolder(run))
    for line in empty:
        console.say(line)
    console.say(str(path))
    console.result({"report": path, "empty": empty})
    options.partly([], 0, "", empty)
