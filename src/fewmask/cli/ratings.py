"""`fewmask ratings`."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console

if TYPE_CHECKING:
    from fewmask.evaluate.intervals import Interval


@verb(("fewmask ratings ann.csv ben.csv", "fewmask --json ratings ann.csv ben.csv"))
def ratings(
    context: typer.Context,
    tables: list[Path] = typer.Argument(..., help="Tables that readers saved from a report."),
) -> None:
    """Say what readers thought of the masks, and how far they agree: mean ratings, and weighted
    kappa of every two readers.
    """
    from fewmask.evaluate.agreement import agree, read_ratings

    console: Console = context.obj
    for table in tables:
        options.existing(table, "table of ratings")
    found = agree(read_ratings(tables))
    if found.means:
        console.say("| question | rater | scans | mean (95 % interval) |\n|---|---|---|---|")
    for one in found.means:
        console.say(f"| {one.question} | {one.rater} | {one.n} | {_words(one.mean)} |")
    if found.pairs:
        console.say("\n| question | raters | scans | same answer | weighted kappa |")
        console.say("|---|---|---|---|---|")
    for pair in found.pairs:
        same = "-" if math.isnan(pair.same) else f"{100 * pair.same:.0f} %"
        raters = f"{pair.first}, {pair.second}"
        console.say(f"| {pair.question} | {raters} | {pair.n} | {same} | {_words(pair.kappa)} |")
    if not found.means:
        console.say("nobody rated anything yet")
    console.result(asdict(found))


def _words(value: "Interval") -> str:
    if math.isnan(value.mean):
        return "-"
    return f"{value.mean:.2f} ({value.ends(2)})"
