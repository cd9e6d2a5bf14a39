"""The one door to HDF5 files: everything in a file is looked at before anything in it is read.

An HDF5 file can point out of itself (external links, external storage, virtual datasets), load code
(filter plug-ins), run Python (object types) and unfold to a size no machine has. None of that is
needed for voxels, so all of it is refused. The size limits are those Keras uses for weights.
"""

import math
import stat
from functools import cache
from pathlib import Path

import h5py
from h5py import h5a, h5d, h5g, h5l, h5o, h5t

from fewmask.core.errors import BadDataset, NoRoom
from fewmask.io.hdf5heap import heaps_end

MAX_OBJECTS = 100_000
MAX_DEPTH = 8
_MAX_ATTRIBUTES = 256
_BIG_BYTES = 4 * 2**30
_BIG_RATIO = 1000
_MAX_CHUNK_BYTES = 2**30
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_LZF,
}
_NUMBER_BYTES = 8
_PACKING = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF}
_SUM_BYTES = 4
_PLAIN = {h5t.INTEGER, h5t.FLOAT, h5t.ENUM}
_REBUILD = "make the file again (`fewmask prepare` rebuilds only what is broken)"


def open_guarded(path: Path, *, fix: str = _REBUILD) -> h5py.File:
    """Open an HDF5 file for reading after checking every object, link and attribute in it; the
    caller closes it.

    Raises `BadDataset`: not HDF5, truncated or left open by a killed writer (H01); a link other
    than a hard one at any depth, external storage, a virtual dataset (H03); a type other than
    numbers, an unknown filter, or sizes and counts beyond the limits (H04); a dataset of more than
    4 GiB must store at least a thousandth of that. `NoRoom`: the file may not be read (N47).
    Flipped bits (H02) show on reading only, as `OSError`, in datasets written with fletcher32.
    The library is not proof against every file: files that fewmask did not make go through
    `io.apart` first.
    """
    _check_signature(path, fix)
    try:
        file = h5py.File(path, "r", track_order=True)
    except OSError as error:
        raise _refuse(
            path, "HDF5 file is truncated, damaged or still being written", str(error), fix, "H01"
        ) from error
    try:
        _check_tree(file, path, fix)
    except BaseException as error:
        file.close()
        if isinstance(error, OSError | RuntimeError | KeyError | ValueError | TypeError):
            raise _refuse(path, "HDF5 file is damaged", type(error).__name__, fix, "H01") from error
        raise
    return file


def _check_signature(path: Path, fix: str) -> None:
    """Refuse what is not a regular file beginning like HDF5, without opening pipes or devices."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _refuse(path, "file cannot be opened", error.strerror or "", fix, "H01") from error
    if not stat.S_ISREG(mode):
        raise _refuse(path, "not a file", "", fix, "H01")
    try:
        with path.open("rb") as stream:
            start = stream.read(len(_SIGNATURE))
    except OSError as error:
        raise NoRoom(
            f"cannot read {path.name}: {error.strerror}",
            fix=f"check who may read {path.name}",
            code="N47",
        ) from error
    if start != _SIGNATURE:
        what = "not an HDF5 file" if start else "empty file"
        raise _refuse(path, what, f"first bytes {start!r}", fix, "H01")


def _check_tree(file: h5py.File, path: Path, fix: str) -> None:
    """Walk all groups without following anything but hard links."""
    sizes = file.id.get_create_plist().get_sizes()
    if sizes != (_NUMBER_BYTES, _NUMBER_BYTES):
        raise _refuse(
            path,
            f"HDF5 file with addresses and lengths of {sizes} bytes, {_NUMBER_BYTES} are read",
            "",
            fix,
            "H04",
        )
    waiting: list[tuple[h5g.GroupID, str, int]] = [(h5g.open(file.id, b"/"), "", 0)]
    seen: set[int] = set()
    left = MAX_OBJECTS
    while waiting:
        group, inner, depth = waiting.pop()
        address = int(h5o.get_info(group).addr)
        if address in seen:
            continue
        seen.add(address)
        left -= group.get_num_objs()
        if left < 0 or depth > MAX_DEPTH:
            objects = f"more than {MAX_OBJECTS:,} objects"
            what = objects if left < 0 else f"groups more than {MAX_DEPTH} deep"
            raise _refuse(path, f"HDF5 file with {what}", inner or "/", fix, "H04")
        _check_attributes(group, path, inner, fix)
        for name in list(group):
            item_path = f"{inner}/{_text(name, path, fix)}"
            if group.links.get_info(name).type != h5l.TYPE_HARD:
                what = "HDF5 link that is not a plain one: it may lead out of the file"
                raise _refuse(path, what, item_path, fix, "H03")
            item = h5o.open(group, name)
            if isinstance(item, h5g.GroupID):
                waiting.append((item, item_path, depth + 1))
            elif isinstance(item, h5d.DatasetID):
                _check_dataset(item, path, item_path, fix)
                _check_attributes(item, path, item_path, fix)
            else:
                what = "HDF5 object that is neither a group nor a dataset"
                raise _refuse(path, what, item_path, fix, "H04")


def _check_dataset(dataset: h5d.DatasetID, path: Path, inner: str, fix: str) -> None:
    created = dataset.get_create_plist()
    if created.get_external_count():
        raise _refuse(path, "HDF5 dataset stored in another file", inner, fix, "H03")
    if created.get_layout() == h5d.VIRTUAL:
        raise _refuse(
            path, "virtual HDF5 dataset: its values may lie in other files", inner, fix, "H03"
        )
    kind = dataset.get_type()
    _ = dataset.dtype  # a damaged type raises here, where it is caught, and not at the first read
    fixed_text = isinstance(kind, h5t.TypeStringID) and not kind.is_variable_str()
    if kind.get_class() not in _PLAIN and not fixed_text:
        raise _refuse(
            path,
            "HDF5 dataset of objects, references or variable length: only numbers are read",
            inner,
            fix,
            "H04",
        )
    filters = [created.get_filter(n)[0] for n in range(created.get_nfilters())]
    if not set(filters) <= _FILTERS or len(set(filters)) != len(filters):
        raise _refuse(
            path,
            f"HDF5 filters {filters}: only gzip, lzf, shuffle and fletcher32, each once, are read",
            inner,
            fix,
            "H04",
        )
    _check_size(dataset, created, path, inner, fix)


def _check_size(
    dataset: h5d.DatasetID, created: h5py.h5p.PropDCID, path: Path, inner: str, fix: str
) -> None:
    item = dataset.get_type().get_size()
    declared = math.prod(dataset.shape or (0,)) * item
    stored = dataset.get_storage_size()
    if declared > _BIG_BYTES and declared > _BIG_RATIO * stored:
        where = f"{inner}: declares {declared:,} bytes, stores {stored:,}"
        raise _refuse(path, "HDF5 dataset unfolds to far more than it stores", where, fix, "H04")
    if (
        created.get_layout() == h5d.CHUNKED
        and math.prod(created.get_chunk()) * item > _MAX_CHUNK_BYTES
    ):
        raise _refuse(path, "HDF5 chunk larger than 1 GiB", inner, fix, "H04")
    if created.get_layout() == h5d.CHUNKED:
        _check_chunks(dataset, created, path, inner, fix)


def _check_chunks(
    dataset: h5d.DatasetID, created: h5py.h5p.PropDCID, path: Path, inner: str, fix: str
) -> None:
    """The library believes the table of chunks: a chunk of no bytes ends the process in its
    checksum filter.
    """
    filters = [created.get_filter(n)[0] for n in range(created.get_nfilters())]
    whole = math.prod(created.get_chunk()) * dataset.get_type().get_size()
    end = path.stat().st_size

    @cache
    def bounds(skipped: int) -> tuple[int, int]:
        """Least and most bytes of a chunk for which these filters were left out."""
        used = {kind for n, kind in enumerate(filters) if not skipped >> n & 1}
        sum_bytes = _SUM_BYTES if h5py.h5z.FILTER_FLETCHER32 in used else 0
        return (sum_bytes + 1, end) if used & _PACKING else (whole + sum_bytes,) * 2

    def is_bad(chunk: h5d.StoreInfo) -> bool | None:
        _, skipped, start, size = chunk
        least, most = bounds(skipped)
        return None if least <= size <= most and start + size <= end else True

    if dataset.chunk_iter(is_bad):
        raise _refuse(
            path, "HDF5 file is damaged: a chunk of an impossible size", inner, fix, "H01"
        )


def _check_attributes(item: h5g.GroupID | h5d.DatasetID, path: Path, inner: str, fix: str) -> None:
    """Attributes may be numbers and texts (h5py writes a str as variable-length text)."""
    count = h5a.get_num_attrs(item)
    if count > _MAX_ATTRIBUTES:
        raise _refuse(
            path,
            f"{count} attributes on one HDF5 object, {_MAX_ATTRIBUTES} at most",
            inner or "/",
            fix,
            "H04",
        )
    for index in range(count):
        attribute = h5a.open(item, index=index)
        kind, _ = attribute.get_type(), attribute.dtype
        if isinstance(kind, h5t.TypeStringID) and kind.is_variable_str() and not heaps_end(path):
            raise _refuse(
                path,
                "HDF5 file is damaged: a heap of texts without an end",
                inner or "/",
                fix,
                "H01",
            )
        if kind.get_class() not in _PLAIN and not isinstance(kind, h5t.TypeStringID):
            raise _refuse(
                path, "HDF5 attribute that is neither a number nor a text", inner or "/", fix, "H04"
            )
    # They have no checksum: what is damaged in their heap shows here, not in the midst of the work.
    holder = h5py.Group(item) if isinstance(item, h5g.GroupID) else h5py.Dataset(item)
    for _ in holder.attrs.values():
        pass


def _text(name: bytes, path: Path, fix: str) -> str:
    """Names that are no UTF-8 would come out as bytes, where everybody expects a text."""
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise _refuse(
            path, "HDF5 file is damaged: a name is no text", repr(name), fix, "H01"
        ) from error


def _refuse(path: Path, what: str, detail: str, fix: str, code: str) -> BadDataset:
    return BadDataset(
        what,
        where=[path.name, detail] if detail else path.name,
        did="nothing was read from it",
        fix=fix,
        code=code,
    )
