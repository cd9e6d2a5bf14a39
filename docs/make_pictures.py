"""The pictures of the workbench in docs/figures: made-up scans, the true server, a real browser.

    python docs/make_pictures.py                 # eight minutes; needs chromium and playwright
    python docs/make_pictures.py --work FOLDER   # keeps scans and rounds; later calls begin there

It walks the walk of docs/workbench.md: outline five slices with SAM's box, say tags, train, look at
what came of it. Every scan in a picture is a phantom of `fewmask demo`; no picture shows a person.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from fewmask.core.volume import LabelMap
from fewmask.io.image import read_labels
from fewmask.synth.phantom import LABELS, write_phantoms

FIGURES = Path(__file__).parent / "figures"
PICTURES = (
    "workbench-outline.png",
    "workbench-outline-dark.png",
    "workbench-rounds.png",
    "workbench-planes-dark.png",
)
MOST_BYTES = 250_000
CASES, SLICES = 12, 5
STRUCTURES = ("liver", "spleen")
SIZE: Any = {"width": 1280, "height": 800}
_WAIT_MS = 30_000


@contextmanager
def served(scans: Path, work: Path) -> Iterator[str]:
    """The address of `fewmask label` while the block runs."""
    words = [sys.executable, "-m", "fewmask", "--json", "label", str(scans), "--out", str(work)]
    words += ["--port", "0", "--no-browser"]
    words += [word for name in STRUCTURES for word in ("--label", name)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - our own
        said: Any = server.stdout
        try:
            yield json.loads(said.readline())["url"]
        finally:
            server.terminate()


class Person:
    """Does in the page what the walk says, with the truth of the phantoms for eyes."""

    def __init__(self, page: Page, truth: dict[str, LabelMap]) -> None:
        self.page, self.truth = page, truth

    def open(self, case: str, d: int) -> None:
        """Look at slice d (from the feet up) of a scan."""
        labels = self.truth[case]
        depth = len(labels.voxels)
        shown = depth - 1 - d if labels.grid.orientation.flips[0] else d
        if self.page.locator("#scan-name").inner_text() != case:
            self.page.locator("#scans").get_by_role("button", name=case).click()
            self.page.locator("#scan-name", has_text=case).wait_for()
        self.page.get_by_label("Slice", exact=True).fill(str(shown))
        self.page.wait_for_selector(f'#slice[data-slice$="/{d}"][data-ready=true]')
        self.page.locator("#slice").focus()

    def ends(self, case: str, name: str) -> tuple[int, int]:
        """The lowest and highest slice of a structure."""
        found = np.flatnonzero((self.truth[case].voxels == LABELS[name]).any((1, 2)))
        return int(found[0]), int(found[-1])

    def tag(self, case: str) -> None:
        """Say where each structure begins and ends, in the order of the file."""
        flipped = self.truth[case].grid.orientation.flips[0]
        for number, name in enumerate(STRUCTURES, 1):
            low, high = self.ends(case, name)
            for key, d in zip(",.", (high, low) if flipped else (low, high), strict=True):
                self.open(case, d)
                self.page.keyboard.press(f"Alt+{number}")
                with self.page.expect_response("**/tags"):
                    self.page.keyboard.press(key)

    def box(self, case: str, d: int, number: int) -> bool:
        """Drag a box around structure `number`; False where the slice does not hold it."""
        mask = self.truth[case].voxels[d] == LABELS[STRUCTURES[number - 1]]
        if mask.sum() < 20:
            return False
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        self.page.keyboard.press(f"Alt+{number}")
        self.page.keyboard.press("x")
        self.page.mouse.move(*self._place(columns[0], rows[0]))
        self.page.mouse.down()
        self.page.mouse.move(*self._place(columns[-1] + 1, rows[-1] + 1), steps=4)
        self.page.mouse.up()
        self.page.get_by_text("SAM's outline").wait_for()
        return True

    def point(self, case: str, name: str) -> None:
        """Put the crosshair into the middle of a structure in the slice in sight."""
        d = int((self.page.locator("#slice").get_attribute("data-slice") or "").split("/")[1])
        rows, columns = np.nonzero(self.truth[case].voxels[d] == LABELS[name])
        self.page.keyboard.down("Shift")
        self.page.mouse.click(*self._place(columns.mean(), rows.mean()))
        self.page.keyboard.up("Shift")

    def outline(self, case: str, d: int) -> None:
        """Take SAM's outline of every structure that the slice holds."""
        self.open(case, d)
        for number in range(1, len(STRUCTURES) + 1):
            if self.box(case, d, number):
                with self.page.expect_response("**/outline/**"):
                    self.page.keyboard.press("Enter")

    def train(self, minutes: float) -> None:
        """A round, to its end."""
        self.page.get_by_role("tab", name="Train").click()
        self.page.get_by_label("Minutes").fill(f"{minutes:g}")
        self.page.get_by_role("button", name="Train and predict").click()
        done = self.page.locator(
            "#rounds .round[data-state=done], #rounds .round[data-state=failed]"
        )
        done.first.wait_for(timeout=60_000 * (minutes + 10))
        if self.page.locator("#rounds .round[data-state=failed]").count():
            raise RuntimeError(self.page.locator("#rounds").inner_text())

    def _place(self, x: float, y: float) -> tuple[float, float]:
        canvas = self.page.locator("#slice")
        box: Any = canvas.bounding_box()
        left, top, sx, sy = map(float, (canvas.get_attribute("data-place") or "").split())
        return box["x"] + left + float(x) * sx, box["y"] + top + float(y) * sy


def shoot(page: Page, name: str) -> None:
    """A screenshot with few colours, so that it is small."""
    if name not in PICTURES:
        raise ValueError(f"{name} is not among PICTURES")
    wanted = "dark" if name.endswith("-dark.png") else "light"
    while page.locator("#scheme").get_attribute("aria-label") != f"Colours: {wanted}":
        page.locator("#scheme").click()
    page.wait_for_timeout(4000)  # notes fade, thumbnails and planes come
    path = FIGURES / name
    page.screenshot(path=path)
    with Image.open(path) as picture:
        # The few strong colours of outlines count as much as the many greys.
        few = Image.Quantize.MAXCOVERAGE
        small = picture.convert("RGB").quantize(256, few, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes")


def walk(person: Person, minutes: float) -> None:
    """The walk, with a picture at each stop."""
    page, cases = person.page, sorted(person.truth)
    # The last is a scan in which SAM is good; docs/workbench-inside.md says how good on real ones.
    *others, last = [case for case in cases[:SLICES] if case != cases[2]] + [cases[2]]
    if not page.locator("#rounds .round").count():
        for case in cases:
            person.tag(case)
        for place, case in enumerate(others):  # from the liver's lower to its upper end
            low, high = person.ends(case, "liver")
            person.outline(case, low + (high - low) * (place + 1) // SLICES)
        middle = sum(person.ends(last, "spleen")) // 2
        person.open(last, middle)
        person.box(last, middle, 1)
        shoot(page, "workbench-outline.png")
        shoot(page, "workbench-outline-dark.png")
        page.keyboard.press("Escape")
        person.outline(last, middle)
        person.train(minutes)
    page.get_by_role("tab", name="Train").click()
    doubtful = page.locator("#scans .name").first.inner_text()
    person.open(doubtful, sum(person.ends(doubtful, "spleen")) // 2)
    shoot(page, "workbench-rounds.png")
    page.get_by_role("tab", name="Outline").click()
    page.locator("#slice").focus()
    page.keyboard.press("v")
    person.point(doubtful, "liver")
    shoot(page, "workbench-planes-dark.png")


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for scans and outlines; default: for now")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training")
    asked = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as passing, sync_playwright() as playwright:
        work = asked.work or Path(passing)
        cases = write_phantoms(work / "phantoms", CASES)
        truth = {case: read_labels(work / f"phantoms/labels/{case}.nii.gz") for case in cases}
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(_WAIT_MS)
        with served(work / "phantoms" / "images", work / "outlines") as url:
            page.goto(url)
            page.wait_for_selector("body[data-ready=true]")
            walk(Person(page, truth), asked.minutes)
        browser.close()


if __name__ == "__main__":
    main()
