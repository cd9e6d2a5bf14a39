"""`fewmask compare`."""

from pathlib import Path
from typing import cast

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console


@verb(
    (
        "fewmask compare run-a run-b --against unet",
        "fewmask compare experiments/rows/ct-liver.csv --protocol sam-mix",
    )
)
def compare(
    context: typer.Context,
    runs: list[Path] = typer.Argument(..., help="Scored run folders, or tables of a sweep."),
    against: str | None = typer.Option(
        None,
        help=(
            "Paired differences to this method (with settings, as the table names it; 'vnet, 400 "
            "steps' to choose a time)."
        ),
    ),
    protocol: str = typer.Option(
        "default",
        help=(
            "default (volumes, mm), sam-mix (256 grid, positive slices, pixels) or la-2018 "
            "(voxels)."
        ),
    ),
    structures: bool = typer.Option(False, "--structures", help="Also Dice of every structure."),
    values: bool = typer.Option(False, "--values", help="Also every single value."),
) -> None:
    """Table of runs: means over draws and seeds with their spread, bounds marked, and paired
    differences.
    """
    from fewmask.benchmark import compare as tables
    from fewmask.benchmark.rows import read_scored
    from fewmask.evaluate.protocols import PROTOCOLS, Protocol

    console: Console = context.obj
    options.one_of("--protocol", protocol, PROTOCOLS)
    named = cast(Protocol, protocol)
    rows = read_scored([options.existing(path, "run or table") for path in runs])
    console.say(tables.table(rows, named))
    if structures:
        console.say("\n" + tables.structures(rows, named))
    if values:
        console.say("\n" + tables.values(rows))
    pairs = tables.differences(rows, against, named) if against else []
    for pair in pairs:
        console.say(f"\n- {pair}")
    console.result({"runs": tables.per_run(rows)[1], "differences": pairs})
