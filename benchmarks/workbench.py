"""The workbench as a machine sees it: a person who is a script, and how long the page waits.

    python benchmarks/workbench.py person SCANS TRUTH --label liver=6 --slices 20 --minutes 6
    python benchmarks/workbench.py waits --scans 40

`person` begins from nothing: slices that the page suggests are outlined from truth, at five seconds
a slice and five a scan for its tags, then the page trains and predicts a round; printed are what
the person and the machine took, and the Dice of every scan. `waits` makes scans of 512 x 512 x 300
voxels and asks for slices, masks and SAM's answers as the page does; printed are percentiles in ms
and the server's memory. Both start a server of their own and print one JSON object.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from fewmask.core.volume import Grid, Volume
from fewmask.evaluate.scores import dice_of
from fewmask.io.image import read_labels
from fewmask.io.nifti import write_volume

SECONDS_A_SLICE = SECONDS_A_SCAN = 5.0
MASK = "application/x-fewmask-mask"


@contextmanager
def served(data: Path, work: Path, labels: list[str]) -> Iterator[tuple[httpx.Client, int]]:
    """A server of its own, and its process id."""
    named = [word for label in labels for word in ("--label", label)]
    command = [sys.executable, "-m", "fewmask", "label", str(data), "--out", str(work), *named]
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*command, "--no-browser"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        for line in process.stdout or ():
            found = re.search(r"(http://[^#\s]+)#(?:token=)?(\S+)", line)
            if found:
                break
            print(line, end="", file=sys.stderr)
        else:
            raise SystemExit("the server did not start")
        head = {"Authorization": f"Bearer {found[2]}"}
        with httpx.Client(base_url=found[1], headers=head, timeout=120) as client:
            yield client, process.pid
    finally:
        process.terminate()
        process.wait(60)


def ask(client: httpx.Client, path: str, **parameters: Any) -> Any:
    """JSON of a GET. Raises for every answer that is none."""
    return client.get(f"/api/{path}", params=parameters).raise_for_status().json()


def be_a_person(args: argparse.Namespace) -> dict[str, Any]:
    """From nothing to masks, as the page's suggestions lead."""
    names = [label.split("=")[0] for label in args.label]
    values = [[int(v) for v in label.split("=")[1].split(",")] for label in args.label]
    with (
        tempfile.TemporaryDirectory() as folder,
        served(args.scans, Path(folder) / "work", names) as (client, _),
    ):
        begun = time.monotonic()
        cases = wait_for(lambda: _all_read(client), 600)
        reading = time.monotonic() - begun
        truths = {one["id"]: _truth(args.truth, one["name"], values) for one in cases}
        for one in cases:
            _tag(client, one, truths[one["id"]], names)
        drawn = _outline(client, truths, args.slices)
        person = drawn * SECONDS_A_SLICE + len(cases) * SECONDS_A_SCAN
        begun = time.monotonic()
        number = client.post("/api/rounds", json={"minutes": args.minutes}).raise_for_status()
        number = number.json()["number"]
        wait_for(lambda: _is_over(client, number), 7200)
        machine = time.monotonic() - begun
        scores = {
            one["name"]: _scores(client, one, truths[one["id"]], names, number) for one in cases
        }
    every = [value for row in scores.values() for value in row.values() if value is not None]
    return {
        "scans": len(cases),
        "slices": drawn,
        "person_s": person,
        "reading_s": round(reading, 1),
        "machine_s": round(machine, 1),
        "dice_mean": round(float(np.mean(every)), 4),
        "dice_least": round(min(every), 4),
        "scores": scores,
    }


def _all_read(client: httpx.Client) -> list[dict[str, Any]] | None:
    cases: list[dict[str, Any]] = ask(client, "cases")["cases"]
    return cases if all(one["shape"] or one["state"] == "refused" for one in cases) else None


def _truth(folder: Path, case: str, values: list[list[int]]) -> np.ndarray[Any, Any]:
    (path,) = folder.glob(f"{case}.nii*")
    labels = read_labels(path).voxels
    truth = np.zeros(labels.shape, np.uint8)
    for number, sources in enumerate(values, 1):
        truth[np.isin(labels, sources)] = number
    return truth


def _tag(
    client: httpx.Client, one: dict[str, Any], truth: np.ndarray[Any, Any], names: list[str]
) -> None:
    revision = one["tags_revision"]
    for number, name in enumerate(names, 1):
        held = np.flatnonzero((truth == number).any((1, 2)))
        said = {"class": name, "revision": revision, "absent": not len(held)}
        ends = {"first": int(held[0]), "last": int(held[-1])} if len(held) else {}
        answer = client.put(f"/api/cases/{one['id']}/tags", json={**said, **ends})
        revision = answer.raise_for_status().json()["tags_revision"]


def _outline(client: httpx.Client, truths: dict[str, np.ndarray[Any, Any]], wanted: int) -> int:
    drawn = 0
    while drawn < wanted:
        found = ask(client, "next", n=wanted - drawn)["suggestions"]
        if not found:
            break
        for one in found:
            path = f"/api/cases/{one['id']}/outline/{one['d']}"
            revision = client.get(path).raise_for_status().headers["etag"]
            plane = truths[one["id"]][one["d"]]
            client.put(
                path,
                params={"state": "outlined", "seconds": SECONDS_A_SLICE},
                content=plane.tobytes(),
                headers={"Content-Type": MASK, "If-Match": revision},
            ).raise_for_status()
            drawn += 1
    return drawn


def _is_over(client: httpx.Client, number: int) -> dict[str, Any] | None:
    rounds = ask(client, "rounds")["rounds"]
    line: dict[str, Any] = next(one for one in rounds if one["number"] == number)
    if line["state"] in ("failed", "stopped"):
        raise SystemExit(f"the round {line['state']}: {line['message']}")
    return line if line["state"] == "done" else None


def _scores(
    client: httpx.Client,
    one: dict[str, Any],
    truth: np.ndarray[Any, Any],
    names: list[str],
    number: int,
) -> dict[str, float | None]:
    drawn = np.stack(
        [
            np.frombuffer(
                client.get(
                    f"/api/cases/{one['id']}/mask/0/{d}",
                    params={"layer": "prediction", "round": number},
                )
                .raise_for_status()
                .content,
                np.uint8,
            ).reshape(truth.shape[1:])
            for d in range(len(truth))
        ]
    )
    return {
        name: round(dice_of(drawn == k, truth == k), 4) if (truth == k).any() else None
        for k, name in enumerate(names, 1)
    }


def wait_for(done: Callable[[], Any], seconds: float) -> Any:
    """What `done` gives once it gives something."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = done()
        if found:
            return found
        time.sleep(1)
    raise SystemExit(f"not done after {seconds:.0f} s")


def time_waits(args: argparse.Namespace) -> dict[str, Any]:
    """Percentiles of what the page waits for, with all scans open."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        scans = Path(folder) / "scans"
        _make_scans(scans, args.scans, args.depth)
        with served(scans, Path(folder) / "work", ["liver"]) as (client, pid):
            cases = wait_for(lambda: _all_read(client), 3600)
            times: dict[str, list[float]] = {}
            for one in cases:
                _open(client, one, times, rng)
            for _ in range(args.asks):
                one = cases[int(rng.integers(len(cases)))]
                _draw(client, one, times, rng, args.depth)
                _ask_sam(client, one, times, rng, args.depth)
            memory = _memory_mib(pid)
    return {
        "scans": args.scans,
        "depth": args.depth,
        "memory_mib": memory,
        **{
            name: {
                f"p{part}_ms": round(1000 * float(np.percentile(found, part)), 1)
                for part in (50, 95, 100)
            }
            for name, found in times.items()
        },
    }


def _make_scans(folder: Path, count: int, depth: int) -> None:
    """Two noisy bodies under many names."""
    (folder / "images").mkdir(parents=True)
    grid = Grid((512, 512, depth), np.diag([-0.8, -0.8, 1.5, 1.0]))
    y, x = np.mgrid[:512, :512]
    body = ((y - 256) / 180) ** 2 + ((x - 256) / 220) ** 2 < 1
    organ = ((y - 240) / 60) ** 2 + ((x - 180) / 80) ** 2 < 1
    for kind in range(2):
        rng = np.random.default_rng(kind)
        noise = rng.integers(-20, 20, (512, 512)).astype(np.int16)
        plane = np.where(body, 30, -1000).astype(np.int16) + organ * np.int16(80) + noise
        voxels = np.stack([np.roll(plane, d % 16, 1) for d in range(depth)])
        first = folder / "images" / f"scan_{kind:02d}.nii"
        write_volume(first, Volume(voxels, grid))
        for number in range(kind + 2, count, 2):
            (folder / "images" / f"scan_{number:02d}.nii").hardlink_to(first)


def _timed(times: dict[str, list[float]], name: str, request: Callable[[], httpx.Response]) -> Any:
    begun = time.perf_counter()
    answer = request().raise_for_status()
    times.setdefault(name, []).append(time.perf_counter() - begun)
    return answer


def _open(
    client: httpx.Client, one: dict[str, Any], times: dict[str, list[float]], rng: Any
) -> None:
    _timed(times, "queue", lambda: client.get("/api/cases"))
    _timed(times, "scan", lambda: client.get(f"/api/cases/{one['id']}"))


def _draw(
    client: httpx.Client, one: dict[str, Any], times: dict[str, list[float]], rng: Any, depth: int
) -> None:
    d = int(rng.integers(depth))
    _timed(times, "slice", lambda: client.get(f"/api/cases/{one['id']}/image/0/{d}"))
    across = int(rng.integers(512))
    _timed(times, "other plane", lambda: client.get(f"/api/cases/{one['id']}/image/1/{across}"))
    path = f"/api/cases/{one['id']}/outline/{d}"
    revision = client.get(path).raise_for_status().headers["etag"]
    plane = np.zeros((512, 512), np.uint8)
    plane[200:260, 150:220] = 1
    head = {"Content-Type": MASK, "If-Match": revision}
    _timed(times, "stroke", lambda: client.put(path, content=plane.tobytes(), headers=head))


def _ask_sam(
    client: httpx.Client, one: dict[str, Any], times: dict[str, list[float]], rng: Any, depth: int
) -> None:
    """A box on a slice that SAM has read, as it has by the time that a person draws one."""
    path = f"/api/cases/{one['id']}/sam/{int(rng.integers(depth))}"
    box = {"boxes": [[100 + 10 * float(rng.random()), 180, 260, 300]], "points": []}
    wait_for(lambda: client.post(path, json=box).raise_for_status().status_code == 200, 60)
    _timed(times, "sam", lambda: client.post(path, json=box))


def _memory_mib(pid: int) -> int:
    """Peak resident memory of a process, in MiB (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
    return 0


def main() -> None:
    """One JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    person = verbs.add_parser("person")
    person.add_argument("scans", type=Path)
    person.add_argument("truth", type=Path)
    person.add_argument("--label", action="append", required=True)
    person.add_argument("--slices", type=int, default=20)
    person.add_argument("--minutes", type=float, default=6)
    waits = verbs.add_parser("waits")
    waits.add_argument("--scans", type=int, default=40)
    waits.add_argument("--depth", type=int, default=300)
    waits.add_argument("--asks", type=int, default=200)
    waits.add_argument("--folder", type=Path)
    args = parser.parse_args()
    print(json.dumps(be_a_person(args) if args.verb == "person" else time_waits(args), indent=1))


if __name__ == "__main__":
    main()
