"""A person at the page: a real browser, and where things are on its screen."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
expect = sync_api.expect


@contextmanager
def launched() -> Iterator[Any]:
    """Chromium without a window."""
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def visit(context: Any, address: str) -> Any:
    """A tab that shows the first scan."""
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.goto(address)
    page.wait_for_selector("body[data-ready=true]")
    page.wait_for_selector("canvas#slice[data-ready=true][data-place]")
    return page


def on_screen(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a place of the slice (pixels from its corner) is on the screen."""
    box = page.locator("canvas#slice").bounding_box()
    left, top, sx, sy = map(float, page.locator("canvas#slice").get_attribute("data-place").split())
    return box["x"] + left + x * sx, box["y"] + top + y * sy


def await_saved(page: Any) -> None:
    expect(page.get_by_role("status", name="Saving")).to_have_text("saved")


def disc(
    shape: tuple[int, int], x: float, y: float, radius_mm: float, row_mm: float, column_mm: float
) -> np.ndarray:
    """What a click of a brush of that radius draws."""
    rows, columns = np.indices(shape) + 0.5
    far = ((columns - x) * column_mm) ** 2 + ((rows - y) * row_mm) ** 2
    drawn: np.ndarray = (far <= radius_mm**2).astype(np.uint8)
    return drawn
