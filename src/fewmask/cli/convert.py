"""`fewmask convert`."""

from pathlib import Path
from typing import get_args

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.core.errors import BadConfig
from fewmask.core.words import command, count


@verb(
    (
        "fewmask convert slices.h5 --out scans --spacing '0.8 0.8 5'",
        "fewmask convert prepared --out slices.h5 --part train",
    )
)
def convert(
    context: typer.Context,
    source: Path = typer.Argument(
        ..., help="A SAM-Mix HDF5 file, a folder of HDF5 volumes, or a prepared dataset."
    ),
    out: Path = typer.Option(..., help="Folder for images/ and labels/, or the HDF5 file."),
    spacing: str | None = typer.Option(
        None, help="Voxel size in mm: width, height, distance of slices, e.g. '0.8 0.8 5'."
    ),
    order: str | None = typer.Option(
        None, help="Axes of HDF5 volumes: dhw (slices first, as ACDC) or whd (slices last)."
    ),
    part: str | None = typer.Option(
        None, help="Part of a prepared dataset's split: train (if nothing is said), val or test."
    ),
) -> None:
    """Import HDF5 data sets of published papers (SAM-Mix, left atrium, SSL4MIS), or write SAM-Mix's
    file from a prepared dataset.
    """
    from fewmask.io.prepared import Prepared
    from fewmask.io.ssl4mis import Order
    from fewmask.prepare.convert import cases_of, export_prepared, import_samix, import_volumes

    console: Console = context.obj
    options.existing(source, "file or folder")
    options.one_of("--part", part, ("train", "val", "test"))
    options.one_of("--order", order, get_args(Order))
    spacing_mm = options.three_numbers("--spacing", spacing)
    dataset = (source / "dataset.json").exists()
    volumes = source.is_dir() and not dataset
    for flag, value, read, where in (
        ("--part", part, dataset, "a prepared dataset"),
        ("--order", order, volumes, "folders of HDF5 volumes"),
        ("--spacing", spacing, not dataset, "HDF5 files"),
    ):
        if value is not None and not read:
            raise BadConfig(
                f"{flag} is for {where}",
                where=str(source),
                did="nothing was written",
                fix="leave it out",
                code="C02",
            )
    if volumes:
        cases = import_volumes(source, out, spacing_mm, order)  # type: ignore[arg-type]
        split = ["--split", out / "split.toml"] if (out / "split.toml").exists() else []
        line = command("prepare", out, "--out", "prepared", "--label", "organ=1", *split)
        console.say(f"wrote {count(len(cases), 'scan')} to {out}")
        console.hint(f"next: {line}")
        console.result({"out": out, "cases": cases})
        return
    if dataset:
        prepared = Prepared.open(source)
        slices = export_prepared(prepared, out, cases_of(prepared, part or "train"))
        console.say(f"wrote {count(slices, 'slice')} to {out}")
        console.result({"out": out, "slices": slices})
        return
    done = import_samix(source, out, spacing_mm)
    for note in done.notes:
        console.hint(f"note: {note}")
    console.say(f"wrote {count(done.slices, 'slice')} as case {done.case} to {out}")
    console.hint(f"next: {command('check', out)}")
    console.result({"out": out, **vars(done)})
