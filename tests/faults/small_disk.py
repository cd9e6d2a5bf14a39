"""A disk that is really too small: every verb that writes, with nothing simulated.

unshare --map-root-user --mount python -m tests.faults.small_disk PLACE REPORT VERB ...

Run in a namespace of its own, in which a tmpfs may be mounted without being anybody. `PLACE` holds
what the verbs read (`make_place`). What is scarce in turn: names (inodes: folders, locks, links,
temporary files), bytes (the file system is full after so many), the length of a file (`ulimit -f`:
tables that are appended to), and the right to write at all (a read-only mount).
"""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fewmask.core.errors import FewmaskError
from fewmask.training import train
from tests.cli.test_verbs import fewmask, small
from tests.kills.works import damage, digests
from tests.scans import prepare_scans

_UNET = "--method unet --set channels=(4,8) --device cpu --amp off --slices 4"
_SCORE = "masks scans/labels --label liver=6"


@dataclass(frozen=True)
class Verb:
    """A command that writes into OUT; `tries` of every kind of scarcity."""

    words: str
    tries: int = 4
    begins_with: str = ""
    folder: bool = False
    """Must the output folder be there?"""


VERBS = {
    "check": Verb("check scans --copy-header case_01 --out OUT/mended"),
    "prepare": Verb("prepare scans --label liver=6 --jobs 1 --out OUT/prepared", 8),
    "train": Verb(f"train prepared {_UNET} --steps 3 --save-steps 1 --out OUT/run"),
    "predict": Verb("predict run scans/images --device cpu --out OUT/masks"),
    "evaluate": Verb(f"evaluate {_SCORE} --out OUT/scores.csv"),
    "evaluate-run": Verb("evaluate OUT/run --device cpu", begins_with="run"),
    "report": Verb("report OUT/run", begins_with="run"),
    "convert": Verb("convert prepared --out OUT/slices.h5", 8),
    "nnunet": Verb("nnunet export prepared --slices 2 --out OUT/raw"),
    "sweep": Verb("sweep plan.toml --data . --device cpu --work OUT/w --rows OUT/rows.csv", 2),
    "pretrain": Verb("pretrain --steps 1 --device cpu --no-amp --out OUT/pretrained", 2),
    "demo": Verb("demo --steps 1 --out OUT/demo", 2),
}
REASONS = ("disk is full", "too large", "read-only", "no permission")


def make_place(place: Path) -> None:
    """Three scans, their prepared dataset, a run, masks, and a sweep file."""
    prepared = prepare_scans(place, 3)
    train(small(prepared.folder, place / "run"))
    done = fewmask("predict", place / "run", place / "scans" / "images", "--out", place / "masks")
    assert done.exit_code in (0, 5), done.exception
    (place / "plan.toml").write_text(
        'data = "scans"\namp = "off"\nlabel = ["liver=6"]\n[[runs]]\nmethod = ["unet"]\n'
        "slices = [4]\nsteps = 1\nset = { channels = [4, 8] }\n"
    )
    (place / "disk").mkdir()


class Trial:
    """One verb on a small disk at `PLACE/disk`."""

    def __init__(self, place: Path, verb: Verb) -> None:
        self.place, self.verb = place, verb
        self.disk = place / "disk"
        self.out = self.disk / "out"

    def run(self) -> BaseException | None:
        """What the verb ended with; nothing where it worked."""
        words = self.verb.words.replace("OUT", str(self.out)).split()
        done = fewmask(*words)
        code = getattr(done.exception, "exit_code", done.exit_code)
        return None if code == 0 or code == self.usual else done.exception

    usual = 0
    """Exit code with room enough: 5 where a network that learned nothing draws nothing."""

    def undisturbed(self) -> dict[str, str]:
        """Bits with room enough."""
        with self.mounted("size=256m"):
            words = self.verb.words.replace("OUT", str(self.out)).split()
            done = fewmask(*words)
            self.usual = getattr(done.exception, "exit_code", done.exit_code)
            assert self.usual in (0, 5), done.exception
            files = [path for path in self.out.rglob("*") if path.is_file()]
            self.sizes = sorted({path.stat().st_size for path in files})
            self.names = sum(1 for _ in self.disk.rglob("*"))
            self.bytes = sum(path.stat().st_size for path in files)
            return digests(self.out)

    @contextmanager
    def mounted(self, options: str) -> Iterator[None]:
        """A fresh disk with what the verb begins with."""
        _mount("-t", "tmpfs", "-o", options, "tmpfs", str(self.disk))
        try:
            self.out.mkdir()
            if self.verb.begins_with:
                source = self.place / self.verb.begins_with
                shutil.copytree(source, self.out / self.verb.begins_with)
            yield
        finally:
            os.chdir(self.place)
            subprocess.run(["umount", str(self.disk)], check=True)

    def remount(self, options: str) -> None:
        """Change the disk under its files."""
        _mount("-o", f"remount,{options}", str(self.disk))

    def used(self) -> tuple[int, int]:
        """Names and bytes on it."""
        state = os.statvfs(self.disk)
        return state.f_files - state.f_ffree, (state.f_blocks - state.f_bfree) * state.f_frsize


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


@contextmanager
def few_names(trial: Trial, part: float) -> Iterator[Callable[[], None]]:
    """So many more folders and files fit."""
    with trial.mounted("size=256m"):
        trial.remount(f"nr_inodes={trial.used()[0] + int(part * trial.names)}")
        yield lambda: trial.remount("nr_inodes=100000")


@contextmanager
def few_bytes(trial: Trial, part: float) -> Iterator[Callable[[], None]]:
    """So many more bytes fit, in whole pages."""
    with trial.mounted("size=256m"):
        pages = -(-trial.used()[1] // 4096) + int(part * trial.bytes / 4096)
        trial.remount(f"size={max(1, pages) * 4096}")
        yield lambda: trial.remount("size=256m")


@contextmanager
def short_files(trial: Trial, part: float) -> Iterator[Callable[[], None]]:
    """No file may grow longer: a part of what is written fits."""
    limit = trial.sizes[min(int(part * len(trial.sizes)), len(trial.sizes) - 1)] - 1
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def lift() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    with trial.mounted("size=256m"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            yield lift
        finally:
            lift()


@contextmanager
def read_only(trial: Trial, part: float) -> Iterator[Callable[[], None]]:
    """A disk that may be read."""
    with trial.mounted("size=256m"):
        trial.remount("ro")
        yield lambda: trial.remount("rw")


SCARCE = (few_names, few_bytes, short_files, read_only)


def troubles_of(place: Path, verb: Verb) -> list[str]:
    """What goes otherwise than promised: exit 4 with file, reason and fix; nothing half-written;
    the same command works, to the same bits, once there is room.
    """
    trial = Trial(place, verb)
    os.chdir(place)
    expected = trial.undisturbed()
    troubles = []
    for scarce in SCARCE:
        tries = 1 if scarce is read_only else verb.tries
        for number in range(tries):
            name = f"{scarce.__name__} {number + 1} of {tries}"
            with scarce(trial, number / tries) as relieve:
                error = trial.run()
                relieve()
                if error is None and number == 0 and scarce in (few_names, read_only):
                    troubles.append(f"{name}: worked without room")
                troubles += [f"{name}: {line}" for line in _said(error, trial)]
                troubles += [f"{name}: {line} is damaged" for line in damage(trial.out)]
                left = [path.name for path in trial.out.rglob("*.part")]
                troubles += [f"{name}: {line} is left" for line in left]
                again = trial.run()
                if again is not None and getattr(again, "code", "") != "F11":
                    troubles.append(f"{name}: not with room again: {again!r}")
                found = digests(trial.out)
                names = [n for n in {**expected, **found} if not _may_lack(n, found)]
                other = [n for n in names if expected.get(n) != found.get(n)]
                troubles += [f"{name}: {line}: other bits" for line in other]
    return troubles


def _may_lack(name: str, found: dict[str, str]) -> bool:
    """A mask that stands there whole without the note of what it was made of: `evaluate` takes it,
    `predict` draws it again.
    """
    return name.endswith(".made.json") and name not in found


def _said(error: BaseException | None, trial: Trial) -> list[str]:
    """What is wrong with the message."""
    if error is None:
        return []
    if not isinstance(error, FewmaskError) or error.exit_code not in (4, 5):
        return [f"ended with {error!r}"]
    text = str(error)
    wrong = [] if error.fix else ["no fix"]
    if not any(reason in text for reason in REASONS):
        wrong.append(f"no reason: {text!r}")
    if error.exit_code == 4 and str(trial.disk) not in text:
        wrong.append(f"no file: {text!r}")
    return wrong


if __name__ == "__main__":
    found = {name: troubles_of(Path(sys.argv[1]), VERBS[name]) for name in sys.argv[3:]}
    Path(sys.argv[2]).write_text(json.dumps(found, indent=1))
