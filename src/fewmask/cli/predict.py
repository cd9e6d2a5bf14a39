"""`fewmask predict`."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.cli.reading import reads_scans
from fewmask.core.errors import BadConfig
from fewmask.core.words import count

if TYPE_CHECKING:
    from fewmask.core.spread import Spread
    from fewmask.predict import Predicts
    from fewmask.prepare.options import ScanOptions

_3D = "3D methods"


@verb(("fewmask predict run new_scans --out masks", "fewmask predict run prepared"))
@reads_scans
def predict(
    context: typer.Context,
    scans: "ScanOptions",
    run: Path = typer.Argument(
        ..., help="Run folder of `fewmask train`.", autocompletion=options.complete_run
    ),
    source: Path = typer.Argument(
        ..., help="A scan, a folder of scans, a DICOM folder, or a prepared dataset."
    ),
    out: Path | None = typer.Option(
        None, help="Folder for the masks; for a prepared dataset the run's own predictions folder."
    ),
    others: list[Path] = typer.Option(
        [],
        "--with",
        help="Another run of the same structures; the mean of all decides. May be repeated.",
    ),
    cleanup: str = typer.Option(
        "auto",
        help="auto: the rule that the run learned; none; or a JSON file like its cleanup.json.",
    ),
    known: str = typer.Option(
        "auto",
        help="auto: put tags and outlines into masks of scans that the run learned from; none.",
    ),
    tags: Path | None = typer.Option(
        None, help="Tags of new scans (as `prepare --tags`): where their masks begin and end."
    ),
    slices_from: int = options.SLICES_FROM,
    form: str = typer.Option(
        "nifti",
        "--format",
        help="nifti, nrrd, seg.nrrd, mha; of DICOM scans also dicom-seg, rtstruct.",
    ),
    naming: str = typer.Option(
        "case",
        help="case: CASE.nii.gz; bids: sub-XX/.../sub-XX_desc-fewmask_dseg.nii.gz and a table.",
    ),
    term: list[str] = typer.Option(
        [],
        "--term",
        help="Coded term of a structure in DICOM, such as liver=SCT:10200004:Liver. May repeat.",
    ),
    probabilities: bool = typer.Option(
        False,
        "--probabilities",
        help="Also write what the network said, before clean-up: 8-bit maps, one per structure.",
    ),
    part: str = typer.Option(
        "1/1", help="i/n: every n-th scan from the i-th on, for several processes or machines."
    ),
    again: bool = typer.Option(
        False, "--again", help="Draw masks again that stand there whole from the same run and scan."
    ),
    ray: str | None = options.RAY,
    threads: int | None = options.THREADS,
    device: str | None = options.DEVICE,
    engine: str = typer.Option(
        "torch",
        help="torch, or openvino: SAM's encoder faster on a CPU (extra `openvino`).",
        rich_help_panel=options.MACHINE,
    ),
    stride: str | None = typer.Option(
        None,
        help="Voxels between windows, d,h,w (default: half a window).",
        rich_help_panel=_3D,
    ),
    gaussian: bool = typer.Option(
        False, "--gaussian", help="Weigh the middle of windows more.", rich_help_panel=_3D
    ),
    windows: int | None = typer.Option(
        None,
        min=1,
        help="Windows at a time (default: 2); a GPU has room for more.",
        rich_help_panel=_3D,
    ),
) -> None:
    """Write a mask for every scan, on the scanner's own grid."""
    from fewmask.io.prepared import is_prepared
    from fewmask.io.run import RunFolder
    from fewmask.predict import (
        load_mean,
        load_predictor,
        open_calibration,
        open_cleanup,
        open_form,
        open_known,
        predict_folder,
    )
    from fewmask.quality.tables import UNCALIBRATED, tell_doubtful

    console: Console = context.obj
    options.existing(source, "file or folder")
    mine = options.part("--part", part)
    if tags is None:
        options.refuse_idle(context, ("slices_from",), "it says how --tags count")
    if form not in ("dicom-seg", "rtstruct"):
        options.refuse_idle(context, ("term",), "terms are for --format dicom-seg and rtstruct")
    options.one_of("--engine", engine, ("torch", "openvino"))
    if out is None:
        if others:
            raise BadConfig(
                "where should the masks of the mean go? The run's own folder is for its own masks",
                fix="add --out masks",
                code="C02",
            )
        if not (source / "dataset.json").exists() or not (source / "cases").is_dir():
            raise BadConfig(
                "where should the masks go?",
                fix="add --out masks",
                code="C02",
            )
        if form != "nifti" or naming != "case":
            raise BadConfig(
                "the run's own folder is for masks in NIfTI, called after their cases, which "
                "scores and reports read",
                fix="add --out masks",
                code="C02",
            )
        out = RunFolder.open(run).own_predictions
    if cleanup not in ("auto", "none"):
        options.existing(Path(cleanup), "clean-up file")
    options.one_of("--known", known, ("auto", "none"))
    if tags is not None:
        options.existing(tags, "table of tags")
    if ray is not None:
        # Other machines have other working folders.
        source, out = source.absolute(), out.absolute()
    rule = open_cleanup(run, cleanup)
    said = open_known(run, source, known, tags, slices_from)  # type: ignore[arg-type]
    predictor = (
        load_mean([run, *others], device, engine)  # type: ignore[arg-type]
        if others
        else load_predictor(run, device, engine)  # type: ignore[arg-type]
    )
    if stride is not None or gaussian or windows is not None:
        steps = options.three_whole_numbers("--stride", stride)
        predictor = predictor.with_windows(steps, gaussian, windows)
    with _spread(ray, source, out, threads, predictor) as spread:
        summary = predict_folder(
            predictor,
            source,
            out,
            options=scans,
            cleanup=rule,
            known=said,
            form=open_form(run, form, term, naming),
            part=mine,
            again=again,
            probabilities=probabilities,
            calibration=UNCALIBRATED if others else open_calibration(run),
            slices_from=None if is_prepared(source) else slices_from,
            spread=spread,
            on_progress=console.count_items("scans predicted"),
        )
    for line in summary.empty:
        console.say(line)
    for note in summary.notes:
        console.hint(f"note: {note}")
    for refused in summary.refused:
        console.warn("\n" + options.explain(refused))
    if summary.no_prompt:
        console.say(
            f"{count(summary.no_prompt, 'slice')} judged to hold a structure gave no prompt: "
            "the mask is empty there"
        )
    for name, total in summary.cleanup.items():
        console.say(f"{name}: clean-up ({total.rule}): {total}")
    if summary.put_in is not None:
        console.say(str(summary.put_in))
    if summary.prompts:
        console.say(f"drawn with tags: {count(len(summary.prompts['tags']), 'mask')}")
    if summary.quality:
        console.say(tell_doubtful(summary.quality, out))
    there = f", {len(summary.kept)} of them were there" if summary.kept else ""
    console.say(f"{count(len(summary.written), 'mask')} in {out}{there}")
    console.result({"out": out, **vars(summary), "doubtful": summary.doubtful})
    options.partly(
        summary.refused,
        len(summary.written),
        f"their masks were not written; the others are in {out}",
        summary.empty,
    )


def _spread(
    ray: str | None, source: Path, out: Path, threads: int | None, predictor: "Predicts"
) -> AbstractContextManager["Spread"]:
    """Where scans are predicted: here, one after the other, or by a Ray cluster."""
    from fewmask.core.spread import one_by_one

    if ray is None:
        if threads:
            import torch

            torch.set_num_threads(threads)
        return nullcontext(one_by_one)
    from fewmask.benchmark.cluster import on_ray
    from fewmask.io.outputs import check_folder
    from fewmask.io.prepared import inputs_of

    check_folder(out, inputs_of(source))
    gpu = getattr(getattr(predictor, "device", None), "type", "cpu") == "cuda"
    return on_ray(ray, out, [source], threads, gpu)
