"""The record of a run: there and back, older files, differences in words, no other way to it."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fewmask.core.errors import BadCheckpoint
from fewmask.core.run_record import Pretrained, Provided, RunRecord, plain_settings
from fewmask.core.task import Task

RECORD = RunRecord(
    method="sam_mix",
    config={"lr": 0.001, "patch": [16, 32], "finetune": {"canvas": 128}},
    task=Task(("liver", "spleen"), 64, "ct", 2.5),
    seed=3,
    steps=20,
    bf16=True,
    minutes=1.5,
    provided=Provided(5, 24, 3, 0, 24),
    pretrained=Pretrained("compact", "ab" * 32),
    prepared="prepared",
    data_digest="cd" * 32,
    labels=[["liver", 6], ["spleen", 1, "left"]],
    scans={"case_00": "ef" * 32},
    in_order=False,
)
SOURCE = Path(__file__).parents[2] / "src" / "fewmask"


def test_through_json_and_back() -> None:
    text = json.dumps(RECORD.as_dict())
    assert RunRecord.from_dict(json.loads(text)) == RECORD


def test_the_layout_is_the_one_that_older_code_reads() -> None:
    record = RECORD.as_dict()
    assert record["config"]["lr"] == 0.001 and record["task"]["classes"] == ["liver", "spleen"]
    assert record["provided"]["tagged_scans"] == 3 and record["pretrained"]["name"] == "compact"
    assert list(record)[:4] == ["method", "config", "task", "seed"]


def test_what_an_older_version_did_not_write_is_not_known() -> None:
    later = ("data_digest", "labels", "scans", "in_order")
    older = RunRecord.from_dict(
        {key: value for key, value in RECORD.as_dict().items() if key not in later}
    )
    assert [getattr(older, name) for name in later] == [None] * 4
    assert older.differences(RECORD) == [], "and makes no difference"
    assert replace(older, seed=4).differences(RECORD) == ["seed: 4 -> 3"]


@pytest.mark.parametrize(
    "wrong", [{"speed": 3}, {"seed": "three"}, {"task": {"classes": ["liver"]}}, {"steps": None}]
)
def test_what_cannot_be_read_is_a_bad_checkpoint(wrong) -> None:
    with pytest.raises(BadCheckpoint, match=next(iter(wrong))) as caught:
        RunRecord.from_dict(RECORD.as_dict() | wrong, "run/config.json")
    assert caught.value.code == "W06" and caught.value.where == ("run/config.json",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prepared": "elsewhere", "in_order": True}, []),
        ({"steps": 21}, ["steps: 20 -> 21"]),
        ({"minutes": None}, ["minutes: 1.5 -> None"]),
        ({"config": {**RECORD.config, "lr": 0.1}}, ["config.lr: 0.001 -> 0.1"]),
        (
            {"config": {**RECORD.config, "finetune": {"canvas": 256}}},
            ["config.finetune.canvas: 128 -> 256"],
        ),
        ({"pretrained": None}, None),
        ({"scans": {"case_01": "ef" * 32}}, None),
    ],
)
def test_differences_are_told_by_their_full_name(changes, words) -> None:
    told = RECORD.differences(replace(RECORD, **changes))
    assert told == words if words is not None else told


def test_a_scan_that_went_and_one_that_came_are_both_told() -> None:
    told = RECORD.differences(replace(RECORD, scans={"case_01": "12"}))
    assert told == [f"scans.case_00: {'ef' * 32} -> None", "scans.case_01: None -> 12"]


def test_settings_are_plain_as_json_has_them() -> None:
    assert plain_settings(Task(("a", "b"), 8)) == {
        "classes": ["a", "b"], "size": 8, "modality": "ct", "spacing_mm": 0.0,
    }  # fmt: skip


def test_a_record_is_read_without_torch() -> None:
    code = "import sys, fewmask.core.run_record; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_code_looks_a_record_up_by_text() -> None:
    """`record.steps` is checked by the type checker, `config["steps"]` by nobody."""
    pattern = re.compile(r"""read_config\(|\bconfig\[["']|\bconfig\.get\(["']""")
    found = [
        f"{path.relative_to(SOURCE)}: {line.strip()}"
        for path in sorted(SOURCE.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if pattern.search(line)
    ]
    assert found == []
