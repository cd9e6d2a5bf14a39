"""PACS exports: which series become cases, under which names, and what a table says of them."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewmask.core.errors import BadConfig, BadDataset, BadScan
from fewmask.io.dicom import read_series
from fewmask.prepare.build import prepare
from fewmask.prepare.check import check
from fewmask.prepare.discover import Layout, discover
from fewmask.prepare.options import PrepareOptions, ScanOptions
from fewmask.prepare.seriestable import COLUMNS
from tests.io.test_dicom import PERSON, change, write_series
from tests.io.test_dicommask import pixels, write_seg

VOXELS = np.arange(8 * 3 * 4, dtype=np.int16).reshape(8, 3, 4)


def series(folder: Path, uid: str, voxels: np.ndarray = VOXELS, **tags: Any) -> Path:
    return write_series(folder, voxels, SeriesInstanceUID=uid, **tags)


def cases(layout: Layout) -> dict[str, str]:
    """Case -> patient."""
    return layout.patients


def export(root: Path) -> Path:
    """Two patients: one with a scout, a dose report and two visits, one with a single scan."""
    p1 = root / "PAT001"
    series(p1 / "study1/scout", "1.1", VOXELS[:1], SeriesNumber=1, StudyInstanceUID="1.9.1")
    series(p1 / "study1/ct", "1.2", StudyInstanceUID="1.9.1")
    report: dict[str, Any] = {"Rows": None, "Columns": None, "PixelData": None, "Modality": "SR"}
    series(p1 / "study1/dose", "1.3", VOXELS[:1], StudyInstanceUID="1.9.1", **report)
    series(p1 / "study2/ct", "1.4", VOXELS + 1, StudyInstanceUID="1.9.2")
    series(root / "PAT002/study1/ct", "2.1", VOXELS + 2, StudyInstanceUID="2.9.1")
    return root


def write_table(path: Path, layout: Layout, **keeps: str) -> Path:
    """The proposal, with other words for the series of these patients and studies."""
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for row in layout.series:
            word = keeps.get(f"{row.patient}_{row.study}_{row.series}", row.keep)
            table.writerow({**vars(row), "keep": word})
    return path


def test_an_export_as_it_comes(tmp_path):
    layout = discover(export(tmp_path / "data"))
    assert cases(layout) == {
        "PAT001_study1": "PAT001",
        "PAT001_study2": "PAT001",
        "PAT002": "PAT002",
    }
    assert not layout.problems
    notes = "\n".join(layout.notes)
    assert "1 series left out, no scan (SR) (PAT001/study1/dose: series 7)" in notes
    assert "beside a series much longer (PAT001/study1/scout: series 1)" in notes
    assert "1 patient has several DICOM scans" in notes
    uses = {str(seen.path.relative_to(tmp_path / "data")): seen for seen in layout.files}
    assert uses["PAT001/study1/ct/im0"].why == "PAT001_study1"
    assert uses["PAT001/study1/scout/im0"].use == "unused"
    report = check(tmp_path / "data", PrepareOptions())
    assert [case.shape for case in report.cases] == [(8, 3, 4)] * 3 and not report.problems
    assert PERSON not in repr(report) and "MRN0042" not in repr(report)


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a scout"),
        ({"SeriesDescription": "Topogram 0.6 T20"}, "a scout"),
        ({"SeriesDescription": "Dose Report"}, "a picture or report"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "a picture or report"),
        ({"Modality": "PT"}, "neither CT nor MR"),
    ],
)
def test_rules(tmp_path, tags, why):
    series(tmp_path / "p/ct", "1.1")
    series(tmp_path / "p/other", "1.2", **tags)
    layout = discover(tmp_path)
    (pair,) = layout.pairs
    assert (pair.case, pair.image.name) == ("p", "ct")
    assert any(f"left out, {why}" in note for note in layout.notes)


def test_a_scout_of_three_planes(tmp_path):
    series(tmp_path / "p/mr", "1.1", Modality="MR")
    folder = series(tmp_path / "p/planes", "1.2", VOXELS[:6], Modality="MR")
    for k in range(3):
        change(folder / f"im{k}", ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    layout = discover(tmp_path)
    assert list(cases(layout)) == ["p"]
    assert any("planes in several directions" in note for note in layout.notes)


def test_several_series_in_one_folder(tmp_path):
    for number in (3, 4):
        series(tmp_path / "p", f"1.{number}", VOXELS + number, SeriesNumber=number)
        for path in (tmp_path / "p").glob("im?"):
            path.rename(path.with_name(f"{number}_{path.name}"))
    layout = discover(tmp_path)
    assert cases(layout) == {"p_s1": "p", "p_s2": "p"}
    report = check(tmp_path, PrepareOptions())
    assert [case.shape for case in report.cases] == [(8, 3, 4)] * 2
    assert [row.series for row in report.series] == ["1", "2"]


def test_a_series_in_a_top_folder_of_its_own_joins_its_study(tmp_path):
    """One patient's folder was given: its series are cases of one patient."""
    tags: dict[str, Any] = {"StudyInstanceUID": "1.9"}
    series(tmp_path / "data/a", "1.1", **tags)
    series(tmp_path / "data/b", "1.2", VOXELS + 1, **tags)
    series(tmp_path / "data/c", "1.3", VOXELS[:1], **tags)
    assert cases(discover(tmp_path / "data")) == {"a": "a", "b": "a"}


def test_without_uids_folder_and_geometry_tell_series_apart(tmp_path):
    folder = tmp_path / "p"
    series(folder / "a", "")
    series(folder / "b", "", VOXELS + 1)
    thick = np.zeros((8, 5, 4), np.int16) + np.arange(8, dtype=np.int16)[:, None, None]
    for path in series(tmp_path / "more", "", thick).iterdir():
        path.rename(folder / "b" / f"x_{path.name}")
    (tmp_path / "more").rmdir()
    report = check(tmp_path, PrepareOptions())
    assert [case.case for case in report.cases] == ["p_s1", "p_s2", "p_s3"]
    assert sorted(case.shape for case in report.cases) == [(8, 3, 4), (8, 3, 4), (8, 5, 4)]
    assert sum("grouped by folder and geometry" in note for note in report.notes) == 3
    assert not report.problems and "cut off" not in repr(report)


def test_the_proposal_and_what_is_taken_of_it(tmp_path):
    data = export(tmp_path / "data")
    table = tmp_path / "series.csv"
    check(data, PrepareOptions()).write_series(table)
    text = table.read_text()
    assert text.splitlines()[:2] == [
        "patient,study,series,description,modality,slices,spacing,keep",
        "PAT001,study1,scout,portal venous,CT,1,5 x 0.5 x 0.8,no",
    ]
    assert "PAT001,study2,ct,portal venous,CT,8,2 x 0.5 x 0.8,yes" in text
    assert "MRN" not in text and PERSON not in text
    assert cases(discover(data, series=str(table))) == cases(discover(data))
    write_table(table, discover(data), PAT001_study2_ct="no", PAT002_study1_ct="0")
    layout = discover(data, series=str(table))
    assert cases(layout) == {"PAT001": "PAT001"}
    assert any("left out, series.csv says so" in note for note in layout.notes)
    table.write_text("patient,study,series,keep\nPAT001,study1,scout,yes\n")
    (pair,) = discover(data, series=str(table)).pairs
    assert pair.image.name == "scout"
    options = PrepareOptions(labels={"liver": (1,)}, scans=ScanOptions(series=str(table)))
    summary = prepare(data, tmp_path / "out", options)
    assert (summary.built, summary.refused) == (1, [])


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ("PAT001,study1,lung,yes", "no such series"),
        ("PAT001,study1,ct,yes\nPAT001,study1,ct,no", "on two lines"),
        ("PAT001,study1,ct,perhaps", "neither yes nor no"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, lines, what):
    data, table = export(tmp_path / "data"), tmp_path / "t.csv"
    table.write_text(f"patient,study,series,keep\n{lines}\n")
    with pytest.raises(BadDataset, match=what):
        discover(data, series=str(table))


def test_numbers_that_a_spreadsheet_shortened(tmp_path):
    series(tmp_path / "data/001/01/02", "1.1")
    series(tmp_path / "data/001/01/03", "1.2", VOXELS + 1)
    table = tmp_path / "t.csv"
    table.write_text("patient;study;series;keep\n1;1;2;no\n1;1;3.0;1\n")
    (pair,) = discover(tmp_path / "data", series=str(table)).pairs
    assert (pair.case, pair.image.name) == ("001", "03")


def test_a_table_is_never_written_over_a_file_or_into_the_scans(tmp_path):
    report = check(export(tmp_path / "data"), PrepareOptions())
    table = tmp_path / "series.csv"
    table.write_text("corrected")
    for path in (table, tmp_path / "series.txt"):
        with pytest.raises(BadConfig):
            report.write_series(path)
    assert table.read_text() == "corrected"


def test_what_may_identify_a_person_is_counted(tmp_path):
    data = tmp_path / "data"
    series(data / "p_20190412/1.2.840.113619.2/a", "1.1", SeriesDescription="Doe^Jane ABDOMEN")
    series(data / "p_20190412/1.2.840.113619.2/b", "1.2", VOXELS + 1, SeriesDescription="=1+1")
    rows = discover(data).series
    assert [row.patient for row in rows] == ["patient 1", "patient 1"]
    assert [row.description for row in rows] == ["... ABDOMEN", "1+1"]


def test_plain_names_of_people_are_never_shown(tmp_path):
    """In a description and in folders, known from the header; without a header a folder's name is
    all there is, and a description keeps its words of protocols.
    """
    tags = {"PatientName": "M\u00fcller^Anna Liv", "SeriesDescription": "Mueller Thorax 5mm"}
    for n in range(2):
        folder = tmp_path / f"data/AnnaMueller/annaliv {n}/muller_ct"
        series(folder, f"1.{n}", VOXELS + n, **tags)
    series(tmp_path / "data/AnnaMueller/annaliv 0/Mueller scout", "1.5", VOXELS[:1], **tags)
    layout = discover(tmp_path / "data")
    assert [row.patient for row in layout.series] == ["patient 1"] * 3
    said = " ".join([*layout.notes, *map(str, layout.series)]).casefold()
    for word in ("muller", "mueller", "m\u00fcller", "anna"):
        assert word not in said
    assert {row.description for row in layout.series} == {"... Thorax 5mm"}
    assert any("a name that stands in a DICOM header" in note for note in layout.scan_notes)
    series(tmp_path / "bare/Mueller Anna/v1", "1.1", PatientName="", SeriesDescription="Hr. Meier")
    series(tmp_path / "bare/Mueller Anna/v2", "1.2", VOXELS + 1, PatientName="PAT_0042")
    rows = discover(tmp_path / "bare").series
    assert [row.patient for row in rows] == ["Mueller Anna"] * 2
    assert "Meier" not in "".join(row.description for row in rows)
    with pytest.raises(BadScan) as caught:
        read_series(tmp_path / "bare")
    assert "Meier" not in str(caught.value)


def test_masks_follow_their_scan(tmp_path):
    series(tmp_path / "p/v1/ct", "1.2.3")
    series(tmp_path / "p/v2/ct", "1.2.4", VOXELS + 1)
    (tmp_path / "p/v1/seg").mkdir()
    write_seg(tmp_path / "p/v1/seg/1-1.dcm", [(1, 1, pixels((0, 0)))])
    mask = np.zeros((8, 3, 4), np.int16)
    mask[2, 1, 1] = 255
    series(tmp_path / "p/v2/mask", "1.2.5", mask)
    layout = discover(tmp_path)
    found = {pair.case: pair.mask and pair.mask.name for pair in layout.pairs}
    assert found == {"p_v1": "1-1.dcm", "p_v2": "mask"}


def test_one_mask_of_several_scans_is_nobodys(tmp_path):
    export(tmp_path)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/PAT001.nii.gz").write_bytes(b"")
    layout = discover(tmp_path)
    assert not any(pair.has_mask for pair in layout.pairs)
    assert "whose folder holds 2 scans" in layout.problems[0].what
    assert "name it after its scan, such as PAT001_study1.nii.gz" in layout.problems[0].fix


@pytest.mark.parametrize("images", ["", "images/"])
def test_masks_may_be_called_after_the_cases_of_a_patient(tmp_path, images):
    export(tmp_path / images)
    (tmp_path / "labels").mkdir()
    for name in ("PAT001_study2", "pat002_seg", "PAT009"):
        (tmp_path / f"labels/{name}.nii.gz").write_bytes(b"")
    layout = discover(tmp_path)
    found = {pair.case: pair.mask and pair.mask.name for pair in layout.pairs}
    assert found == {
        "PAT001_study1": None,
        "PAT001_study2": "PAT001_study2.nii.gz",
        "PAT002": "pat002_seg.nii.gz",
    }
    (problem,) = layout.problems
    assert "1 mask without a scan" in problem.what and "PAT009" in str(problem)


def test_a_word_takes_the_series_of_that_name_from_every_visit(tmp_path):
    for n, visit in enumerate(("v1", "v2")):
        series(tmp_path / f"p/{visit}/a", f"1.{n}.1", SeriesDescription="venous")
        series(tmp_path / f"p/{visit}/b", f"1.{n}.2", SeriesDescription="lung")
    assert list(cases(discover(tmp_path, series="venous"))) == ["p_v1", "p_v2"]


def test_a_folder_of_patients_within_one_folder(tmp_path):
    for n in range(3):
        series(tmp_path / f"export/p{n}/s/ct", f"1.{n}", VOXELS + n, PatientID=f"MRN{n}")
    assert cases(discover(tmp_path)) == {f"p{n}": f"p{n}" for n in range(3)}
