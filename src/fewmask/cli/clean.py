"""`fewmask clean`."""

from pathlib import Path

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.core.words import count


@verb(("fewmask clean run", "fewmask clean sweeps/few-slices --sweep --dry-run"))
def clean(
    context: typer.Context,
    runs: list[Path] = typer.Argument(
        ..., help="Run folders.", autocompletion=options.complete_run
    ),
    sweep: bool = typer.Option(
        False, "--sweep", help="They are folders of runs: clean every run in them."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would be freed."),
) -> None:
    """Remove what finished runs need no more: states of the optimiser, and temporary files of
    processes that were killed. Weights, records and masks stay.
    """
    from fewmask.io.run_files import clean_run, find_cleanable, runs_below

    console: Console = context.obj
    for path in runs:
        options.existing(path, "folder")
    chosen = [run for path in runs for run in runs_below(path)] if sweep else runs
    # All are looked at before one is cleaned.
    found = [find_cleanable(run) for run in dict.fromkeys(chosen)]
    freed = {}
    for one in found:
        freed[str(one.run)] = one.freed if dry_run else clean_run(one.run)
        kept = ""
        if one.kept:
            kept = f"; {count(len(one.kept), 'file')} of states stay, of a training not finished"
        console.say(f"{one.run}: {freed[str(one.run)]} bytes {_done(dry_run)}{kept}")
    console.say(f"{sum(freed.values())} bytes {_done(dry_run)}")
    console.result({"freed": sum(freed.values()), "runs": freed, "dry_run": dry_run})


def _done(dry_run: bool) -> str:
    return "would be freed" if dry_run else "freed"
