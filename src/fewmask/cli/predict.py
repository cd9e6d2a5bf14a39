"""`fewmask predict`."""

from pathlib import Path

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.core.errors import BadConfig


@verb(("fewmask predict run new_scans --out masks", "fewmask predict run prepared"))
def predict(
    context: typer.Context,
    run: Path = typer.Argument(..., help="Run folder of `fewmask train`."),
    source: Path = typer.Argument(
        ..., help="A scan, a folder of scans, a DICOM folder, or a prepared dataset."
    ),
    out: Path | None = typer.Option(
        None, help="Folder for the masks; for a prepared dataset the run's own predictions folder."
    ),
    device: str | None = typer.Option(
        None, help="cpu, cuda, cuda:1; default: a GPU if there is one."
    ),
    engine: str = typer.Option(
        "torch", help="torch, or openvino: SAM's encoder faster on a CPU (extra `openvino`)."
    ),
    stride: str | None = typer.Option(
        None, help="3D methods: voxels between windows, d,h,w (default: half a window)."
    ),
    gaussian: bool = typer.Option(
        False, "--gaussian", help="3D methods: weigh the middle of windows more."
    ),
    windows: int | None = typer.Option(
        None, min=1, help="3D methods: windows at a time (default: 2); a GPU has room for more."
    ),
    trust: str | None = options.TRUST,
    assume: str | None = options.ASSUME,
    volume: int | None = options.VOLUME,
    spacing: str | None = options.SPACING,
    fix_nonfinite: bool = options.NONFINITE,
    series: str | None = options.SERIES,
    keep: str | None = options.KEEP,
    follow_links: bool = options.LINKS,
) -> None:
    """Write a mask for every scan, on the scanner's own grid."""
    from fewmask.predict import load_predictor, predict_folder, set_windows

    console: Console = context.obj
    options.existing(source, "file or folder")
    options.one_of("--engine", engine, ("torch", "openvino"))
    if out is None:
        if not (source / "dataset.json").exists() or not (source / "cases").is_dir():
            raise BadConfig(
                "where should the masks go?",
                fix="add --out masks",
                code="C02",
            )
        out = run / "predictions"
    predictor = load_predictor(run, device, engine)  # type: ignore[arg-type]
    if stride is not None or gaussian or windows is not None:
        set_windows(predictor, options.three_whole_numbers("--stride", stride), gaussian, windows)
    summary = predict_folder(
        predictor,
        source,
        out,
        options=options.prepare_options(
            [],
            keep,
            read=options.read_options(trust, assume, volume, spacing, fix_nonfinite),
            series=series,
            follow_links=follow_links,
        ),
        on_progress=console.count,
    )
    for note in summary.notes:
        console.say(f"note: {note}")
    for line in summary.refused:
        console.warn("\n" + options.explain(line))
    if summary.no_prompt:
        console.say(
            f"{summary.no_prompt} slices were judged to hold a structure but gave no prompt: "
            "their mask is empty"
        )
    console.say(f"{len(summary.written)} masks in {out}")
    console.result({"out": out, **vars(summary)})
    options.partly(
        summary.refused,
        len(summary.written),
        f"their masks were not written; the others are in {out}",
    )
