"""Masks as derivatives of BIDS: their names, and the files that say what they are."""

import re
from collections.abc import Sequence
from pathlib import Path

from fewmask.io.atomic import write_text
from fewmask.io.segments import Segment
from fewmask.io.text import read_json, write_json
from fewmask.version import __version__

_ENTITY = re.compile(r"([a-z]+)-([^_]+)", re.IGNORECASE)
_VERSION = "1.9.0"
_DESCRIPTION, _TABLE, _IGNORED = "dataset_description.json", "desc-fewmask_dseg.tsv", ".bidsignore"
_NOT_BIDS = ("*.made.json", "*.signs.json", "*.cleanup.json", "*.known.json", "*.prompts.json")
_NOT_BIDS_EITHER = ("quality.csv", "volumes.csv", "probabilities/")


def entities_of(case: str) -> dict[str, str]:
    """`sub`, `ses` and what else a case is called by, in the order of its name, of letters and
    digits alone; a name without a subject is the subject.
    """
    found: dict[str, str] = {}
    for word in case.split("_"):
        match = _ENTITY.fullmatch(word)
        if match:
            found[match[1].lower()] = _plain(match[2])
    if "sub" not in found:
        return {"sub": _plain(case)}
    return {"sub": found.pop("sub"), **{key: value for key, value in found.items() if value}}


def mask_path(case: str, ending: str) -> Path:
    """`sub-01/ses-2/anat/sub-01_ses-2_desc-fewmask_dseg.nii.gz`, for the folder of derivatives."""
    entities = {key: value for key, value in entities_of(case).items() if key != "desc"}
    name = "_".join(f"{key}-{value}" for key, value in entities.items())
    folders = [f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities]
    return Path(*folders, "anat", f"{name}_desc-fewmask_dseg{ending}")


def write_description(out: Path, segments: Sequence[Segment]) -> list[str]:
    """`dataset_description.json`, the table of structures for all masks (`desc-fewmask_dseg.tsv`)
    and `.bidsignore`, where they are not there yet; notes on those that are there and say something
    else.
    """
    record = {
        "Name": "Masks predicted by fewmask",
        "BIDSVersion": _VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "fewmask", "Version": __version__}],
    }
    rows = [f"{one.value}\t{one.name}\t{_hex(one.colour or (255, 255, 255))}\n" for one in segments]
    texts = {
        _TABLE: "index\tname\tcolor\n" + "".join(rows),
        _IGNORED: "".join(f"{line}\n" for line in (*_NOT_BIDS, *_NOT_BIDS_EITHER)),
    }
    notes = []
    description = out / _DESCRIPTION
    if not description.exists():
        write_json(description, record)
    elif read_json(description) != record:
        notes.append(f"{_DESCRIPTION} was there already and is left as it is")
    for name, text in texts.items():
        path = out / name
        if not path.exists():
            write_text(path, text)
        elif path.read_bytes() != text.encode():
            notes.append(f"{name} was there already and is left as it is")
    return notes


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter.isascii() and letter.isalnum()) or "x"


def _hex(colour: Sequence[int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)
