"""`fewmask more`."""

from pathlib import Path

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.core.errors import BadConfig


@verb(
    (
        "fewmask more run-5 run-10 run-20",
        "fewmask more rows/ct-liver.csv --gain 0.02",
    )
)
def more(
    context: typer.Context,
    runs: list[Path] = typer.Argument(
        ..., help="Runs that differ in their number of outlines, three or more; or a sweep's table."
    ),
    gain: float = typer.Option(0.01, help="Gain in mean Dice that is asked for."),
) -> None:
    """How many more outlines would bring how much, by your own runs: a power law through their
    scores, with its interval. Silent where that cannot be known.
    """
    from fewmask.benchmark import more as growth

    console: Console = context.obj
    if not 0 < gain < 1:
        raise BadConfig(f"--gain {gain:g} is no gain in Dice", fix="--gain 0.01", code="C02")
    rows = growth.read_runs([options.existing(path, "run or table") for path in runs])
    said = [growth.more(series, gain) for series in growth.series_of(rows)]
    for one in said:
        console.say(f"{one.domain}: {one}")
    console.result({"more": said})
