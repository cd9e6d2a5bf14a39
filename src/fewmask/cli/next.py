"""`fewmask next`."""

from pathlib import Path

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.core.words import count

COLUMNS = ("case", "slice", "structure", "reason")


@verb(("fewmask next run -n 10", "fewmask next run -n 20 --rule entropy --out plan.csv"))
def next(
    context: typer.Context,
    run: Path = typer.Argument(
        ..., help="Run folder of `fewmask train`.", autocompletion=options.complete_run
    ),
    n: int = typer.Option(10, "-n", "--number", min=1, max=10_000, help="How many slices."),
    out: Path | None = typer.Option(
        None, help="Table of the slices: case, slice, structure, reason."
    ),
    rule: str = typer.Option(
        "random", help="random, spread, entropy or mixed; see docs/next.md for what they won."
    ),
    scans: Path | None = typer.Option(
        None, help="Prepared dataset, or a folder of new scans; default: what the run learned from."
    ),
    seed: int = typer.Option(0, help="Another seed, other slices."),
    slices_from: int = options.SLICES_FROM,
    device: str | None = options.DEVICE,
) -> None:
    """Suggest slices to outline next: at most two a scan, spread over patients, none that is
    outlined or declared empty.
    """
    from fewmask.io.outputs import check_file
    from fewmask.io.prepared import inputs_of
    from fewmask.io.run import RunFolder
    from fewmask.io.tables import write_csv
    from fewmask.predict.entropy import suggest
    from fewmask.quality.next import RULES

    console: Console = context.obj
    options.one_of("--rule", rule, RULES)
    if scans is not None:
        options.existing(scans, "file or folder")
    if out is not None:
        asked = [] if scans is None else inputs_of(scans)
        check_file(out, [*RunFolder.open(run).inputs, *asked], is_ours=_is_plan)
    found = suggest(
        run, scans, n, rule, seed,  # type: ignore[arg-type]
        device=device, on_progress=console.count_items("scans looked at"),
    )  # fmt: skip
    lines = [
        {
            "case": one.case,
            "slice": one.slice + slices_from,
            "structure": one.structure,
            "reason": one.reason,
        }
        for one in found
    ]
    for line in lines:
        console.say(f"{line['case']}  slice {line['slice']}  {line['reason']}")
    if len(found) < n:
        console.hint(f"note: {count(len(found), 'slice')} of {n}: no more are free under the rule")
    if out is not None:
        write_csv(out, COLUMNS, lines)
        console.hint(f"wrote {out}")
    record = {"rule": rule, "seed": seed, "slices_from": slices_from, "suggestions": lines}
    console.result(record)


def _is_plan(path: Path) -> bool:
    from fewmask.core.errors import FewmaskError
    from fewmask.io.tables import read_csv

    try:
        read_csv(path, COLUMNS)
    except FewmaskError:
        return False
    return True
