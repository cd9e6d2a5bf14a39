"""What a run costs on the disk, by kind, and removing what nothing needs any more."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fewmask.core.errors import BadCheckpoint, FewmaskError, NoRoom
from fewmask.io.atomic import is_leftover, is_part, no_room
from fewmask.io.lock import folder_lock, holder_of
from fewmask.io.run import CONFIDENCE, RunFolder, States


@dataclass(frozen=True)
class Cleanable:
    """What may go from a run."""

    run: Path
    states: tuple[Path, ...]
    """States of trainings that are finished, their records first."""
    parts: tuple[Path, ...]
    """Temporary files of processes that are dead."""
    kept: tuple[Path, ...]
    """States of trainings that are not finished: they resume from them."""

    @property
    def freed(self) -> int:
        """Bytes."""
        return sum(path.stat().st_size for path in (*self.states, *self.parts))


def bytes_by_kind(run: Path) -> dict[str, int]:
    """Bytes of a run folder by what they are for, stages included, the largest first; kinds of
    which there is nothing are left out.
    """
    sizes: dict[str, int] = {}
    for path in run.rglob("*"):
        if path.is_file() and not path.is_symlink():
            kind = _kind(path, run)
            sizes[kind] = sizes.get(kind, 0) + path.stat().st_size
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _kind(path: Path, run: Path) -> str:
    inside = path.relative_to(run).parts[:-1]
    if is_part(path):
        return "temporary"
    if States.owns(path):
        return "states"
    if path.name == "weights.safetensors":
        return "weights"
    if "predictions" in inside:
        return "masks"
    if "report" in inside:
        return "report"
    if "log" in inside:
        return "log"
    labels = any((above / CONFIDENCE).exists() for above in path.parents if run in above.parents)
    return "labels" if labels else "records"


def runs_below(folder: Path) -> list[Path]:
    """Run folders in a folder, not those of stages inside other runs. Raises `BadCheckpoint` (W06)
    if there is none.
    """
    found: list[Path] = []
    for path in sorted(folder.rglob("config.json")):
        if not any(above in path.parents for above in found) and _is_run(path.parent):
            found.append(path.parent)
    if not found:
        raise BadCheckpoint(
            "no run folder is in there",
            where=str(folder),
            did="nothing was removed",
            fix="give the folder that holds the runs of a sweep (its `work`)",
            code="W06",
        )
    return found


def find_cleanable(run: Path) -> Cleanable:
    """What may go. Raises `BadCheckpoint` (W06) for what is no run folder, and `NoRoom` (F12) while
    a process works in it.
    """
    if not _is_run(run):  # another program's folder may hold a config.json too
        raise BadCheckpoint(
            "not a run folder of fewmask",
            where=str(run),
            did="nothing was removed",
            fix="give a folder that `fewmask train` wrote",
            code="W06",
        )
    for folder in _trainings(run):
        holder = holder_of(folder.path)
        if holder is not None:
            raise NoRoom(
                f"process {holder} works in this run",
                where=str(folder.path),
                did="nothing was removed",
                fix="wait until it is done, or stop it",
                code="F12",
            )
    return _look(run)


def clean_run(run: Path) -> int:
    """Remove what may go, with every folder of the run locked; returns the bytes that are free now.
    Weights, records and masks stay. Raises as `find_cleanable` does.
    """
    find_cleanable(run)
    with ExitStack() as stack:
        for folder in _trainings(run):
            stack.enter_context(folder_lock(folder.path, "clean"))
        found = _look(run)
        freed = found.freed
        for path in (*found.states, *found.parts):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise no_room(error, path) from error
    return freed


def _look(run: Path) -> Cleanable:
    states: list[Path] = []
    kept: list[Path] = []
    for folder in _trainings(run):
        (states if folder.weights.exists() else kept).extend(folder.state_files())
    parts = [path for path in sorted(run.rglob(".*.part")) if is_leftover(path)]
    return Cleanable(run, tuple(states), tuple(parts), tuple(kept))


def _trainings(run: Path) -> list[RunFolder]:
    """The run and its stages."""
    places = (path.parent for path in sorted(run.rglob("config.json")))
    return [RunFolder(place) for place in places if _is_run(place)]


def _is_run(folder: Path) -> bool:
    """Is the `config.json` in it one of ours?"""
    try:
        RunFolder.open(folder).read_record()
    except FewmaskError:
        return False
    return True
