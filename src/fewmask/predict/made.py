"""What a mask was made of, in a small file beside it: the same command again draws no mask twice.

The file is written after its mask and holds the mask's hash. A mask that is cut off, changed by a
person, or drawn by another run, from another scan or under other options is drawn again.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewmask.core.errors import FewmaskError
from fewmask.core.volume import Volume
from fewmask.io.image import EXTENSION
from fewmask.io.stream import sha256
from fewmask.io.text import read_json, write_json
from fewmask.predict.cleanup import Cleanup
from fewmask.predict.form import MaskForm
from fewmask.predict.known import Known
from fewmask.predict.predictor import Prediction, Predicts


def made_of(
    predictor: Predicts, volume: Volume, known: Known | None, cleanup: Cleanup, form: MaskForm
) -> str | None:
    """Hash of all that a mask depends on; None where a predictor does not say what it is."""
    stamp = getattr(predictor, "stamp", "")
    if not stamp:
        return None
    digest = hashlib.sha256(f"{stamp} {cleanup!r} {form!r} {volume.grid.as_dict()}".encode())
    digest.update(f"{volume.slope!r} {volume.inter!r} {volume.voxels.dtype.str}".encode())
    for plane in volume.voxels:
        digest.update(plane.tobytes())
    for piece in _pieces(known):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(known: Known | None) -> Iterator[bytes]:
    if known is None:
        return
    yield f"{known.put_in} {known.prompts} {known.tags.shape}".encode() + known.tags.tobytes()
    for d, outline in sorted(known.outlines.items()):
        yield str(d).encode() + outline.tobytes()


def write_made(mask: Path, made: str | None, prediction: Prediction, case: str) -> None:
    """After the mask of a case is written."""
    if made is None:
        made_path(mask).unlink(missing_ok=True)
        return
    record = {
        "made_of": made,
        "case": case,
        "mask": sha256(mask),
        "no_prompt": prediction.no_prompt,
        "notes": list(prediction.notes),
    }
    write_json(made_path(mask), record)


def read_made(mask: Path, made: str | None) -> dict[str, Any] | None:
    """What `write_made` noted, if this very mask stands there whole; else None."""
    path = made_path(mask)
    if made is None or not mask.is_file() or not path.is_file():
        return None
    try:
        record = read_json(path)
    except FewmaskError:
        return None
    same = record.get("made_of") == made and record.get("mask") == sha256(mask)
    good = isinstance(record.get("no_prompt"), int) and isinstance(record.get("notes"), list)
    return record if same and good else None


def is_of_another(mask: Path, case: str) -> bool:
    """Does the mask that stands there belong to another case? Notes of earlier versions do not
    say.
    """
    path = made_path(mask)
    try:
        told = read_json(path).get("case", case) if path.is_file() else case
    except FewmaskError:
        return False
    return bool(told != case)


def made_path(mask: Path) -> Path:
    """`CASE.made.json` beside the mask of the case; of another format than NIfTI with its ending,
    such as `CASE.seg.nrrd.made.json`: masks of several formats may share a folder.
    """
    case = EXTENSION.sub("", mask.name)
    ending = mask.name[len(case) :]
    return mask.with_name(f"{case}{'' if ending.startswith('.nii') else ending}.made.json")
