"""`fewmask export`."""

from pathlib import Path

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.core.errors import BadConfig
from fewmask.core.words import count


@verb(
    (
        "fewmask export run --onnx liver.onnx",
        "fewmask export run --monai-bundle bundle",
    )
)
def export(
    context: typer.Context,
    run: Path = typer.Argument(..., help="Run folder.", autocompletion=options.complete_run),
    onnx: Path | None = typer.Option(
        None, help="File for the network, for programs that run ONNX; a .json is written beside it."
    ),
    monai_bundle: Path | None = typer.Option(
        None, "--monai-bundle", help="Folder for a MONAI bundle."
    ),
    hub: Path | None = typer.Option(
        None, help="Folder for a model hub: weights, recipe and a card; `predict` takes it too."
    ),
    license_: str = typer.Option(
        "other", "--license", help="Licence in the card, as the hub calls it (apache-2.0, ...)."
    ),
    check: Path | None = typer.Option(
        None,
        help="Scans on which masks are compared; default: the prepared dataset of the run.",
    ),
    allow: int = typer.Option(0, min=0, help="Voxels that may differ between the masks (ONNX)."),
) -> None:
    """Hand a run's network to other programs."""
    console: Console = context.obj
    options.existing(run, "run folder")
    if onnx is None:
        options.refuse_idle(context, ("check", "allow"), "masks are compared for --onnx")
    if hub is None:
        options.refuse_idle(context, ("license_",), "it is for the card of --hub")
    if check is not None:
        options.existing(check, "scan or folder")
    if onnx is None and monai_bundle is None and hub is None:
        raise BadConfig(
            "export as what?",
            did="nothing was written",
            fix="`onnx=FILE`, `monai_bundle=FOLDER` or `hub=FOLDER`",
            code="C02",
        )
    result: dict[str, object] = {"run": run}
    if onnx is not None:
        result |= _onnx(console, run, onnx, check, allow)
    if monai_bundle is not None:
        result |= _bundle(console, run, monai_bundle)
    if hub is not None:
        from fewmask.report.hub import write_hub

        result["hub"] = write_hub(run, hub, license_)
        console.say(f"{hub}: for a model hub; read {result['hub']} before you publish it")
    console.result(result)


def _onnx(
    console: Console, run: Path, out: Path, check: Path | None, allow: int
) -> dict[str, object]:
    from fewmask.predict.export import export_onnx

    done = export_onnx(run, out, check, allow)
    found = done.found
    console.say(
        f"{done.network} and {done.recipe.name}: masks of {count(len(found.scans), 'scan')} "
        f"({found.voxels} voxels) compared, {found.differ} voxels differ"
    )
    if done.rounded is not None:
        console.hint(
            f"the run itself computes in bfloat16: {done.rounded.differ} voxels of its masks "
            "differ from these"
        )
    return {
        "onnx": done.network,
        "recipe": done.recipe,
        "scans": list(found.scans),
        "voxels": found.voxels,
        "differ": found.differ,
    }


def _bundle(console: Console, run: Path, out: Path) -> dict[str, object]:
    from fewmask.predict.bundle import export_bundle

    done = export_bundle(run, out)
    console.say(f"{done.folder}: a MONAI bundle")
    console.hint("\n".join(done.notes))
    return {"monai_bundle": done.folder, "notes": list(done.notes)}
