"""The only door to the network, against a server on loopback: resume, wrong bytes, no network."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fewmask.core.errors import BadCheckpoint
from fewmask.io import ledger
from fewmask.io.fetch import fetch
from fewmask.io.ledger import LEDGER, Weights, entry, locate

CONTENT = bytes(range(256)) * 9000
GOOD = Weights("x", "vit-b", "x.pth", "", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class _Server(http.server.BaseHTTPRequestHandler):
    content = CONTENT
    honours_range = True
    cut_after: int | None = None
    asked: list[str | None]
    address: str

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        start = int(wanted.split("=")[1].rstrip("-")) if wanted and self.honours_range else 0
        body = self.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.cut_after is None else body[: self.cut_after])

    def log_message(self, *words: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[type[_Server]]:
    class Server(_Server):
        asked: list[str | None] = []

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        Server.address = f"http://127.0.0.1:{running.server_address[1]}/x.pth"
        yield Server
        running.shutdown()


def test_a_file_arrives_whole_under_its_name(tmp_path, server) -> None:
    counts: list[int] = []
    path = fetch(
        replace(GOOD, address=server.address),
        tmp_path / "cache",
        lambda done, total: counts.append(done),
    )
    assert path.read_bytes() == CONTENT and counts[-1] == len(CONTENT)
    assert [item.name for item in path.parent.iterdir()] == ["x.pth"]
    fetch(replace(GOOD, address=server.address), tmp_path / "cache")
    assert len(server.asked) == 1, "fetched again though it was there"


def test_it_goes_on_where_it_stopped(tmp_path, server) -> None:
    server.cut_after = 1_500_000
    with pytest.raises(BadCheckpoint):
        fetch(replace(GOOD, address=server.address), tmp_path)
    kept = (tmp_path / "x.pth.partial").stat().st_size
    assert 0 < kept <= 1_500_000 and not (tmp_path / "x.pth").exists()
    server.cut_after = None
    assert fetch(replace(GOOD, address=server.address), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={kept}-"]


def test_a_server_that_cannot_resume_is_read_from_the_start(tmp_path, server) -> None:
    (tmp_path / "x.pth.partial").write_bytes(b"old" * 100)
    server.honours_range = False
    assert fetch(replace(GOOD, address=server.address), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "content", [b"<html>log in</html>", CONTENT[:-1] + b"!", CONTENT + b"more"]
)
def test_wrong_bytes_never_get_the_name(tmp_path, server, content) -> None:
    server.content = content
    with pytest.raises(BadCheckpoint) as caught:
        fetch(replace(GOOD, address=server.address), tmp_path)
    assert caught.value.code == "W07" and not (tmp_path / "x.pth").exists()


def test_without_network_the_way_by_hand_is_told(tmp_path) -> None:
    with pytest.raises(BadCheckpoint) as caught:
        fetch(replace(GOOD, address="http://127.0.0.1:9/x.pth"), tmp_path)
    assert (
        "`fewmask weights import x.pth` with `name=x`" in caught.value.fix
        and caught.value.code == "W07"
    )


def test_the_ledger_is_whole() -> None:
    assert len({known.name for known in LEDGER}) == len(LEDGER) == 5
    for known in LEDGER:
        fetched = known.address.startswith("https://") and known.address.endswith(known.file)
        assert fetched or known.address.startswith(known.package.replace("_", "-") + "==")
        assert len(known.sha256) == 64 and known.licence == "Apache-2.0"
        assert known.bytes > (1e7 if known.package else 3e8)


def test_weights_of_a_package_are_its_publishers(monkeypatch) -> None:
    """To the bit; another file, or no package, is said with the way to it."""
    (packaged,) = (known for known in LEDGER if known.package)
    assert locate(packaged.name).name == packaged.file
    other = replace(packaged, sha256="0" * 64), replace(packaged, package="no_such_package")
    for changed in other:
        monkeypatch.setattr(ledger, "LEDGER", (changed,))
        with pytest.raises(BadCheckpoint, match="weights") as caught:
            locate(packaged.name)
        assert packaged.address in caught.value.fix and "weights=none" in caught.value.fix


def test_weights_that_are_not_here_say_how_to_get_them(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FEWMASK_CACHE", str(tmp_path))
    with pytest.raises(BadCheckpoint) as caught:
        locate("sam-vit-b")
    assert (
        "weights fetch sam-vit-b" in caught.value.fix and "sam_vit_b_01ec64.pth" in caught.value.fix
    )
    with pytest.raises(BadCheckpoint, match="ledger"):
        entry("sam-vit-x")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mine.safetensors").write_bytes(b"")
    assert locate("mine").name == "mine.safetensors"


def test_the_page_of_weights_names_them_all() -> None:
    page = (Path(__file__).parents[2] / "docs" / "weights.md").read_text()
    for known in LEDGER:
        line = next(line for line in page.splitlines() if f"`{known.name}`" in line)
        assert (
            known.address in line
            and known.sha256 in line
            and known.licence in line
            and known.trained_on in line
        )
