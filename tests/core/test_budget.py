import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.core.budget import Budget, Split, draw_slices, draw_volumes
from fewmask.core.errors import BadConfig, BadDataset

# Two scans of patient p0, one each of the others.
CANDIDATES = {f"c{n}": list(range(n, n + 20 - n)) for n in range(6)}
PATIENTS = {case: "p0" if case in ("c0", "c1") else case.replace("c", "p") for case in CANDIDATES}


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 85), st.integers(1, 85))
def test_budgets_nest(draw: int, n: int, m: int) -> None:
    small, large = (draw_slices(CANDIDATES, PATIENTS, count, draw) for count in sorted((n, m)))
    assert large.slices[: len(small.slices)] == small.slices
    assert len(set(large.slices)) == large.masks == max(n, m)
    assert all(d in CANDIDATES[case] for case, d in large.slices)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1000))
def test_patients_take_turns(draw: int) -> None:
    slices = draw_slices(CANDIDATES, PATIENTS, 10, draw).slices
    for turn in (slices[:5], slices[5:]):
        assert sorted(PATIENTS[case] for case, _ in turn) == ["p0", "p2", "p3", "p4", "p5"]


def test_draws_differ_and_input_order_does_not_matter() -> None:
    assert len({draw_slices(CANDIDATES, PATIENTS, 5, draw).slices for draw in range(10)}) > 5
    turned = {case: CANDIDATES[case][::-1] for case in reversed(CANDIDATES)}
    assert draw_slices(turned, PATIENTS, 30, 3) == draw_slices(CANDIDATES, PATIENTS, 30, 3)


def test_patients_that_run_out_are_passed_over() -> None:
    budget = draw_slices({"a": [1], "b": [1, 2, 3], "c": []}, {"a": "a", "b": "b", "c": "c"}, 4, 0)
    assert sorted(budget.slices) == [("a", 1), ("b", 1), ("b", 2), ("b", 3)]


@pytest.mark.parametrize("n", [-1, 106])
def test_more_than_there_is(n: int) -> None:
    with pytest.raises(BadConfig, match="105 available") as caught:
        draw_slices(CANDIDATES, PATIENTS, n, 0)
    assert "1 to 105" in caught.value.fix
    assert caught.value.exit_code == 2
    with pytest.raises(BadConfig, match="0 available"):
        draw_volumes([], {}, 1, 0)


def test_no_slices_is_a_budget_too() -> None:
    """For methods that learn from tags alone."""
    budget = draw_slices(CANDIDATES, PATIENTS, 0, 3)
    assert (budget.masks, budget.kind, budget.draw) == (0, "slices", 3)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 6))
def test_volume_budgets_nest_over_patients(draw: int, n: int, m: int) -> None:
    small, large = (
        draw_volumes(list(CANDIDATES), PATIENTS, count, draw).volumes for count in sorted((n, m))
    )
    assert large[: len(small)] == small
    assert len({PATIENTS[case] for case in large[:5]}) == min(5, len(large))


def test_what_is_granted() -> None:
    slices = Budget("slices", 0, slices=(("a", 3),))
    assert slices.grants("a", 3)
    assert not slices.grants("a", 4)
    assert not slices.grants("b", 3)
    volumes = Budget("volumes", 0, volumes=("b",))
    assert volumes.grants("b", 99)
    assert not volumes.grants("a", 3)
    assert (slices.masks, volumes.masks) == (1, 1)


def test_split_keeps_patients_apart() -> None:
    Split(("c0", "c1", "c2"), ("c3",), ("c4",)).check(PATIENTS)
    with pytest.raises(BadDataset, match="patient p0 is in train and in test") as caught:
        Split(("c0", "c2"), test=("c1",)).check(PATIENTS)
    assert caught.value.code == "S01"


@pytest.mark.parametrize(
    "split", [Split(()), Split(("c0", "c0")), Split(("c0",), test=("nobody",))]
)
def test_impossible_splits(split: Split) -> None:
    with pytest.raises(BadDataset) as caught:
        split.check(PATIENTS)
    assert caught.value.code == "S04"


def test_in_the_order_of_the_list_as_papers_do() -> None:
    cases = ["d", "a", "c", "b"]
    patients = {case: case for case in cases}
    assert draw_volumes(cases, patients, 1, 0, in_order=True).volumes == ("d",)
    assert draw_volumes(cases, patients, 1, 2, in_order=True).volumes == ("c",)
    assert draw_volumes(cases, patients, 3, 0, in_order=True).volumes == ("d", "a", "c")
    assert draw_volumes(cases, patients, 3, 1, in_order=True).volumes == ("b", "d", "a")
    with pytest.raises(BadConfig, match="5 labelled volumes"):
        draw_volumes(cases, patients, 5, 0, in_order=True)
