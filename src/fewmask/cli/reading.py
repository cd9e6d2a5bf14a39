"""The flags that say how scans and masks are read: one set for every verb that reads them."""

import inspect
import shlex
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, get_args

import typer

from fewmask.cli import flags
from fewmask.cli.options import one_of, three_numbers

if TYPE_CHECKING:
    from fewmask.prepare.options import ScanOptions

_PANEL = "Reading scans"


def _flag(kind: Any, default: Any, name: str, help: str) -> inspect.Parameter:
    return inspect.Parameter(
        name.strip("-").replace("-", "_"),
        inspect.Parameter.KEYWORD_ONLY,
        default=typer.Option(default, name, help=help, rich_help_panel=_PANEL),
        annotation=kind,
    )


_WORD = str | None
_FLAGS = (
    _flag(_WORD, None, "--trust", "Which of two disagreeing geometries to take: sform or qform."),
    _flag(
        _WORD,
        None,
        "--assume",
        "RAS: take files without orientation to run to right, front, top.",
    ),
    _flag(int | None, None, "--volume", "Which volume of 4D files, from 0."),
    _flag(_WORD, None, "--spacing", "Voxel size along the file's axes in mm, e.g. '0.8 0.8 5'."),
    _flag(
        bool,
        False,
        "--fix-nonfinite",
        "Replace up to 0.1 % NaN or Inf voxels by the smallest finite one.",
    ),
    _flag(
        _WORD,
        None,
        "--intensity",
        "CT that is not in HU: offset (1024 too high), wrapped (unsigned), or 'SLOPE INTER'.",
    ),
    _flag(
        _WORD,
        None,
        "--plane",
        "Plane of the outlines, whose slices are counted: axial (if nothing is said), sagittal or "
        "coronal.",
    ),
    _flag(
        _WORD,
        None,
        "--series",
        "DICOM series to take: UID, number or description; or a table (.csv) as `check "
        "--write-series` makes it.",
    ),
    _flag(_WORD, None, "--keep", "first: keep the first of DICOM slices at one position."),
    _flag(
        _WORD,
        None,
        "--channel",
        "Which of several channels of each scan (_0001, _flair): number or name; default: first.",
    ),
    _flag(bool, False, "--follow-links", "Accept links that leave the data folder."),
)


def reads_scans(function: Callable[..., Any]) -> Callable[..., Any]:
    """A verb with these flags in place of its parameter `scans`, which gets them as `ScanOptions`.

    What was given is kept in mind: commands that messages advise carry it on.
    """
    own = inspect.signature(function)
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in own.parameters.values()
        if parameter.name != "scans"
    ]

    @wraps(function)
    def call(**given: Any) -> Any:
        chosen = {flag.name: given.pop(flag.name) for flag in _FLAGS}
        data = given.get("data", given.get("source"))
        flags.remember(data, _as_typed(chosen), given.get("label") or ())
        return function(**given, scans=_scan_options(**chosen))

    together = [*parameters, *_FLAGS]
    call.__signature__ = own.replace(parameters=together)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in together}
    return call


def _as_typed(chosen: dict[str, Any]) -> str:
    """The flags that were given, as a person types them."""
    words = []
    for name, value in chosen.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            words.append(f"{flag} {shlex.quote(str(value))}")
    return " ".join(words)


def _scan_options(
    trust: str | None,
    assume: str | None,
    volume: int | None,
    spacing: str | None,
    fix_nonfinite: bool,
    intensity: str | None,
    plane: str | None,
    series: str | None,
    keep: str | None,
    channel: str | None,
    follow_links: bool,
) -> "ScanOptions":
    from fewmask.core.volume import Plane
    from fewmask.io.header import ReadOptions
    from fewmask.prepare.options import ScanOptions

    one_of("--trust", trust, ("sform", "qform"))
    one_of("--assume", assume, ("RAS",))
    one_of("--plane", plane, get_args(Plane))
    one_of("--keep", keep, ("first",))
    read = ReadOptions(
        trust=trust,  # type: ignore[arg-type]
        assume_ras=assume == "RAS",
        volume=volume,
        fix_nonfinite=fix_nonfinite,
        spacing_mm=three_numbers("--spacing", spacing),
    )
    return ScanOptions(read, series, keep == "first", follow_links, channel, intensity, plane)  # type: ignore[arg-type]
