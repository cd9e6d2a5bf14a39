"""SAM-Mix's files in and out: what a slice holds on the way, and that both directions meet."""

import h5py
import numpy as np
import pytest

from fewmask.core.errors import BadConfig, BadDataset
from fewmask.io.nifti import read_grid, read_labels, read_volume
from fewmask.prepare.convert import cases_of, export_prepared, import_samix
from tests.scans import prepare_scans


def test_export_then_import(tmp_path) -> None:
    prepared = prepare_scans(tmp_path)
    cases = cases_of(prepared, "train")
    assert len(cases) == 3
    assert (
        export_prepared(prepared, tmp_path / "out.h5", cases) == 24
    )  # 3 cases x 8 reviewed slices
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["Slice0/Slice"].shape == (256, 256)
        labels = [int(file[f"Slice{i}"].attrs["ImageLabel"]) for i in range(8)]
    assert labels == [0, 0, 1, 1, 1, 1, 0, 0]
    done = import_samix(tmp_path / "out.h5", tmp_path / "back", (0.4, 0.5, 5.0))
    assert done.case == "out" and done.slices == 24 and "unknown patients" in done.notes[0]
    image = tmp_path / "back" / "images" / "out.nii.gz"
    assert read_grid(image).spacing_mm == pytest.approx((0.4, 0.5, 5.0))
    truth = read_labels(tmp_path / "scans" / "labels" / "case_00.nii.gz").voxels
    mask = read_labels(tmp_path / "back" / "labels" / "out.nii.gz").voxels
    # 32 pixels became 256: every pixel is a block of 8 x 8, read at its fourth pixel.
    assert np.array_equal(mask[:8, 4::8, 4::8], (truth == 6).astype(np.uint8))
    scan = read_volume(image).intensities()
    assert scan.min() >= -162.5 and scan.max() <= 242.5


def test_pixel_sizes_must_be_said(tmp_path) -> None:
    prepared = prepare_scans(tmp_path)
    export_prepared(prepared, tmp_path / "out.h5", ["case_00"])
    with pytest.raises(BadConfig, match="no voxel sizes"):
        import_samix(tmp_path / "out.h5", tmp_path / "back", None)
    assert not (tmp_path / "back").exists()


def test_nothing_is_replaced(tmp_path) -> None:
    prepared = prepare_scans(tmp_path)
    export_prepared(prepared, tmp_path / "out.h5", ["case_00"])
    import_samix(tmp_path / "out.h5", tmp_path / "back", (1.0, 1.0, 1.0))
    with pytest.raises(BadConfig, match="would be lost"):
        import_samix(tmp_path / "out.h5", tmp_path / "back", (1.0, 1.0, 1.0))


def test_an_empty_part_is_refused(tmp_path) -> None:
    with pytest.raises(BadDataset, match="no val cases"):
        cases_of(prepare_scans(tmp_path), "val")
