"""A run folder: everything a run was made of, its checkpoints, and what came of it."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewmask.core.budget import Budget, Split
from fewmask.core.errors import BadCheckpoint, BadConfig, BadDataset
from fewmask.core.recipe import Recipe
from fewmask.core.run_record import RunRecord
from fewmask.io.atomic import is_part, make_folder
from fewmask.io.outputs import check_folder
from fewmask.io.prepared import (
    Prepared,
    inputs_of,
    read_budget,
    read_split,
    write_budget,
    write_split,
)
from fewmask.io.stream import sha256
from fewmask.io.tables import read_csv, write_csv
from fewmask.io.text import expecting, read_json, whole_number, write_json

if TYPE_CHECKING:
    from torch import Tensor
else:
    # Tables and reports open run folders too, and torch takes seconds to import.
    Tensor = Any

CONFIDENCE = "confidence.csv"
"""In a folder of pseudo-labels inside a run; written last, so that a folder with it is whole."""
CONFIDENCE_COLUMNS = ("case", "confidence", "labelled")
CONFIDENCE_OVER = "over"
"""One more column: the voxels whose mean it is. Tables of earlier versions lack it: all."""
_STATE = re.compile(r"state-(\d{8})\.json")
_STATE_FILE = re.compile(r"state-\d{8}\.(json|safetensors)")
_KEPT = 2
_LEFT_BY_CREATE = {".fewmask.lock", "recipe.json", "split.toml", "budget.toml", "environment.json"}
"""What stands in the folder of a run that was killed before its config was written."""


@dataclass(frozen=True)
class Checkpoint:
    """A saved state: training stands before step `step`."""

    step: int
    tensors: dict[str, Tensor]
    skipped: tuple[str, ...] = ()
    """Newer states that could not be used."""
    lost: int = 0
    """Steps between the newest of them and this one, to be done again."""


@dataclass(frozen=True)
class States:
    """A folder of a training: its saved states and its losses.

    The last two states are kept until training is finished, and a state counts once its record is
    there.
    """

    path: Path

    @property
    def losses(self) -> Path:
        """Losses by step."""
        return self.path / "losses.csv"

    def read_environment(self) -> dict[str, Any]:
        """Versions, device, threads of the training."""
        return read_json(self.path / "environment.json", kind=BadCheckpoint)

    def save(self, step: int, tensors: Mapping[str, Tensor], before_done: Any = None) -> None:
        """Save a state: tensors, then the record that makes it count; then `tidy`."""
        from fewmask.io.weights import save_tensors

        stem = f"state-{step:08d}"
        digest = save_tensors(self.path / f"{stem}.safetensors", tensors)
        if before_done is not None:
            before_done()
        write_json(self.path / f"{stem}.json", {"step": step, "sha256": digest})
        self.tidy()

    def tidy(self) -> None:
        """Remove states but the last two; a process killed in `save` may have left more."""
        kept = {f"state-{old:08d}" for old in self._steps()[:_KEPT]}
        # Records first; tensors without a record were left by a process killed between the two.
        for item in self.state_files():
            if item.stem not in kept:
                item.unlink(missing_ok=True)

    def drop(self) -> None:
        """Remove all states: a training that is finished is not gone on with."""
        for item in self.state_files():
            item.unlink(missing_ok=True)

    def state_files(self) -> list[Path]:
        """Files of all states, records first: tensors without a record do not count as a state."""
        found = [item for item in self.path.iterdir() if self.owns(item)]
        return sorted(found, key=lambda item: (item.suffix != ".json", item.name))

    @staticmethod
    def owns(path: Path) -> bool:
        """Is this a file of a state?"""
        return _STATE_FILE.fullmatch(path.name) is not None

    def latest(self) -> Checkpoint | None:
        """The newest state that checks out; a bad one is passed over and named. None if there is
        none.
        """
        from fewmask.io.weights import load_tensors

        skipped: list[str] = []
        steps = self._steps()
        for step in steps:
            path = self.path / f"state-{step:08d}.safetensors"
            try:
                record = read_json(path.with_suffix(".json"), kind=BadCheckpoint)
                found = sha256(path) if path.exists() else "no file"
                if found != record.get("sha256"):
                    raise BadCheckpoint(
                        f"SHA-256 is {found}, not {record.get('sha256')}",
                        where=str(path),
                        fix="the state before it is used",
                        code="W05",
                    )
                return Checkpoint(step, load_tensors(path), tuple(skipped), steps[0] - step)
            except BadCheckpoint as error:
                skipped.append(f"{path.name}: {error.what}")
        if skipped:
            raise BadCheckpoint(
                "no saved state of this run checks out",
                where=[str(self.path), *skipped],
                fix="start again in another folder with `out`",
                code="W05",
            )
        return None

    def write_losses(self, names: list[str], rows: list[dict[str, str]]) -> None:
        """The whole table of losses, one row per logged step."""
        write_csv(self.losses, ["step", *names], rows)

    def read_losses(self, before: int) -> list[dict[str, str]]:
        """Rows of steps before `before`."""
        rows = read_csv(self.losses, ["step"]) if self.losses.exists() else []
        with expecting(self.losses, kind=BadCheckpoint):
            return [row for row in rows if whole_number(row["step"], 10**12) < before]

    def _steps(self) -> list[int]:
        """Steps with a record, newest first."""
        return sorted(
            (int(m[1]) for item in self.path.iterdir() if (m := _STATE.fullmatch(item.name))),
            reverse=True,
        )


@dataclass(frozen=True)
class RunFolder(States):
    """Files of a run folder (docs/design.md, "Files"); opening checks that it is one."""

    @classmethod
    def open(
        cls, path: Path, fix: str = "give the folder that `fewmask train` wrote (its `out`)"
    ) -> "RunFolder":
        """An existing run. Raises `BadCheckpoint`, with this `fix`, if the folder is none."""
        if not (path / "config.json").exists():
            raise BadCheckpoint(
                "not a run folder: there is no config.json",
                where=str(path),
                fix=fix,
                code="W06",
            )
        return cls(path)

    @property
    def exists(self) -> bool:
        """Has this run been started?"""
        return (self.path / "config.json").exists()

    @property
    def weights(self) -> Path:
        """Final weights."""
        return self.path / "weights.safetensors"

    @property
    def cleanup(self) -> Path:
        """Rule by which masks of this run are cleaned; a run of an earlier version has none."""
        return self.path / "cleanup.json"

    @property
    def predictions(self) -> Path:
        """Masks of this run."""
        return self.path / "predictions"

    @property
    def metrics(self) -> Path:
        """Scores of this run."""
        return self.path / "metrics.csv"

    def is_lost(self, gone_on: bool = False) -> bool:
        """Was training finished, and are its weights gone? `gone_on`: a later stage was begun,
        which takes the weights of this one.

        What a finished run keeps tells it: its last losses with its clean-up rule and no state, or
        masks or scores that were made with its weights.
        """
        if self.weights.exists() or not self.exists or self.state_files():
            return False
        used = gone_on or self.metrics.exists() or self.predictions.exists()
        return used or (self.cleanup.exists() and self._is_logged_to_the_end())

    def _is_logged_to_the_end(self) -> bool:
        last = self.read_record().steps - 1
        return any(row["step"] == str(last) for row in self.read_losses(last + 1))

    def check_not_lost(self, gone_on: bool = False) -> None:
        """Raise `BadCheckpoint` (W06) where `is_lost`: to train anew is for a person to ask."""
        if self.is_lost(gone_on):
            raise BadCheckpoint(
                f"training was finished here, and its {self.weights.name} is gone",
                where=str(self.path),
                did="nothing was trained or written",
                fix="copy that file back from where the run was made; to train anew, use another "
                "`out`, or remove this folder first",
                code="W06",
            )

    def check_unused(self, beside: Collection[str] = ()) -> None:
        """Raise `BadConfig` (F11) if the folder holds what no run that was killed early leaves;
        `beside` names what else may be there (folders of earlier stages).
        """
        known = _LEFT_BY_CREATE | set(beside)
        check_folder(self.path, owns=lambda item: item.name in known or is_part(item))

    def create(
        self,
        record: RunRecord,
        recipe: Mapping[str, Any],
        split: Split,
        budget: Budget,
        environment: Mapping[str, Any],
        beside: Collection[str] = (),
    ) -> None:
        """Write what the run is made of, its record last: a folder without config.json was never
        started.

        `beside` names what else may be there (folders of earlier stages).
        """
        self.check_unused(beside)
        make_folder(self.path)
        write_json(self.path / "recipe.json", recipe)
        write_split(self.path / "split.toml", split)
        write_budget(self.path / "budget.toml", budget)
        write_json(self.path / "environment.json", environment)
        write_json(self.path / "config.json", record.as_dict())

    def read_record(self) -> RunRecord:
        """Everything the run depends on. Raises `BadCheckpoint` if config.json cannot be read."""
        path = self.path / "config.json"
        # It names every scan with its hash: 100,000 of them are 9 MB.
        record = read_json(path, kind=BadCheckpoint, max_bytes=2**28)
        return RunRecord.from_dict(record, str(path))

    @property
    def is_published(self) -> bool:
        """Is it a folder for a model hub (`fewmask export --hub`)? These name no data."""
        return not self.read_record().prepared

    @property
    def inputs(self) -> list[Path]:
        """The prepared dataset that it learned from and the folders of its scans, as far as they
        are known: nothing is written into any of them.
        """
        place = self.read_record().prepared
        return inputs_of(Path(place)) if place else []

    @property
    def own_predictions(self) -> Path:
        """Where masks of the run's own data go if nothing is said. Raises `BadConfig` (C02) for a
        folder that `is_published`: names of cases would be published with it.
        """
        if self.is_published:
            raise BadConfig(
                "where should the masks go? A folder for a model hub has no place for them",
                where=str(self.path),
                did="no mask was written",
                fix="`out=masks`",
                code="C02",
            )
        return self.predictions

    def check_own(self) -> None:
        """Raise `BadCheckpoint` (W06) for a folder that `is_published`: what was learned from, the
        split and the budget stayed with the run.
        """
        if self.is_published:
            raise BadCheckpoint(
                "a folder for a model hub: it draws masks, and holds nothing of the data that the "
                "model learned from",
                where=str(self.path),
                did="nothing was written",
                fix="give the run that it was exported from; with this folder, `fewmask predict` "
                "scans, and score the masks: `fewmask evaluate MASKS TRUTH`",
                code="W06",
            )

    def open_prepared(self) -> Prepared:
        """The data that the run learned from.

        Raises `BadDataset` where a score or picture would be about something else: masks that mean
        something else by now, another scan under a name, none under that of one kept aside (C06).
        More scans, tags and outlines may have come. Raises `BadCheckpoint` (W06) for a run of an
        earlier version, and for a folder for a model hub.
        """
        self.check_own()
        record = self.read_record()
        prepared = Prepared.open(Path(record.prepared))
        if record.scans is None:
            raise BadCheckpoint(
                "the run was made by an earlier version, which did not note what data it "
                "learned from",
                where=str(self.path),
                fix=f"train a new run from {prepared.folder}",
                code="W06",
            )
        known = {case: row.voxels_sha256 for case, row in prepared.cases.items()}
        split = self.read_split()
        kept_aside = {*split.val, *split.test}
        other = [
            case
            for case, digest in record.scans.items()
            if known.get(case, None if case in kept_aside else digest) != digest
        ]
        labels = prepared.options["labels"]
        if labels == record.labels and not other:
            return prepared
        raise BadDataset(
            "the prepared data is not what this run learned from",
            where=[
                str(prepared.folder),
                f"labels {labels}, the run's {record.labels}",
                *(f"{case}: {'another scan' if case in known else 'gone'}" for case in other[:10]),
            ],
            did="nothing was scored or shown",
            fix=(
                "prepare it as it was (into another folder what is new), or train again: fewmask "
                f"train {prepared.folder}"
            ),
            code="C06",
        )

    def read_recipe(self) -> Recipe:
        """The recipe. Raises `BadCheckpoint` for what is none."""
        path = self.path / "recipe.json"
        record = read_json(path, kind=BadCheckpoint)
        with expecting(path, kind=BadCheckpoint, fix="copy the run again from where it was made"):
            return Recipe.from_dict(record)

    def read_cleanup(self) -> dict[str, Any] | None:
        """The clean-up rule's plain data; None if the run has none."""
        return read_json(self.cleanup, kind=BadCheckpoint) if self.cleanup.exists() else None

    def write_cleanup(self, rule: Mapping[str, Any]) -> None:
        """Write the clean-up rule's plain data."""
        write_json(self.cleanup, rule)

    def read_budget(self) -> Budget:
        """The budget."""
        return read_budget(self._own("budget.toml"))

    def read_split(self) -> Split:
        """The split."""
        return read_split(self._own("split.toml"))

    def _own(self, name: str) -> Path:
        """A file that only the run itself has."""
        path = self.path / name
        if not path.exists():
            self.check_own()
        return path
