"""Rows X01 to X14, X17, X20 and X22 of the threats to a local server."""

import asyncio
import json
import threading

import pytest

from fewmask.workbench.guard import MASK, Guard
from fewmask.workbench.line import Line, LineFull
from fewmask.workbench.routes import pages
from tests.workbench.data import BASE, SHAPE, TOKEN, client, opened, put, write_data

STRANGE = (
    "../", "%2e%2e%2f", "%252e%252e%252f", "..\\", "%00", "/etc/passwd", "//host/share",
    "file:%2f%2f", "%c0%ae%c0%ae", "c0", "-1", "1e9", "<img src=x onerror=alert(1)>",
)  # fmt: skip
HTML = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guard")
    write_data(folder / "data", 1)
    with opened(folder) as bench:
        yield client(bench)


@pytest.fixture(scope="module")
def key(page) -> str:
    return str(page.get("/api/cases").json()["cases"][0]["id"])


@pytest.mark.parametrize(
    "said",
    [None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}",
     TOKEN, "Bearer \u00e4"],
)  # fmt: skip
def test_without_the_key_there_is_nothing(page, said) -> None:
    headers = {} if said is None else {"authorization": said.encode("latin-1")}
    page.headers.pop("authorization", None)
    try:
        for address in ("/api/session", "/api/nothing", "/api"):
            assert page.get(address, headers=headers).status_code == 401
        # A cookie of another port is no key, and the page holds no data.
        cookie = {"cookie": f"token={TOKEN}"}
        assert page.get("/api/session", headers={**headers, **cookie}).status_code == 401
    finally:
        page.headers["authorization"] = f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8321", 200), ("localhost:9999", 200), ("[::1]:8321", 200), ("LOCALHOST", 200),
        ("evil.example", 400), ("localhost.evil:8321", 400), ("127.0.0.1.evil", 400), ("", 400),
        ("10.0.0.1:8321", 400), ("[::2]:8321", 400), ("::1", 400), ("[::1", 400),
        ("[::1]evil", 400), ("127.0.0.1:8321@evil", 400), ("localhost:", 200), ("2130706433", 400),
    ],
)  # fmt: skip
def test_the_server_answers_under_its_own_name(page, host, status) -> None:
    assert page.get("/api/session", headers={"host": host}).status_code == status


def test_no_host_and_two_hosts_are_refused() -> None:
    async def never(scope, receive, send):
        raise AssertionError("a handler was reached")

    for hosts in ([], [(b"host", b"localhost"), (b"host", b"evil")]):
        scope = {"type": "http", "method": "GET", "path": "/", "headers": hosts}
        assert _ask(Guard(never, TOKEN), scope)[0]["status"] == 400
    closed = _ask(Guard(never, TOKEN), {"type": "websocket", "path": "/", "headers": []})
    assert closed == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": BASE}, 200), ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://evil.example"}, 403), ({"origin": "null"}, 403),
        ({"origin": "https://127.0.0.1:8321"}, 403), ({"origin": "http://127.0.0.1:8322"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403), ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
    ],
)  # fmt: skip
def test_requests_of_other_pages_are_refused(page, headers, status) -> None:
    found = page.get("/api/session", headers=headers)
    assert found.status_code == status
    assert not [name for name in found.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "lines",
    [
        [("origin", BASE), ("origin", "http://evil.example")],
        [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        [("if-match", '"0"'), ("if-match", '"7"')],
    ],
)
def test_a_second_line_that_says_otherwise_is_no_way_in(page, lines) -> None:
    assert page.get("/api/session", headers=lines).status_code == 400


def test_a_link_may_lead_to_the_page_and_nowhere_else(page) -> None:
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert page.get("/", headers=followed).status_code in (200, 404)  # 404: no page is built in
    assert page.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 403


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"]
)
def test_simple_posts_are_refused(page, key, kind) -> None:
    body = json.dumps({"accepted": True})
    address = f"/api/cases/{key}/accept"
    assert page.post(address, content=body, headers={"content-type": kind}).status_code == 403


def test_a_preflight_is_not_answered(page) -> None:
    asked = {"origin": "http://evil.example", "access-control-request-method": "PUT"}
    found = page.options("/api/session", headers=asked)
    assert found.status_code in (403, 405)
    assert not [name for name in found.headers if name.startswith("access-control")]
    assert page.request("DELETE", "/api/session").status_code == 405


def test_asking_changes_nothing(tmp_path) -> None:
    write_data(tmp_path / "data", 1)
    with opened(tmp_path) as bench:
        asked = client(bench)
        case = asked.get("/api/cases").json()["cases"][0]["id"]
        asked.get(f"/api/cases/{case}")
        root = bench.folder.root

        def files():
            own = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".npy")
            return {path: path.read_bytes() for path in own}

        before = files()
        for tail in ("", "/thumb", "/image/0/1", "/image/1/1", "/image/2/1", "/outline/1",
                     "/mask/0/1", "/surface?class=1&layer=outline"):  # fmt: skip
            assert asked.get(f"/api/cases/{case}{tail}").status_code == 200, tail
        for address in ("/api/session", "/api/status", "/api/cases"):
            assert asked.get(address).status_code == 200
        assert files() == before
    methods = {
        (method, route.path)
        for route in _routes(asked)
        for method in route.methods
        if method not in ("GET", "HEAD")
    }
    assert {method for method, _ in methods} <= {"PUT", "POST"}


@pytest.mark.parametrize("name", STRANGE)
def test_names_lead_nowhere(page, key, name) -> None:
    addresses = [
        f"/api/cases/{name}", f"/api/cases/{name}/outline/0", f"/api/cases/{key}/image/0/{name}",
        f"/api/cases/{key}/outline/{name}", f"/static/{name}",
        f"/api/cases/{key}/mask/0/1?layer={name}", f"/api/cases/{key}/mask/0/1?round={name}",
    ]  # fmt: skip
    for address in addresses:
        found = page.get(address)
        if found.url.path == "/":  # the client itself took `..` away: this is the page
            continue
        assert found.status_code in (404, 405, 422), (address, found.status_code)
        assert "passwd" not in found.text and "Traceback" not in found.text


def test_static_files_come_from_a_table(tmp_path, monkeypatch) -> None:
    static = tmp_path / "static"
    static.mkdir()
    (static / "index.html").write_text("<p>here</p>")
    (tmp_path / "secret.html").write_text("secret")
    (static / "link.html").symlink_to(tmp_path / "secret.html")
    (static / "notes.txt").write_text("secret")
    monkeypatch.setattr(pages, "STATIC", static)
    write_data(tmp_path / "data", 1)
    with opened(tmp_path) as bench:
        page = client(bench)
        assert page.get("/").text == "<p>here</p>"
        for name in ("link.html", "notes.txt", "../secret.html", "%2e%2e/secret.html"):
            assert page.get(f"/static/{name}").status_code == 404


def test_bodies_are_bounded_while_they_stream(page, key) -> None:
    address = f"/api/cases/{key}/tags"
    kind = {"content-type": "application/json"}
    assert page.put(address, content=b"x" * (2**20 + 1), headers=kind).status_code == 413
    assert page.put(address, content=b"", headers={**kind, "content-length": "9" * 30}).status_code
    packed = {**kind, "content-encoding": "gzip"}
    assert page.put(address, content=b"x", headers=packed).status_code == 415
    assert put(page, 0, bytes(4 * 72 + 2**20 + 1), 0).status_code == 413


def test_a_body_without_end_or_without_haste_is_given_up() -> None:
    async def never(scope, receive, send):
        raise AssertionError("a handler was reached")

    async def slow():
        await asyncio.sleep(10)

    given = []

    async def endless():
        given.append(2**16)
        return {"type": "http.request", "body": bytes(2**16), "more_body": True}

    headers = [
        (b"host", b"localhost"),
        (b"authorization", f"Bearer {TOKEN}".encode()),
        (b"content-type", b"application/json"),
        (b"transfer-encoding", b"chunked"),
    ]
    scope = {"type": "http", "method": "PUT", "path": "/api/x", "headers": headers}
    guard = Guard(never, TOKEN, idle_seconds=0.05)
    assert _ask(guard, scope, slow)[0]["status"] == 408
    assert _ask(guard, scope, endless)[0]["status"] == 413
    assert sum(given) == 2**20 + 2**16


def test_one_range_at_most(page) -> None:
    many = "bytes=" + ",".join(f"{i}-{i}" for i in range(10_000))
    assert page.get("/", headers={"range": many}).status_code == 416


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (bytes(71), {}, 422), (bytes(73), {}, 422), (b"\x03" + bytes(71), {}, 422),
        (b"", {}, 422), (bytes(72), {"if-match": None}, 428), (bytes(72), {"if-match": '"x"'}, 422),
        (bytes(71) + b"\x01", {"if-match": '"5"'}, 409),
    ],
)  # fmt: skip
def test_masks_that_do_not_fit_are_refused(page, key, body, headers, status) -> None:
    sent = {"if-match": '"0"', "content-type": MASK, **headers}
    sent = {name: value for name, value in sent.items() if value is not None}
    found = page.put(f"/api/cases/{key}/outline/1", content=body, headers=sent)
    assert found.status_code == status, found.text
    assert set(found.json()) >= {"code", "message", "fix"}
    there = page.get(f"/api/cases/{key}/outline/1")
    assert (there.headers["etag"], there.headers["x-state"]) == ('"0"', "untouched")


@pytest.mark.parametrize(
    "body",
    [
        '{"class": "liver", "first": NaN, "revision": 0}',
        '{"class": "liver", "first": 1e308, "revision": 0}',
        '{"class": "liver", "first": -1, "revision": 0}',
        '{"class": "liver", "first": "1", "revision": 0}',
        '{"class": "liver", "first": 5, "last": 2, "revision": 0}',
        '{"class": "liver", "first": 9, "revision": 0}',
        '{"class": "\\ud800", "first": 1, "revision": 0}',
        '{"class": "spleen", "first": 1, "revision": 0}',
        '{"class": "liver", "absent": true, "first": 1, "revision": 0}',
        '{"class": "liver", "revision": 0, "more": 1}',
        "[" * 5000 + "]" * 5000,
        "[" * 500 + "]" * 500,
        "{",
        "",
    ],
)
def test_json_that_cannot_be_meant_is_refused(page, key, body) -> None:
    kind = {"content-type": "application/json"}
    found = page.put(f"/api/cases/{key}/tags", content=body, headers=kind)
    assert found.status_code == 422, found.text
    assert set(found.json()) == {"code", "message", "fix"}


def test_names_are_sent_as_json_under_a_strict_policy(tmp_path) -> None:
    write_data(tmp_path / "data", 1)
    image = tmp_path / "data" / "images" / "c0.nii.gz"
    image.rename(image.with_name(f"{HTML}.nii.gz"))
    with opened(tmp_path) as bench:
        found = client(bench).get("/api/cases")
        assert found.json()["cases"][0]["name"] == HTML
        assert found.headers["content-type"] == "application/json"
        assert "script-src" not in found.headers["content-security-policy"]


def test_every_answer_says_how_it_may_be_used(page, key) -> None:
    wanted = {
        "x-frame-options": "DENY", "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer", "cache-control": "no-store",
        "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
    }  # fmt: skip
    answers = [
        page.get(f"/api/cases/{key}/image/0/1"), page.get("/nothing"), page.get("/"),
        page.get("/api/session", headers={"host": "evil"}), page.get("/api/cases/x"),
    ]  # fmt: skip
    for answer in answers:
        assert {name: answer.headers.get(name) for name in wanted} == wanted
        policy = answer.headers["content-security-policy"]
        for part in ("default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
            assert part in policy
        assert "server" not in answer.headers


def test_a_fault_of_ours_tells_nothing(tmp_path, monkeypatch, capsys) -> None:
    write_data(tmp_path / "data", 1)
    with opened(tmp_path) as bench:
        page = client(bench)

        def fail(case):
            raise RuntimeError(f"{TOKEN} {tmp_path} Jane Doe")

        monkeypatch.setattr(type(bench.voxels), "known", lambda self, case: fail(case))
        found = page.get("/api/cases")
        assert found.status_code == 500 and found.json()["code"] == "fault"
        said = capsys.readouterr()
        for text in (found.text, said.out, said.err):
            assert TOKEN not in text and str(tmp_path) not in text and "Jane" not in text
            assert "Traceback" not in text
        assert "RuntimeError" in said.err


def test_a_scan_that_cannot_be_read_is_told_without_its_folder(tmp_path) -> None:
    write_data(tmp_path / "data", 2)
    (tmp_path / "data" / "images" / "c0.nii.gz").write_bytes(b"no image")
    with opened(tmp_path) as bench:
        page = client(bench)
        for case in bench.pairs:
            bench.voxels.look(case)
        rows = {row["name"]: row for row in page.get("/api/cases").json()["cases"]}
        assert (rows["c0"]["state"], rows["c1"]["state"]) == ("refused", "untouched")
        assert rows["c0"]["reason"] and rows["c0"]["shape"] is None
        found = page.get(f"/api/cases/{rows['c0']['id']}")
        assert found.status_code == 422 and str(tmp_path) not in found.text


def test_there_is_no_description_of_the_server(page) -> None:
    for address in ("/openapi.json", "/docs", "/redoc", "/api/openapi.json"):
        assert page.get(address).status_code == 404


def test_a_short_line_then_no_more() -> None:
    line, held, go = Line(limit=2), threading.Event(), threading.Event()
    done = []

    def work(first: bool) -> None:
        with line.turn():
            if first:
                held.set()
                go.wait(5)
            done.append(first)

    threads = [threading.Thread(target=work, args=(True,))]
    threads[0].start()
    held.wait(5)
    threads += [threading.Thread(target=work, args=(False,)) for _ in range(2)]
    for thread in threads[1:]:
        thread.start()
    while line.waiting < 2:
        pass
    with pytest.raises(LineFull), line.turn():
        pass
    go.set()
    for thread in threads:
        thread.join(5)
    assert done == [True, False, False] and line.waiting == 0


def test_sizes_are_those_of_this_test() -> None:
    assert SHAPE[1] * SHAPE[2] == 72


def _routes(page):
    found, waiting = [], list(page.app.app.routes)
    while waiting:
        route = waiting.pop()
        inner = getattr(route, "routes", None)
        waiting += inner or []
        if getattr(route, "methods", None):
            found.append(route)
    return found


def _ask(guard, scope, receive=None):
    """What a guard sends for a scope."""
    told = []

    async def send(message):
        told.append(message)

    async def nothing():
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(guard(scope, receive or nothing, send))
    return told
