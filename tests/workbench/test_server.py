"""A true server process: kills, a second one, ports, slow heads. Rows X01, X09, X16, X19."""

import json
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from typer.testing import CliRunner
from uvicorn.server import ServerState

from fewmask.cli import label as verb
from fewmask.cli.app import app
from fewmask.core.errors import BadConfig, NoRoom
from fewmask.workbench import server
from fewmask.workbench.folder import WorkOptions, key_of, open_work
from fewmask.workbench.guard import MASK
from fewmask.workbench.server import bind, tunnel_line
from tests.workbench.data import opened, write_data

ADDRESS = f"/api/cases/{key_of('c0')}/outline"


@pytest.fixture
def folder(tmp_path):
    write_data(tmp_path / "data", 1)
    return tmp_path


@contextmanager
def served(folder: Path):
    """A server of its own over `folder`/data: its process and a page that has its key."""
    words = ["--json", "label", folder / "data", "--label", "liver", "--port", 0, "--no-browser"]
    command = [sys.executable, "-m", "fewmask", *map(str, words)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        url, _, token = json.loads(child.stdout.readline())["url"].partition("#")
        known = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=known, timeout=20) as page:
            yield child, page
    finally:
        child.kill()
        child.communicate()


def stroke(seed: int) -> bytes:
    return np.random.default_rng(seed).integers(0, 2, (12, 6), dtype=np.uint8).tobytes()


def kill_while_drawing(folder: Path, kills: int) -> dict[int, bytes]:
    """Draw until the server is killed, `kills` times; what it acknowledged last of each slice."""
    told: dict[int, bytes] = {}
    draw, seed = random.Random(0), 0  # noqa: S311
    for _ in range(kills):
        with served(folder) as (child, page):
            for d, body in told.items():  # nothing is lost by the kill before
                assert page.get(f"{ADDRESS}/{d}").content == body
            end = time.monotonic() + draw.uniform(0.0, 1.6)
            while time.monotonic() < end:
                seed += 1
                d = draw.randrange(9)
                now = page.get(f"{ADDRESS}/{d}").headers["etag"]
                headers = {"If-Match": now, "Content-Type": MASK}
                body = stroke(seed)
                answer = page.put(f"{ADDRESS}/{d}", content=body, headers=headers)
                assert answer.status_code == 200
                told[d] = body
            child.send_signal(signal.SIGKILL)
    return told


def check(folder: Path, told: dict[int, bytes]) -> None:
    assert told
    with opened(folder, labels={"liver": ("liver",)}) as bench:
        for d, body in told.items():
            assert bench.outlines.read("c0", d).mask.tobytes() == body


def test_a_stroke_that_was_acknowledged_outlives_a_kill(folder) -> None:
    check(folder, kill_while_drawing(folder, 2))


@pytest.mark.slow
def test_thirty_kills_lose_no_stroke(folder) -> None:
    check(folder, kill_while_drawing(folder, 30))


def test_a_server_says_where_it_is_and_ends_with_all_saved(folder) -> None:
    with served(folder) as (child, page):
        headers = {"If-Match": '"0"', "Content-Type": MASK}
        assert page.put(f"{ADDRESS}/4", content=stroke(1), headers=headers).status_code == 200
        # A second server on the same folder names the first.
        with pytest.raises(NoRoom, match="outlining in the workbench") as second:
            CliRunner().invoke(
                app, ["label", str(folder / "data"), "--label", "liver"], catch_exceptions=False
            )
        assert second.value.exit_code == 4 and str(child.pid) in "".join(second.value.where)
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=20)
        assert child.returncode == 143 and "everything you drew is saved" in said
        token = page.headers["authorization"].split()[1]
        lines = said.splitlines()
        assert any("ssh -L" in line for line in lines)
        assert sum(token in line for line in lines) == 1  # the address, and no log
    work = folder / "data-workbench"
    assert (work / "labels" / "c0.nii.gz").exists() and not list((work / "journal").iterdir())


def test_only_this_machine_is_listened_to_unless_a_person_knows(folder) -> None:
    with pytest.raises(BadConfig, match="not this machine's own"):
        words = ["label", str(folder / "data"), "--label", "liver", "--host", "0.0.0.0"]  # noqa: S104
        CliRunner().invoke(app, words, catch_exceptions=False)
    verb._check_host("0.0.0.0", True)  # noqa: S104


def test_a_port_that_is_taken_gives_the_next() -> None:
    first = bind("127.0.0.1", 0)
    number = first.getsockname()[1]
    second = bind("127.0.0.1", number)
    assert number < second.getsockname()[1] <= number + 49
    first.close()
    second.close()
    assert tunnel_line(8321).startswith("ssh -L 8321:127.0.0.1:8321 ")


def test_a_head_that_never_ends_is_hung_up_on(folder, monkeypatch) -> None:
    import asyncio

    monkeypatch.setattr(server, "HEADER_SECONDS", 0.2)

    async def answer(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def talk() -> tuple[bytes, bytes]:
        config = uvicorn.Config(
            answer, http=server._Patient, ws="none", lifespan="off", log_level="critical"
        )
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        made = await loop.create_server(
            lambda: server._Patient(config, state, {}), sock=bind("127.0.0.1", 0)
        )
        port = made.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        slow = await asyncio.wait_for(reader.read(), 5)
        quick, other = await asyncio.open_connection("127.0.0.1", port)
        other.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        fine = await asyncio.wait_for(quick.readline(), 5)
        writer.close()
        other.close()
        made.close()
        return slow, fine

    slow, fine = asyncio.run(talk())
    assert slow == b"" and b"204" in fine


def test_without_its_extra_one_line_says_what_to_install(folder, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(BadConfig, match="fastapi") as told:
        CliRunner().invoke(
            app, ["label", str(folder / "data"), "--label", "liver"], catch_exceptions=False
        )
    assert told.value.fix == "pip install 'fewmask[workbench]'"


def test_a_folder_is_opened_again_for_what_it_was_made_for(folder) -> None:
    data = folder / "data"
    with open_work(WorkOptions(data, {"liver": (6,)})) as work:
        assert work.root == (folder / "data-workbench").resolve()
    with open_work(WorkOptions(data)) as work:
        assert work.classes == ("liver",)
    with open_work(WorkOptions(data, {"liver": (6,), "kidney": (2,)})) as work:
        assert work.classes == ("liver", "kidney")
    with (
        pytest.raises(BadConfig, match="begun for liver, kidney"),
        open_work(WorkOptions(data, {"kidney": (2,)})),
    ):
        pass
    with (
        pytest.raises(BadConfig, match="other files"),
        open_work(WorkOptions(data, {"liver": (6,)}, out=_other(folder))),
    ):
        pass
    with (
        pytest.raises(BadConfig, match="inside the input"),
        open_work(WorkOptions(data, {"liver": (6,)}, out=data / "work")),
    ):
        pass


def _other(folder: Path) -> Path:
    other = folder / "thesis"
    other.mkdir()
    (other / "chapter.txt").touch()
    return other


def test_sockets_are_closed() -> None:
    with pytest.raises(NoRoom), socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        original = server._PORTS
        server._PORTS = 1
        try:
            bind("127.0.0.1", number)
        finally:
            server._PORTS = original
