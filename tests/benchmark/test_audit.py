"""What an audit says of runs, tables and lists: what is wrong, and what nobody can know."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fewmask.benchmark.audit import Answer, audit, lists, run, table
from fewmask.benchmark.audit import data as questions
from fewmask.benchmark.plan import Plan, RunGrid
from fewmask.benchmark.rows import RunRow, add_rows
from fewmask.benchmark.score import score_run
from fewmask.cleanup import CleanupRule, StructureRule
from fewmask.core.budget import Budget, Split
from fewmask.core.errors import BadConfig, BadDataset, FewmaskError
from fewmask.io.known import KnownNote, write_known
from fewmask.io.prepared import Prepared, write_budget, write_split
from fewmask.io.run import RunFolder
from fewmask.io.text import write_json, write_toml
from fewmask.training import TrainRequest, train
from tests.scans import prepare_scans

OLD_RUN = Path(__file__).parents[1] / "training" / "old_run"
ROW = RunRow(
    method="unet", settings="", slices=5, volumes=None, draw=0, seed=0, minutes=None, steps=7,
    precision="float32", domain="test", patient="p4", case="c4", label="liver",
    prompts="automatic", status="ok", dice=0.5, nsd=1.0, hd95_mm=4.0, hd_mm=5.0, assd_mm=1.0,
    volume_error_ml=0.0,
)  # fmt: skip
PLAN = Plan("scans", ["liver=1"], [RunGrid(["unet"], [5], draw=[0, 1], steps=7)])


def the(answers: list[Answer], question: str) -> Answer:
    (found,) = [one for one in answers if one.question == question]
    return found


def verdicts(answers: list[Answer]) -> dict[str, str]:
    return {one.question: one.verdict for one in answers}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, scored on two scans."""
    folder = tmp_path_factory.mktemp("audit")
    prepared = prepare_scans(folder)
    small = {"settings": ("channels=(4,8)",), "amp": "off", "device": "cpu", "steps": 2}
    train(TrainRequest(prepared.folder, folder / "run", method="unet", slices=4, **small))  # type: ignore[arg-type]
    score_run(folder / "run")
    return folder / "run"


@pytest.fixture
def scored(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_a_run_answers_everything_that_it_can(trained) -> None:
    answers = audit(trained)
    told = verdicts(answers)
    cannot = {question for question, verdict in told.items() if verdict == "cannot know"}
    assert cannot == {questions.PATIENTS, run.DRAWS, run.COMPARISONS}
    assert the(answers, run.CHECKPOINT).answer.startswith("it is the last of 2 steps")
    assert the(answers, run.PROMPTS).answer == "2 rows by the model alone"
    provided = the(answers, run.SUPERVISION).answer
    assert provided.startswith("4 outlined slices of 3 scans; no tags in training; ")
    assert provided.endswith("; no validation masks; no weights of others")
    assert told[questions.SCANS] == "ok" and told[run.LENGTH] == "look"


def test_a_patient_and_a_scan_in_two_parts_are_found(scored) -> None:
    write_split(scored / "split.toml", Split(("case_00", "case_01", "case_03"), (), ("case_03",)))
    record = json.loads((scored / "config.json").read_text())
    record["scans"]["case_04"] = record["scans"]["case_00"]
    write_json(scored / "config.json", record)
    assert the(audit(scored), questions.PATIENTS).answer == "yes: case_03 (train, test)"
    write_split(scored / "split.toml", Split(("case_00",), ("case_01",), ("case_04",)))
    found = the(audit(scored), questions.SCANS)
    assert found.verdict == "look" and "case_00 (train) = case_04 (test)" in found.answer


def test_outlines_of_test_scans_other_checkpoints_and_masks_with_tags_in_them(scored) -> None:
    write_budget(scored / "budget.toml", Budget("slices", 0, slices=(("case_04", 3),)))
    record = json.loads((scored / "config.json").read_text())
    write_json(scored / "config.json", record | {"checkpoint": "best"})
    write_known(scored / "predictions", "case_04", KnownNote(put_in=True))
    answers = audit(scored)
    assert the(answers, run.SUPERVISION).why == "not in the training part: case_04"
    assert the(answers, run.CHECKPOINT).verdict == "look"
    assert the(answers, run.PROMPTS).answer.endswith("; case_04")
    (scored / "weights.safetensors").unlink()
    assert the(audit(scored), run.CHECKPOINT).why == "its weights are gone"


def test_tags_that_only_the_clean_up_saw_are_not_forgotten(scored) -> None:
    """U-Net learns from no tag, but four outlined slices and three scans' tags chose its rule."""
    write_json(scored / "cleanup.json", CleanupRule({"liver": StructureRule()}).as_dict())
    assert the(audit(scored), run.SUPERVISION).verdict == "ok"
    rule = CleanupRule({"liver": StructureRule(keep="largest")})
    write_json(scored / "cleanup.json", rule.as_dict())
    told = the(audit(scored), run.SUPERVISION)
    assert told.why == "the clean-up rule was judged by tags of 3 scans: count them"


def test_a_run_whose_data_are_gone_says_so() -> None:
    answers = audit(OLD_RUN)
    assert the(answers, questions.PATIENTS).why.startswith("prepared: not a prepared dataset")
    twins = the(answers, questions.SCANS)
    assert (twins.verdict, twins.answer) == ("cannot know", "no two have equal voxels")
    assert the(answers, run.PROMPTS).why == "the run has no scores yet"


def test_patients_by_part() -> None:
    parts = {"train": ["a1", "b1"], "test": ["a2"]}
    both = questions.same_patient(parts, {"a1": "a", "a2": "a", "b1": "b"}, "")
    assert (both.verdict, both.answer) == ("look", "yes: a (train, test)")
    apart = questions.same_patient(parts, {"a1": "a", "b1": "a", "a2": "c"}, "")
    assert (apart.verdict, apart.answer) == ("ok", "no: patients 1 train, 1 test")
    assert questions.same_patient(parts, {}, "").verdict == "cannot know"
    assert questions.same_patient(parts, {}, "", said=True).answer == "no: patients 2 train, 1 test"


def test_scans_that_look_alike_are_named(trained) -> None:
    prepared = Prepared.open(trained.parent / "prepared")
    rows = dict(prepared.cases)
    rows["case_04"] = replace(rows["case_04"], thumbnails=rows["case_00"].thumbnails)
    alike = replace(prepared, cases=rows)
    found = questions.same_scan(prepared.split, {}, alike, "")
    assert found.verdict == "look" and found.answer.startswith("case_00 (train) looks like case_04")
    rows["case_04"] = replace(rows["case_04"], thumbnails="")
    found = questions.same_scan(prepared.split, {}, replace(prepared, cases=rows), "")
    assert found.verdict == "cannot know" and found.why.startswith("1 of 5 scans have no small")


def test_tags_at_test_time_are_no_automatic_prompts() -> None:
    assert table.audit_table([ROW], None, None)
    kinds = [ROW, replace(ROW, prompts="oracle-box"), replace(ROW, prompts="tags")]
    assert the(table.audit_table(kinds[:2], None, None), run.PROMPTS).verdict == "ok"
    assert the(table.audit_table(kinds, None, None), run.PROMPTS).verdict == "look"


def test_draws() -> None:
    two = [ROW, replace(ROW, draw=1)]
    assert table.draws([ROW]).verdict == "look"
    assert table.draws(two).verdict == "ok"
    other = [replace(ROW, method="vnet", draw=draw) for draw in (1, 2)]
    found = table.draws([*two, *other])
    assert found.verdict == "look" and found.why.startswith("not the same draws and seeds at 5 sl")


def test_comparisons_are_counted_at_equal_budgets(tmp_path) -> None:
    """Three settings with 5 slices are three pairs, two with 10 are one; cleaned ones are apart."""
    rows = [replace(ROW, method=name) for name in ("unet", "vnet", "cps")]
    rows += [replace(ROW, method=name, slices=10) for name in ("unet", "vnet")]
    rows.append(replace(ROW, cleanup="learned"))
    told = table.comparisons(rows)
    assert told.answer == "test (1 patient): 6 settings, 3 against one reference, 4 pairs"
    assert table.comparisons([ROW]).verdict == "ok"
    add_rows(tmp_path / "more.csv", [ROW, replace(ROW, patient="q")])
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    beside = sorted(tmp_path.glob("*.csv"))
    assert table.comparisons([ROW], beside).answer.endswith("; the same patients in more.csv (1)")


def test_a_plan_says_what_is_missing_and_what_was_left_out(tmp_path) -> None:
    answers = table.audit_table([ROW], PLAN, None)
    assert the(answers, table.COMPLETE).answer == "1 of 2 planned runs have rows"
    assert "read off masks" in the(answers, run.SUPERVISION).why
    both = [replace(ROW, draw=draw) for draw in (0, 1)]
    assert the(table.audit_table(both, PLAN, None), table.COMPLETE).verdict == "ok"
    more = [*both, replace(ROW, method="vnet")]
    assert "left out" in the(table.audit_table(more, PLAN, None), table.COMPLETE).why
    split = replace(PLAN, tags=False, split={"train": ["c4"], "test": ["c5"]})
    answers = table.audit_table(both, split, None)
    assert the(answers, questions.NAMES).answer == "yes: c4 (train, test)"
    assert the(answers, run.SUPERVISION).verdict == "ok"


def test_precisions() -> None:
    assert table.precision([ROW, replace(ROW, precision="bfloat16")]).verdict == "look"
    assert table.precision([replace(ROW, precision="")]).verdict == "cannot know"


def test_a_sweep_is_audited_with_its_runs(trained, tmp_path) -> None:
    """Its table is found by `rows`, its plan beside the table's folder."""
    work = tmp_path / "work"
    shutil.copytree(trained.parent / "prepared", work / "prepared")
    for name in ("a", "b"):
        shutil.copytree(trained, work / name / "run")
    answers = audit(work)
    assert the(answers, questions.SCANS).verdict == "ok"
    assert the(answers, run.CHECKPOINT).answer == "the last step of 2 runs; no score chose it"
    assert the(answers, run.MACHINE).verdict == "ok"
    environment = RunFolder.open(work / "b" / "run").read_environment()
    write_json(work / "b" / "run" / "environment.json", environment | {"device": "cuda"})
    add_rows(tmp_path / "rows" / "plan.csv", [ROW])
    grid = {"method": ["unet"], "slices": [5], "steps": 7}
    write_toml(tmp_path / "plan.toml", {"data": "x", "label": ["liver=1"], "runs": [grid]})
    answers = audit(work, rows=tmp_path / "rows" / "plan.csv")
    assert the(answers, run.MACHINE).verdict == "look"
    assert the(answers, table.COMPLETE).answer == "1 of 1 planned run have rows"


def test_folds_of_nnunet(tmp_path) -> None:
    path = tmp_path / "splits_final.json"
    folds = [{"train": ["p1_a", "p2_a"], "val": ["p1_b"]}, {"train": ["p1_b"], "val": ["p1_b"]}]
    path.write_text(json.dumps(folds))
    answers = audit(path)
    told = verdicts(answers)
    assert told[f"Fold 0: {questions.NAMES}"] == "ok"
    assert told[f"Fold 0: {questions.PATIENTS}"] == "cannot know"
    assert the(answers, f"Fold 1: {questions.NAMES}").answer == "yes: p1_b (train, test)"
    assert the(answers, lists.FOLDS).answer == "no: p1_b"
    answers = audit(path, patients="^(p[0-9])")
    assert the(answers, f"Fold 0: {questions.PATIENTS}").answer == "yes: p1 (train, test)"
    with pytest.raises(BadConfig, match="finds no patient"):
        audit(path, patients="^(q[0-9])")


def test_lists_of_the_literature(tmp_path) -> None:
    (tmp_path / "train_slices.list").write_text("p1_frame01_slice_1\np1_frame01_slice_2\n")
    (tmp_path / "test.list").write_text("p2_frame01.h5\np1_frame02\n")
    (tmp_path / "README.txt").write_text("p2_frame01\n")
    answers = audit(tmp_path)
    assert the(answers, questions.NAMES).answer == "no: 1 train, 2 test"
    assert "the test list only" in the(answers, run.CHECKPOINT).why
    by_patient = the(audit(tmp_path / "test.list", patients="^(p[0-9]+)"), questions.PATIENTS)
    assert by_patient.answer == "yes: p1 (train, test)"
    (tmp_path / "val.list").write_text("p3_frame01\n")
    assert "count its masks as labels" in the(audit(tmp_path), run.CHECKPOINT).why
    (tmp_path / "train_slices.list").unlink()
    with pytest.raises(BadConfig, match="not a run, sweep"):
        audit(tmp_path)
    with pytest.raises(BadDataset, match="no list of a training part"):
        audit(tmp_path / "test.list")


def test_a_table_without_rows_is_no_answer(tmp_path) -> None:
    with pytest.raises(BadConfig, match="no scores"):
        audit(tmp_path / "none.csv")


def test_lists_of_nothing_are_no_answer(tmp_path) -> None:
    (tmp_path / "folds.json").write_text("[]")
    (tmp_path / "train.list").write_text("")
    for path in (tmp_path / "folds.json", tmp_path):
        with pytest.raises(BadDataset) as refused:
            audit(path)
        assert refused.value.code == "S04"


@pytest.mark.parametrize("name", ["plan", "rows", "patients"])
def test_what_a_run_has_no_use_for_is_refused(trained, tmp_path, name) -> None:
    with pytest.raises(BadConfig, match=f"a run folder, of which `{name}` says nothing") as refused:
        audit(trained, **{name: str(tmp_path) if name == "patients" else tmp_path})  # type: ignore[arg-type]
    assert refused.value.did == "nothing was audited"


def test_other_kinds_refuse_what_is_for_others(tmp_path) -> None:
    (tmp_path / "train.list").write_text("p1")
    (tmp_path / "rows.csv").write_text("")
    for path, given in (
        (tmp_path, {"plan": tmp_path}),
        (tmp_path, {"rows": tmp_path / "rows.csv"}),
        (tmp_path / "rows.csv", {"patients": "^(p)"}),
        (tmp_path / "rows.csv", {"rows": tmp_path / "rows.csv"}),
    ):
        with pytest.raises(BadConfig, match="says nothing") as refused:
            audit(path, **given)
        assert refused.value.where == (str(path),)


@pytest.mark.parametrize("text", ['{"train": "p1"}', '{"a": ["p1"]}', "[1]", "[[", '{"train"'])
def test_a_broken_list_is_told_as_what_was_not_audited(tmp_path, text) -> None:
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(FewmaskError) as refused:
        audit(path)
    assert refused.value.did == "nothing was audited" and refused.value.fix


def test_a_pattern_that_is_none_is_told_as_what_was_not_audited(tmp_path) -> None:
    path = tmp_path / "split.json"
    path.write_text('{"train": ["p1"], "test": ["p2"]}')
    with pytest.raises(FewmaskError) as refused:
        audit(path, patients="(")
    assert refused.value.did == "nothing was audited"
