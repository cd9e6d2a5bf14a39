"""What a preparation is asked for: refused before a scan is read, and what makes cases stale."""

import pytest

from fewmask.core.errors import BadConfig
from fewmask.io.header import ReadOptions
from fewmask.prepare.options import PrepareOptions, ScanOptions

LIVER: dict[str, tuple[int | str, ...]] = {"liver": (6,)}


@pytest.mark.parametrize("wrong", [{"recipe": "mri"}, {"masks": "some"}, {"size": 100}])
def test_what_cannot_be_is_refused_at_once(wrong) -> None:
    with pytest.raises(BadConfig):
        PrepareOptions(LIVER, **wrong)


def test_a_case_goes_stale_with_how_it_is_read_not_with_how_it_is_found() -> None:
    plain = PrepareOptions(LIVER).mark
    assert plain == PrepareOptions(LIVER, scans=ScanOptions(follow_links=True), jobs=4).mark
    for changed in (
        ScanOptions(ReadOptions(trust="sform")),
        ScanOptions(series="2"),
        ScanOptions(keep_first=True),
    ):
        assert PrepareOptions(LIVER, scans=changed).mark != plain


def test_the_mark_is_the_one_of_earlier_versions() -> None:
    """Datasets that stand on disks are not made anew for it."""
    assert PrepareOptions(LIVER).mark == {
        "labels": [["liver", 6]],
        "masks": "partial",
        "read": "ReadOptions(trust=None, assume_ras=False, volume=None, fix_nonfinite=False, "
        "spacing_mm=None)",
        "series": "",
        "keep_first": False,
    }


def test_cases_are_used_again_under_the_same_options_only() -> None:
    """What earlier versions did not know is empty in theirs."""
    plain, mended = (
        PrepareOptions(LIVER),
        PrepareOptions(LIVER, scans=ScanOptions(intensity="offset")),
    )
    for options, other in ((plain, mended), (mended, plain)):
        assert options.made(options.mark) and not options.made(other.mark)
    assert not plain.made({**plain.mark, "masks": "complete"}) and not plain.made({})
