"""A stand-in for the server of the workbench: phantoms in memory, the same addresses and answers.

The page is tested against it without files, SAM or training. To look at the page by hand:
`python -m tests.workbench.mock_server --port 8765`.
"""

import argparse
import hashlib
import io
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image

import fewmask.workbench
from tests.workbench.phantoms import PRESETS, cut, grey_levels, organs, sam_mask, surface

STATIC = Path(fewmask.workbench.__file__).parent / "static"
TOKEN = "only-for-tests"  # noqa: S105
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
)
CLASSES = [
    {"value": 1, "name": "liver", "colour": "#e69f00"},
    {"value": 2, "name": "kidney", "colour": "#56b4e9"},
]
EDGES = {"0": ["R", "L", "A", "P"], "1": ["R", "L", "S", "I"], "2": ["A", "P", "S", "I"]}


@dataclass
class Scan:
    """A made-up scan: a body with a spine, a liver (1) and two kidneys (2)."""

    name: str
    seed: int
    shape: tuple[int, int, int] = (40, 128, 128)
    spacing: tuple[float, float, float] = (4.0, 2.2, 2.5)
    flipped: bool = False
    readable: bool = True
    accepted: bool = False
    tags: dict[str, object] = field(default_factory=dict)
    tags_revision: int = 0
    drawn: dict[int, np.ndarray] = field(default_factory=dict)
    states: dict[int, str] = field(default_factory=dict)
    revisions: dict[int, int] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return hashlib.blake2b(self.name.encode()).hexdigest()[:16]

    @property
    def truth(self) -> np.ndarray:
        return organs(self.shape, self.seed)

    @property
    def image(self) -> np.ndarray:
        return grey_levels(self.shape, self.seed)

    def predicted(self, number: int) -> np.ndarray:
        return np.roll(self.truth, 3 - number, axis=2)

    def outline(self, d: int) -> np.ndarray:
        return self.drawn.get(d, np.zeros(self.shape[1:], np.uint8))

    def write(self, d: int, mask: np.ndarray, state: str) -> None:
        """What a PUT does; a test calls it to be the second window."""
        self.drawn[d] = mask.reshape(self.shape[1:]).copy()
        self.revisions[d] = self.revisions.get(d, 2**52) + 1  # as large as the server's
        self.states[d] = state
        if state == "untouched":
            del self.states[d]


class Bench:
    """What the stand-in knows, and switches for what a test wants to go wrong."""

    def __init__(self, names: list[str], rounds: int = 0) -> None:
        self.scans = {}
        for seed, name in enumerate(names):
            scan = Scan(name, seed, flipped=seed == 1, readable=name != "broken")
            self.scans[scan.id] = scan
        self.puts: list[tuple[str, int, str, bytes]] = []
        self.paths: list[str] = []
        self.away = False
        self.sam_waits = 0
        self.round_seconds = 20.0
        self.rounds = [self._done(number + 1) for number in range(rounds)]
        self.default = rounds or None
        self.started = 0.0
        self.lock = threading.Lock()

    def scan(self, name: str) -> Scan:
        return next(one for one in self.scans.values() if one.name == name)

    def _done(self, number: int) -> dict[str, object]:
        words = None if number == 1 else "better by 0.03 on your last 12 corrections"
        compared = words and {
            "slices": 12,
            "better_by": 0.03,
            "low": 0.01,
            "high": 0.05,
            "words": words,
        }
        return {
            "number": number, "state": "done", "stage": None, "done": None, "total": None,
            "seconds_left": None, "message": None, "slices": 5 * number, "scans": 3,
            "minutes": 10, "compared": compared or None,
        }  # fmt: skip

    def running(self) -> dict[str, object] | None:
        if not self.rounds or self.rounds[-1]["state"] != "running":
            return None
        one = self.rounds[-1]
        part = (time.monotonic() - self.started) / self.round_seconds
        if part >= 1:
            self.rounds[-1] = self._done(int(str(one["number"])))
            self.default = int(str(one["number"]))
            return None
        stage = "prepare" if part < 0.1 else "train" if part < 0.8 else "predict"
        left = self.round_seconds * (1 - part)
        one.update(stage=stage, done=int(part * 300), total=300, seconds_left=left)
        return one

    def start(self, minutes: float) -> dict[str, object]:
        self.started = time.monotonic()
        one = self._done(len(self.rounds) + 1) | {"state": "running", "compared": None}
        one.update(minutes=minutes, stage="prepare", done=0, total=300)
        self.rounds.append(one)
        return one

    def record(self, scan: Scan) -> dict[str, object]:
        outlined = sum(state == "outlined" for state in scan.states.values())
        empty = sum(state == "empty" for state in scan.states.values())
        state = "partly" if outlined + empty else "untouched"
        if self.default:
            state = "corrected" if outlined + empty else "predicted"
        state = "accepted" if scan.accepted else state if scan.readable else "refused"
        quality, reason = None, None
        if self.default and scan.readable:
            dice = 0.94 - 0.05 * (list(self.scans).index(scan.id) % 5)
            both = {"dice": dice, "low": dice - 0.07, "high": min(1, dice + 0.04)}
            quality = {"mean": both, "liver": both, "kidney": both | {"dice": dice - 0.03}}
            reason = "the liver ends abruptly" if dice < 0.8 else None
        if not scan.readable:
            reason = "the file ends in the middle of the scan; copy it again"
        return {
            "id": scan.id, "name": scan.name, "state": state, "reason": reason,
            "shape": list(scan.shape) if scan.readable else None,
            "spacing_mm": list(scan.spacing) if scan.readable else None,
            "flipped": scan.flipped, "outlined": outlined, "empty": empty, "tags": scan.tags,
            "tags_revision": scan.tags_revision, "quality": quality,
            "quality_note": "" if quality else "No prediction yet.",
            "volume_ml": {"liver": 1480.0, "kidney": 310.0} if quality else None,
            "round": self.default, "accepted": scan.accepted,
        }  # fmt: skip

    def detail(self, scan: Scan) -> dict[str, object]:
        extents = {}
        for one in CLASSES:
            held = np.flatnonzero((scan.truth == one["value"]).any((1, 2)))
            extents[one["name"]] = [int(held[0]), int(held[-1])]
        return self.record(scan) | {
            "scale": 1.0, "offset": 0.0, "percentiles": [-1000.0, 20.0, 400.0],
            "presets": PRESETS, "edges": EDGES,
            "slices": {str(d): state for d, state in scan.states.items()},
            "revisions": {str(d): n for d, n in scan.revisions.items()},
            "extents": extents if self.default else None,
        }  # fmt: skip

    def suggestions(self) -> dict[str, object]:
        return {
            "rule": "random slices through the body (nothing is trained yet)",
            "suggestions": [
                {
                    "id": scan.id,
                    "d": 22 - i,
                    "shown": scan.shape[0] - 1 - (22 - i) if scan.flipped else 22 - i,
                    "reason": "drawn at random from the slices that show the body",
                }
                for i, scan in enumerate(self.scans.values())
                if scan.readable and not scan.accepted
            ][:5],
        }


class Answer(Exception):
    """An answer that is not 200 with JSON."""

    def __init__(
        self,
        status: int = 200,
        body: bytes | dict[str, object] = b"",
        headers: Mapping[str, object] | None = None,
    ) -> None:
        self.status, self.headers = status, dict(headers or {})
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        self.headers.setdefault("Content-Type", kind)


class Handler(BaseHTTPRequestHandler):
    """Answers as the contract says; `bench` is set by `serve`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer's head and body are two writes
    bench: Bench

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def handle_any(self) -> None:
        bench = self.bench
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if bench.away and url.path.startswith("/api"):
            self.close_connection = True
            self.connection.close()
            return
        bench.paths.append(url.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            with bench.lock:
                self.page(url.path)
                found = self.api(url.path, query, body)
            answer = Answer(body=found)
        except Answer as other:
            answer = other
        self.send_response(answer.status)
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        for name, value in (headers | answer.headers).items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = handle_any  # noqa: N815

    def page(self, path: str) -> None:
        name = "index.html" if path == "/" else path.removeprefix("/static/")
        if path == "/" or path.startswith("/static/"):
            file = STATIC / name
            if not file.is_file() or "/" in name:
                raise Answer(404, {"code": "x", "message": "no such page", "fix": ""})
            kind = {"Content-Type": TYPES[file.suffix] + "; charset=utf-8"}
            raise Answer(200, file.read_bytes(), kind)

    def api(self, path: str, query: dict[str, str], body: bytes) -> dict[str, object]:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Answer(401, {"code": "x", "message": "wrong token", "fix": ""})
        bench, parts = self.bench, path.split("/")[2:]
        sent = json.loads(body) if body[:1] == b"{" else {}
        if parts == ["session"]:
            return {
                "version": "0.0", "data": "phantoms", "classes": CLASSES, "plane": "axial",
                "slices_from": 0, "modality": "ct", "presets": PRESETS,
                "limits": {"points": 256, "boxes": 64}, "next_rule": "random",
            }  # fmt: skip
        if parts == ["cases"]:
            return {"cases": [bench.record(scan) for scan in bench.scans.values()]}
        if parts == ["status"]:
            ready = {"ready": {}, "total": 120, "done": 34}
            saving = {"waiting": 0, "failed": None}
            return {"sam": ready, "saving": saving, "round": bench.running(), "free_gb": 50.0}
        if parts == ["next"]:
            return bench.suggestions()
        if parts[0] == "rounds":
            return self.rounds(parts[1:], sent)
        scan = bench.scans.get(parts[1])
        if scan is None:
            raise Answer(404, {"code": "x", "message": "no such scan", "fix": ""})
        return self.case(scan, parts[2:], query, body, sent)

    def rounds(self, parts: list[str], sent: dict[str, object]) -> dict[str, object]:
        bench = self.bench
        if not parts and self.command == "POST":
            return bench.start(float(str(sent["minutes"])))
        bench.running()
        if parts:
            one = bench.rounds[int(parts[0]) - 1]
            if parts[1] == "default":
                bench.default = int(parts[0])
            elif parts[1] == "stop":
                one.update(state="stopped", stage=None)
            else:
                one.update(state="running")
                bench.started = time.monotonic()
            return one
        return {"default": bench.default, "rounds": bench.rounds}

    def case(
        self,
        scan: Scan,
        parts: list[str],
        query: dict[str, str],
        body: bytes,
        sent: dict[str, object],
    ) -> dict[str, object]:
        bench = self.bench
        match parts:
            case []:
                return bench.detail(scan)
            case ["thumb"]:
                grey = (scan.image[scan.shape[0] // 2] + 160) / 400 * 255
                png = io.BytesIO()
                Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(png, "PNG")
                raise Answer(200, png.getvalue(), {"Content-Type": "image/png"})
            case ["image", axis, index]:
                raise self.picture(scan, scan.image, int(axis), int(index))
            case ["mask", axis, index]:
                if query["layer"] == "outline":
                    volume = np.stack([scan.outline(d) for d in range(scan.shape[0])])
                else:
                    volume = scan.predicted(int(query["round"]))
                raise self.picture(scan, volume, int(axis), int(index))
            case ["outline", d]:
                return self.outline(scan, int(d), query, body)
            case ["tags"]:
                absent = sent["absent"]
                ends = [sent["first"], sent["last"]]
                scan.tags[str(sent["class"])] = "absent" if absent else ends
                scan.tags_revision += 1
                return {"tags": scan.tags, "tags_revision": scan.tags_revision}
            case ["accept"]:
                scan.accepted = bool(sent["accepted"])
                return bench.record(scan)
            case ["surface"]:
                volume = scan.predicted(int(query.get("round", 1)))
                content, count = surface(volume == int(query["class"]), scan.spacing)
                raise Answer(200, content, {"X-Count": count})
            case ["sam", d, *fit]:
                if bench.sam_waits > 0:
                    bench.sam_waits -= 1
                    raise Answer(202, {"ready": False})
                truth = scan.truth[int(d)]
                found = truth == sent["class"] if fit else sam_mask(truth, sent)  # type: ignore[arg-type]
                raise Answer(200, found.astype(np.uint8).tobytes(), {"X-Score": 0.93})
        raise Answer(404, {"code": "x", "message": "no such address", "fix": ""})

    def picture(self, scan: Scan, volume: np.ndarray, axis: int, index: int) -> Answer:
        found = cut(volume, axis, index)
        row, column = [scan.spacing[i] for i in range(3) if i != axis]
        sizes = {"X-Rows": found.shape[0], "X-Columns": found.shape[1]}
        return Answer(200, found.tobytes(), sizes | {"X-Row-Mm": row, "X-Column-Mm": column})

    def outline(self, scan: Scan, d: int, query: dict[str, str], body: bytes) -> dict[str, object]:
        revision = scan.revisions.get(d, 0)
        if self.command == "GET":
            state = scan.states.get(d, "untouched")
            headers = {"ETag": f'"{revision}"', "X-State": state}
            raise Answer(200, scan.outline(d).tobytes(), headers)
        if self.headers.get("If-Match") != f'"{revision}"':
            raise Answer(409, {"code": "x", "message": "changed elsewhere", "revision": revision})
        self.bench.puts.append((scan.name, d, query["state"], body))
        scan.write(d, np.frombuffer(body, np.uint8), query["state"])
        return {"revision": scan.revisions[d], "state": query["state"]}


class Server(ThreadingHTTPServer):
    """Runs in a thread until the `with` block ends."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A page that goes away in the middle of an answer is no news."""


def serve(bench: Bench, port: int = 0) -> tuple[Server, str]:
    """Start answering; returns the server and the address with its token."""
    handler = type("BenchHandler", (Handler,), {"bench": bench})
    server = Server(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}/#token={TOKEN}"


def main() -> None:
    """Serve phantoms until Ctrl-C."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    names = ["liver-01", "liver-02", "broken", "liver-10", "<img src=x onerror=alert(1)>"]
    _, address = serve(Bench(names, given.rounds), given.port)
    print(address)
    threading.Event().wait()


if __name__ == "__main__":
    main()
