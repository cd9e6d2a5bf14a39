"""Split files as people have them: our own TOML, the same lists in JSON, and nnU-Net's
`splits_final.json`.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from fewmask.core.budget import Split
from fewmask.core.errors import BadDataset
from fewmask.core.words import count
from fewmask.io.prepared import read_split
from fewmask.io.text import read_json_value
from fewmask.prepare.folder import printable
from fewmask.prepare.names import case_id, stem

_PARTS = {"train": "train", "training": "train", "val": "val", "validation": "val"} | {
    "test": "test",
    "testing": "test",
}
_FIX = 'write lists of case ids: {"train": ["case_1"], "val": [], "test": ["case_2"]}'


def open_split(path: Path, cases: Iterable[str]) -> tuple[Split, list[str]]:
    """The split of a file and notes on how it was read.

    Names of files stand for their cases. Of nnU-Net's folds the first is taken, or the one after a
    `#` (`splits_final.json#3`), and its `val` is what scores are made on: `test` here. Raises
    `BadDataset` (S04) for a file that is no split.
    """
    fold = re.fullmatch(r"(.+\.json)#(\d{1,4})", path.name, re.IGNORECASE)
    if fold and not path.exists():
        return _open_json(path.with_name(fold[1]), int(fold[2]), cases)
    if path.suffix.lower() in (".pkl", ".pickle"):
        raise BadDataset(
            "a pickle is a program, and is not opened",
            where=printable(path),
            did="no dataset was made",
            fix=_FIX.replace("write lists", f"save it as {path.stem}.json, or write lists"),
            code="S04",
        )
    if path.suffix.lower() == ".json":
        return _open_json(path, 0, cases)
    return _as_cases(read_split(path), cases), []


def check_names(split: Split, path: Path, cases: Iterable[str]) -> None:
    """Raise `BadDataset` (S04) for names that are no case, with the nearest ones, and as
    `Split.check` does.
    """
    known = set(cases)
    parts = (split.train, split.val, split.test)
    absent = [name for part in parts for name in part if name not in known]
    if absent:
        near = {name: difflib.get_close_matches(name, known, 1, 0.5) for name in absent[:10]}
        raise BadDataset(
            f"split names {count(len(absent), 'case')} not there",
            where=[
                printable(path),
                *(
                    printable(name) + (f"   nearest: {near[name][0]}" if near[name] else "")
                    for name in absent[:10]
                ),
            ],
            did="no dataset was made",
            fix=f"use the names of this folder, such as {', '.join(sorted(known)[:3])}",
            code="S04",
        )
    split.check({case: case for case in known}, printable(path))


def _open_json(path: Path, number: int, cases: Iterable[str]) -> tuple[Split, list[str]]:
    record = read_json_value(path, kind=BadDataset)
    notes = []
    if isinstance(record, list):
        if not number < len(record):
            raise BadDataset(
                f"there is no fold {number}: the file has {len(record)}",
                where=printable(path),
                fix=f"`split={path}#0` is the first",
                code="S04",
            )
        folds, record = len(record), record[number]
        notes.append(
            f"{path.name}: fold {number} of {folds}, whose `val` is kept aside for scoring "
            f"(`test`); `split={path}#{(number + 1) % folds}` takes another"
        )
        if isinstance(record, Mapping) and "test" not in record:
            record = {("test" if key == "val" else key): names for key, names in record.items()}
    parts: dict[str, tuple[str, ...]] = {}
    for key, names in record.items() if isinstance(record, Mapping) else ():
        part = _PARTS.get(str(key).casefold())
        if (
            part is None
            or not isinstance(names, list)
            or not all(isinstance(n, str) for n in names)
        ):
            raise _no_split(path, f"{key!r} is no part of a split with a list of names")
        parts[part] = (*parts.get(part, ()), *names)
    if "train" not in parts:
        raise _no_split(path, "there is no list `train`")
    return _as_cases(Split(**parts), cases), notes


def _as_cases(split: Split, cases: Iterable[str]) -> Split:
    """The same with names of files (`case_1.nii.gz`, `case_1_0000`) as the cases that they mean."""
    known = set(cases)

    def mean(name: str) -> str:
        path = Path(name.replace("\\", "/"))
        likely = [one for one in (stem(path), case_id(path)) if one in known]
        return name if name in known or not likely else likely[0]

    return Split(*(tuple(map(mean, getattr(split, part))) for part in ("train", "val", "test")))


def _no_split(path: Path, why: str) -> BadDataset:
    return BadDataset(
        f"no split: {why}", where=printable(path), did="no dataset was made", fix=_FIX, code="S04"
    )
