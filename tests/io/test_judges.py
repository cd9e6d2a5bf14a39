"""NIfTI headers with wrong numbers in them: what we accept, nibabel and ITK read as we do, or a
rule that is listed here says why not.
"""

import logging
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fewmask.core.errors import FewmaskError
from fewmask.core.volume import Grid
from fewmask.io.nifti import read_volume
from tests.faults.corpus import VOXELS, nifti_bytes
from tests.fuzz.damage import fields

SimpleITK = pytest.importorskip("SimpleITK", reason="SimpleITK (extra `test`) is not installed")

WHOLE = (
    nifti_bytes(VOXELS.astype(np.float32)),
    nifti_bytes(VOXELS.astype(np.float32), big=True),
    nifti_bytes(VOXELS),
)
DAMAGE = fields(0, 352)
APART_MM = 0.1
"""N20: sform and qform may lie so far apart at a corner; we take the sform, others the qform."""
RULES = {
    "nibabel": ("N17", "N29"),  # it leaves units to the user; a 2D image has no third axis there
    # It makes sheared axes straight, and multiplies by a slope of -0; we keep the first, take the
    # second for 0 as nibabel does, and say so.
    "itk": ("N22", "N37: scl_slope is -0.0"),
}
Seen = tuple[np.ndarray, np.ndarray]


def see_nibabel(path: Path) -> Seen:
    """Affine and scaled voxels."""
    image = nib.nifti1.load(path)
    affine = image.affine
    assert affine is not None
    return affine, np.asanyarray(image.dataobj)


def see_itk(path: Path) -> Seen:
    """The same; ITK's x and y run the other way."""
    image = SimpleITK.ReadImage(str(path))
    n = image.GetDimension()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (n, n))[:3, :3] * image.GetSpacing()[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return np.diag([-1.0, -1, 1, 1]) @ affine, SimpleITK.GetArrayFromImage(image).T


JUDGES = {"nibabel": see_nibabel, "itk": see_itk}


def check_judges(path: Path, seed: int) -> bool:
    """False: we refused it."""
    rng = np.random.default_rng([11, seed])
    path.write_bytes(DAMAGE(WHOLE[seed % len(WHOLE)], rng))
    try:
        volume = read_volume(path)
    except FewmaskError:
        return False
    ours = volume.grid.orientation.undo(volume.intensities())
    for name, see in JUDGES.items():
        if any(note.startswith(RULES[name]) for note in volume.notes):
            continue
        with warnings.catch_warnings(action="ignore"):
            affine, voxels = see(path)
        corners = Grid(ours.shape, affine).corners_mm
        np.testing.assert_allclose(corners, volume.grid.corners_mm, rtol=1e-5, atol=APART_MM)
        np.testing.assert_allclose(voxels.reshape(ours.shape), ours, rtol=1e-5, atol=1e-5)
    return True


@pytest.fixture(autouse=True)
def _silent():
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 2**32 - 1))
def test_what_we_accept_two_judges_read_the_same(tmp_path: Path, seed: int) -> None:
    check_judges(tmp_path / "a.nii", seed)


@pytest.mark.slow
def test_5_000_headers(tmp_path: Path) -> None:
    accepted = sum(check_judges(tmp_path / "a.nii", seed) for seed in range(5_000))
    assert 1_500 < accepted < 3_500
