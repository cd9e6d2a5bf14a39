"""May something be written here? Asked in front of every output of every verb: never into an input,
never over what is not ours.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fewmask.core.errors import BadConfig
from fewmask.io.text import read_json, write_json

_LISTED = 5


def check_folder(
    out: Path,
    inputs: Iterable[Path | None] = (),
    *,
    owns: Callable[[Path], bool] | None = None,
    name: str = "out",
) -> None:
    """Raise `BadConfig` (F11) unless files may be written into the folder `out`, which was given as
    the setting `name`.

    It must not be one of `inputs`, nor lie in one that is a folder, nor hold one that is a file
    (None is no input); where `owns` is given, all that is in it must be ours. It need not exist.
    """
    other = f"choose another folder with `{name}`"
    if out.exists() and not out.is_dir():
        raise _refusal("the output is not a folder", [out], other)
    for source in inputs:
        if source is None or not source.exists():
            continue
        if source.is_dir() and _is_within(out, source):
            raise _refusal(
                "the output folder lies inside the input folder; fewmask never writes into its "
                "input",
                [out],
                other,
            )
        if not source.is_dir() and _is_same(source.parent, out):
            raise _refusal(
                f"the output folder holds the input file {source.name}; fewmask never writes into "
                "its input",
                [out],
                other,
            )
    if owns is None or not out.exists():
        return
    foreign = [path for path in sorted(out.iterdir()) if not owns(path)]
    if foreign:
        raise _refusal("the output folder holds other files", [out, *foreign[:_LISTED]], other)


def check_file(
    out: Path,
    inputs: Iterable[Path | None] = (),
    *,
    is_ours: Callable[[Path], bool] | None = None,
    name: str = "out",
) -> None:
    """Raise `BadConfig` (F11) unless the file `out`, given as the setting `name`, may be written.

    It must not be one of `inputs`, nor lie in one that is a folder. A file that is there already
    must be one that `is_ours` knows; without it none is.
    """
    for source in inputs:
        if source is None or not source.exists():
            continue
        if _is_same(out, source) or (source.is_dir() and _is_within(out, source)):
            raise _refusal(
                "the output file is an input, or lies inside an input folder; fewmask never writes "
                "into its input",
                [out],
                f"choose another file with `{name}`",
            )
    if not (out.exists() or out.is_symlink()):
        return
    if out.is_dir() or is_ours is None or not is_ours(out):
        raise _refusal(
            "a folder of that name is in the way"
            if out.is_dir()
            else "a file of that name is there, and would be lost",
            [out],
            f"choose another file with `{name}`, or remove this one",
        )


def claim(note: Path, record: Mapping[str, Any]) -> list[str]:
    """Write down of what a folder is made, if nobody did; else what differs from what stands there,
    a line each.
    """
    if not note.exists():
        write_json(note, dict(record))
        return []
    before = read_json(note)
    return [
        f"{name}: {before.get(name)} -> {value}"
        for name, value in record.items()
        if before.get(name) != value
    ]


def _is_within(path: Path, folder: Path) -> bool:
    """Is it this folder, or below it, whatever links and upper or lower case say?"""
    return any(_is_same(above, folder) for above in (path, *path.resolve().parents))


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve() or one.samefile(other)
    except OSError:
        return False


def _refusal(what: str, where: list[Path], fix: str) -> BadConfig:
    return BadConfig(
        what, where=[str(path) for path in where], did="nothing was written", fix=fix, code="F11"
    )
