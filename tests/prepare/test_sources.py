"""What differs between two sources, by numbers that can be worked out by hand."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewmask.core.volume import Volume
from fewmask.io.nifti import write_volume
from fewmask.prepare.options import PrepareOptions
from fewmask.prepare.sources import Line, Source, compare_sources, facts_of, measure_source
from tests.scans import AFFINE, prepare_scans, write_scans

OPTIONS = PrepareOptions({"liver": (6,)}, jobs=1)


def source(**numbers: tuple[float, ...]) -> Source:
    return Source("", 3, {name: tuple(map(float, one)) for name, one in numbers.items()}, {})


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("sources")
    prepare_scans(folder)
    return folder


def test_facts_of_a_scan() -> None:
    """8 slices of 5 mm, 32 x 32 pixels of 3 mm; 0 to 100 HU, and air outside the window."""
    image = np.tile(np.linspace(0, 100, 32, dtype=np.float32)[:, None], (32, 1, 8))
    image[:4] = -1000
    scan = Volume.from_file_order(image, AFFINE)
    facts = facts_of(scan, True, {"liver": 12.0})
    assert facts["orientation"] == "LPS" and facts["modality"] == "ct"
    assert (facts["pixel, mm"], facts["slice distance, mm"], facts["slices"]) == (3, 5, 8)
    assert (facts["field of view, mm"], facts["length of the scan, mm"]) == (96, 40)
    assert facts["HU within -125 to 240, 50th percentile"] == pytest.approx(50, abs=2)
    assert facts["liver, mL"] == 12
    raw = facts_of(scan, False, {})
    assert raw["grey level, 5th percentile"] == -1000 and raw["modality"] == "mr"


@pytest.mark.parametrize(
    "a, b, differs",
    [
        ((1, 2, 3), (4, 5, 6), True),
        ((1, 2, 3), (2.5, 5, 6), True),
        ((1, 2, 3), (1.5, 5, 6), False),
        ((1, 2, 3), (2, 2, 2), False),
        ((345.6000064,) * 3, (345.6000068,) * 3, False),
        ((1, 2, 3), (9.0,), None),
        ((1, 2, 3), (), None),
    ],
)
def test_a_quantity_differs_where_each_median_is_out_of_the_others_range(a, b, differs) -> None:
    for one, other in ((a, b), (b, a)):
        (line,) = compare_sources(source(mm=one), source(mm=other))
        assert line.differs is differs


def test_one_odd_scan_of_many_decides_nothing() -> None:
    many = (*(1.0,) * 39, 9.0)
    (line,) = compare_sources(source(mm=many), source(mm=(8.0, 8.5, 9.5)))
    assert line == Line("mm", "1 (1 to 1)", "8.5 (8 to 9.5)", True)


def test_words_differ_where_they_share_none() -> None:
    a = replace(source(), words={"orientation": ("LPS", "LPS", "RAS")})
    b = replace(source(), words={"orientation": ("RAS", "RAS", "RAS")})
    c = replace(source(), words={"orientation": ("LAS",) * 3})
    assert compare_sources(a, b) == [Line("orientation", "LPS 2, RAS 1", "RAS 3", False)]
    assert compare_sources(a, c)[0].differs is True


def test_a_folder_and_its_prepared_dataset_are_the_same_source(scans) -> None:
    folder = measure_source(scans / "scans", OPTIONS)
    prepared = measure_source(scans / "prepared", OPTIONS)
    assert folder.scans == prepared.scans == 5 and folder.words == prepared.words
    assert folder.numbers.keys() == prepared.numbers.keys()
    for name, values in folder.numbers.items():
        assert values == pytest.approx(prepared.numbers[name]), name
    assert folder.numbers["liver, mL"][0] == pytest.approx(12 * 12 * 4 * 0.045)
    assert not any(line.differs for line in compare_sources(folder, prepared))


def test_another_scanner_and_a_broken_file(scans, tmp_path) -> None:
    shutil.copytree(scans / "scans", tmp_path / "other")
    cases = write_scans(tmp_path / "other")
    finer = np.diag([-1.0, -1, 5, 1])
    for case in cases:
        image = np.full((32, 32, 8), 40, np.int16)
        image[:8] = -1000
        path = tmp_path / "other/images" / f"{case}.nii.gz"
        write_volume(path, Volume.from_file_order(image, finer))
    (tmp_path / "other/images/case_00.nii.gz").write_bytes(b"no scan")
    shutil.rmtree(tmp_path / "other/labels")
    other = measure_source(tmp_path / "other", OPTIONS)
    assert other.scans == 4 and other.refused[0].startswith("case_00: ")
    lines = compare_sources(measure_source(scans / "scans", OPTIONS), other)
    differing = {line.quantity for line in lines if line.differs}
    assert {"pixel, mm", "field of view, mm"} <= differing
    assert not {"slices", "slice distance, mm", "modality"} & differing
    assert {line.quantity: line.differs for line in lines}["liver, mL"] is None


def test_a_structure_that_no_mask_holds_is_told(scans) -> None:
    asked = replace(OPTIONS, labels={"liver": (6,), "spleen": (9,)})
    folder, prepared = (measure_source(scans / name, asked) for name in ("scans", "prepared"))
    assert folder.absent == "no label map holds spleen=9; values found in 5 label maps: 6"
    assert prepared.absent == "it was prepared without spleen"
    assert len(folder.numbers["liver, mL"]) == 5
    assert measure_source(scans / "scans", OPTIONS).absent == ""
