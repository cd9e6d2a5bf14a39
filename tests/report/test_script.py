"""The page in a browser: it scrolls, sorts, filters, enlarges, rates, and reads without scripts."""

import csv
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.test_masks import folder, page_of  # noqa: F401  the fixture

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="playwright is not installed"
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Any, folder: Path, **context: Any) -> Any:  # noqa: F811
    """A tab on the page, in which any error of the script or refusal of the policy fails."""
    page_of(folder, tags=folder / "tags.csv")
    tab = browser.new_context(**context).new_page()
    tab.errors = []
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.on("console", lambda line: tab.errors.append(line.text) if line.type == "error" else None)
    tab.goto((folder / "masks" / "report" / "index.html").as_uri())
    return tab


def test_the_page_scrolls_sorts_filters_enlarges_and_rates(browser, folder, tmp_path) -> None:  # noqa: F811
    tab = opened(browser, folder, accept_downloads=True)

    def shown() -> list[str]:
        return [
            card.get_attribute("data-case")
            for card in tab.query_selector_all(".scan:not([hidden])")
        ]

    assert shown() == ["case_00", "case_04", "case_01", "case_02", "case_03"]
    tab.select_option("#sort", "case")
    assert shown() == [f"case_0{n}" for n in range(5)]
    tab.select_option("#sort", "ml")
    assert shown()[-2:] == ["case_01", "case_00"]
    tab.select_option("#filter", "reasons")
    assert set(shown()) == {"case_00", "case_01", "case_04"}
    tab.fill("#find", "_04")
    assert shown() == ["case_04"] and tab.inner_text("#shown") == "1 of 5 scans"
    tab.fill("#find", "")
    tab.select_option("#filter", "")

    strip = tab.locator('[data-case="case_01"] details.slices')
    strip.locator("summary").click()
    at = strip.locator("li.on figcaption")
    before = int(at.inner_text().removeprefix("slice "))
    strip.get_by_label("One slice on").click()
    assert int(at.inner_text().removeprefix("slice ")) == before + 1
    strip.locator("input[type=range]").focus()
    tab.keyboard.press("Home")
    assert at.inner_text() == "slice 0" and strip.locator("li:visible").count() == 1
    strip.get_by_role("button", name="all").click()
    assert strip.locator("li:visible").count() > 5

    tab.uncheck('[data-off="no-fill"]')
    path = tab.locator('[data-case="case_01"] .pair path.model').first
    assert path.evaluate("one => getComputedStyle(one).fill") == "none"

    tab.locator('[data-case="case_01"] .pair .enlarge').first.click()
    assert tab.locator("dialog").is_visible()
    assert tab.inner_text("#caption").startswith("case_01, slice")
    tab.keyboard.press("Escape")
    assert not tab.locator("dialog").is_visible()

    heading = tab.get_by_role("button", name="volume, mL")
    heading.click()
    first = tab.locator("#volumes ~ .scroll tbody tr").first
    assert first.locator("th").inner_text() == "case_00"
    heading.click()
    assert tab.locator("th[aria-sort=descending]").count() == 1
    assert first.locator("th").inner_text() != "case_00"

    tab.click("#rate")
    tab.click("#save")
    assert tab.inner_text("#rated") == "first say who you are"
    tab.fill("#rater", "ann")
    form = tab.locator('[data-case="case_04"] form')
    form.locator('[name=coverage][value="4"]').check()
    form.locator('[name=usable][value="yes"]').check()
    form.locator("[name=note]").fill('too "thin", twice')
    assert tab.inner_text("#rated") == "1 of 5 rated"
    tab.check('[data-on="blind"]')
    assert not tab.locator('[data-case="case_04"] .reasons').is_visible()
    with tab.expect_download() as download:
        tab.click("#save")
    assert download.value.suggested_filename == "ratings-ann.csv"
    download.value.save_as(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {
        "rater": "ann",
        "case": "case_04",
        "coverage": "4",
        "spill": "",
        "boundary": "",
        "usable": "yes",
        "note": 'too "thin", twice',
    }
    assert tab.errors == []

    from fewmask.evaluate.agreement import read_ratings

    assert read_ratings([tmp_path / "a.csv"]) == {"ann": {"case_04": {"coverage": 4, "usable": 1}}}


def test_without_scripts_it_reads(browser, folder) -> None:  # noqa: F811
    tab = opened(browser, folder, java_script_enabled=False)
    assert tab.locator(".scan").count() == 5 and not tab.locator("#tools").is_visible()
    assert tab.locator("button:visible").count() == 0
    strip = tab.locator('[data-case="case_01"] details.slices')
    strip.locator("summary").click()
    assert strip.locator("li:visible").count() > 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_for_axe_to_find(browser, folder, scheme) -> None:  # noqa: F811
    """On the width of a telephone, with strips open and ratings on; no scrolling sideways."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    size = {"width": 400, "height": 800}
    tab = opened(browser, folder, color_scheme=scheme, viewport=size, bypass_csp=True)
    tab.locator("details.slices summary").first.click()
    tab.click("#rate")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    found = axe.Axe().run(tab)
    assert found.violations_count == 0, found.generate_report()
