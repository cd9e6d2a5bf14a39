"""A person's whole loop, in a real browser against the true server: what is drawn is on the disk to
the voxel, on oblique, anisotropic grids with flips, whatever dies in between.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from fewmask.io.image import read_labels, read_volume
from fewmask.io.tables import read_csv
from fewmask.synth.phantom import LABELS, write_phantoms
from fewmask.workbench.folder import key_of
from tests.workbench.browser import (
    await_saved,
    disc,
    expect,
    launched,
    needs_chromium,
    on_screen,
    visit,
)

pytestmark = needs_chromium
ROW_MM = COLUMN_MM = 3.6
"""Pixels of the phantoms; slices are 6 mm apart."""
BRUSH_MM = 12.0


class Desk:
    """A server of its own over phantoms, which can be killed and started again."""

    def __init__(self, folder: Path, count: int) -> None:
        self.data, self.work = folder / "data", folder / "data-workbench"
        cases = write_phantoms(self.data, count)
        labels = {case: read_labels(self.data / "labels" / f"{case}.nii.gz") for case in cases}
        self.truth = {
            case: np.where(one.voxels == LABELS["liver"], 1, 2 * (one.voxels == LABELS["kidneys"]))
            for case, one in labels.items()
        }
        shutil.rmtree(self.data / "labels")
        self.port = 0
        self.start()

    def start(self) -> None:
        words = ["--label", "liver", "--label", "kidneys", "--port", self.port, "--no-browser"]
        command = [sys.executable, "-m", "fewmask", "--json", "label", self.data, *words]
        self.process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["url"]
        base, _, token = self.url.partition("#")
        self.port = int(base.rstrip("/").rpartition(":")[2])
        self.client = httpx.Client(
            base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=30
        )

    def kill(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.communicate()

    def close(self) -> None:
        for one in self.client.get("/api/rounds").json()["rounds"]:
            if one["state"] == "running":
                self.client.post(f"/api/rounds/{one['number']}/stop")
                self.await_round(one["number"], "stopped", 60)
        self.client.close()
        self.process.terminate()
        self.process.communicate(timeout=60)

    def page(self, case: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/api/cases/{key_of(case)}").json()
        return found

    def shown(self, case: str, d: int) -> int:
        return len(self.truth[case]) - 1 - d if self.page(case)["flipped"] else d

    def await_round(self, number: int, state: str, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            now: dict[str, Any] = self.client.get("/api/rounds").json()["rounds"][number - 1]
            if now["state"] != "running":
                assert now["state"] == state, now
                return now
            time.sleep(0.3)
        raise AssertionError(f"round {number} is not {state} after {seconds} s")

    def on_disk(self, case: str) -> np.ndarray:
        """The label file, once nothing waits to be written; it is on the scan's own grid."""
        end = time.monotonic() + 20
        while self.client.get("/api/status").json()["saving"]["waiting"]:
            assert time.monotonic() < end
            time.sleep(0.05)
        return self.read("labels", case)

    def read(self, folder: str, case: str) -> np.ndarray:
        labels = read_labels(self.work / folder / f"{case}.nii.gz")
        scan = read_volume(self.data / "images" / f"{case}.nii.gz")
        np.testing.assert_allclose(labels.grid.affine, scan.grid.affine, atol=1e-5)
        assert labels.grid.shape == scan.grid.shape
        return labels.voxels


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    made = Desk(tmp_path_factory.mktemp("loop"), 4)
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser():
    with launched() as opened:
        yield opened


@pytest.fixture
def context(browser):
    made = browser.new_context(viewport={"width": 1280, "height": 800})
    yield made
    made.close()


def open_slice(page, desk, case, d):
    if page.locator("#scan-name").inner_text() != case:
        page.locator(f'#scans [data-id="{key_of(case)}"]').first.click()
        expect(page.locator("#scan-name")).to_have_text(case)
    page.get_by_label("Slice", exact=True).fill(str(desk.shown(case, d)))
    page.wait_for_selector(f'canvas#slice[data-slice="{key_of(case)}/{d}"][data-ready=true]')
    page.locator("canvas#slice").focus()


def brush(page, x, y):
    page.keyboard.press("b")
    page.mouse.click(*on_screen(page, x, y))
    return disc((96, 96), x, y, BRUSH_MM / 2, ROW_MM, COLUMN_MM)


def rectangle(page, left, top, right, bottom):
    page.keyboard.press("p")
    for corner in ((left, top), (right, top), (right, bottom), (left, bottom)):
        page.mouse.click(*on_screen(page, *corner))
    page.keyboard.press("Enter")
    drawn = np.zeros((96, 96), np.uint8)
    drawn[top:bottom, left:right] = 1
    return drawn


def box_for_sam(page, truth):
    """Drag a box around a structure, and take what SAM finds in it."""
    rows, columns = (np.flatnonzero(truth.any(axis)) for axis in (1, 0))
    page.keyboard.press("x")
    page.mouse.move(*on_screen(page, columns[0] - 1, rows[0] - 1))
    page.mouse.down()
    page.mouse.move(*on_screen(page, columns[-1] + 2, rows[-1] + 2), steps=3)
    page.mouse.up()
    expect(page.get_by_text("SAM's outline, score")).to_be_visible(timeout=60_000)
    page.keyboard.press("Enter")
    expect(page.locator("#slice-state")).to_have_attribute("data-state", "outlined")
    await_saved(page)


def dice(mask, truth):
    return 2 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))


def test_what_is_drawn_is_on_the_disk_to_the_voxel(context, desk) -> None:
    case = "phantom_01"
    assert desk.page(case)["flipped"]
    page = visit(context, desk.url)
    wanted = np.zeros_like(desk.truth[case])
    open_slice(page, desk, case, 9)
    wanted[9] = brush(page, 30.5, 40.5)
    open_slice(page, desk, case, 10)
    wanted[10] = rectangle(page, 20, 30, 41, 52)
    page.keyboard.press("w")  # the second structure, over the corner of the first
    wanted[10] = np.where(brush(page, 20.5, 30.5), 2, wanted[10])
    open_slice(page, desk, case, 2)
    page.keyboard.press("0")
    await_saved(page)
    shown = {d: desk.shown(case, d) for d in (2, 9, 10, 20)}
    open_slice(page, desk, case, 9)
    page.keyboard.press("q")
    page.keyboard.press(".")  # last in the file is the lower one: the file runs from the head
    open_slice(page, desk, case, 20)
    page.keyboard.press(",")
    expect(page.locator("#tag-words")).to_have_text(f"liver: slices {shown[20]} to {shown[9]}")
    np.testing.assert_array_equal(desk.on_disk(case), wanted)
    rows = read_csv(desk.work / "reviewed.csv", ("case", "first_slice", "last_slice"))
    spans = sorted((int(r["first_slice"]), int(r["last_slice"])) for r in rows if r["case"] == case)
    assert spans == [(shown[10], shown[9]), (shown[2], shown[2])]
    tags = read_csv(desk.work / "tags.csv", ("case", "class", "first_slice", "last_slice"))
    said = [(r["class"], int(r["first_slice"]), int(r["last_slice"])) for r in tags]
    assert said == [("liver", shown[20], shown[9])]


def test_a_kill_in_a_stroke_loses_nothing_and_the_page_goes_on(context, desk) -> None:
    case = "phantom_00"
    page = visit(context, desk.url)
    wanted = np.zeros_like(desk.truth[case])
    open_slice(page, desk, case, 12)
    wanted[12] = brush(page, 30.5, 40.5)
    await_saved(page)
    page.mouse.move(*on_screen(page, 60.5, 40.5))
    page.mouse.down()
    desk.kill()
    page.mouse.up()
    wanted[12] |= disc((96, 96), 60.5, 40.5, BRUSH_MM / 2, ROW_MM, COLUMN_MM)
    saving = page.get_by_role("status", name="Saving")
    expect(saving).to_contain_text("not saved, kept in this browser: retrying (1)")
    expect(page.locator("#server")).to_have_text("no server")
    desk.start()
    expect(page.locator("#server")).to_have_text("new address")
    expect(page.get_by_text("The server was started anew.")).to_be_visible()
    page.goto(desk.url)  # the page is still open: only what is behind # is new
    await_saved(page)
    np.testing.assert_array_equal(desk.on_disk(case), wanted)
    expect(page.locator("#server")).not_to_have_text("new address")


def test_a_second_window_shows_both_drawings(context, desk) -> None:
    case = "phantom_02"
    mine, theirs = visit(context, desk.url), visit(context, desk.url)
    for page in (mine, theirs):
        open_slice(page, desk, case, 8)
    first = brush(theirs, 30.5, 40.5)
    await_saved(theirs)
    second = brush(mine, 60.5, 40.5)
    dialog = mine.get_by_role("dialog", name="This slice was changed elsewhere")
    expect(dialog.get_by_role("img")).to_have_count(2)
    assert np.array_equal(desk.on_disk(case)[8], first)
    dialog.get_by_role("button", name="Join both").click()
    await_saved(mine)
    assert np.array_equal(desk.on_disk(case)[8], first | second)


def test_the_keyboard_alone_leads_from_opening_to_a_round(context, desk) -> None:
    asked = []
    context.on("request", lambda request: asked.append(request.url))
    page = visit(context, desk.url)
    pressed = page.keyboard.press
    for key in ("m", "Space", "Shift+ArrowRight", "w", "Space", "m", "v", "v"):
        pressed(key)
    await_saved(page)
    pressed("u")
    for _ in range(40):
        if page.evaluate("document.activeElement.id") == "minutes":
            break
        pressed("Tab")
    pressed("Control+a")
    page.keyboard.type("1")
    pressed("Enter")
    expect(page.get_by_text("Round 1 begins.")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_be_visible()
    own = desk.url.partition("#")[0]
    assert len(asked) > 20
    assert [url for url in asked if not url.startswith((own, f"blob:{own}", "data:,"))] == []


def test_axe_finds_nothing_on_the_true_server(context, desk) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit(context, desk.url)

    def faults():
        found = axe.run(page).response["violations"]
        return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]

    assert faults() == []
    page.keyboard.press("u")
    page.emulate_media(color_scheme="dark")
    assert faults() == []


def test_a_page_that_was_not_let_in_takes_the_right_address(context, desk) -> None:
    page = context.new_page()
    page.goto(desk.url.partition("#")[0] + "#of-an-earlier-server")
    expect(page.get_by_text("The server was started anew.")).to_be_visible()
    page.goto(desk.url)  # the same page: only what is behind # is new
    page.wait_for_selector("body[data-ready=true]")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_persons_whole_loop(browser, tmp_path) -> None:
    desk = Desk(tmp_path, 4)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        _walk(visit(context, desk.url), desk)
    finally:
        context.close()
        desk.close()


def _walk(page, desk) -> None:
    liver = {case: truth == 1 for case, truth in desk.truth.items()}
    begins = page.locator("#next")
    expect(begins).to_contain_text("tell the first and the last slice of liver and kidneys")
    for case in ("phantom_00", "phantom_01"):
        for value in (1, 2):  # liver, kidneys
            ends = np.flatnonzero((desk.truth[case] == value).any((1, 2)))
            keys = ".," if desk.page(case)["flipped"] else ",."
            for key, d in zip(keys, ends[[0, -1]], strict=True):
                open_slice(page, desk, case, int(d))
                page.keyboard.press(key)
                told = desk.shown(case, int(d))
                expect(page.locator("#tag-words")).to_contain_text(f" {told}")
            page.keyboard.press("w")
    expect(begins).to_contain_text("tags say that it is here")

    drawn = {case: np.zeros_like(truth) for case, truth in desk.truth.items()}
    for case, d in (("phantom_00", 12), ("phantom_00", 16), ("phantom_01", 14)):
        open_slice(page, desk, case, d)
        box_for_sam(page, liver[case][d])
        drawn[case][d] = desk.on_disk(case)[d]
        assert dice(drawn[case][d] == 1, liver[case][d]) > 0.6
    page.keyboard.press("w")
    for case, d in (("phantom_00", 8), ("phantom_01", 8)):
        kidneys = desk.truth[case][d] == 2
        rows, columns = (np.flatnonzero(kidneys.any(axis)) for axis in (1, 0))
        assert rows.size
        open_slice(page, desk, case, d)
        corners = (columns[0], rows[0], columns[0] + 8, rows[0] + 8)
        drawn[case][d] = 2 * rectangle(page, *map(int, corners))
        found = 2 * brush(page, columns[-1] - 3.5, rows[0] + 4.5)
        drawn[case][d] = np.maximum(drawn[case][d], found)
    page.keyboard.press("q")
    open_slice(page, desk, "phantom_00", 0)
    page.keyboard.press("0")
    await_saved(page)
    for case in ("phantom_00", "phantom_01"):
        np.testing.assert_array_equal(desk.on_disk(case), drawn[case])

    _train(page, desk, 1)
    rows = page.locator("#scans li")
    expect(rows.get_by_text("predicted")).to_have_count(4)
    for case in ("phantom_02", "phantom_03"):
        predicted = _prediction(desk, case, 1)
        d = int(np.argmax(np.count_nonzero(predicted, (1, 2))))
        open_slice(page, desk, case, d)
        drawn[case][d] = np.where(brush(page, 48.5, 48.5), 1, predicted[d])
        await_saved(page)
        np.testing.assert_array_equal(desk.on_disk(case), drawn[case])
        expect(page.locator(f'#scans [data-id="{key_of(case)}"]')).to_contain_text("corrected")

    _train(page, desk, 2)
    expect(page.get_by_text("not compared with round 1 yet")).to_have_count(1)
    case = "phantom_02"
    predicted = _prediction(desk, case, desk.page(case)["round"])
    d = int(np.flatnonzero(predicted.any((1, 2)) & ~drawn[case].any((1, 2)))[0])
    open_slice(page, desk, case, d)
    drawn[case][d] = np.where(brush(page, 40.5, 48.5), 1, predicted[d])
    await_saved(page)
    page.get_by_role("tab", name="Train").click()
    expect(page.get_by_text("than round 1 on 1 outlined slice")).to_be_visible()

    page.get_by_role("tab", name="Outline").click()
    open_slice(page, desk, case, d)
    number = desk.page(case)["round"]
    page.keyboard.press("a")
    expect(page.get_by_text("phantom_02 is accepted.")).to_be_visible()
    expect(page.locator("#scan-state")).to_have_text("accepted")
    expect(page.locator("#accept")).to_have_attribute("aria-pressed", "true")
    own = drawn[case].any((1, 2))
    wanted = np.where(own[:, None, None], drawn[case], _prediction(desk, case, number))
    np.testing.assert_array_equal(desk.read("accepted", case), wanted)
    table = read_csv(desk.work / "accepted.csv", ("case", "round"))
    assert [(row["case"], row["round"]) for row in table] == [(case, str(number))]


def _train(page, desk, number) -> None:
    page.get_by_role("tab", name="Train").click()
    page.get_by_label("Minutes").fill("1")
    page.get_by_role("button", name="Train and predict").click()
    expect(page.get_by_text(f"Round {number} begins.")).to_be_visible()
    desk.await_round(number, "done", 900)
    card = page.locator(".round").filter(has_text=f"Round {number}")
    expect(card.get_by_text("done")).to_be_visible()
    page.get_by_role("tab", name="Outline").click()


def _prediction(desk, case, number) -> np.ndarray:
    path = desk.work / "rounds" / f"{number:02d}" / "predictions" / f"{case}.nii.gz"
    return read_labels(path).voxels
