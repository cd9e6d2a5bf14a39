"""What the page proposes to do next: tags while nothing says where a structure is, then slices."""

import numpy as np
import pytest

from fewmask.core.volume import LabelMap
from fewmask.io.image import write_labels
from fewmask.workbench.queue import extents
from fewmask.workbench.suggest import suggest
from tests.workbench.data import finish_round, opened, write_data


@pytest.fixture
def bench(tmp_path):
    cases = write_data(tmp_path / "data", 5)
    with opened(tmp_path) as one:
        for case in cases:
            one.voxels.info(case)
        yield one


def kinds(bench, n=10):
    return [(one["kind"], bench.case(one["id"])) for one in suggest(bench, n)["suggestions"]]


def tag(bench, case, name, said):
    bench.tables.set_tag(case, name, said, bench.tables.tags_revision(case))


def test_tags_are_asked_for_while_nothing_says_where_anything_is(bench) -> None:
    found = suggest(bench, 4)
    assert kinds(bench, 4) == [("tags", f"c{index}") for index in range(4)]
    assert found["rule"] is None
    first = found["suggestions"][0]
    assert first["reason"] == "tell the first and the last slice of liver and kidney"
    assert first["d"] == 4 and first["shown"] == 4  # the middle of nine


def test_slices_come_of_what_is_tagged_and_few_tags_are_asked_for_besides(bench) -> None:
    tag(bench, "c3", "liver", (2, 5))
    tag(bench, "c4", "liver", None)
    found = suggest(bench, 10)["suggestions"]
    asked = [one for one in found if one["kind"] == "tags"]
    # Begun scans first, and of what is told nothing is asked.
    assert [bench.case(one["id"]) for one in asked] == ["c3", "c4"]
    assert asked[0]["reason"] == "tell the first and the last slice of kidney"
    slices = [one for one in found if one["kind"] == "slice"]
    assert slices and {bench.case(one["id"]) for one in slices} == {"c3"}
    # The file runs the other way: its slices 2 to 5 are d = 3 to 6.
    assert all(3 <= one["d"] <= 6 and one["shown"] == 8 - one["d"] for one in slices)
    assert all(one["reason"].startswith("liver: tags say") for one in slices)


def test_a_predicted_structure_needs_no_tag(bench) -> None:
    info = bench.voxels.info("c0")
    mask = np.zeros(info.shape, np.uint8)
    mask[2:4, 1, 1], mask[6, 1, 1] = 1, 2
    folder = bench.folder.predictions(1)
    folder.mkdir(parents=True)
    write_labels(folder / "c0.nii.gz", LabelMap(mask, info.grid))
    finish_round(bench.folder.root, 1)
    assert ("tags", "c0") not in kinds(bench)
    assert ("slice", "c0") in kinds(bench)
    assert extents(bench, "c0") == {"liver": [2, 3], "kidney": [6, 6]}
    assert extents(bench, "c1") == {}


def test_an_accepted_scan_is_left_alone(bench) -> None:
    bench.tables.set_accepted("c0", 1)
    assert ("tags", "c0") not in kinds(bench)
