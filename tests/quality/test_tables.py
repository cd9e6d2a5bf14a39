"""The two tables of a folder, from signs beside masks."""

import csv
from dataclasses import replace

import pytest

from fewmask.core.errors import BadDataset
from fewmask.io.tables import write_csv
from fewmask.quality import tables
from fewmask.quality.beside import Seen, read_all, signs_path, write_signs
from fewmask.quality.estimate import Shift
from fewmask.quality.reasons import reasons_of
from fewmask.quality.signs import Signs
from fewmask.quality.tables import Calibration, calibrate, judge, tell_doubtful, write_tables
from tests.quality.test_estimate import EXPECTED_ALONE, GOOD


def write_mask(folder, case, *signs, outlined=None) -> Seen:
    names = ("liver", "spleen")[: len(signs)]
    seen = Seen(case, dict(zip(names, signs, strict=True)), f"{case}.nii.gz", outlined)
    write_signs(folder, seen)
    (folder / seen.mask).write_bytes(b"mask")
    return seen


def rows_of(path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_volumes_are_in_the_files_own_slices(tmp_path) -> None:
    write_mask(tmp_path, "b", replace(GOOD, mean_intensity=101.23456), Signs())
    write_tables(tmp_path, slices_from=1)
    liver, spleen = rows_of(tmp_path / "volumes.csv")
    assert list(liver.values()) == ["b", "liver", "1500.0", "11", "50", "1", "101.23"]
    assert list(spleen.values()) == ["b", "spleen", "0.0", "", "", "0", ""]


def test_quality_has_a_row_per_structure_and_their_mean(tmp_path) -> None:
    write_mask(tmp_path, "a", GOOD, replace(GOOD, expected=None))
    write_mask(tmp_path, "b", GOOD, Signs())
    write_tables(tmp_path)
    rows = rows_of(tmp_path / "quality.csv")
    assert [(row["case"], row["structure"]) for row in rows] == [
        (case, name) for case in "ab" for name in ("liver", "spleen", "mean")
    ]
    unknown, mean, empty = rows[1], rows[2], rows[4]
    assert unknown["dice"] == unknown["low"] == mean["dice"] == ""
    assert unknown["reasons"] == "cannot be known: the method gives no probabilities"
    assert (empty["dice"], empty["low"], empty["high"], empty["reasons"]) == (
        "0.0",
        "0.0",
        "1.0",
        "empty",
    )
    assert float(rows[5]["dice"]) == pytest.approx(float(rows[3]["dice"]) / 2, abs=0.001)
    assert rows[5]["reasons"] == "spleen: empty"


def test_masks_that_are_gone_have_no_row(tmp_path) -> None:
    write_mask(tmp_path, "a", GOOD)
    write_mask(tmp_path, "b", GOOD)
    (tmp_path / "a.nii.gz").unlink()
    assert [seen.case for seen in read_all(tmp_path)] == ["b"]


def test_tables_lack_nothing_that_a_finished_process_drew(tmp_path, monkeypatch) -> None:
    """While this process reads, another one draws `b`, writes tables and ends: read again. One that
    draws `c` while tables are written has yet to write its own.
    """
    write_mask(tmp_path, "a", GOOD)
    late = ["b"]

    def judge_and_meanwhile(scans, calibration):
        rows = judge(scans, calibration)
        if late:
            write_mask(tmp_path, late.pop(), GOOD)
            write_tables(tmp_path)
        return rows

    monkeypatch.setattr(tables, "judge", judge_and_meanwhile)
    assert {row.case for row in write_tables(tmp_path)} == {"a", "b"}
    assert {row["case"] for row in rows_of(tmp_path / "quality.csv")} == {"a", "b"}
    read = []

    def write_and_meanwhile(*words) -> None:
        read.append(words)
        write_csv(*words)
        write_mask(tmp_path, "c", GOOD)

    monkeypatch.setattr(tables, "write_csv", write_and_meanwhile)
    write_tables(tmp_path)
    assert len(read) == 2, "two tables, once: who still draws keeps nobody from ending"


def test_a_file_that_is_not_ours_is_named(tmp_path) -> None:
    signs_path(tmp_path, "a").write_text('{"mask": "a.nii.gz", "structures": {"liver": {"x": 1}}}')
    with pytest.raises(BadDataset, match=r"a\.signs\.json does not hold what it should"):
        read_all(tmp_path)


def test_doubtful_masks_are_named_the_worst_first(tmp_path) -> None:
    scans = [
        Seen("a", {"liver": replace(GOOD, expected=0.6)}, "a"),
        Seen("b", {"liver": GOOD}, "b"),
        Seen("c", {"liver": Signs()}, "c"),
    ]
    rows = judge(scans, prior=EXPECTED_ALONE)
    assert tell_doubtful(rows, tmp_path).startswith("2 of 3 masks look doubtful: c, a, see ")
    assert tell_doubtful(judge(scans[1:2]), tmp_path).startswith("none of 1 mask looks doubtful")
    unknown = [Seen("a", {"liver": replace(GOOD, border=None)}, "a")]
    assert "cannot be known" in tell_doubtful(judge(unknown), tmp_path)


def test_the_scan_with_more_doubt_than_the_others_is_lower() -> None:
    doubts = [0.1, 0.1, 0.1, 0.1, 0.2]
    scans = [Seen(f"s{n}", {"liver": replace(GOOD, doubt=one)}, "") for n, one in enumerate(doubts)]
    dices = [one.estimate.dice or 0 for one in judge(scans, prior=EXPECTED_ALONE)[::2]]
    assert dices[:4] == pytest.approx([0.97] * 4) and dices[4] < 0.95
    fewer = judge(scans[1:], prior=EXPECTED_ALONE)
    assert all(one.estimate.dice == pytest.approx(0.97) for one in fewer)


def test_scored_scans_that_were_kept_aside_calibrate() -> None:
    scans = [Seen(f"s{n}", {"liver": replace(GOOD, expected=0.9)}, "") for n in range(6)]
    truths = {(f"s{n}", "liver"): 0.8 for n in range(6)}
    found = calibrate(scans, truths, EXPECTED_ALONE)
    assert found.shifts["liver"].scans == 6 and not found.ceilings
    (row, _) = judge(scans[:1], found, EXPECTED_ALONE)
    assert row.estimate.dice == pytest.approx(0.8)
    few = {key: truth for key, truth in truths.items() if key[0] < "s4"}
    assert not calibrate(scans, few, EXPECTED_ALONE).shifts


def test_outlines_are_a_ceiling_from_five_scans_on() -> None:
    scans = [Seen(f"s{n}", {"liver": GOOD}, "", {"liver": (60, 100)}) for n in range(5)]
    assert calibrate(scans, {}, EXPECTED_ALONE) == Calibration({}, {"liver": 0.6})
    assert calibrate(scans[:4], {}, EXPECTED_ALONE) == Calibration()
    (row, _) = judge(scans[:1], Calibration({}, {"liver": 0.6}), EXPECTED_ALONE)
    assert row.estimate.dice == pytest.approx(0.6)


def test_a_shift_of_few_scans_is_not_used() -> None:
    with_few = Calibration({"liver": Shift(-3.0, 0.1, 3)})
    scan = [Seen("a", {"liver": GOOD}, "")]
    assert judge(scan, with_few) == judge(scan)


def test_reasons_are_in_plain_words_the_most_important_first() -> None:
    odd = replace(
        GOOD, pieces=2, pieces_ml=(400.0, 31.2), short_of_tags=6, gaps=1, removed=0.25, ml=431.2
    )
    assert reasons_of(odd, volume_score=4.0, usual_ml=215.6) == [
        "ends 6 slices short of its tags",
        "volume 2.0 times that of the others",
        "2 pieces, the second has 31 mL",
        "1 slice between its ends lacks it",
        "25% of what the network drew was taken away",
    ]
    assert reasons_of(GOOD) == []
    assert reasons_of(Signs(short_of_tags=20)) == ["empty, its tags name 20 slices"]
