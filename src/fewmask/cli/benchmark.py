"""`fewmask benchmark`."""

from pathlib import Path

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.core.words import count


@verb(
    (
        "fewmask benchmark next experiments/next-hippocampus.toml --data scans",
        "fewmask benchmark next experiments/next-hippocampus.toml --data scans --table",
    )
)
def benchmark(
    context: typer.Context,
    what: str = typer.Argument(..., help="next: which rule of `fewmask next` chooses best."),
    plan: Path = typer.Argument(..., help="File of the simulation."),
    data: Path = typer.Option(
        ..., envvar="FEWMASK_DATA", help="Folder to which the file's paths are relative."
    ),
    work: Path | None = typer.Option(None, help="Folder for the runs; default: runs/NAME."),
    rows: Path | None = typer.Option(
        None, help="Table of finished runs; default: rows/NAME.csv beside the file."
    ),
    device: str | None = options.DEVICE,
    threads: int | None = options.THREADS,
    table: bool = typer.Option(False, "--table", help="Show the table so far and stop."),
) -> None:
    """Simulate people who ask a rule for slices, on scans with complete masks. The same command
    resumes after an interruption; several processes may share one simulation.
    """
    from fewmask.benchmark.next_table import TO_BEAT, NextLine, next_table, winner
    from fewmask.benchmark.rows import read_rows

    console: Console = context.obj
    options.one_of("what", what, ("next",))
    options.existing(plan, "file of a simulation")
    rows = rows or plan.parent / "rows" / f"{plan.stem}.csv"
    if not table:
        from fewmask.benchmark.next import read_next_plan, simulate
        from fewmask.blocks.device import choose_device

        choose_device(device)
        summary = simulate(
            read_next_plan(plan), options.existing(data, "folder"),
            work or Path("runs") / plan.stem, rows, threads=threads, device=device,
            say=console.hint, progress=console.show_training,
        )  # fmt: skip
        console.say(
            f"{count(len(summary.done), 'run')} done, {len(summary.there)} were there, "
            f"{len(summary.elsewhere)} running elsewhere; {rows}"
        )
    lines = next_table(read_rows(rows))

    def text(line: NextLine) -> str:
        budget = "all after the first" if line.slices is None else count(line.slices, "slice")
        dice = f"{line.dice.mean:.3f} ({line.dice.ends(3)})"
        return f"{budget:20} {line.rule:8} {dice}  {line.difference or ''}".rstrip()

    for line in lines:
        console.say(text(line))
    best = winner(lines)
    console.say(
        f"the rule to take: {best}"
        if best
        else f"no rule stands beside `{TO_BEAT}`: nothing to compare yet"
    )
    console.result({"rows": rows, "lines": lines, "winner": best})
