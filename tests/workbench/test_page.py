"""The page of the workbench in a real browser, against the stand-in server of this folder."""

import json
import re
import time

import numpy as np
import pytest

from tests.workbench import mock_server
from tests.workbench.browser import await_saved, disc, launched, needs_chromium, on_screen, visit

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_chromium

HOSTILE = "<img src=x onerror=document.title='taken'>"
STATIC = mock_server.STATIC


@pytest.fixture(scope="module")
def browser():
    with launched() as opened:
        yield opened


@pytest.fixture
def bench():
    return mock_server.Bench(["alpha", "beta", "broken", HOSTILE])


@pytest.fixture
def server(bench):
    started, address = mock_server.serve(bench)
    yield address
    started.shutdown()
    started.server_close()


@pytest.fixture
def context(browser):
    made = browser.new_context(viewport={"width": 1280, "height": 800})
    yield made
    made.close()


@pytest.fixture
def page(context, server):
    return visit(context, server)


def choose(page, name, scan):
    page.locator("#scans").get_by_role("button", name=name).click()
    page.wait_for_selector(f'canvas#slice[data-slice^="{scan.id}/"]')


def open_scan(page, name, scan, d):
    page.get_by_label("Search scans").fill(name)
    choose(page, name, scan)
    page.get_by_label("Slice", exact=True).fill(str(d))
    page.wait_for_selector(f'canvas#slice[data-slice="{scan.id}/{d}"][data-ready=true]')
    page.locator("canvas#slice").focus()


def await_puts(bench, count):
    """Wait for that many slices at the server; returns the last as (rows, columns)."""
    deadline = time.monotonic() + 5
    while len(bench.puts) < count:
        assert time.monotonic() < deadline, f"{len(bench.puts)} slices came, {count} were expected"
        time.sleep(0.02)
    name, d, state, body = bench.puts[-1]
    return name, d, state, np.frombuffer(body, np.uint8).reshape(bench.scan(name).shape[1:])


def test_a_brush_stroke_and_a_polygon_arrive_as_drawn(page, bench):
    scan = bench.scan("alpha")
    open_scan(page, "alpha", scan, 7)
    x, y = on_screen(page, 60.5, 50.5)
    page.mouse.click(x, y)
    name, d, state, drawn = await_puts(bench, 1)
    assert (name, d, state) == ("alpha", 7, "outlined")
    # Rows are 2.2 mm, columns 2.5 mm; the brush is 12 mm wide at first.
    assert np.array_equal(drawn, disc(drawn.shape, 60.5, 50.5, 6, 2.2, 2.5))

    page.keyboard.press("w")  # the second structure
    page.keyboard.press("p")
    for corner in ((20, 30), (40, 30), (40, 44), (20, 44)):
        page.mouse.click(*on_screen(page, *corner))
    page.keyboard.press("Enter")
    box = np.zeros_like(drawn)
    box[30:44, 20:40] = 2
    assert np.array_equal(await_puts(bench, 2)[3], drawn + box)

    page.keyboard.press("Control+z")
    assert np.array_equal(await_puts(bench, 3)[3], drawn)
    page.keyboard.press("Control+z")
    assert await_puts(bench, 4)[2] == "untouched"
    page.keyboard.press("Control+Shift+z")
    assert np.array_equal(await_puts(bench, 5)[3], drawn)
    await_saved(page)


def test_the_keyboard_alone_is_enough(page, bench):
    page.keyboard.press("m")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    name, d, state, drawn = await_puts(bench, 1)
    # The crosshair begins in the middle of the slice, at the pixel (64, 64).
    assert state == "outlined"
    assert np.array_equal(drawn, disc(drawn.shape, 74.5, 63.5, 6, 2.2, 2.5))
    page.keyboard.press("p")
    for way in ("ArrowRight", "ArrowDown", "ArrowLeft"):
        page.keyboard.press("Space")
        page.keyboard.press(f"Shift+{way}")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    filled = await_puts(bench, 2)[3] > drawn
    assert filled[65:73, 76:84].all()
    page.keyboard.press("m")
    page.keyboard.press("0")
    assert await_puts(bench, 3)[2] == "empty"
    page.keyboard.press(",")
    sync_api.expect(page.get_by_text(f"liver: slices {d} to ?").first).to_be_visible()
    assert bench.scan(name).tags["liver"] == [d, None]


def test_a_flipped_file_is_counted_and_tagged_in_its_own_order(page, bench):
    scan = bench.scan("beta")
    choose(page, "beta", scan)
    page.get_by_label("Slice", exact=True).fill("9")
    page.wait_for_selector(f'canvas#slice[data-slice="{scan.id}/30"][data-ready=true]')
    label = page.locator("canvas#slice").get_attribute("aria-label")
    assert label.startswith("Scan beta, slice 9,")
    page.locator("canvas#slice").hover()
    for notch in (120, -120):  # of a mouse's wheel: one slice there, one back
        page.mouse.wheel(0, notch)
        page.wait_for_selector(f'canvas#slice[data-slice="{scan.id}/{29 if notch > 0 else 30}"]')
    page.get_by_role("button", name="First slice").click()
    sync_api.expect(page.locator("#tag-words")).to_have_text("liver: slices 9 to ?")
    assert scan.tags["liver"] == [None, 30]


def test_a_stroke_on_a_predicted_slice_begins_from_the_prediction(context, bench, server):
    bench.rounds, bench.default = [bench._done(1)], 1
    page = visit(context, server)
    scan = bench.scan("alpha")
    open_scan(page, "alpha", scan, 24)
    page.wait_for_function("!document.getElementById('take').disabled")
    page.mouse.click(*on_screen(page, 100.5, 100.5))
    drawn = await_puts(bench, 1)[3]
    wanted = scan.predicted(1)[24].copy()
    wanted[disc(wanted.shape, 100.5, 100.5, 6, 2.2, 2.5) > 0] = 1
    assert np.array_equal(drawn, wanted)
    sync_api.expect(page.get_by_text("Begun from the prediction")).to_be_visible()


def test_after_an_accepted_scan_comes_the_most_doubtful_one(context, bench, server):
    bench.rounds, bench.default = [bench._done(1)], 1
    page = visit(context, server)
    names = page.locator("#scans .name")
    first, second = names.nth(0).inner_text(), names.nth(1).inner_text()
    sync_api.expect(page.locator("#scan-name")).to_have_text(first)
    page.keyboard.press("a")
    sync_api.expect(page.get_by_text(f"{first} is accepted.")).to_be_visible()
    sync_api.expect(names.first).to_have_text(second)
    page.keyboard.press("j")
    sync_api.expect(page.locator("#scan-name")).to_have_text(second)


def test_sam_proposes_without_blocking_and_enter_takes(page, bench):
    scan = bench.scan("alpha")
    open_scan(page, "alpha", scan, 24)
    bench.sam_waits = 2
    page.keyboard.press("x")
    page.mouse.move(*on_screen(page, 10, 20))
    page.mouse.down()
    page.mouse.move(*on_screen(page, 75, 100), steps=3)
    page.mouse.up()
    sync_api.expect(page.get_by_text("SAM is reading this slice")).to_be_visible()
    sync_api.expect(page.get_by_text("SAM's outline, score 0.93")).to_be_visible()
    assert bench.puts == []
    page.keyboard.press("Enter")
    wanted = np.zeros(scan.shape[1:], np.uint8)
    wanted[20:100, 10:75] = scan.truth[24][20:100, 10:75] == 1
    assert np.array_equal(await_puts(bench, 1)[3], wanted)
    page.keyboard.press("c")
    page.mouse.click(*on_screen(page, 40, 60))
    sync_api.expect(page.get_by_text("SAM's outline")).to_be_visible()
    page.keyboard.press("Escape")
    sync_api.expect(page.get_by_text("SAM's outline")).to_be_hidden()
    assert len(bench.puts) == 1


def test_two_windows_on_one_slice_are_shown_side_by_side(page, bench):
    scan = bench.scan("alpha")
    theirs = np.zeros(scan.shape[1:], np.uint8)
    theirs[10:20, 10:20] = 2
    mine = disc(theirs.shape, 60.5, 50.5, 6, 2.2, 2.5)
    wanted = {"Keep mine": mine, "Keep theirs": theirs, "Join both": mine + theirs}
    for d, (choice, outline) in enumerate(wanted.items(), start=7):
        open_scan(page, "alpha", scan, d)
        scan.write(d, theirs, "outlined")
        page.mouse.click(*on_screen(page, 60.5, 50.5))
        dialog = page.get_by_role("dialog", name="This slice was changed elsewhere")
        sync_api.expect(dialog.get_by_role("img")).to_have_count(2)
        dialog.get_by_role("button", name=choice).click()
        await_saved(page)
        assert np.array_equal(scan.outline(d), outline)


def test_what_a_server_away_did_not_save_is_kept_and_sent_later(context, page, bench, server):
    scan = bench.scan("alpha")
    open_scan(page, "alpha", scan, 7)
    bench.away = True
    page.mouse.click(*on_screen(page, 60.5, 50.5))
    saving = page.get_by_role("status", name="Saving")
    sync_api.expect(saving).to_contain_text("not saved, kept in this browser: retrying")
    page.close(run_before_unload=False)
    bench.away = False
    assert bench.puts == []
    later = visit(context, server)
    later.get_by_role("button", name="Send them").click()
    await_saved(later)
    name, d, state, drawn = await_puts(bench, 1)
    assert (name, d, state) == ("alpha", 7, "outlined")
    assert np.array_equal(drawn, disc(drawn.shape, 60.5, 50.5, 6, 2.2, 2.5))


def test_axe_finds_nothing_in_either_scheme(context, bench, server):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    bench.rounds, bench.default = [bench._done(1), bench._done(2)], 2
    bench.scan("alpha").write(3, bench.scan("alpha").truth[3], "outlined")
    page = visit(context, server)

    def faults(**options):
        found = axe.run(page, options=options).response["violations"]
        return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]

    assert faults() == []
    page.keyboard.press("u")
    assert faults(runOnly=["color-contrast"]) == []
    page.emulate_media(color_scheme="dark")
    assert faults(runOnly=["color-contrast"]) == []
    page.keyboard.press("u")
    page.keyboard.press("?")
    assert faults() == []


def test_all_requests_go_to_the_own_server_and_the_token_leaves_the_address(context, server):
    asked = []
    context.on("request", lambda request: asked.append(request.url))
    page = visit(context, server)
    page.keyboard.press("v")
    page.keyboard.press("d")
    own = server.split("/#")[0] + "/"
    outside = [url for url in asked if not url.startswith((own, f"blob:{own}", "data:,"))]
    assert len(asked) > 20
    assert outside == []
    assert page.url == own
    assert not any(mock_server.TOKEN in url for url in asked[1:])


def test_a_scans_name_is_text_and_nothing_else(context, bench, server):
    page = context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.goto(server)
    page.wait_for_selector("body[data-ready=true]")
    page.locator("#scans").get_by_role("button", name=HOSTILE).click()
    sync_api.expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
    assert page.title() == f"{HOSTILE}: fewmask"
    assert page.locator("img[src=x]").count() == 0
    assert wrong == []


@pytest.mark.parametrize(
    "answer",
    [
        {"cases": [{"id": "../../etc"}]},
        {"cases": "many"},
        {"__proto__": {"cases": []}},
    ],
)
def test_an_answer_of_another_form_is_refused_in_words(context, server, answer):
    context.route("**/api/cases", lambda route: route.fulfill(body=json.dumps(answer)))
    page = context.new_page()
    page.goto(server)
    sync_api.expect(page.get_by_text("The server sent something other than")).to_be_visible()
    assert page.evaluate("({}).cases") is None


def test_the_page_has_no_inline_script_or_style_and_small_modules():
    page = (STATIC / "index.html").read_text()
    assert re.findall(r"\s(?:style|on[a-z]+)\s*=", page) == []
    assert re.findall(r"<script[^>]*>(?!</script>)", page) == []
    for module in STATIC.glob("*.js"):
        source = module.read_text()
        assert "innerHTML" not in source, module.name
        assert "http" not in source.replace("http://www.w3.org/2000/svg", ""), module.name
        assert len(source.splitlines()) < 400, module.name


def test_a_server_started_anew_is_joined_by_its_new_address(page, bench, server, monkeypatch):
    open_scan(page, "alpha", bench.scan("alpha"), 7)
    monkeypatch.setattr(mock_server, "TOKEN", "another")
    page.mouse.click(*on_screen(page, 60.5, 50.5))
    saving = page.get_by_role("status", name="Saving")
    sync_api.expect(saving).to_have_text("not saved, kept in this browser")
    page.goto(server.split("#")[0] + "#token=another")
    await_saved(page)
    assert await_puts(bench, 1)[:3] == ("alpha", 7, "outlined")


def test_a_scan_opened_again_stays_at_its_slice_and_keeps_the_stroke_in_hand(
    context, bench, server
):
    page = visit(context, server)
    scan = bench.scan("alpha")
    open_scan(page, "alpha", scan, 5)
    held = []
    context.route(f"**/api/cases/{scan.id}", lambda route: held.append(route))
    with page.expect_request(f"**/api/cases/{scan.id}"):
        page.locator("#scans").get_by_role("button", name="alpha").click()
    page.get_by_label("Slice", exact=True).fill("9")
    page.wait_for_selector(f'canvas#slice[data-slice="{scan.id}/9"][data-ready=true]')
    page.mouse.move(*on_screen(page, 60.5, 50.5))
    page.mouse.down()
    with page.expect_response(f"**/api/cases/{scan.id}"):
        held[0].continue_()
    assert await_puts(bench, 1)[:3] == ("alpha", 9, "outlined"), "the stroke in hand is finished"
    page.mouse.up()
    assert page.get_by_label("Slice", exact=True).input_value() == "9"


def test_a_stroke_waits_until_the_prediction_of_its_slice_is_known(context, bench, server):
    bench.rounds, bench.default = [bench._done(1)], 1
    held = []
    context.route("**/mask/0/5?*", lambda route: held.append(route))
    page = visit(context, server)
    scan = bench.scan("alpha")
    choose(page, "alpha", scan)
    page.get_by_label("Slice", exact=True).fill("5")
    page.wait_for_selector(f'canvas#slice[data-slice="{scan.id}/5"][data-ready=false]')
    page.mouse.click(*on_screen(page, 100.5, 100.5))
    sync_api.expect(page.get_by_text("This slice is still on its way.")).to_be_visible()
    held[0].continue_()
    page.wait_for_selector("canvas#slice[data-ready=true]")
    assert bench.puts == []


@pytest.mark.slow
def test_a_round_is_trained_from_the_page_and_then_shown(page, bench):
    bench.round_seconds = 1.0
    page.get_by_role("tab", name="Train").click()
    train = page.get_by_role("button", name="Train and predict")
    sync_api.expect(train).to_be_disabled()
    sync_api.expect(page.get_by_text("Nothing is outlined yet.")).to_be_visible()
    page.mouse.click(*on_screen(page, 60.5, 50.5))
    sync_api.expect(train).to_be_enabled()
    page.get_by_label("Minutes").fill("3")
    train.click()
    sync_api.expect(page.get_by_role("progressbar")).to_be_visible()
    sync_api.expect(page.get_by_text("in use")).to_be_visible()
    assert bench.rounds[0]["state"] == "done"
    sync_api.expect(page.locator("#scans").get_by_text("predicted").first).to_be_visible()
