"""Lists the files of somebody's data folder: nothing is opened, links never lead out of it, what
cannot be used becomes a problem.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from fewmask.core.errors import BadDataset, BadScan, FewmaskError, NoRoom
from fewmask.io.image import files_of, is_image
from fewmask.prepare.dicommasks import masks_in

_JUNK = {"thumbs.db", "desktop.ini", "__macosx"}
_MAX_DEPTH = 5
_MAX_ENTRIES = 2_000_000


@dataclass
class FolderTree:
    """What a walk found: per folder its usable files, sorted by name; and what was left out, with
    the reason.
    """

    root: Path
    files: dict[Path, list[Path]] = field(default_factory=dict)
    problems: list[FewmaskError] = field(default_factory=list)
    too_deep: list[Path] = field(default_factory=list)
    """Folders that nobody looked into, since they lie too deep."""
    ignored: int = 0
    """Files that no person made: `._*`, `.DS_Store`, `Thumbs.db` and other hidden ones."""

    def folders(self, parent: Path) -> list[Path]:
        """Direct sub-folders, sorted by name."""
        return self._inner.get(parent, [])

    @cached_property
    def _inner(self) -> dict[Path, list[Path]]:
        """Folder -> sub-folders, once the walk is over."""
        inner: dict[Path, list[Path]] = {}
        for folder in sorted(self.files):
            if folder != self.root:
                inner.setdefault(folder.parent, []).append(folder)
        return inner

    def holds_images(self, folder: Path) -> bool:
        """Is there a file named as an image in it or below it?"""
        return bool(self.nifti(folder)) or any(map(self.holds_images, self.folders(folder)))

    def below(self, parent: Path) -> Iterator[Path]:
        """Every file in `parent` and its sub-folders."""
        for folder, files in self.files.items():
            if folder.is_relative_to(parent):
                yield from files

    def nifti(self, folder: Path) -> list[Path]:
        """Image files of this folder by their names, and DICOM objects that are masks."""
        files = self.files.get(folder, [])
        known = set(files)
        images = [path for path in files if is_image(path) and self._may_open(path, known)]
        return images + masks_in(files)

    def _may_open(self, path: Path, known: set[Path]) -> bool:
        """Of a header with its voxels in another file that too was seen and not refused."""
        if not path.name.lower().endswith((".hdr", ".hdr.gz", ".mhd", ".nhdr")):
            return True
        try:
            return set(files_of(path)) <= known
        except FewmaskError:
            return True  # without a twin: its reader says so


def walk_folder(root: Path, follow_links: bool = False) -> FolderTree:
    """Walk `root`, at most five folders deep.

    Dangling, circular and (unless `follow_links`) outward links, pipes, sockets, devices and
    folders named like images are listed as problems (N46) and never opened; unreadable folders too
    (N47). Raises `BadDataset` if `root` is no folder.
    """
    if not root.is_dir():
        raise BadDataset(
            f"{printable(root)} is {'a file' if root.exists() else 'not there'}: a folder of "
            "scans is needed",
            fix="give the folder that holds the scans",
        )
    tree = FolderTree(root)
    seen: set[tuple[int, int]] = set()
    left = _MAX_ENTRIES
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        about = folder.stat()
        if (about.st_dev, about.st_ino) in seen:  # a link to a folder already seen
            continue
        seen.add((about.st_dev, about.st_ino))
        tree.files[folder] = []
        entries = _entries(folder, tree)
        left -= len(entries)
        if left < 0:
            raise BadDataset(
                f"{printable(root)} holds more than {_MAX_ENTRIES:,} files",
                fix="give a folder nearer to the scans",
            )
        for entry in entries:
            path = folder / entry.name
            if is_junk(entry.name):
                tree.ignored += 1
            elif problem := _problem(entry, path, root, follow_links):
                tree.problems.append(problem)
            elif not entry.is_dir():
                tree.files[folder].append(path)
            elif depth < _MAX_DEPTH:
                waiting.append((path, depth + 1))
            else:
                tree.too_deep.append(path)
    return tree


def is_junk(name: str) -> bool:
    """Hidden files and what macOS and Windows leave behind (N49)."""
    return name.startswith(".") or name.lower() in _JUNK


def printable(name: Path | str) -> str:
    """A name as it can stand in a message: control characters and undecodable bytes escaped."""
    text = str(name)
    return text if text.isprintable() else ascii(text)


def _entries(folder: Path, tree: FolderTree) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        tree.problems.append(
            NoRoom(
                f"folder cannot be read: {error.strerror}",
                where=printable(folder),
                did="what is in it was skipped",
                fix=f"chmod u+rx {printable(folder)!r}, or reconnect the drive",
                code="N47",
            )
        )
        return []


def _problem(entry: os.DirEntry[str], path: Path, root: Path, follow_links: bool) -> BadScan | None:
    """Why this entry must not be opened, or None."""
    what, fix = "", "remove it from the folder"
    if entry.is_symlink():
        what, fix = _link_problem(path, root, follow_links)
    if not what:
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            what, mode = f"cannot be looked at: {error.strerror}", 0
        if stat.S_ISDIR(mode) and is_image(path):
            what, fix = (
                "is a folder with the name of an image",
                "rename the folder, or move the image inside it up",
            )
        elif mode and not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            kind = (
                "a named pipe"
                if stat.S_ISFIFO(mode)
                else "a socket"
                if stat.S_ISSOCK(mode)
                else "a device"
            )
            what = f"is {kind}, not a file"
    if not what:
        return None
    shown = printable(path.relative_to(root))
    return BadScan(f"{shown} {what}", where=shown, did="it was not opened", fix=fix, code="N46")


def _link_problem(path: Path, root: Path, follow_links: bool) -> tuple[str, str]:
    try:
        target = path.resolve(strict=True)
    except FileNotFoundError:
        return (
            "is a link to a file that is not there",
            "restore the file it points to, or remove the link",
        )
    except (OSError, RuntimeError):  # a circle: RuntimeError before Python 3.13, ELOOP since
        return "is a link that points to itself in a circle", "remove the link"
    if not follow_links and not target.is_relative_to(root.resolve()):
        return (
            "is a link that leaves the data folder",
            "copy the file it points to into the folder, or allow links with `follow_links=True`",
        )
    return "", ""
