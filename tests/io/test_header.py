"""A header's bytes, changed one field at a time: what is read, what is noted, what is refused."""

import math
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from fewmask.core.errors import BadScan
from fewmask.io.header import AS_IS, Header, ReadOptions, parse_header
from tests.narrow import Settings

AFFINE = np.array([[2.0, 0, 0, -10], [0, 3.0, 0, -20], [0, 0, 4.0, -30], [0, 0, 0, 1]])


def header_bytes(kind: type = nib.Nifti1Header, order: str = "<", **fields: Any) -> bytes:
    """540 bytes of a file of 5 x 6 x 7 int16 voxels of 2 x 3 x 4 mm; `fields` are overwritten."""
    header = kind(endianness=order)
    header.set_data_dtype(np.int16)
    header.set_data_shape((5, 6, 7))
    header.set_qform(AFFINE, code=1)
    header.set_sform(AFFINE, code=1)
    header.set_xyzt_units("mm")
    header["vox_offset"] = 352 if kind is nib.Nifti1Header else 544
    for name, value in fields.items():
        header[name] = value
    return bytes(header.binaryblock).ljust(540, b"\0")


def parsed(options: ReadOptions = AS_IS, **fields: Any) -> Header:
    return parse_header(header_bytes(**fields), options)


def refused(code: str, said: str, options: ReadOptions = AS_IS, **fields: Any) -> None:
    with pytest.raises(BadScan, match=said) as caught:
        parsed(options, **fields)
    assert caught.value.code == code and caught.value.fix


@pytest.mark.parametrize("kind", [nib.Nifti1Header, nib.Nifti2Header])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_formats_in_both_byte_orders(kind: type, order: str) -> None:
    """5 * 6 * 7 voxels of two bytes."""
    header = parse_header(header_bytes(kind, order), AS_IS)
    assert (header.shape, header.volumes, header.volume) == ((5, 6, 7), 1, 0)
    assert header.dtype == np.dtype(f"{order}i2") and header.data_bytes == 420
    assert header.offset == (352 if kind is nib.Nifti1Header else 544) and not header.paired
    np.testing.assert_array_equal(header.affine, AFFINE)
    assert header.notes == ()


def test_header_and_voxels_in_two_files() -> None:
    header = parsed(magic=b"ni1", vox_offset=0)
    assert header.paired and header.offset == 0


def test_slope_and_intercept_are_read_as_they_stand() -> None:
    header = parsed(scl_slope=0.5, scl_inter=-1024)
    assert (header.slope, header.inter, header.notes) == (0.5, -1024.0, ())
    for slope in (0, math.nan):
        header = parsed(scl_slope=slope, scl_inter=7)
        assert (header.slope, header.inter) == (1.0, 0.0) and "N37" in header.notes[0]
    refused("N37", "scl_slope is inf", scl_slope=math.inf)
    refused("N37", "scl_inter is nan", scl_slope=1, scl_inter=math.nan)


def test_a_fourth_axis_is_chosen_from_or_dropped() -> None:
    four: Settings = {"dim": [4, 5, 6, 7, 3, 1, 1, 1]}
    refused("N25", "4D image of 3 volumes", **four)
    refused("N25", "volume 3 asked for, there are 3", ReadOptions(volume=3), **four)
    header = parsed(ReadOptions(volume=2), **four)
    assert (header.volumes, header.volume, header.data_bytes) == (3, 2, 1260)
    single = parsed(dim=[4, 5, 6, 7, 1, 1, 1, 1])
    assert single.shape == (5, 6, 7) and "N26" in single.notes[0]
    refused("N26", "5D image", dim=[5, 5, 6, 7, 1, 3, 1, 1])


def test_axes_that_are_no_axes() -> None:
    refused("N12", r"dim\[0\] \(number of axes\) is 8", dim=[8, 5, 6, 7, 1, 1, 1, 1])
    refused("N12", r"field dim\[2\] is 0", dim=[3, 5, 0, 7, 1, 1, 1, 1])
    refused("N12", "one axis of 5 voxels", dim=[1, 5, 1, 1, 1, 1, 1, 1])


def test_a_plane_is_one_slice() -> None:
    flat = parsed(dim=[2, 5, 6, 1, 1, 1, 1, 1])
    assert flat.shape == (5, 6, 1)


@pytest.mark.parametrize(
    ("datatype", "bits", "code", "said"),
    [
        (1, 1, "N13", "single bits"),
        (128, 24, "N27", "RGB colours"),
        (32, 64, "N28", "complex numbers"),
        (3, 8, "N13", "datatype is 3, which does not exist"),
        (4, 8, "N13", "bitpix is 8, but datatype 4 has 16 bits"),
    ],
)
def test_voxels_of_another_kind(datatype: int, bits: int, code: str, said: str) -> None:
    refused(code, said, datatype=datatype, bitpix=bits)


@pytest.mark.parametrize("offset", [351, 352.5, -1, math.nan])
def test_voxels_start_behind_the_header_at_a_whole_byte(offset: float) -> None:
    refused("N14", "352 or more is needed", vox_offset=offset)


def test_units_are_turned_into_millimetres() -> None:
    """0.002 m is 2 mm, for the affine as for the spacing."""
    metres = {f"srow_{axis}": AFFINE[row] / 1000 for row, axis in enumerate("xyz")}
    header = parsed(
        xyzt_units=1, qform_code=0, pixdim=[1, 0.002, 0.003, 0.004, 1, 1, 1, 1], **metres
    )
    np.testing.assert_allclose(header.affine, AFFINE, atol=1e-6)
    assert "N17: units are metres" in header.notes[0]


def test_spacing_that_cannot_be_true() -> None:
    refused("N16", "spacing is unusable", pixdim=[1, 0, 3, 4, 1, 1, 1, 1])
    refused("N16", "spacing is unusable", pixdim=[1, math.nan, 3, 4, 1, 1, 1, 1])
    refused("N17", "implausible", pixdim=[1, 2, 3, 101, 1, 1, 1, 1])
    refused("N17", "implausible", ReadOptions(spacing_mm=(2.0, 3.0, 0.001)))


def test_one_geometry_is_enough_and_two_must_agree() -> None:
    moved = AFFINE[0] + [0, 0, 0, 5]
    for fields in ({"sform_code": 0}, {"qform_code": 0}):
        np.testing.assert_allclose(parsed(AS_IS, **fields).affine, AFFINE, atol=1e-5)
    refused("N20", "disagree by 5.00 mm at a corner", srow_x=moved)
    assert parsed(ReadOptions(trust="sform"), srow_x=moved).affine[0, 3] == -5
    assert parsed(ReadOptions(trust="qform"), srow_x=moved).affine[0, 3] == -10
    refused(
        "N20", "sform has voxels of 2 x 3 x 4 mm", qform_code=0, pixdim=[1, 1, 3, 4, 1, 1, 1, 1]
    )


def test_no_geometry_is_assumed_only_where_it_is_said() -> None:
    none: Settings = {"sform_code": 0, "qform_code": 0}
    refused("N21", "left and right are unknown", **none)
    header = parsed(ReadOptions(assume_ras=True), **none)
    np.testing.assert_array_equal(header.affine, np.diag([2.0, 3, 4, 1]))
    assert "N21" in header.notes[0]


def test_a_negative_handedness_turns_the_third_axis() -> None:
    """pixdim[0] = -1 with the same quaternion: k runs down."""
    header = parsed(sform_code=0, pixdim=[-1, 2, 3, 4, 1, 1, 1, 1])
    np.testing.assert_allclose(header.affine[:3, 2], [0, 0, -4], atol=1e-5)


def test_geometry_that_is_no_geometry() -> None:
    flat: Settings = {"srow_x": [0, 0, 0, 1], "qform_code": 0}
    refused("N19", "sform is singular", **flat)
    refused("N19", "holds NaN", srow_y=[0, math.nan, 0, 0], qform_code=0)
    refused("N19", "longer than 1", quatern_b=1, quatern_c=1, sform_code=0)
    refused("N19", r"pixdim\[0\] 0.5", pixdim=[0.5, 2, 3, 4, 1, 1, 1, 1], sform_code=0)


def test_sheared_axes_are_a_note() -> None:
    """i runs along (2, 0.02, 0): its cosine with j is 0.01."""
    header = parsed(qform_code=0, srow_y=[0.02, 3, 0, -20])
    assert "N22" in header.notes[0] and "cosine 0.010" in header.notes[0]


@pytest.mark.parametrize(
    ("head", "code", "said"),
    [
        (header_bytes()[:347], "N03", "347 bytes, the header alone has 348"),
        (header_bytes(nib.Nifti2Header)[:400], "N03", "NIfTI-2: 400 bytes"),
        (b"\x00\x01\x00\x00" + bytes(540), "N15", "sizeof_hdr is 256"),
        (header_bytes(magic=b"n+9"), "N15", "field magic is"),
        (header_bytes(nib.Nifti2Header, eol_check=[13, 10, 26, 13]), "N15", "copied as text"),
        (b"<!DOCTYPE html><html>".ljust(540), "N10", "not an image"),
    ],
)
def test_bytes_that_are_no_header(head: bytes, code: str, said: str) -> None:
    with pytest.raises(BadScan, match=said) as caught:
        parse_header(head, AS_IS)
    assert caught.value.code == code
