"""Whose mask stands in a place."""

import numpy as np

from fewmask.core.volume import LabelMap
from fewmask.predict.made import is_of_another, made_path, write_made
from fewmask.predict.predictor import Prediction
from tests.scans import AFFINE, SHAPE


def test_a_mask_of_another_case_is_known_by_its_note(tmp_path) -> None:
    """Two scans of a patient have one name in BIDS; notes of earlier versions name no case."""
    mask = tmp_path / "sub-01_desc-fewmask_dseg.nii.gz"
    assert not is_of_another(mask, "sub-01_T1w")
    mask.write_bytes(b"mask")
    drawn = Prediction(LabelMap.from_file_order(np.zeros(SHAPE, np.uint8), AFFINE), None, 0)
    write_made(mask, "abc", drawn, "sub-01_T1w")
    assert not is_of_another(mask, "sub-01_T1w") and is_of_another(mask, "sub-01_T2w")
    made_path(mask).write_text('{"made_of": "abc"}')
    assert not is_of_another(mask, "sub-01_T2w")
