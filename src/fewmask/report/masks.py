"""From a folder of masks to its page: scans that no run knows, and what lies beside their masks."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from fewmask.core.errors import BadConfig, BadDataset, BadScan, FewmaskError, saying
from fewmask.core.recipe import RECIPES, Recipe
from fewmask.core.volume import Volume
from fewmask.core.words import count
from fewmask.io.image import EXTENSION, is_image, is_prediction, read_labels, read_names
from fewmask.io.outputs import check_folder
from fewmask.io.prepared import inputs_of
from fewmask.io.text import read_json
from fewmask.predict.folder import open_scans
from fewmask.predict.known import KnownScans, read_new_tags
from fewmask.prepare.intensity import looks_like_ct
from fewmask.prepare.options import AS_THEY_ARE, ScanOptions
from fewmask.report.beside import read_quality, read_structures
from fewmask.report.doubt import Tags
from fewmask.report.known import find_empty_masks
from fewmask.report.page import write_page
from fewmask.report.scans import Subject, Terms, Wall, look_at, tell_refused


def write_masks_report(
    masks: Path,
    scans: Path,
    *,
    tags: Path | None = None,
    slices_from: int = 0,
    options: ScanOptions = AS_THEY_ARE,
    show_burned_in: bool = False,
    out: Path | None = None,
    on_refused: Callable[[str, FewmaskError], None] = lambda case, error: None,
) -> Path:
    """Write `MASKS/report/index.html` for masks of `scans` (as `predict` took them) and return it;
    `out` is another folder for it, and needed where the masks are not known to be `predict`'s.
    `on_refused` is told of masks that cannot be read or are not of their scan; the page says so.

    Uses what `predict` laid beside the masks; a mask without a scan of its name is listed without
    picture. Structures are called as volumes.csv, prompts.json or the masks themselves name them,
    else by number. `tags` is a table as `predict` takes it. Raises `BadDataset` if no mask is
    there, `BadConfig` (F11) if the masks lie among the scans.
    """
    files = find_masks(masks)
    place = _place(masks, files, out)
    check_folder(place, [*inputs_of(scans), *([] if out is None else [masks])])
    found = open_scans(scans, options=options).found
    classes = _structures(masks, files)
    said = _tags(tags, classes, slices_from, list(files))
    plane = options.plane or "axial"

    def scan(case: str) -> Callable[[], Volume] | None:
        load = found.get(case)
        return (lambda: load().in_plane(plane)) if load is not None else None

    subjects = [
        Subject(case, mask, scan(case), tags=_tags_of(said, case, classes))
        for case, mask in files.items()
    ]
    terms = Terms(
        classes=classes,
        recipe=_recipe,
        quality=read_quality(masks),
        slices_from=slices_from,
        show_burned_in=show_burned_in,
    )
    wall = look_at(subjects, terms)
    for case, error in wall.refused.items():
        on_refused(case, error)
    return write_page(
        place / "index.html",
        wall,
        classes,
        title=f"{', '.join(classes)}: masks of {count(len(files), 'scan')}",
        sentence=_sentence(wall),
        hint="Nothing here was compared with a truth: these masks are as they lie in the folder.",
        warnings=[*find_empty_masks(masks), *tell_refused(wall)],
        notes=[f"{case}: a scan without a mask" for case in sorted(set(found) - set(files))],
    )


def _place(masks: Path, files: Mapping[str, Path], out: Path | None) -> Path:
    """Where the page goes. Raises `BadConfig` (F11) rather than write into a folder of masks that
    may be a person's.
    """
    if out is not None:
        return out
    beside = ("*.made.json", "quality.csv", "volumes.csv")
    ours = any(found for name in beside for found in masks.glob(name))
    if not ours and not any(is_prediction(path) for path in files.values()):
        raise BadConfig(
            "these masks may be a person's: nothing is written among them",
            where=str(masks),
            did="no page was written",
            fix="give the page a folder of its own with `out`",
            code="F11",
        )
    return masks / "report"


def find_masks(folder: Path) -> dict[str, Path]:
    """Case -> its mask. Raises `BadDataset` if there is none, or two of one case."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not is_image(path):
            continue
        case = EXTENSION.sub("", path.name)
        if case in files:
            raise BadDataset(
                f"two masks of {case}",
                where=[str(files[case]), str(path)],
                did="no page was written",
                fix="keep masks of one format in the folder",
                code="C03",
            )
        files[case] = path
    if not files:
        raise BadDataset(
            "no masks in this folder",
            where=str(folder),
            did="no page was written",
            fix="give the folder that `fewmask predict` wrote (its `out`)",
            code="F13",
        )
    return files


def _structures(folder: Path, files: Mapping[str, Path]) -> list[str]:
    """What structures 1, 2, ... are called."""
    names = read_structures(folder)
    for case in files if not names else ():
        path = folder / f"{case}.prompts.json"
        if path.exists():
            listed = read_json(path, max_bytes=256 * 2**20).get("classes", [])
            names = [str(name) for name in listed]
            break
    values = {}
    for mask in files.values() if not names else ():
        values.update({value: name for name, value in read_names(mask).items()})
    most = max([len(names), *values])
    for mask in files.values() if not names and not values else ():
        with suppress(BadScan):  # told when it is looked at
            most = max(most, int(read_labels(mask).voxels.max()))
    told = dict(enumerate(names, 1)) or values
    return [told.get(n, f"structure {n}") for n in range(1, max(most, 1) + 1)]


def _tags(
    path: Path | None, classes: list[str], slices_from: int, cases: list[str]
) -> KnownScans | None:
    if path is None:
        return None
    with saying("no page was written"):
        known = read_new_tags(path, tuple(classes), slices_from)
        return known.among(cases) if known.among is not None else known


def _tags_of(said: KnownScans | None, case: str, classes: list[str]) -> Callable[[Volume], Tags]:
    """Spans of a scan's tags, once the scan is there."""

    def read(volume: Volume) -> Tags:
        known = said.find(case, volume) if said is not None else None
        if known is None:
            return {}
        spans: dict[str, tuple[int, int] | None] = {}
        for name, column in zip(classes, known.tags.T, strict=True):
            held = (column == 1).nonzero()[0]
            if len(held):
                spans[name] = int(held[0]), int(held[-1])
            elif (column == 0).all():
                spans[name] = None
        return spans

    return read


def _recipe(volume: Volume) -> Recipe:
    """Only its grey-level window is used."""
    return RECIPES["ct" if looks_like_ct(volume) else "mr"]


def _sentence(wall: Wall) -> str:
    n = len(wall.scans)
    empty = sum(scan.ml == 0 for scan in wall.scans)
    doubtful = sum(scan.doubt.amount >= 0.3 for scan in wall.scans)
    parts = [f"{count(n, 'mask')} without a truth"]
    parts.append(f"{empty} empty" if empty else "none wholly empty")
    parts.append(f"{doubtful} with a doubt of 0.3 or more" if doubtful else "no strong doubt")
    return f"{', '.join(parts)}. Look at the first ones first."
