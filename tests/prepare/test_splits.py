"""Who is in which part: patients from a table or a name, a drawn split that never divides one, and
the same scan under two names.
"""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.core.budget import Split
from fewmask.core.errors import BadConfig, BadDataset
from fewmask.io.prepared import CaseRow, read_split, write_split
from fewmask.prepare.splits import choose_split, patients_of


def case_row(case: str, patient: str, voxels: str = "", complete: bool = True) -> CaseRow:
    """A case whose voxels are its own unless said otherwise."""
    return CaseRow(
        case=case,
        patient=patient,
        image=f"{case}.nii.gz",
        mask=f"{case}_seg.nii.gz",
        sha256=case,
        stamp="",
        voxels_sha256=voxels or case,
        labels_sha256=case,
        shape=(8, 32, 32),
        spacing_mm=(5.0, 1.0, 1.0),
        percentiles=(0.0, 1.0),
        complete=complete,
        outlined=[2, 3],
        counts={"1": 9},
        ct=True,
        flipped=False,
        present={"liver": [2, 3]},
    )


def table(*rows: CaseRow) -> dict[str, CaseRow]:
    return {row.case: row for row in rows}


def test_a_case_is_its_own_patient_unless_somebody_says_otherwise() -> None:
    assert patients_of(["a", "b"], None) == {"a": "a", "b": "b"}
    assert patients_of(["p1_t0", "p1_t1", "p22_t0"], "^(p[0-9]+)_") == {
        "p1_t0": "p1",
        "p1_t1": "p1",
        "p22_t0": "p22",
    }


def test_patients_of_a_table(tmp_path: Path) -> None:
    """Cases that are only in the table do not matter; one that is only here does."""
    (tmp_path / "p.csv").write_text("case,patient\na,one\nb,one\nelsewhere,two\n")
    assert patients_of(["b", "a"], tmp_path / "p.csv") == {"b": "one", "a": "one"}
    with pytest.raises(BadDataset, match="1 case without a patient: c") as caught:
        patients_of(["a", "c"], tmp_path / "p.csv")
    assert caught.value.code == "S01"


@pytest.mark.parametrize(
    ("pattern", "said", "code"),
    [
        ("p[", "is no regular expression", "C02"),
        ("^p[0-9]+", "finds no patient in p1_a", "S01"),
        ("^(q)", "finds no patient in p1_a", "S01"),
        ("^(p)([0-9])", "finds no patient in any case", "S01"),
    ],
)
def test_a_pattern_has_one_group_and_finds_it_in_every_name(
    pattern: str, said: str, code: str
) -> None:
    with pytest.raises(BadConfig, match=said) as caught:
        patients_of(["p1_a"], pattern)
    assert caught.value.code == code


def test_three_of_ten_patients_are_for_testing_with_all_their_scans() -> None:
    """30 % of 10; each has two scans, so 6 of 20 cases."""
    rows = table(
        *(case_row(f"p{n}_{scan}", f"p{n}") for n in range(10) for scan in ("early", "late"))
    )
    split = choose_split(rows, None)
    assert len(split.test) == 6 and len(split.train) == 14 and split.val == ()
    assert len({rows[case].patient for case in split.test}) == 3
    assert not {rows[c].patient for c in split.test} & {rows[c].patient for c in split.train}
    assert sorted([*split.train, *split.test]) == sorted(rows)
    assert choose_split(dict(reversed(rows.items())), None) == split, "in whatever order they came"


@pytest.mark.parametrize(("patients", "tested"), [(3, 0), (4, 1), (5, 2), (6, 2), (10, 3)])
def test_three_patients_stay_to_learn_from(patients: int, tested: int) -> None:
    """30 % of 4, 5, 6 and 10 are 1, 2 (1.5, to even), 2 and 3; of 3 none may go."""
    split = choose_split(table(*(case_row(f"c{n}", f"c{n}") for n in range(patients))), None)
    assert (len(split.test), len(split.train)) == (tested, patients - tested)


def test_only_complete_masks_are_tested_on() -> None:
    """Six patients, two with complete masks: 30 % of two is one, and it is one of them."""
    rows = table(*(case_row(f"c{n}", f"c{n}", complete=n in (1, 4)) for n in range(6)))
    assert choose_split(rows, None).test in (("c1",), ("c4",))
    none = table(*(case_row(f"c{n}", f"c{n}", complete=False) for n in range(6)))
    assert choose_split(none, None) == Split(tuple(sorted(none)), (), ())


def test_the_same_scan_under_two_names_goes_to_one_part() -> None:
    """Case 9 is another one once more, whichever: both are tested on, or neither."""
    tested = 0
    for other in range(9):
        rows = table(
            *(case_row(f"c{n}", f"c{n}", "same" if n in (other, 9) else "") for n in range(10))
        )
        split = choose_split(rows, None)
        assert (f"c{other}" in split.test) == ("c9" in split.test)
        tested += "c9" in split.test
    assert 0 < tested < 9, "both happen"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("pqrstuv"), st.sampled_from("abcdefghijkl"), st.booleans()),
        min_size=1,
        max_size=12,
    ),
    st.randoms(use_true_random=False),
)
def test_a_drawn_split_never_parts_a_patient_or_a_scan(cases, chance) -> None:
    """However patients and scans under two names hang together; the order of the files is
    nothing.
    """
    rows = [
        case_row(f"c{n:02}", patient, voxels, complete)
        for n, (patient, voxels, complete) in enumerate(cases)
    ]
    split = choose_split(table(*rows), None)
    assert sorted([*split.train, *split.val, *split.test]) == [row.case for row in rows]
    for name in ("patient", "voxels_sha256"):
        tested, learned = (
            {getattr(row, name) for row in rows if row.case in part}
            for part in (split.test, split.train)
        )
        assert not tested & learned
    chance.shuffle(rows)
    assert choose_split(table(*rows), None) == split


def test_a_file_that_parts_one_scan_or_one_patient_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.toml"
    write_split(path, Split(("a", "b"), (), ("c",)))
    assert choose_split(table(*(case_row(c, c) for c in "abc")), read_split(path)).test == ("c",)
    twins = table(case_row("a", "a", "same"), case_row("b", "b"), case_row("c", "c", "same"))
    with pytest.raises(BadDataset, match="two parts of the split under two names") as caught:
        choose_split(twins, read_split(path))
    assert caught.value.code == "N44" and "a (train) = c (test)" in str(caught.value)
    one_patient = table(case_row("a", "p"), case_row("b", "q"), case_row("c", "p"))
    with pytest.raises(BadDataset, match="patient p is in train and in test") as caught:
        choose_split(one_patient, read_split(path))
    assert caught.value.code == "S01"
