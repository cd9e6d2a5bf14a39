"""What lists of other people's programs can tell: nnU-Net's `splits_final.json`, and the
`train.list`, `val.list`, `test.list` of the semi-supervised literature. They hold names, no more.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fewmask.benchmark.audit.answer import Answer, listed
from fewmask.benchmark.audit.data import (
    PARTS,
    SCANS,
    by_part,
    same_name,
    same_patient,
)
from fewmask.benchmark.audit.run import CHECKPOINT
from fewmask.core.errors import BadDataset
from fewmask.core.words import count
from fewmask.io.image import case_id_of
from fewmask.io.ssl4mis import read_list
from fewmask.io.text import read_json_value
from fewmask.prepare.splitfile import open_split
from fewmask.prepare.splits import patients_of

FOLDS = "Is every case scored in one fold only?"
OTHERS = "Prompts, slices scored, labels counted, empties, draws, comparisons?"
ENDINGS = (".list", ".txt")
_WORDS = {
    "train": ("train", "training", "labeled", "labelled", "unlabeled", "unlabelled"),
    "val": ("val", "valid", "validation", "eval"),
    "test": ("test", "testing"),
}
_SLICE = re.compile(r"_slice_?\d+$")
_NO_PATTERN = "names alone do not say it: give `patients`, such as '^(patient[0-9]+)'"
_ONLY_NAMES = "lists hold names, not voxels: prepare the scans with this split, audit a run of it"


def audit_lists(path: Path, patients: str | None = None) -> list[Answer]:
    """Answers of a file of folds or splits (`.json`), of a folder of lists, or of one list with
    those beside it. `patients` is a regular expression with one group over names.

    Raises `BadDataset` (S04) where there is no list of a training part, `BadConfig` for an
    expression that finds no patient in a name.
    """
    if path.suffix.lower() == ".json":
        return _of_folds(path, patients)
    parts = read_parts(path if path.is_dir() else path.parent)
    return [*_of_parts(parts, patients), _chosen_by_list(parts), *_silent()]


def holds_lists(folder: Path) -> bool:
    """Is there a list of a training part in this folder?"""
    return any(_part_of(path) == "train" for path in _lists_in(folder))


def read_parts(folder: Path) -> dict[str, list[str]]:
    """Part -> names in its lists (`train_slices.list` belongs to `train`), without what says slice
    or file.
    """
    parts: dict[str, list[str]] = {}
    for path in _lists_in(folder):
        if part := _part_of(path):
            names = (_SLICE.sub("", case_id_of(Path(name))) for name in read_list(path))
            parts.setdefault(part, []).extend(names)
    if not parts.get("train"):
        raise BadDataset(
            "no list of a training part here",
            where=str(folder),
            did="nothing was audited",
            fix="give the folder of train.list and test.list",
            code="S04",
        )
    return {part: parts[part] for part in PARTS if part in parts}


def _of_folds(path: Path, patients: str | None) -> list[Answer]:
    record = read_json_value(path, kind=BadDataset)
    if not isinstance(record, list):
        parts = by_part(open_split(path, ())[0])
        return [*_of_parts(parts, patients), _chosen_by_list(parts), *_silent()]
    if not record:
        raise BadDataset(
            "there is no fold in the file",
            where=str(path),
            did="nothing was audited",
            fix="give nnU-Net's splits_final.json",
            code="S04",
        )
    answers: list[Answer] = []
    scored: list[str] = []
    for fold in range(len(record)):
        parts = by_part(open_split(path.with_name(f"{path.name}#{fold}"), ())[0])
        scored += parts.get("test", ())
        answers += [
            Answer(f"Fold {fold}: {one.question}", one.answer, one.verdict, one.why)
            for one in _of_parts(parts, patients)
        ]
    return [*answers, _once(scored, len(record)), _chosen_by_fold(), *_silent()]


def _of_parts(parts: Mapping[str, Sequence[str]], patients: str | None) -> list[Answer]:
    owners = None
    if patients is not None:
        owners = patients_of(sorted({name for part in parts.values() for name in part}), patients)
    return [same_name(parts), same_patient(parts, owners, _NO_PATTERN, said=True)]


def _once(scored: list[str], folds: int) -> Answer:
    twice = sorted(name for name, times in Counter(scored).items() if times > 1)
    if twice:
        why = "a mean over folds counts them twice"
        return Answer.look(FOLDS, f"no: {listed(twice)}", why)
    return Answer.fine(FOLDS, f"yes: {count(len(scored), 'case')} over {count(folds, 'fold')}")


def _chosen_by_fold() -> Answer:
    why = "the program keeps the last state and one that is best on `val`: ask which one was scored"
    return Answer.unknown(CHECKPOINT, why, "the `val` of each fold is what scores are made on")


def _chosen_by_list(parts: Mapping[str, object]) -> Answer:
    if "val" in parts:
        why = "ask whether it chose the checkpoint, and count its masks as labels if it did"
        return Answer.unknown(CHECKPOINT, why, "there is a list of validation scans")
    why = "code that keeps its best state could choose it by the test list only: ask"
    return Answer.unknown(CHECKPOINT, why, "there is no list of validation scans")


def _silent() -> Iterator[Answer]:
    yield Answer.unknown(SCANS, _ONLY_NAMES)
    yield Answer.unknown(OTHERS, "lists say nothing of them")


def _lists_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix in ENDINGS and p.is_file())


def _part_of(path: Path) -> str:
    """By the first word of its name; empty for a file of something else."""
    word = re.split(r"[^a-z]", path.stem.lower(), maxsplit=1)[0]
    return next((part for part, words in _WORDS.items() if word in words), "")
