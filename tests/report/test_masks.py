"""The page of masks that no run is read for, and what a browser is told about every page."""

import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from fewmask.core.errors import BadConfig, BadDataset
from fewmask.core.volume import Grid, LabelMap
from fewmask.io.known import KnownNote, write_known
from fewmask.io.nifti import read_labels, write_labels
from fewmask.io.tables import write_csv
from fewmask.report.masks import write_masks_report
from fewmask.report.page import digest_of
from tests.scans import AFFINE, write_scans


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five scans with their masks, as `predict` lays them: case_00 is empty though outlines show
    it, case_01 lacks its last slice.
    """
    folder: Path = tmp_path_factory.mktemp("masks")
    masks = folder / "masks"
    masks.mkdir()
    for case in write_scans(folder / "scans"):
        mask = read_labels(folder / "scans" / "labels" / f"{case}.nii.gz")
        voxels = (mask.voxels > 0).astype(np.uint8)
        if case == "case_00":
            voxels[:] = 0
            write_known(masks, case, KnownNote(empty={"liver": "outlines"}))
        if case == "case_01":
            voxels[5] = 0
        write_labels(masks / f"{case}.nii.gz", LabelMap(voxels, mask.grid))
    write_csv(masks / "volumes.csv", ["case", "structure"], [{"case": "x", "structure": "liver"}])
    columns = ["case", "structure", "dice", "low", "high", "reasons"]
    line = dict(zip(columns, ("case_04", "liver", "0.7", "0.5", "0.8", "coarse look"), strict=True))
    write_csv(masks / "quality.csv", columns, [line])
    tags = ["case_00,2,5", "case_01,2,5", "case_02,2,5", "case_03,2,5", "case_04,2,5"]
    (folder / "tags.csv").write_text("\n".join(["case,first_slice,last_slice", *tags]) + "\n")
    return folder


def page_of(folder: Path, **options: object) -> str:
    return write_masks_report(folder / "masks", folder / "scans" / "images", **options).read_text()  # type: ignore[arg-type]


def test_masks_are_not_drawn_over_a_scan_that_lies_elsewhere(folder, tmp_path) -> None:
    """The same names and voxels, but 5 mm further on: another patient's, or moved since."""
    shutil.copytree(folder / "scans" / "images", tmp_path / "images")
    path = tmp_path / "images" / "case_03.nii.gz"
    scan = nibabel.load(path)
    affine = scan.affine.copy()
    affine[2, 3] += 5
    nibabel.save(nibabel.Nifti1Image(np.asarray(scan.dataobj), affine), path)
    told: list[str] = []
    write_masks_report(
        folder / "masks",
        tmp_path / "images",
        out=tmp_path / "page",
        on_refused=lambda case, error: told.append(f"{case}: {error.what}"),
    )
    assert told == ["case_03: the mask of case_03 lies elsewhere than the scan"]


def test_every_mask_is_there_most_doubtful_first(folder) -> None:
    page = page_of(folder, tags=folder / "tags.csv")
    order = re.findall(r'<article[^>]*data-case="(case_0\d)"', page)
    assert order == ["case_00", "case_04", "case_01", "case_02", "case_03"]
    for words in (
        "5 masks without a truth, 1 empty, 2 with a doubt of 0.3 or more",
        "liver: nothing was drawn beyond the outlines, but it goes on there",
        "liver: predicted Dice 0.70 (0.50 to 0.80); coarse look",
        "liver: mask in slices 2 to 4, tag says 2 to 5",
        '<p class="warning">liver: 1 of 5 masks empty beyond their outlines, but it goes on there',
    ):
        assert words in page, words
    # 12 x 12 pixels of 9 mm2 in 4 slices of 5 mm: 25.92 mL.
    assert '<td data-v="25.92">25.9</td>' in page
    assert "Dice 0.9" not in page and 'id="scores"' not in page and 'id="trust"' not in page


def test_slices_count_from_one_where_asked(folder, tmp_path) -> None:
    shutil.copytree(folder / "masks", tmp_path / "masks")
    shutil.copytree(folder / "scans", tmp_path / "scans")
    text = (folder / "tags.csv").read_text().replace(",2,5", ",3,6")
    (tmp_path / "tags.csv").write_text(text)
    page = page_of(tmp_path, tags=tmp_path / "tags.csv", slices_from=1)
    assert "liver: mask in slices 3 to 5, tag says 3 to 6" in page


def test_a_mask_without_its_scan_is_listed_without_picture(folder, tmp_path) -> None:
    shutil.copytree(folder / "masks", tmp_path / "masks")
    shutil.copytree(folder / "scans", tmp_path / "scans")
    (tmp_path / "scans" / "images" / "case_02.nii.gz").unlink()
    (tmp_path / "masks" / "case_03.nii.gz").unlink()
    (tmp_path / "masks" / "volumes.csv").unlink()
    page = page_of(tmp_path)
    card = page[page.index('data-case="case_02"') :]
    card = card[: card.index("</article>")]
    assert "no scan of this name was given" in card and "<img" not in card
    assert "case_03: a scan without a mask" in page and "structure 1" in page


def test_what_cannot_be_a_page_is_refused(folder, tmp_path) -> None:
    with pytest.raises(BadDataset, match="no masks in this folder"):
        write_masks_report(tmp_path, folder / "scans" / "images")
    inside = folder / "scans" / "images"
    with pytest.raises(BadConfig, match="inside the input folder"):
        write_masks_report(inside, inside, out=inside / "report")
    shutil.copytree(folder / "masks", tmp_path / "masks")
    (tmp_path / "masks" / "quality.csv").write_text(
        "case,structure,dice,low,high,reasons\na,liver,good,,,\n"
    )
    with pytest.raises(BadDataset, match=r"quality\.csv does not hold what it should"):
        write_masks_report(tmp_path / "masks", folder / "scans" / "images")
    depth = LabelMap(np.zeros((4, 32, 32), np.uint8), Grid((32, 32, 4), AFFINE))
    (tmp_path / "masks" / "quality.csv").unlink()
    write_labels(tmp_path / "masks" / "case_01.nii.gz", depth)
    told: list[str] = []
    page = write_masks_report(
        tmp_path / "masks",
        folder / "scans" / "images",
        on_refused=lambda case, error: told.append(f"{case}: {error.code}"),
    ).read_text()
    assert told == ["case_01: M01"] and "case_01 is not shown: the mask of case_01" in page
    assert 'data-case="case_02"' in page


def test_nothing_is_written_among_masks_of_a_person(folder, tmp_path) -> None:
    masks = tmp_path / "labels"
    shutil.copytree(folder / "scans" / "labels", masks)
    with pytest.raises(BadConfig, match="may be a person's"):
        write_masks_report(masks, folder / "scans" / "images")
    page = write_masks_report(masks, folder / "scans" / "images", out=tmp_path / "page")
    assert page == tmp_path / "page" / "index.html" and not (masks / "report").exists()


def test_the_one_script_is_the_one_the_policy_allows(folder) -> None:
    page = page_of(folder)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
        "script-src": f"'{digest_of(script)}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert digest_of("x") == "sha256-LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE="


def test_without_scripts_every_slice_is_there_and_no_dead_control(folder) -> None:
    """Tools are hidden until the script shows them; ratings lie in a template."""
    page = page_of(folder)
    before = page[: page.index("<dialog")]
    assert before.count('<details class="slices"') == 5
    assert len(re.findall(r"<li><figure>", before)) >= 5 * 6, "the strips lie open to read"
    for name in ("tools", "raters"):
        assert re.search(rf'<div class="tools" id="{name}" hidden>', before)
    outside = re.sub(r'<div class="tools".*?</div>', "", before, flags=re.DOTALL)
    assert "<button" not in outside and "<input" not in outside and "<select" not in outside
