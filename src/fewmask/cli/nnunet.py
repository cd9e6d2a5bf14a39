"""`fewmask nnunet`."""

from pathlib import Path

import typer

from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.cli.options import existing, one_of, refuse_idle
from fewmask.core.errors import BadConfig
from fewmask.core.words import count


@verb(
    (
        "fewmask nnunet setup",
        "fewmask nnunet export prepared --slices 50 --out nnUNet_raw/Dataset001_liver",
    )
)
def nnunet(
    context: typer.Context,
    action: str = typer.Argument(..., help="setup, info, or export PREPARED."),
    prepared: Path | None = typer.Argument(None, help="Prepared dataset (export)."),
    out: Path | None = typer.Option(None, help="Folder for the raw data set (export)."),
    slices: int | None = typer.Option(None, help="How many outlined slices are in it."),
    volumes: int | None = typer.Option(None, help="How many whole masks are in it, instead."),
    draw: int = typer.Option(0, help="Which masks are in the budget."),
    rest: bool = typer.Option(False, "--rest", help="All other scans too, as imagesTs."),
) -> None:
    """The real nnU-Net: make its environment (needs the network once), or write its raw data set to
    run it elsewhere.
    """
    console: Console = context.obj
    one_of("action", action, ("setup", "info", "export"))
    if action == "export":
        _export(console, prepared, out, slices, volumes, draw, rest)
        return
    idle = ("prepared", "out", "slices", "volumes", "draw", "rest")
    refuse_idle(context, idle, f"{action} writes no data set")
    from fewmask.external.nnunet import require, set_up

    found = set_up(console.say) if action == "setup" else require()
    for name, version in found.items():
        console.say(f"{name:10} {version}")
    console.result(found)


def _export(
    console: Console,
    prepared: Path | None,
    out: Path | None,
    slices: int | None,
    volumes: int | None,
    draw: int,
    rest: bool,
) -> None:
    from fewmask.data.nnunet import write_raw
    from fewmask.io.prepared import Prepared
    from fewmask.training import TrainRequest, draw_budget

    if prepared is None or out is None:
        example = "fewmask nnunet export prepared --slices 50 --out nnUNet_raw/Dataset001_liver"
        raise BadConfig(
            "export what, and where to?", did="nothing was written", fix=example, code="C02"
        )
    existing(prepared, "folder")
    opened = Prepared.open(prepared)
    request = TrainRequest(
        prepared=prepared, out=out, method="nnunet", slices=slices, volumes=volumes, draw=draw
    )
    raw = write_raw(opened, draw_budget(request, opened), out, rest)
    ignored = "; slices nobody outlined have the ignore label" if raw.ignored else ""
    console.say(f"{count(len(raw.cases), 'scan')} in {raw.folder}{ignored}")
    console.result({"out": raw.folder, "cases": list(raw.cases), "ignored": raw.ignored})
