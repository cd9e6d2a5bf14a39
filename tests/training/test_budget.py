"""A budget that a file names: exactly these masks, and no other."""

import pytest

from fewmask.core.budget import Budget
from fewmask.core.errors import BadConfig
from fewmask.data.label_guard import LabelGuard
from fewmask.io.prepared import write_budget
from fewmask.io.run import RunFolder
from fewmask.training import TrainRequest, draw_budget, train
from tests.scans import prepare_scans


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_scans(tmp_path_factory.mktemp("budget"))


def asked(prepared, path, budget: Budget) -> TrainRequest:
    write_budget(path, budget)
    return TrainRequest(
        prepared.folder, path.parent / "run", "unet", budget=path, steps=1, amp="off",
        device="cpu", settings=("channels=(4,8)",),
    )  # fmt: skip


def test_a_run_sees_what_its_file_names_and_resumes_by_it(prepared, tmp_path) -> None:
    """Slice 0 of complete masks is empty: a person who looked at it said so."""
    budget = Budget("slices", 3, slices=(("case_00", 2), ("case_01", 0)))
    request = asked(prepared, tmp_path / "b.toml", budget)
    run = train(request)
    assert RunFolder.open(run).read_budget() == budget
    guard = LabelGuard(prepared, budget)
    assert guard.granted() == [("case_00", 2), ("case_01", 0)]
    assert guard.labels("case_01", [0]).sum() == 0
    assert train(request) == run
    write_budget(tmp_path / "b.toml", Budget("slices", 3, slices=(("case_00", 3),)))
    with pytest.raises(BadConfig) as error:
        train(request)
    assert error.value.code == "C06" and "other masks" in str(error.value)


@pytest.mark.parametrize(
    "budget",
    [
        Budget("slices", 0, slices=(("case_00", 8),)),
        Budget("slices", 0, slices=(("case_03", 2),)),
        Budget("slices", 0, slices=(("nobody", 2),)),
        Budget("slices", 0, slices=(("case_00", 2), ("case_00", 2))),
        Budget("slices", 0),
        Budget("slices", 0, slices=(("case_00", 2),), volumes=("case_00",)),
        Budget("volumes", 0, volumes=("case_04",)),
    ],
    ids=["beyond", "kept aside", "unknown", "twice", "nothing", "both", "volume kept aside"],
)
def test_what_no_person_outlined_in_the_training_part_is_refused(prepared, tmp_path, budget):
    with pytest.raises(BadConfig) as error:
        draw_budget(asked(prepared, tmp_path / "b.toml", budget), prepared)
    assert error.value.code == "C02" and "b.toml" in str(error.value)


def test_a_file_and_a_number_exclude_each_other(prepared, tmp_path) -> None:
    with pytest.raises(BadConfig, match="budget"):
        TrainRequest(prepared.folder, tmp_path / "run", slices=2, budget=tmp_path / "b.toml")
