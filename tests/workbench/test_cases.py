"""Scans, tags, states and masks as the page gets them."""

import csv
import os
import threading
from typing import Any

import numpy as np
import pytest

from fewmask.core.errors import BadDataset
from fewmask.core.volume import BURNED_IN, LabelMap, Volume
from fewmask.io.image import read_labels, write_labels
from fewmask.io.nifti import read_volume, write_volume
from fewmask.io.prepared import CaseRow
from fewmask.prepare.options import PrepareOptions
from fewmask.prepare.tags import read_reviewed, read_tags
from fewmask.workbench.bench import open_bench
from fewmask.workbench.folder import WorkOptions, key_of
from fewmask.workbench.surface import find_surface
from fewmask.workbench.voxels import Voxels
from tests.workbench.data import client, finish_round, opened, put, write_data

KEY = key_of("c0")


@pytest.fixture
def folder(tmp_path):
    write_data(tmp_path / "data", 2)
    return tmp_path


def row(page, name="c0"):
    return next(one for one in page.get("/api/cases").json()["cases"] if one["name"] == name)


def test_pictures_are_the_scan_to_the_number(folder) -> None:
    scan = read_volume(folder / "data" / "images" / "c0.nii.gz")
    with opened(folder) as bench:
        page = client(bench)
        case = page.get(f"/api/cases/{KEY}").json()
        assert case["shape"] == [9, 12, 6] and case["flipped"] is True
        assert case["edges"]["0"] == ["R", "L", "A", "P"]
        for axis, wanted in enumerate(
            (scan.voxels[2], scan.voxels[::-1, 2], scan.voxels[::-1, :, 2])
        ):
            found = page.get(f"/api/cases/{KEY}/image/{axis}/2")
            rows, columns = int(found.headers["x-rows"]), int(found.headers["x-columns"])
            raw = np.frombuffer(found.content, "<i2").reshape(rows, columns)
            np.testing.assert_array_equal(raw * case["scale"] + case["offset"], wanted)
        assert found.headers["x-row-mm"] == "4" and found.headers["x-column-mm"] == "1.3"
        assert page.get(f"/api/cases/{KEY}/thumb").content.startswith(b"\x89PNG")
        assert page.get(f"/api/cases/{KEY}/image/0/9").status_code == 404


@pytest.mark.parametrize(
    ("values", "exact"),
    [
        (np.array([-1024.0, 3071.0], np.float32), True),
        (np.array([0, 65535], np.uint16), True),
        (np.array([0.25, 1.0], np.float32), False),
        (np.array([0, 200_000], np.int32), False),
    ],
)
def test_numbers_fit_into_16_bits(tmp_path, values, exact) -> None:
    write_data(tmp_path / "data", 1)
    path = tmp_path / "data" / "images" / "c0.nii.gz"
    old = read_volume(path)
    stored = np.resize(values, old.voxels.shape).astype(values.dtype)
    stored.ravel()[1:5] = values[0]
    write_volume(path, Volume(stored, old.grid, 2.0, 1.0))
    with opened(tmp_path) as bench:
        info = bench.voxels.info("c0")
        raw = np.stack([bench.voxels.slice("c0", 0, d) for d in range(9)])
        shown, wanted = raw * info.scale + info.offset, stored.astype(float) * 2 + 1
        step = 0 if exact else info.scale / 2
        assert np.abs(shown - wanted).max() <= step * 1.001
        assert exact == (info.scale == 2.0)


def test_the_cache_is_bounded_and_may_be_deleted(tmp_path) -> None:
    write_data(tmp_path / "data", 3)
    with opened(tmp_path, cache_bytes=2 * (2 * 648 + 128)) as bench:
        for name in ("c0", "c1"):
            bench.voxels.slice(name, 0, 0)
            os.utime(bench.folder.cache / f"{key_of(name)}.npy", (1, 1 + (name == "c1")))
        bench.voxels.look("c2")  # is read, and pushes nobody out
        there = {path.stem for path in bench.folder.cache.glob("*.npy")}
        assert there == {key_of("c0"), key_of("c1")} and bench.voxels.known("c2")
        bench.voxels.slice("c2", 0, 0)
        there = {path.stem for path in bench.folder.cache.glob("*.npy")}
        assert there == {key_of("c1"), key_of("c2")}
        for path in bench.folder.cache.iterdir():
            path.unlink()
        assert bench.voxels.slice("c0", 0, 0).shape == (12, 6)
        fresh = Voxels(bench.pairs, bench.scans, bench.folder.cache)
        assert fresh.known("c0") is not None and fresh.known("c1") is None


def test_burned_in_text_is_told(folder) -> None:
    with opened(folder) as bench:
        page = client(bench)
        info = bench.voxels.info("c0")
        bench.voxels._infos["c0"] = type(info)(**{**vars(info), "notes": (BURNED_IN,)})
        assert "may name a person" in row(page)["reason"]


def test_tables_are_what_prepare_reads(folder) -> None:
    with opened(folder) as bench:
        page = client(bench)
        bench.voxels.info("c0")

        def say(**said):
            known = {"class": "liver", "revision": row(page)["tags_revision"], **said}
            return page.put(f"/api/cases/{KEY}/tags", json=known)

        assert say(first=2).json()["tags"] == {"liver": [2, None]}
        assert not (folder / "data-workbench" / "tags.csv").exists()  # half a tag is none
        assert say(first=2, last=5).json()["tags"] == {"liver": [2, 5]}
        absent = say(**{"class": "kidney", "absent": True}).json()
        assert absent["tags"] == {"liver": [2, 5], "kidney": "absent"}
        assert say(first=1, last=2, revision=3).status_code == 409
        put(page, 3, bytes([1]) + bytes(71), 0, seconds=2.5)
        put(page, 4, b"", 0, state="empty", seconds=1)
        assert row(page)["reason"] == "" and row(page)["state"] == "partly"
        put(page, 7, bytes([1]) + bytes(71), 0)
        assert row(page)["reason"] == "liver is outlined in slice 1, outside its tag"
        put(page, 7, b"", page.get(f"/api/cases/{KEY}/outline/7").headers["etag"].strip('"'),
            state="untouched")  # fmt: skip
        info = bench.voxels.info("c0")
    work = folder / "data-workbench"
    rows = {"c0": case_row(info)}
    tags, _ = read_tags(work / "tags.csv", rows, ("liver", "kidney"))
    assert tags == {"c0": {"liver": (2, 5), "kidney": None}}
    reviewed, _ = read_reviewed(work / "reviewed.csv", rows)
    assert reviewed == {"c0": {3, 4}}
    with (work / "seconds.csv").open() as file:
        spent = {line["slice"]: line["seconds"] for line in csv.DictReader(file)}
    assert spent == {"5": "2.5", "4": "1.0"}


def case_row(info) -> CaseRow:
    texts: Any = dict.fromkeys(
        ("case", "patient", "image", "mask", "sha256", "stamp", "voxels_sha256", "labels_sha256"),
        "c0",
    )
    return CaseRow(
        **texts,
        shape=info.shape,
        spacing_mm=info.spacing_mm,
        percentiles=(0.0, 1.0),
        complete=False,
        outlined=[],
        counts={},
        ct=True,
        flipped=info.flipped,
    )


def test_a_person_may_edit_tables_by_hand_and_begin_with_one(folder) -> None:
    table = folder / "mine.csv"
    table.write_text(
        "case,class,first_slice,last_slice\nc0,liver,2,4\nc1,liver,,\nother,liver,1,2\n"
    )
    with opened(folder, tags=table, slices_from=1) as bench:
        assert any("other" in note for note in bench.notes)
        page = client(bench)
        bench.voxels.info("c0")
        assert row(page)["tags"] == {"liver": [5, 7]}  # file 1..3 of 0..8, turned round
        path = bench.folder.root / "tags.csv"
        path.write_text(path.read_text() + "stranger,liver,0,1\nc1,kidney,3,3\n")
        said = {"class": "kidney", "absent": True, "revision": row(page)["tags_revision"]}
        assert page.put(f"/api/cases/{KEY}/tags", json=said).status_code == 200
        text = path.read_text()
        assert "stranger,liver,0,1" in text and "c1,kidney,3,3" in text and "c0,kidney,," in text
    bad = folder / "bad.csv"
    bad.write_text("case,class,first_slice,last_slice\nc0,liver,x,4\n")
    with (
        pytest.raises(BadDataset, match="means nothing"),
        opened(folder, tags=bad, out=folder / "second"),
    ):
        pass


def test_predictions_give_states_quality_and_accepted_masks(folder) -> None:
    with opened(folder) as bench:
        page = client(bench)
        info = bench.voxels.info("c0")
        masks = bench.folder.predictions(1)
        masks.mkdir(parents=True)
        labels = np.zeros(info.shape, np.uint8)
        labels[4:7, 2:5, 1:4] = 1
        write_labels(masks / "c0.nii.gz", LabelMap(labels, info.grid), predicted=True)
        finish_round(bench.folder.root, 1)
        (masks / "quality.csv").write_text(
            "case,structure,dice,low,high,reasons\nc0,mean,0.8,0.7,0.9,two pieces\nc0,kidney,,,,\n"
        )
        (masks / "volumes.csv").write_text(
            "case,structure,ml,first_slice,last_slice,pieces\nc0,liver,0.126,2,4,1\n"
        )
        found = row(page)
        assert (found["state"], found["round"], found["accepted"]) == ("predicted", 1, False)
        assert found["quality"] == {"mean": {"dice": 0.8, "low": 0.7, "high": 0.9}}
        assert found["volume_ml"] == {"liver": 0.126} and found["reason"] == "two pieces"
        layer = page.get(f"/api/cases/{KEY}/mask/0/5?layer=prediction").content
        assert np.frombuffer(layer, np.uint8).sum() == 9
        assert page.get(f"/api/cases/{KEY}/mask/0/5?layer=prediction&round=2").status_code == 404
        mine = bytes([2]) + bytes(71)
        assert put(page, 5, mine, 0).status_code == 200
        assert row(page)["state"] == "corrected"
        accepted = page.post(f"/api/cases/{KEY}/accept", json={"accepted": True, "round": 1})
        assert accepted.json()["state"] == "accepted"
        stored = read_labels(bench.folder.accepted_file("c0")).voxels
        assert stored[4].sum() == 9 and stored[5].tobytes() == mine
        surface = page.get(f"/api/cases/{KEY}/surface?class=1")
        assert len(surface.content) == 9 * int(surface.headers["x-count"])
        put(page, 6, b"", 0, state="empty")  # what is outlined later takes it back
        assert row(page)["state"] == "corrected"
        assert not bench.folder.accepted_file("c0").exists()


def test_a_surface_lies_where_the_structure_is() -> None:
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[3:6, 3:6, 3:6] = 2
    places, normals = find_surface(labels, 2, (4.0, 1.0, 2.0))
    assert len(places) == 26  # a cube of 27 without its middle
    top = np.flatnonzero((places == (0, 0, 16)).all(1))
    assert normals[top].tolist() == [[0, 0, 127]]
    assert np.abs(places).max(0).tolist() == [8, 4, 16]
    assert len(find_surface(labels, 1, (1.0, 1.0, 1.0))[0]) == 0


def test_scans_are_read_ahead(folder) -> None:
    with open_bench(WorkOptions(folder / "data", {"liver": (6,)})) as bench:
        for thread in threading.enumerate():
            if thread.name == "read-ahead":
                thread.join(10)
        assert all(bench.voxels.known(case) for case in bench.pairs)
        status = client(bench).get("/api/status").json()
        assert status["saving"] == {"waiting": 0, "failed": None}
    assert PrepareOptions().masks == "partial"  # what WORK/labels is made for
