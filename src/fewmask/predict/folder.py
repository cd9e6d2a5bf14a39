"""Masks for one scan, a folder of scans, or the cases of a prepared dataset; a bad case never stops the others."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewmask.core.errors import BadConfig, BadScan
from fewmask.core.volume import Volume
from fewmask.io.atomic import clean_parts
from fewmask.io.dicom import is_dicom_folder, read_series
from fewmask.io.header import AS_IS, ReadOptions
from fewmask.io.nifti import case_id_of, read_volume, write_labels
from fewmask.io.prepared import Prepared
from fewmask.io.text import write_json
from fewmask.predict.predictor import Prediction, Predicts
from fewmask.prepare.discover import discover


@dataclass
class PredictSummary:
    """What was written and what was refused."""

    written: list[str] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    no_prompt: int = 0
    notes: list[str] = field(default_factory=list)


Say = Callable[[int, int, str], None]
"""Called after each case with (done, total, case id)."""


def predict_folder(
    predictor: Predicts,
    source: Path,
    out: Path,
    *,
    cases: list[str] | None = None,
    read: ReadOptions = AS_IS,
    say: Say = lambda done, total, case: None,
) -> PredictSummary:
    """Write `out/<case>.nii.gz` (and `.prompts.json`) for every scan of `source`.

    `source` is a NIfTI file, a folder that `discover` understands, a DICOM folder, or a prepared dataset; `cases` limits the
    last one. Refused scans are listed in the summary with their whole message. Raises when nothing can be read at all.
    """
    scans = dict(open_scans(source, cases, read))
    _check_out(source, out)
    out.mkdir(parents=True, exist_ok=True)
    summary = PredictSummary(notes=clean_parts(out))
    for done, (case, load) in enumerate(scans.items(), 1):
        try:
            volume = load()
            prediction = predictor.volume(volume)
        except BadScan as error:
            summary.refused.append({"case": case, **error.as_dict()})
        else:
            write_prediction(out, case, prediction)
            summary.written.append(case)
            summary.no_prompt += prediction.no_prompt
            summary.notes += [f"{case}: {note}" for note in volume.notes]
        say(done, len(scans), case)
    if not summary.written:
        raise BadScan(
            f"none of the {len(scans)} scans could be read",
            where=[f"{line['case']}: {line['what']}" for line in summary.refused[:5]],
            did="no mask was written",
            fix=f"fewmask check {source}",
        )
    return summary


def write_prediction(out: Path, case: str, prediction: Prediction) -> None:
    """Prompts first, then the mask: a mask that exists is complete with all that belongs to it."""
    if prediction.prompts is not None:
        write_json(out / f"{case}.prompts.json", prediction.prompts)
    write_labels(out / f"{case}.nii.gz", prediction.label_map)


def open_scans(
    source: Path, cases: list[str] | None = None, read: ReadOptions = AS_IS
) -> Iterator[tuple[str, Callable[[], Volume]]]:
    """Case ids of a file or folder that `predict_folder` takes, each with what reads it. Raises `BadScan` if nothing is there."""
    if (source / "dataset.json").exists() and (source / "cases").is_dir():
        yield from _prepared_scans(Prepared.open(source), cases)
    elif source.is_dir() and is_dicom_folder(source):
        yield source.name, lambda: read_series(source)
    elif source.is_dir():
        layout = discover(source)
        for pair in layout.pairs:
            if pair.image.is_dir():
                yield pair.case, lambda folder=pair.image: read_series(folder)  # type: ignore[misc]
            else:
                yield pair.case, lambda path=pair.image: read_volume(path, read)  # type: ignore[misc]
    elif source.exists():
        yield case_id_of(source), lambda: read_volume(source, read)
    else:
        raise BadScan("no such file or folder", where=str(source), did="nothing was written", fix="check the path")


def _prepared_scans(prepared: Prepared, cases: list[str] | None) -> Iterator[tuple[str, Callable[[], Volume]]]:
    for case in cases if cases is not None else sorted(prepared.cases):
        yield case, lambda name=case: load_prepared(prepared, name)  # type: ignore[misc]


def load_prepared(prepared: Prepared, case: str) -> Volume:
    """The scan of a prepared case; its mask stays closed."""
    with prepared.case(case) as file:
        return file.volume()


def _check_out(source: Path, out: Path) -> None:
    inside = source.resolve() if source.is_dir() else source.resolve().parent
    ours = (inside / "config.json").exists() or (inside / "dataset.json").exists()
    if out.resolve() == inside or (inside in out.resolve().parents and not ours):
        raise BadConfig(
            "the output folder lies inside the input folder; fewmask never writes into its input",
            where=str(out),
            did="nothing was written",
            fix="choose another --out",
        )
    if out.exists() and not out.is_dir():
        raise BadConfig("the output is not a folder", where=str(out), did="nothing was written", fix="choose another --out")
